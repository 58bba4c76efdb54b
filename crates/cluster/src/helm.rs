//! Helm 4, called as a program. Its releases stay what `helm ls` and the user's `helm upgrade`
//! expect; nothing here waits for what a release brings up.

mod process;
mod runner;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meshlift_istio::version::KubernetesVersion;
use meshlift_model::{ChartTarget, HELM_TIMEOUT};
use tokio::process::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::process::Ended;
use crate::charts::ChartArchive;
use crate::error::{Error, Result};
use crate::tenure::{Act, Tenure};

pub use self::process::ASKED;
pub use self::runner::{OPERATION_LABEL, Runner, unique};

/// Label on Helm's storage that names the upgrade which began the operation.
pub const UPGRADE_LABEL: &str = "meshlift.io/upgrade";

/// Longer than Helm's own timeout, so that Helm has the first word; and with what it takes to end it, shorter than what
/// another leader waits for it.
const LIMIT: Duration = Duration::from_secs(HELM_TIMEOUT.as_secs().unsigned_abs() + 10);
/// Releases kept in the history, Helm's own default.
const HISTORY: &str = "10";

/// The Helm program.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    runner: Runner,
    tenure: Tenure,
    turn: Arc<Semaphore>,
}

/// Helm processes that run at the same time, of all meshes together. Helm reads a whole chart with all CRDs of Istio, which
/// takes it some tens of MiB, and its memory counts with the operator's own against the limit of the one container: the
/// comparisons of a preflight, all at once, could get the operator killed together with whatever it does for other meshes.
/// Rendering takes a second or two. A change may take as long as Helm's own timeout, and one of another mesh waits for it.
const AT_ONCE: usize = 1;

impl Helm {
    /// Helm at this path; with no kubeconfig it uses the service account of the pod.
    pub fn new(program: impl Into<PathBuf>, kubeconfig: Option<PathBuf>) -> Self {
        Self {
            program: program.into(),
            kubeconfig,
            runner: Runner::new(None),
            tenure: Tenure::unlimited(),
            turn: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// The same for a process in this pod, which changes releases only while it may act.
    pub fn within(self, tenure: Tenure, pod: Option<&str>) -> Self {
        Self {
            runner: Runner::new(pod),
            tenure,
            ..self
        }
    }

    /// This process, as it signs operations.
    pub(crate) fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Installs or upgrades a release to exactly this chart and these values. The chart is handed
    /// over as a file: Helm asks no repository and knows no credentials of one.
    pub async fn apply(
        &self,
        target: &ChartTarget,
        chart: &ChartArchive,
        upgrade_uid: &str,
    ) -> Result<()> {
        let what = format!(
            "Helm release {}/{} to {} {}",
            target.namespace,
            target.release,
            target.chart.name(),
            target.version
        );
        let scratch = scratch()?;
        let values = write_values(&what, target, scratch.path())?;
        let chart = write_chart(&what, chart, scratch.path())?;
        let signature = self.runner.sign();
        let labels = format!("{UPGRADE_LABEL}={upgrade_uid},{OPERATION_LABEL}={signature}");
        let timeout = timeout();
        let arguments = [
            "upgrade",
            "--install",
            &target.release,
            &chart,
            "--namespace",
            &target.namespace,
            "--reset-values",
            "--values",
            &values,
            "--labels",
            &labels,
            "--history-max",
            HISTORY,
            "--timeout",
            &timeout,
        ];
        self.change(what, scratch.path(), &arguments).await
    }

    /// The manifest that Helm would make of this chart and these values, without asking a cluster.
    pub async fn render(
        &self,
        target: &ChartTarget,
        chart: &ChartArchive,
        kubernetes: KubernetesVersion,
        is_upgrade: bool,
    ) -> Result<String> {
        let what = format!(
            "rendering chart {} {} for release {}/{}",
            target.chart.name(),
            target.version,
            target.namespace,
            target.release
        );
        let scratch = scratch()?;
        let values = write_values(&what, target, scratch.path())?;
        let chart = write_chart(&what, chart, scratch.path())?;
        let kubernetes = kubernetes.to_string();
        let mut arguments = vec![
            "template",
            &target.release,
            &chart,
            "--namespace",
            &target.namespace,
            "--values",
            &values,
            "--kube-version",
            &kubernetes,
            "--no-hooks",
        ];
        if is_upgrade {
            arguments.push("--is-upgrade");
        }
        let stdout = self.run(what.clone(), scratch.path(), &arguments).await?;
        String::from_utf8(stdout)
            .map_err(|_| Error::Unreadable(format!("{what}: the manifest is no UTF-8")))
    }

    /// Uninstalls a release; one that is not there is no error.
    pub async fn uninstall(&self, release: &str, namespace: &str) -> Result<()> {
        let what = format!("uninstalling Helm release {namespace}/{release}");
        let timeout = timeout();
        let arguments = [
            "uninstall",
            release,
            "--namespace",
            namespace,
            "--ignore-not-found",
            "--timeout",
            &timeout,
        ];
        self.change(what, scratch()?.path(), &arguments).await
    }

    /// Runs Helm to change a release, as long as this process may act.
    async fn change(&self, what: String, scratch: &Path, arguments: &[&str]) -> Result<()> {
        let _turn = self.turn(&self.tenure).await?;
        // Since the effect was allowed the chart had to be fetched, and others to end.
        self.tenure.allow(Act::Helm)?;
        let run = self.run_within(&self.tenure, what, scratch, arguments);
        run.await.map(|_| ())
    }

    /// Runs Helm where it changes nothing; what it wrote to its standard output.
    async fn run(&self, what: String, scratch: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
        let tenure = Tenure::unlimited();
        let _turn = self.turn(&tenure).await?;
        self.run_within(&tenure, what, scratch, arguments).await
    }

    /// Waits until no other Helm runs.
    async fn turn(&self, tenure: &Tenure) -> Result<OwnedSemaphorePermit> {
        tokio::select! {
            // Nobody closes it.
            turn = Arc::clone(&self.turn).acquire_owned() => turn.map_err(|_| Error::Deposed),
            () = tenure.over() => Err(Error::Deposed),
        }
    }

    async fn run_within(
        &self,
        tenure: &Tenure,
        what: String,
        scratch: &Path,
        arguments: &[&str],
    ) -> Result<Vec<u8>> {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        for (name, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(name, scratch.join(folder));
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let ended = process::run(command, LIMIT, tenure).await;
        let output = match ended.map_err(|source| self.not_run(source))? {
            Ended::ByItself(output) => output,
            Ended::Deposed => return Err(Error::Deposed),
            Ended::TooLate => return Err(Error::Timeout { what, after: LIMIT }),
        };
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Error::Helm {
            what,
            output: shorten(&output.stderr),
        })
    }

    fn not_run(&self, source: std::io::Error) -> Error {
        Error::NoHelm {
            program: self.program.display().to_string(),
            source,
        }
    }
}

/// The timeout as Helm takes it.
fn timeout() -> String {
    format!("{}s", HELM_TIMEOUT.as_secs())
}

/// Writes the values into the scratch folder, which only this process can read.
fn write_values(what: &str, target: &ChartTarget, scratch: &Path) -> Result<String> {
    let file = scratch.join("values.json");
    // JSON is YAML.
    let text = serde_json::to_vec(&target.values)
        .map_err(|error| Error::Unreadable(format!("{what}: values: {error}")))?;
    std::fs::write(&file, text)
        .map_err(|error| Error::Unreadable(format!("{what}: writing values: {error}")))?;
    Ok(file.to_string_lossy().into_owned())
}

fn write_chart(what: &str, chart: &ChartArchive, scratch: &Path) -> Result<String> {
    let file = scratch.join("chart.tgz");
    std::fs::write(&file, &chart.bytes)
        .map_err(|error| Error::Unreadable(format!("{what}: writing the chart: {error}")))?;
    Ok(file.to_string_lossy().into_owned())
}

fn scratch() -> Result<tempfile::TempDir> {
    tempfile::tempdir()
        .map_err(|error| Error::Unreadable(format!("no scratch folder for Helm: {error}")))
}

/// The end of what Helm said, where its error is, on one line and short enough for a status.
fn shorten(stderr: &[u8]) -> String {
    const MOST: usize = 600;
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty() && !line.starts_with("level=") && !line.starts_with("WARNING")
        })
        .collect();
    let joined = lines.join("; ");
    let joined = joined.strip_prefix("Error: ").unwrap_or(&joined);
    let count = joined.chars().count();
    if count <= MOST {
        return joined.to_owned();
    }
    let tail: String = joined.chars().skip(count - MOST).collect();
    format!("... {tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_keeps_its_end() {
        let long = format!("Error: {}the end", "x".repeat(2000));
        let short = shorten(long.as_bytes());
        assert!(
            short.starts_with("... x") && short.ends_with("the end"),
            "{short}"
        );
        assert_eq!(
            shorten(b"level=WARN msg=x\nError: no such chart\n"),
            "no such chart"
        );
    }

    /// As of several meshes at once: clones share their turns, and one that runs alone fails nobody.
    #[cfg(unix)]
    #[tokio::test]
    async fn one_helm_runs_at_a_time() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("helm");
        let busy = folder.path().join("busy");
        let text = format!(
            "#!/bin/sh\nmkdir {0} || {{ echo two at once >&2; exit 1; }}\nsleep 0.2\nrmdir {0}\n",
            busy.display()
        );
        std::fs::write(&script, text).expect("written");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&script, executable).expect("executable");
        let helm = Helm::new(script, None);
        let within = helm.clone().within(Tenure::unlimited(), Some("pod"));
        let ended = tokio::join!(
            helm.uninstall("a", "n"),
            within.uninstall("b", "n"),
            helm.run("rendering".into(), folder.path(), &["template"])
        );
        assert!(matches!(ended, (Ok(()), Ok(()), Ok(_))), "{ended:?}");
    }

    #[tokio::test]
    async fn a_missing_program_is_told_as_such() {
        let helm = Helm::new("/nonexistent/helm", None);
        let error = helm.uninstall("r", "n").await.expect_err("no helm");
        assert!(
            error
                .to_string()
                .contains("/nonexistent/helm cannot be run"),
            "{error}"
        );
    }
}
