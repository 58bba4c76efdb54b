//! Where charts come from: Helm chart repositories over HTTP and OCI registries, which versions they
//! offer and the archives themselves. Everything of a repository comes through here, so that its
//! credentials are in no program's arguments, environment or files.

mod archive;
mod challenge;
mod connection;
mod credentials;
mod index;
mod oci;
mod source;
mod versions;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use meshlift_api::{ChartSource, MeshSpec};
use meshlift_istio::version::Version;
use meshlift_model::view::Seen;
use meshlift_model::{Chart, ChartDigests, ChartTarget};

use self::archive::Archives;
pub use self::archive::ChartArchive;
use self::source::Source;
pub use self::versions::{ChartEntry, ChartVersions};
use crate::Error;

/// How old versions may be when an upgrade waits for them.
const AGE: Duration = Duration::from_secs(30);
/// A repository that nobody asked for this long is forgotten.
const UNUSED: Duration = Duration::from_secs(48 * 3600);

/// Asks chart repositories, and keeps what they said. Clones share what they know.
#[derive(Clone)]
pub struct ChartsClient {
    shared: Arc<Shared>,
}

struct Shared {
    secrets: Api<Secret>,
    sources: Mutex<Vec<(Arc<Source>, Instant)>>,
    archives: Mutex<Archives>,
}

impl ChartsClient {
    /// A client that reads credentials from these Secrets: those of the operator's namespace.
    pub fn new(secrets: Api<Secret>) -> Self {
        Self {
            shared: Arc::new(Shared {
                secrets,
                sources: Mutex::default(),
                archives: Mutex::default(),
            }),
        }
    }

    /// The releases in a repository, not older than half a minute. If it cannot be read they are
    /// those of the last time, with the reason in `stale`; never read, they are unreadable.
    pub async fn versions(&self, charts: &ChartSource) -> Seen<Arc<ChartVersions>> {
        self.versions_at_most(charts, AGE).await
    }

    /// The same, not older than `age`. While a repository is away it is asked again after a pause
    /// that grows with `age` and the number of failures, from 3 seconds to 5 minutes.
    pub async fn versions_at_most(
        &self,
        charts: &ChartSource,
        age: Duration,
    ) -> Seen<Arc<ChartVersions>> {
        match self
            .source(charts)
            .versions(&self.shared.secrets, age)
            .await
        {
            Ok(known) => Seen::Present(known),
            Err(why) => Seen::Unreadable(why.to_string()),
        }
    }

    /// Asks again at the next look, however new what is known is. The request is conditional, so an
    /// index that has not changed is not sent again.
    pub fn forget(&self, charts: &ChartSource) {
        self.source(charts).expire();
    }

    /// The archive of a Helm release's chart: the one that was detected, or none. The credentials and certificates are
    /// those of the Mesh, if the chart comes from the repository that they are for.
    pub async fn archive(
        &self,
        target: &ChartTarget,
        mesh: Option<&MeshSpec>,
    ) -> Result<ChartArchive, Error> {
        let of_mesh = mesh.map(|mesh| &mesh.charts);
        let charts = match of_mesh.filter(|charts| charts.repository == target.repository) {
            Some(charts) => charts.clone(),
            None => ChartSource {
                repository: target.repository.clone(),
                secret_ref: None,
                ca_bundle: None,
            },
        };
        let archive = self.download(&charts, target.chart, &target.version);
        let archive = archive.await?;
        let Some(why) = target.refuses(&archive.digest) else {
            return Ok(archive);
        };
        // What is put right in the repository is seen at the next try.
        let (chart, version) = (archive.chart, &archive.version);
        self.archives().forget(&charts.repository, chart, version);
        self.forget(&charts);
        Err(Error::OtherArchive(why))
    }

    /// The digests of both charts of a version.
    pub async fn digests(
        &self,
        charts: &ChartSource,
        version: &Version,
    ) -> Result<ChartDigests, Error> {
        let base = self.download(charts, Chart::Base, version).await?;
        let istiod = self.download(charts, Chart::Istiod, version).await?;
        Ok(ChartDigests {
            base: base.digest,
            istiod: istiod.digest,
            source: None,
        })
    }

    /// The archive of a chart, checked against the digest in the index or manifest, and for being
    /// this chart in this version. The last few are kept and need no repository.
    pub async fn download(
        &self,
        charts: &ChartSource,
        chart: Chart,
        version: &Version,
    ) -> Result<ChartArchive, Error> {
        let kept = self.archives().get(&charts.repository, chart, version);
        if let Some(archive) = kept {
            return Ok(archive);
        }
        let source = self.source(charts);
        let load = source.download(&self.shared.secrets, chart, version);
        let archive = load.await?;
        self.archives().put(&charts.repository, archive.clone());
        Ok(archive)
    }

    fn source(&self, charts: &ChartSource) -> Arc<Source> {
        let now = Instant::now();
        let mut sources = lock(&self.shared.sources);
        sources.retain(|(_, used)| now.duration_since(*used) < UNUSED);
        if let Some((source, used)) = sources.iter_mut().find(|(s, _)| s.is(charts)) {
            *used = now;
            return source.clone();
        }
        let source = Arc::new(Source::new(charts.clone()));
        sources.push((source.clone(), now));
        source
    }

    fn archives(&self) -> MutexGuard<'_, Archives> {
        lock(&self.shared.archives)
    }
}

impl std::fmt::Debug for ChartsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChartsClient").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
