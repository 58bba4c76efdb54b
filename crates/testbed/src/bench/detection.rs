//! The detection of a large mesh: how much work it is, what it asks of the API server, and what it takes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use meshlift_api::conditions::DETECTED;
use meshlift_api::{MeshUpgrade, MeshUpgradeStatus, Mode};
use serde::Serialize;
use serde_json::json;

use super::audit::{self, Request, by_kind};
use super::mesh::{self, Size};
use super::operator::{self, Operator, USER};
use super::schedule::Limits;
use super::standing::{self, Standing};
use super::wire::{Bytes, Wire};
use super::{NODES, report};
use crate::istio::{self, IstioOptions};
use crate::versions::ISTIO_FROM;
use crate::{Cluster, progress, simulated};

/// Work of one detection, in seconds.
const WORK: f64 = 2.0;
/// Peak memory of the operator, in MiB.
const MEMORY: f64 = 64.0;
/// How long it may take until everything is ready, and until a detection has decided.
const UP: Duration = Duration::from_secs(1800);
const DECIDED: Duration = Duration::from_secs(120);
/// Of so many workloads one has a disruption budget, and an EnvoyFilter is made.
const PER_BUDGET: usize = 10;
const PER_FILTER: usize = 40;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Detection {
    began: Timestamp,
    size: Size,
    /// The first detection of a fresh operator, and one more, for which little is asked again.
    looks: Vec<Look>,
    /// Of the operator's process, from its start to the end.
    peak_kib: u64,
}

/// One detection.
#[derive(Debug, Serialize)]
struct Look {
    what: &'static str,
    /// Time in reconciles of the phase Detecting: look, decide, and write what was decided.
    work: f64,
    reconciles: u64,
    /// From the MeshUpgrade being created to the decision being there.
    seconds: f64,
    bytes: Bytes,
    kinds: BTreeMap<String, usize>,
    said: String,
}

/// The mesh of the goal, or a tenth of it.
pub(super) fn size(quick: bool) -> Size {
    Size {
        namespaces: 20,
        per_namespace: if quick { 10 } else { 100 },
        replicas: 5,
    }
}

/// Measures on a cluster of its own, on which there is nothing yet.
pub(super) async fn measure(cluster: &Cluster, binary: &Path, size: Size) -> Result<Detection> {
    let began = Timestamp::now();
    prepare(cluster, size).await?;
    let wire = Wire::lay(&operator::kubeconfig(cluster)?).await?;
    let operator = Operator::start_with(cluster, binary, wire.kubeconfig()).await?;
    wire.quiet(Duration::from_secs(120)).await?;
    let mut looks = Vec::new();
    for (name, what) in [
        ("detect-first", "the first detection of a fresh operator"),
        ("detect-again", "one more, right after it"),
    ] {
        let look = detect(cluster, &operator, &wire, name, what).await;
        looks.push(look.with_context(|| operator.last_words())?);
    }
    let peak_kib = operator.peak_kib()?;
    operator.stop().await?;
    Ok(Detection {
        began,
        size,
        looks,
        peak_kib,
    })
}

async fn prepare(cluster: &Cluster, size: Size) -> Result<()> {
    let client = cluster.client();
    let task = progress::task(format!("install Istio {ISTIO_FROM}"));
    istio::install(cluster, ISTIO_FROM, IstioOptions::default()).await?;
    operator::install_kinds(cluster).await?;
    task.done();
    let task = progress::task(format!("start {size}"));
    let injected = Size {
        namespaces: 1,
        per_namespace: 1,
        replicas: 1,
    };
    mesh::create(&client, injected, false).await?;
    let template = standing::template(&client).await?;
    let mut all = Vec::new();
    for number in 0..size.workloads() {
        let namespace = format!("detect-{:02}", number / size.per_namespace);
        if number % size.per_namespace == 0 {
            // Copies of an injected pod: istiod is not asked for each.
            mesh::namespace(&client, &namespace, &json!({"istio-injection": "disabled"})).await?;
        }
        let one = Standing {
            namespace: &namespace,
            name: &format!("app-{:03}", number % size.per_namespace),
            replicas: size.replicas,
            node: number % NODES as usize,
        };
        all.push(one.deployment(&template)?);
    }
    simulated::create(&client, all).await?;
    mesh::wait_complete(&client, standing::LABEL, UP).await?;
    around(cluster, size).await?;
    task.done();
    Ok(())
}

/// What lies around the mesh; and the namespaces as the mesh has them.
async fn around(cluster: &Cluster, size: Size) -> Result<()> {
    let mut objects = String::new();
    for number in 0..size.workloads() {
        let namespace = format!("detect-{:02}", number / size.per_namespace);
        let name = format!("app-{:03}", number % size.per_namespace);
        if number % PER_BUDGET == 0 {
            let selector = json!({"matchLabels": {"app": name}});
            let spec = json!({"maxUnavailable": 1, "selector": selector});
            let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": {"name": name, "namespace": namespace}, "spec": spec});
            let _ = write!(objects, "---\n{budget}\n");
        }
        if number % PER_FILTER == 0 {
            let matched =
                json!({"context": "SIDECAR_INBOUND", "proxy": {"proxyVersion": "^1\\.30.*"}});
            let lua = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua";
            let code = json!({"inline_string": "-- ".repeat(500)});
            let config = json!({"@type": lua, "default_source_code": code});
            let value = json!({"name": "envoy.filters.http.lua", "typed_config": config});
            let patch = json!({"applyTo": "HTTP_FILTER", "match": matched,
                "patch": {"operation": "INSERT_BEFORE", "value": value}});
            let filter = json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
                "metadata": {"name": name, "namespace": namespace}, "spec": {"configPatches": [patch]}});
            let _ = write!(objects, "---\n{filter}\n");
        }
    }
    cluster.apply_yaml(&objects).await?;
    let names: Vec<String> = (0..size.namespaces)
        .map(|number| format!("detect-{number:02}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let label = ["--overwrite", "istio-injection=enabled"];
    let arguments = [&["label", "namespace"], &names[..], &label].concat();
    cluster.kubectl(&arguments).await?;
    Ok(())
}

async fn detect(
    cluster: &Cluster,
    operator: &Operator,
    wire: &Wire,
    name: &str,
    what: &'static str,
) -> Result<Look> {
    let task = progress::task(what);
    let (bytes, work, reconciles) = (
        wire.bytes(),
        operator.work().await?,
        operator.looks().await?,
    );
    let from = Timestamp::now();
    let said = decided(cluster.client(), name).await?;
    let to = Timestamp::now();
    // The last write is part of it, and counted once it is done.
    wire.quiet(Duration::from_secs(30)).await?;
    task.done();
    let requests = audit::requests(cluster.audit_log(), USER)?;
    let during = |request: &&Request| request.at >= from && request.at <= to;
    Ok(Look {
        what,
        work: operator.work().await? - work,
        reconciles: operator.looks().await? - reconciles,
        seconds: to.duration_since(from).as_secs_f64(),
        bytes: wire.bytes().since(bytes),
        kinds: by_kind(requests.iter().filter(during)),
        said,
    })
}

/// Asks for a Preflight, waits until its detection has decided, and returns what it said.
async fn decided(client: Client, name: &str) -> Result<String> {
    let limits = Limits {
        total: 20,
        per_namespace: 2,
    };
    let mut spec = operator::upgrade(limits, Duration::from_secs(60))?;
    spec.mode = Mode::Preflight;
    let api = Api::<MeshUpgrade>::all(client);
    api.create(&PostParams::default(), &MeshUpgrade::new(name, spec))
        .await
        .with_context(|| format!("creating the MeshUpgrade {name}"))?;
    let mut last = MeshUpgradeStatus::default();
    let decision = async {
        let mut changes = watch_object(api, name).boxed();
        while let Some(change) = changes.next().await {
            // The watch comes back by itself.
            let Ok(Some(upgrade)) = change else { continue };
            last = upgrade.status.unwrap_or_default();
            let detected = last.conditions.iter().find(|c| c.type_ == DETECTED);
            if detected.is_some_and(|c| c.status != "Unknown") {
                break;
            }
        }
    };
    if tokio::time::timeout(DECIDED, decision).await.is_err() {
        bail!("{name} is not decided within {DECIDED:?}: {}", last.message);
    }
    Ok(last.message)
}

impl Detection {
    fn rows(&self) -> Vec<report::Row> {
        let mut rows = Vec::new();
        let size = format!(
            "{} workloads, {} pods",
            self.size.workloads(),
            self.size.pods()
        );
        for look in &self.looks {
            let missed = (look.work > WORK)
                .then(|| format!("{} reconciles; asked: {:?}", look.reconciles, look.kinds));
            let measured = format!("{:.2} s ({:.1} s until decided)", look.work, look.seconds);
            let what = format!("work of a detection, {size}: {}", look.what);
            rows.push(report::row(
                "P10",
                what,
                format!("{WORK} s"),
                measured,
                missed,
            ));
            let lists = look.kinds.get("list pods").copied().unwrap_or_default();
            let bytes = look.bytes.from_server as f64 / 1024.0;
            let measured = format!("{lists}; {} requests, {bytes:.0} KiB", look.requests());
            let missed = (lists > 0).then(|| format!("{:?}", look.kinds));
            let what = format!("lists of pods by a detection: {}", look.what);
            rows.push(report::row("P11", what, "none".into(), measured, missed));
        }
        let mib = self.peak_kib as f64 / 1024.0;
        let missed = (mib > MEMORY).then(|| "from the start to the end of both".to_owned());
        let what = format!("peak memory of an operator that detects, {size}");
        rows.push(report::row(
            "P1",
            what,
            format!("{MEMORY} MiB"),
            format!("{mib:.1} MiB"),
            missed,
        ));
        rows
    }

    /// The table, and what was asked of the API server.
    pub(super) fn table(&self) -> String {
        let mut text = report::rows_as_table(&self.rows());
        for look in &self.looks {
            let kinds: Vec<String> = look.kinds.iter().map(|(k, n)| format!("{k} {n}")).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{}: {}; it said: {}",
                look.what,
                kinds.join(", "),
                look.said
            );
        }
        text
    }

    /// Writes the figures to `target/bench/<date>-detection.json`.
    pub(super) fn write(&self) -> Result<std::path::PathBuf> {
        let all = json!({"figures": self, "goals": self.rows()});
        report::write_file(self.began, "-detection", &all)
    }
}

impl Look {
    fn requests(&self) -> usize {
        self.kinds.values().sum()
    }
}
