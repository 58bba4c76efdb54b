//! The operator as a child process, with a user of its own, and the upgrade it is given.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use meshlift_api::{MeshUpgrade, MeshUpgradeSpec, MeshUpgradeStatus, Phase};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::process::{Child, Command};

use super::mesh;
use super::schedule::Limits;
use crate::free_address::free_address;
use crate::process::{self, Together};
use crate::versions::ISTIO_TO;
use crate::{Cluster, cargo};

/// The user that the operator, and the Helm it runs, speak as.
pub(super) const USER: &str = "meshlift-operator";
const NAMESPACE: &str = "meshlift-system";
/// How long an operator that has just started still looks at what it has listed.
const SETTLES: Duration = Duration::from_secs(30);

/// Installs the custom resources, as the chart does, and the namespace.
pub(super) async fn install_kinds(cluster: &Cluster) -> Result<()> {
    let directory = cargo::workspace().join("crds");
    for file in fs::read_dir(&directory).context("reading crds/")? {
        cluster
            .apply_yaml(&fs::read_to_string(file?.path())?)
            .await?;
    }
    for kind in ["meshes.meshlift.io", "meshupgrades.meshlift.io"] {
        let kind = format!("crd/{kind}");
        let wait = [
            "wait",
            "--for=condition=Established",
            &kind,
            "--timeout=60s",
        ];
        cluster.kubectl(&wait).await?;
    }
    mesh::namespace(&cluster.client(), NAMESPACE, &json!({})).await
}

/// A running operator. It ends with this, or with this process.
pub(super) struct Operator {
    child: Child,
    pid: u32,
    log: PathBuf,
    address: SocketAddr,
    /// Its memory with that of the Helm that it runs.
    together: Together,
}

/// The kubeconfig of the operator's user.
pub(super) fn kubeconfig(cluster: &Cluster) -> Result<PathBuf> {
    cluster.kubeconfig_for(USER, &["system:masters"])
}

impl Operator {
    /// Starts it as its Deployment does, and waits until it is ready.
    pub(super) async fn start(cluster: &Cluster, binary: &Path) -> Result<Self> {
        Self::start_with(cluster, binary, &kubeconfig(cluster)?).await
    }

    /// The same with a kubeconfig of the caller's.
    pub(super) async fn start_with(
        cluster: &Cluster,
        binary: &Path,
        kubeconfig: &Path,
    ) -> Result<Self> {
        let address = free_address()?;
        let log = cluster.scratch().join("logs").join("meshlift-operator.log");
        let file = File::create(&log)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(binary)
            .args([
                "run",
                "--leader-election",
                "--identity=bench",
                "--log-format=json",
            ])
            .args([
                format!("--namespace={NAMESPACE}"),
                format!("--http-address={address}"),
                format!("--default-charts-repository={}", cluster.charts_url_host()?),
            ])
            .env("MESHLIFT_HELM", cluster.tools().program("helm")?)
            .env("KUBECONFIG", kubeconfig);
        let home = cluster.scratch().join("operator-helm");
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, home.join(variable));
        }
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true);
        let child = command.spawn().context("cannot start the operator")?;
        let pid = child.id().context("the operator ended at once")?;
        let mut operator = Self {
            child,
            pid,
            log,
            address,
            together: Together::watch(pid),
        };
        operator.wait_ready().await?;
        Ok(operator)
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let url = format!("http://{}/readyz", self.address);
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            if reqwest::get(&url)
                .await
                .is_ok_and(|a| a.status().is_success())
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the operator ended ({status}): {}", self.last_words());
            }
            if tokio::time::Instant::now() > end {
                bail!(
                    "the operator was not ready within 60 s: {}",
                    self.last_words()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Seconds that it spent in reconciles of the phase Detecting.
    pub(super) async fn work(&self) -> Result<f64> {
        self.detecting("sum").await
    }

    /// How many reconciles of the phase Detecting there were.
    pub(super) async fn looks(&self) -> Result<u64> {
        Ok(self.detecting("count").await? as u64)
    }

    async fn detecting(&self, of: &str) -> Result<f64> {
        let url = format!("http://{}/metrics", self.address);
        let text = reqwest::get(url).await?.text().await?;
        let series = format!("meshlift_reconcile_duration_seconds_{of}{{phase=\"Detecting\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        // Before the first one there is none.
        Ok(value.map(str::parse).transpose()?.unwrap_or(0.0))
    }

    /// The most memory that it ever had, in KiB.
    pub(super) fn peak_kib(&self) -> Result<u64> {
        process::peak_kib(self.pid)
            .with_context(|| format!("the operator is gone: {}", self.last_words()))
    }

    /// Its memory with that of the Helm that it runs, which counts against the same limit.
    pub(super) fn together(&self) -> &Together {
        &self.together
    }

    /// Thousandths of a core that it uses for a while, once what it began at its start has come to an end.
    pub(super) async fn millicores(&self, during: Duration) -> Result<f64> {
        tokio::time::sleep(SETTLES).await;
        let before = process::cpu(self.pid)?;
        tokio::time::sleep(during).await;
        let used = process::cpu(self.pid)?.saturating_sub(before);
        Ok(1000.0 * used.as_secs_f64() / during.as_secs_f64())
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(5)..].join("\n");
        format!("the operator's last words:\n{tail}")
    }

    /// Asks it to stop, and waits.
    pub(super) async fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGTERM)?;
        match tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await {
            Ok(ended) => ended.map(drop).context("waiting for the operator's end"),
            Err(_) => bail!("the operator did not stop within 30 s of SIGTERM"),
        }
    }
}

/// What the operator is asked to do.
pub(super) fn upgrade(limits: Limits, soak: Duration) -> Result<MeshUpgradeSpec> {
    let restart = json!({
        "maxConcurrent": limits.total,
        "maxConcurrentPerNamespace": limits.per_namespace,
    });
    let spec = json!({
        "targetVersion": ISTIO_TO,
        "dataPlane": {"restart": restart},
        "healthCheck": {"soak": format!("{}s", soak.as_secs())},
        "retire": {"after": "1s"},
    });
    // As people write it: everything else is as the API has it by itself.
    serde_json::from_value(spec).context("the spec of a MeshUpgrade")
}

/// How an upgrade went.
pub(super) struct Followed {
    /// Each phase and step, and since when; the last is the end.
    pub(super) steps: Vec<(String, Timestamp)>,
    /// What it said in the end.
    pub(super) ended: String,
}

impl Followed {
    /// From when to when it was in the first step whose name begins so.
    pub(super) fn span(&self, name: &str) -> Option<(Timestamp, Timestamp)> {
        let at = self
            .steps
            .iter()
            .position(|(step, _)| step.starts_with(name))?;
        Some((self.steps[at].1, self.steps.get(at + 1)?.1))
    }
}

/// Creates a MeshUpgrade and follows it until it is Done.
pub(super) async fn follow(
    client: Client,
    name: &str,
    spec: MeshUpgradeSpec,
    limit: Duration,
) -> Result<Followed> {
    let api = Api::<MeshUpgrade>::all(client);
    api.create(&PostParams::default(), &MeshUpgrade::new(name, spec))
        .await
        .with_context(|| format!("creating the MeshUpgrade {name}"))?;
    let mut steps: Vec<(String, Timestamp)> = Vec::new();
    let mut last = MeshUpgradeStatus::default();
    let to_end = async {
        let mut changes = watch_object(api, name).boxed();
        while let Some(change) = changes.next().await {
            // The watch comes back by itself.
            let Ok(Some(upgrade)) = change else { continue };
            last = upgrade.status.unwrap_or_default();
            let step = step(&last);
            if steps.last().is_none_or(|(before, _)| *before != step) {
                crate::progress::line(&format!("{name}: {step}: {}", last.message));
                steps.push((step, Timestamp::now()));
            }
            if last.phase.is_some_and(Phase::is_terminal) {
                break;
            }
        }
    };
    let ended_in_time = tokio::time::timeout(limit, to_end).await.is_ok();
    if !ended_in_time || last.phase != Some(Phase::Done) {
        let phase = last
            .phase
            .map(|phase| phase.to_string())
            .unwrap_or_default();
        bail!(
            "the MeshUpgrade {name} is {phase}, not Done: {}",
            last.message
        );
    }
    Ok(Followed {
        steps,
        ended: last.message,
    })
}

fn step(status: &MeshUpgradeStatus) -> String {
    match (status.phase, status.step) {
        (Some(phase), Some(step)) if !phase.is_terminal() => format!("{phase} {step}"),
        (Some(phase), _) => phase.to_string(),
        (None, _) => "not seen by the operator yet".to_owned(),
    }
}
