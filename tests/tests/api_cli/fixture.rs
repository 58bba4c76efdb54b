//! The clusters and the program.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_testbed::{Options, cargo};
use meshlift_tests::bed::Bed;
use meshlift_tests::istio;
use serde_json::Value;
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

/// One runtime for all tests: a client belongs to the runtime that made it.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("a runtime needs only threads"));
static BED: OnceCell<Bed> = OnceCell::const_new();
/// Built once: cargo waits for whoever else builds.
static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
/// Each test clears the cluster that they share.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Runs one test on the shared cluster, with Istio and Meshlift's CRDs.
pub(crate) fn with_bed<F: Future<Output = Result<()>>>(
    test: impl FnOnce(&'static Bed) -> F,
) -> Result<()> {
    RUNTIME.block_on(async {
        let _alone = ALONE.lock().await;
        let bed = BED.get_or_try_init(|| start("cli")).await?;
        clear(bed).await?;
        test(bed).await
    })
}

/// Runs one test on a cluster of its own.
pub(crate) fn with_own_bed<F: Future<Output = Result<()>>>(
    test: impl FnOnce(Bed) -> F,
) -> Result<()> {
    RUNTIME.block_on(async { test(start("cli-own").await?).await })
}

async fn start(name: &str) -> Result<Bed> {
    let bed = Bed::up(Options::api(name)).await?;
    istio::install(&bed, ISTIO_FROM).await?;
    istio::make_ready(&bed, "default").await?;
    let node = "
apiVersion: v1
kind: Node
metadata: { name: cordoned }
spec: { unschedulable: true }
";
    bed.cluster.apply_yaml(node).await?;
    Ok(bed)
}

/// Removes what a test that failed left: the next one is not to fail with it.
async fn clear(bed: &Bed) -> Result<()> {
    for upgrade in bed.upgrades().list(&Default::default()).await? {
        bed.delete_upgrade(&upgrade.name_any()).await?;
    }
    for mesh in bed.meshes().list(&Default::default()).await? {
        let name = mesh.name_any();
        bed.meshes().delete(&name, &Default::default()).await?;
    }
    Ok(())
}

/// The program, built.
pub(crate) async fn program() -> Result<PathBuf> {
    let build = || async {
        let build = || cargo::build("meshlift", "dev");
        tokio::task::spawn_blocking(build).await?
    };
    Ok(PROGRAM.get_or_try_init(build).await?.clone())
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Fails unless it ended with this code and said all of these.
    pub(crate) fn expect(self, code: i32, words: &[&str]) -> Result<Self> {
        ensure!(self.code == Some(code), "not code {code}: {self:#?}");
        for word in words {
            let said = self.out.contains(word) || self.err.contains(word);
            ensure!(said, "does not say {word:?}: {self:#?}");
        }
        Ok(self)
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("no JSON: {self:#?}"))
    }
}

/// A command, with nothing of this process's own kubeconfig in it.
pub(crate) async fn command(bed: &Bed, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program().await?);
    command.args(arguments);
    // No node runs pods here, so nobody serves the metrics of istiod.
    if ["check", "plan", "upgrade"].contains(arguments.first().unwrap_or(&"")) {
        command.args(["--accept", "METRICS-UNREADABLE"]);
    }
    command
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("HOME", bed.cluster.scratch())
        .env("MESHLIFT_CHARTS_REPOSITORY", bed.cluster.charts_url_host()?)
        .env("MESHLIFT_HELM", bed.cluster.tools().program("helm")?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

/// Runs it as administrator.
pub(crate) async fn meshlift(bed: &Bed, arguments: &[&str]) -> Result<Ran> {
    let kubeconfig = bed.cluster.kubeconfig().as_os_str().to_owned();
    meshlift_with(bed, arguments, &[("KUBECONFIG", kubeconfig)]).await
}

/// Runs it with these variables and no kubeconfig but theirs.
pub(crate) async fn meshlift_with(
    bed: &Bed,
    arguments: &[&str],
    variables: &[(&str, OsString)],
) -> Result<Ran> {
    let mut command = command(bed, arguments).await?;
    let output = command
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .await
        .context("meshlift cannot be run")?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    })
}
