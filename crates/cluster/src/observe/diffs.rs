//! What an upgrade would change in Helm releases: manifests from Helm's storage compared with what
//! Helm makes of the target's charts.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use meshlift_api::MeshSpec;
use meshlift_guide::plan::{Comparison, Manifest, compare};
use meshlift_istio::version::KubernetesVersion;
use meshlift_model::ChartTarget;
use meshlift_model::diff::{ReleaseChange, ReleaseDiff};
use meshlift_model::view::{MeshView, Release, Seen};

use super::cached::Cached;
use super::releases::Releases;
use crate::Error;
use crate::charts::ChartsClient;
use crate::helm::Helm;

/// One comparison takes two Helm runs that may download a chart each, so it is kept for long: its
/// key says all that it depends on.
const AGE: Duration = Duration::from_secs(3600);

pub(super) struct Diffs {
    helm: Helm,
    charts: ChartsClient,
    compared: Cached<u64, ReleaseDiff>,
}

impl Diffs {
    pub(super) fn new(helm: Helm, charts: ChartsClient) -> Self {
        Self {
            helm,
            charts,
            compared: Cached::new(AGE),
        }
    }

    /// Compares; the view has the releases and the Kubernetes version already.
    pub(super) async fn look(
        &self,
        comparisons: &[Comparison],
        releases: &Releases,
        view: &MeshView,
    ) -> Seen<Vec<ReleaseDiff>> {
        let (Some(stored), Some(kubernetes)) = (view.releases.present(), view.kubernetes.present())
        else {
            let why = "the Helm releases or the Kubernetes version could not be read";
            return Seen::Unreadable(why.to_owned());
        };
        let look = Look {
            helm: &self.helm,
            charts: &self.charts,
            mesh: view.mesh.present(),
            releases,
            stored,
            kubernetes: *kubernetes,
        };
        let mut diffs = Vec::new();
        // One after the other, as Helm runs anyway: so none waits longer than it may because others were before it.
        for comparison in comparisons {
            let key = look.key(comparison);
            let compared = self.compared.get(&key, look.compare(comparison));
            match compared.await {
                Ok(diff) => diffs.push(diff),
                Err(why) => return Seen::Unreadable(why),
            }
        }
        if diffs.is_empty() {
            Seen::Absent
        } else {
            Seen::Present(diffs)
        }
    }
}

struct Look<'a> {
    helm: &'a Helm,
    charts: &'a ChartsClient,
    mesh: Option<&'a MeshSpec>,
    releases: &'a Releases,
    stored: &'a [Release],
    kubernetes: KubernetesVersion,
}

impl Look<'_> {
    /// All that a comparison depends on, as a number: values may hold secrets, which nobody needs
    /// to keep twice.
    fn key(&self, comparison: &Comparison) -> u64 {
        let mut hasher = DefaultHasher::new();
        comparison.change.hash(&mut hasher);
        self.kubernetes.to_string().hash(&mut hasher);
        for side in [&comparison.old, &comparison.new] {
            match side {
                Manifest::Stored { release, namespace } => {
                    let storage =
                        Release::find(self.stored, release, namespace).map(|r| &r.storage);
                    let exact = storage.map(|s| (&s.uid, &s.resource_version));
                    (release, namespace, exact).hash(&mut hasher);
                }
                Manifest::Rendered(target) => {
                    let (chart, version) = (target.chart.name(), target.version.to_string());
                    let values = serde_json::to_string(&target.values).unwrap_or_default();
                    (&target.release, &target.namespace, chart).hash(&mut hasher);
                    (&target.repository, version, &target.digest, values).hash(&mut hasher);
                }
                Manifest::Nothing => {}
            }
        }
        hasher.finish()
    }

    async fn compare(&self, comparison: &Comparison) -> Result<ReleaseDiff, Error> {
        let old = self.manifest(&comparison.old, comparison.change).await?;
        let new = self.manifest(&comparison.new, comparison.change).await?;
        let comparison = comparison.clone();
        // The CRDs are a megabyte of YAML on either side: not on a thread that others wait for.
        let compared = tokio::task::spawn_blocking(move || compare(&comparison, &old, &new));
        let compared = compared
            .await
            .map_err(|error| Error::Unreadable(format!("comparing manifests: {error}")))?;
        compared.map_err(|error| Error::Unreadable(error.to_string()))
    }

    async fn manifest(&self, side: &Manifest, change: ReleaseChange) -> Result<String, Error> {
        match side {
            Manifest::Stored { release, namespace } => {
                let found = Release::find(self.stored, release, namespace).ok_or_else(|| {
                    Error::Unreadable(format!("there is no Helm release {namespace}/{release}"))
                })?;
                self.releases.manifest(namespace, &found.storage.name).await
            }
            Manifest::Rendered(target) => self.rendered(target, change).await,
            Manifest::Nothing => Ok(String::new()),
        }
    }

    async fn rendered(&self, target: &ChartTarget, change: ReleaseChange) -> Result<String, Error> {
        // Charts leave out what a running istiod has changed when they are upgraded.
        let is_upgrade = change != ReleaseChange::Install;
        let chart = self.charts.archive(target, self.mesh).await?;
        self.helm
            .render(target, &chart, self.kubernetes, is_upgrade)
            .await
    }
}
