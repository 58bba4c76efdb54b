//! The crowd: workloads on simulated nodes, most of them sound.

use std::collections::BTreeMap;
use std::future::Future;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use meshlift_testbed::istio::{self, IstioOptions};
use meshlift_testbed::simulated::{self, BEHAVE_ONCE_MOVED, Key, Simulated};
use meshlift_testbed::skip::is_root_or_skips;
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_testbed::{Options, cargo, progress};
use meshlift_tests::bed::Bed;
use serde_json::json;
use tokio::process::Command;
use tokio::runtime::Runtime;

const NAMESPACES: usize = 10;
const WORKLOADS: usize = 500;
const LABEL: &str = "testbed/crowd";
/// Longer than a sound one takes, shorter than the patience of the upgrade.
const SLOW: Duration = Duration::from_secs(15);
const UP: Duration = Duration::from_secs(300);

/// What becomes of a workload once it is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Sound,
    /// Ready late, but in time.
    PullsSlowly,
    Crashes,
    NeverReady,
    CannotPull,
}

impl Fate {
    fn of(number: usize) -> Self {
        // Spread over the namespaces, and over the order in which they are restarted.
        match number % 83 {
            7 => Fate::Crashes,
            23 => Fate::NeverReady,
            41 => Fate::CannotPull,
            3 | 59 => Fate::PullsSlowly,
            _ => Fate::Sound,
        }
    }

    pub(crate) fn is_stuck(self) -> bool {
        matches!(self, Fate::Crashes | Fate::NeverReady | Fate::CannotPull)
    }

    /// What a person must read of it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Fate::Crashes => "CrashLoopBackOff",
            Fate::CannotPull => "ImagePullBackOff",
            Fate::NeverReady => "no progress for 40s",
            Fate::Sound | Fate::PullsSlowly => "",
        }
    }

    /// How its pods live on a simulated node once they are moved.
    fn behaviour(self) -> Option<&'static str> {
        match self {
            Fate::Sound => None,
            Fate::PullsSlowly => Some("slow-start"),
            Fate::Crashes => Some("crash"),
            Fate::NeverReady => Some("never-ready"),
            Fate::CannotPull => Some("image-pull-failure"),
        }
    }
}

/// A workload of the crowd.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) key: Key,
    pub(crate) fate: Fate,
}

/// All of them.
pub(crate) fn members() -> Vec<Member> {
    let member = |number: usize| Member {
        key: Key {
            namespace: format!("crowd-{}", number % NAMESPACES),
            name: format!("app-{number:03}"),
        },
        fate: Fate::of(number),
    };
    (0..WORKLOADS).map(member).collect()
}

/// Runs the test on a mesh with the crowd in it, if this is root.
pub(crate) fn with_crowd<F: Future<Output = Result<()>>>(
    name: &str,
    test: impl FnOnce(Bed) -> F,
) -> Result<()> {
    if !is_root_or_skips(name) {
        return Ok(());
    }
    Runtime::new()?.block_on(async {
        let bed = Bed::up(Options::mesh(name).kwok(5)).await?;
        istio::install(&bed.cluster, ISTIO_FROM, IstioOptions::default()).await?;
        deploy(&bed).await?;
        test(bed).await
    })
}

async fn deploy(bed: &Bed) -> Result<()> {
    let task = progress::task(format!("start {WORKLOADS} workloads"));
    for number in 0..NAMESPACES {
        let injected = json!({ "istio-injection": "enabled" });
        simulated::namespace(&bed.client, &format!("crowd-{number}"), &injected).await?;
    }
    let all = members()
        .into_iter()
        .map(|Member { key, fate }| {
            let mut workload = Simulated::new(key, 1).label(LABEL, "true");
            if let Some(behaviour) = fate.behaviour() {
                workload = workload.label(BEHAVE_ONCE_MOVED, behaviour).start(SLOW);
            }
            workload.deployment()
        })
        .collect::<Result<Vec<_>>>()?;
    simulated::create(&bed.client, all).await?;
    simulated::wait_complete(&bed.client, LABEL, UP).await?;
    task.done();
    Ok(())
}

/// The revisions of the ready pods of each workload, as the injector wrote them.
pub(crate) async fn ready_revisions(bed: &Bed) -> Result<BTreeMap<Key, Vec<String>>> {
    let pods = Api::<Pod>::all(bed.client.clone());
    let mut found = BTreeMap::<Key, Vec<String>>::new();
    for pod in pods.list(&ListParams::default().labels(LABEL)).await? {
        let status = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
        let ready = status
            .into_iter()
            .flatten()
            .any(|c| c.type_ == "Ready" && c.status == "True");
        let leaves = pod.metadata.deletion_timestamp.is_some();
        if !ready || leaves {
            continue;
        }
        let key = Key {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.labels().get("app").cloned().unwrap_or_default(),
        };
        let revision = pod.annotations().get("istio.io/rev").cloned();
        found
            .entry(key)
            .or_default()
            .push(revision.unwrap_or_default());
    }
    Ok(found)
}

/// What `meshlift status NAME` says.
pub(crate) async fn meshlift_status(bed: &Bed, name: &str) -> Result<String> {
    let build = || cargo::build("meshlift", "dev");
    let program = tokio::task::spawn_blocking(build).await??;
    let output = Command::new(program)
        .args(["status", name])
        .env("KUBECONFIG", bed.cluster.kubeconfig())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("meshlift cannot be run")?;
    let (said, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(
        output.status.code().is_some(),
        "meshlift was killed: {error}"
    );
    Ok(said.into_owned())
}
