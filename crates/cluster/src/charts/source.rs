//! One chart repository, and what is known of it. Whoever asks while it is being asked waits for
//! that answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use meshlift_api::ChartSource;
use meshlift_istio::version::Version;
use meshlift_model::Chart;
use reqwest::Url;
use tokio::sync::Mutex;

use super::archive::{ChartArchive, sha256_hex};
use super::connection::{Connection, is_this_machine};
use super::credentials::Credentials;
use super::index::{self, Answer, Validators};
use super::oci::{self, Passes, Registry};
use super::versions::ChartVersions;
use crate::Error;

/// The pause after the first failure: neither hammering what is down nor slow to notice that it is back.
const SHORTEST_PAUSE: Duration = Duration::from_secs(3);
/// No look may hold up a decision for longer.
const LIMIT: Duration = Duration::from_secs(20);
/// Limit of a download, with what has to be asked before it.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(60);
/// Addresses of archives change rarely; when one is gone the index is read again.
const AGE_FOR_DOWNLOAD: Duration = Duration::from_secs(3600);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A repository.
pub(super) struct Source {
    charts: ChartSource,
    expired: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    passes: Passes,
    validators: Validators,
    known: Option<Arc<ChartVersions>>,
    asked: Option<Instant>,
    failures: u32,
    /// Why the last try failed, as it was told.
    error: Option<String>,
}

impl Source {
    pub(super) fn new(charts: ChartSource) -> Self {
        Self {
            charts,
            expired: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    pub(super) fn is(&self, charts: &ChartSource) -> bool {
        self.charts == *charts
    }

    pub(super) fn expire(&self) {
        self.expired.store(true, Ordering::Release);
    }

    /// What it offers; asked if what is known is older than `age`.
    pub(super) async fn versions(
        &self,
        secrets: &Api<Secret>,
        age: Duration,
    ) -> Result<Arc<ChartVersions>, Error> {
        let mut state = self.state.lock().await;
        let expired = self.expired.swap(false, Ordering::AcqRel);
        if expired || !state.is_fresh(age) {
            let ask = tokio::time::timeout(LIMIT, self.ask(secrets, &mut state));
            let answer = ask.await.unwrap_or_else(|_| Err(self.too_slow(LIMIT)));
            state.learn(answer);
        }
        let why = || Error::Unreadable(state.error.clone().unwrap_or_default());
        state.known.clone().ok_or_else(why)
    }

    async fn ask(&self, secrets: &Api<Secret>, state: &mut State) -> Result<Answer, Error> {
        let connection = state.connect(self)?;
        let credentials = self.credentials(secrets, &connection).await?;
        if !self.is_oci() {
            let validators = state.known.is_some().then_some(&state.validators);
            return index::ask(&connection, credentials.as_ref(), validators).await;
        }
        let mut registry = Registry {
            connection: &connection,
            credentials: credentials.as_ref(),
            passes: &mut state.passes,
        };
        let charts = registry.charts().await?;
        Ok(Answer::Changed(charts, Validators::default()))
    }

    /// The archive of a chart, from wherever the index or the registry says.
    pub(super) async fn download(
        &self,
        secrets: &Api<Secret>,
        chart: Chart,
        version: &Version,
    ) -> Result<ChartArchive, Error> {
        let what = format!(
            "chart {} {version} of {}",
            chart.name(),
            shown(&self.charts)
        );
        let load = async {
            if self.is_oci() {
                self.load_by_tag(secrets, chart, version).await
            } else {
                self.load_by_index(secrets, chart, version).await
            }
        };
        let loaded = tokio::time::timeout(DOWNLOAD_LIMIT, load).await;
        let loaded = loaded.unwrap_or_else(|_| Err(self.too_slow(DOWNLOAD_LIMIT)));
        // What is where the index says it is not may be somewhere else by now.
        let bytes = loaded.inspect_err(|_| self.expire())?;
        ChartArchive::read(chart, version, bytes).map_err(|why| {
            self.expire();
            Error::Unreadable(format!("{what} was not used: {why}"))
        })
    }

    async fn load_by_tag(
        &self,
        secrets: &Api<Secret>,
        chart: Chart,
        version: &Version,
    ) -> Result<Vec<u8>, Error> {
        let connection = self.state.lock().await.connect(self)?;
        let credentials = self.credentials(secrets, &connection).await?;
        let mut registry = Registry {
            connection: &connection,
            credentials: credentials.as_ref(),
            passes: &mut Passes::default(),
        };
        registry.download(chart, version).await
    }

    async fn load_by_index(
        &self,
        secrets: &Api<Secret>,
        chart: Chart,
        version: &Version,
    ) -> Result<Vec<u8>, Error> {
        let mut known = self.versions(secrets, AGE_FOR_DOWNLOAD).await?;
        if known.entry(chart, version).is_none() {
            self.expire();
            known = self.versions(secrets, AGE_FOR_DOWNLOAD).await?;
        }
        let entry = known.entry(chart, version).ok_or_else(|| {
            Error::Unreadable(format!(
                "{} has no chart {} {version}: correct spec.charts.repository of the Mesh",
                shown(&self.charts),
                chart.name()
            ))
        })?;
        let connection = self.state.lock().await.connect(self)?;
        let credentials = self.credentials(secrets, &connection).await?;
        let bytes = index::download(&connection, credentials.as_ref(), entry).await?;
        let digest = sha256_hex(&bytes);
        if entry.digest.as_ref().is_some_and(|told| *told != digest) {
            return Err(Error::Unreadable(format!(
                "chart {} {version} of {} is not what the index names (another digest): it was not used",
                chart.name(),
                shown(&self.charts)
            )));
        }
        Ok(bytes)
    }

    /// Read every time, because they may have been changed.
    async fn credentials(
        &self,
        secrets: &Api<Secret>,
        connection: &Connection,
    ) -> Result<Option<Credentials>, Error> {
        match &self.charts.secret_ref {
            Some(secret) => {
                let read = Credentials::read(secrets, &secret.name, connection.home());
                read.await.map(Some)
            }
            None => Ok(None),
        }
    }

    fn too_slow(&self, after: Duration) -> Error {
        Error::Timeout {
            what: shown(&self.charts),
            after,
        }
    }

    /// Its HTTP address. A registry on this very machine is spoken to without TLS, unless it has a CA bundle.
    fn home(&self) -> Result<Url, Error> {
        let url = Url::parse(&self.charts.repository).map_err(|_| self.no_address())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::Unreadable(
                "the address of the chart repository has credentials in it: put them in a Secret and name that in spec.charts.secretRef of the Mesh".to_owned(),
            ));
        }
        match url.scheme() {
            "http" | "https" => Ok(url),
            "oci" => {
                let mut home = oci::address(&url)?;
                if is_this_machine(&home) && self.charts.ca_bundle.is_none() {
                    // `http` and `https` can always be exchanged.
                    let _ = home.set_scheme("http");
                }
                Ok(home)
            }
            _ => Err(self.no_address()),
        }
    }

    fn is_oci(&self) -> bool {
        self.charts.repository.starts_with("oci://")
    }

    fn no_address(&self) -> Error {
        Error::Unreadable(format!(
            "{} is no address of a chart repository: write https://... or oci://... in spec.charts.repository of the Mesh",
            shown(&self.charts)
        ))
    }
}

impl State {
    /// The connection; made at the first time, because the address or the CA bundle may be unusable.
    fn connect(&mut self, source: &Source) -> Result<Arc<Connection>, Error> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let connection = Arc::new(Connection::new(&source.charts, source.home()?)?);
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    fn is_fresh(&self, age: Duration) -> bool {
        let Some(asked) = self.asked else {
            return false;
        };
        let pause = match self.failures {
            0 => age,
            failures => pause(failures, age),
        };
        asked.elapsed() < pause
    }

    fn learn(&mut self, answer: Result<Answer, Error>) {
        self.asked = Some(Instant::now());
        let now = Timestamp::now();
        match answer {
            Ok(Answer::Same) => {
                if let Some(known) = &mut self.known {
                    let known = Arc::make_mut(known);
                    (known.read_at, known.stale) = (now, None);
                }
                (self.failures, self.error) = (0, None);
            }
            Ok(Answer::Changed(charts, validators)) => {
                self.known = Some(Arc::new(ChartVersions::new(charts, now)));
                self.validators = validators;
                (self.failures, self.error) = (0, None);
            }
            Err(error) => {
                let why = error.to_string();
                if let Some(known) = &mut self.known {
                    Arc::make_mut(known).stale = Some(why.clone());
                }
                self.failures = self.failures.saturating_add(1);
                self.error = Some(why);
            }
        }
    }
}

/// How long a repository that failed so often is left alone by somebody who would ask it at every `age`.
fn pause(failures: u32, age: Duration) -> Duration {
    let longest = (age / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    SHORTEST_PAUSE.saturating_mul(doubled).min(longest).min(age)
}

/// The address, without what may be secret in it.
fn shown(charts: &ChartSource) -> String {
    Url::parse(&charts.repository).map_or_else(
        |_| "the chart repository".to_owned(),
        |url| super::connection::shown(&url),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_asks_often_and_who_looks_once_a_day_does_not() {
        let seconds = |failures, age| pause(failures, Duration::from_secs(age)).as_secs();
        assert_eq!((seconds(1, 30), seconds(9, 30)), (3, 3));
        let day = 24 * 3600;
        assert_eq!(
            [1, 2, 3, 7, 8, 99].map(|failures| seconds(failures, day)),
            [3, 6, 12, 192, 300, 300]
        );
        assert_eq!(seconds(1, 0), 0);
    }

    #[test]
    fn a_registry_on_this_machine_is_asked_without_tls() {
        let home = |repository: &str, ca_bundle: Option<&str>| {
            let charts = ChartSource {
                repository: repository.to_owned(),
                secret_ref: None,
                ca_bundle: ca_bundle.map(str::to_owned),
            };
            Source::new(charts).home().map(|url| url.to_string())
        };
        for (repository, expected) in [
            (
                "oci://ghcr.io/istio/release/charts",
                "https://ghcr.io/istio/release/charts",
            ),
            (
                "oci://docker.io/istio",
                "https://registry-1.docker.io/istio",
            ),
            ("oci://10.0.0.7:5000/charts", "https://10.0.0.7:5000/charts"),
            ("oci://localhost.evil.com/x", "https://localhost.evil.com/x"),
            ("oci://localhost:5000/x", "http://localhost:5000/x"),
            ("oci://127.0.0.1:5000/x", "http://127.0.0.1:5000/x"),
            ("oci://[::1]:5000/x", "http://[::1]:5000/x"),
            ("http://charts.local/x", "http://charts.local/x"),
        ] {
            assert_eq!(home(repository, None).expect(repository), expected);
        }
        let with_bundle = home("oci://127.0.0.1:5000/x", Some("")).expect("an address");
        assert_eq!(with_bundle, "https://127.0.0.1:5000/x");
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        for repository in [
            "https://me:hush@charts.local",
            "oci://hush@x/y",
            "ftp://hush@x",
        ] {
            let charts = ChartSource {
                repository: repository.to_owned(),
                secret_ref: None,
                ca_bundle: None,
            };
            let why = Source::new(charts).home().expect_err("refused").to_string();
            assert!(!why.contains("hush"), "{why}");
        }
    }
}
