//! The mesh that is measured: namespaces of small Deployments on simulated nodes, and one
//! workload that is slow to start.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::SIMULATED_NODE;

/// Selects the workloads that are measured, and their pods.
pub(super) const MOVED: &str = "testbed/bench=moved";
/// After all others by name: it is restarted last, and then it alone is waited for.
const SLOW_NAMESPACE: &str = "bench-slow";
/// How long the pod of the slow workload takes to be ready.
const SLOW: Duration = Duration::from_secs(30);
const UP: Duration = Duration::from_secs(900);

/// How large the mesh is.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Size {
    pub(super) namespaces: usize,
    pub(super) per_namespace: usize,
    pub(super) replicas: usize,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn of(object: &Deployment) -> Self {
        Key {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Size {
    pub(super) fn workloads(self) -> usize {
        self.namespaces * self.per_namespace
    }

    /// Pods of the workloads that are measured.
    pub(super) fn pods(self) -> usize {
        self.workloads() * self.replicas
    }

    /// The workloads that are measured, in the order of their names.
    pub(super) fn keys(self) -> Vec<Key> {
        let namespaces = 0..self.namespaces;
        let key = |n, w| Key {
            namespace: format!("bench-{n:02}"),
            name: format!("app-{w:02}"),
        };
        namespaces
            .flat_map(|n| (0..self.per_namespace).map(move |w| key(n, w)))
            .collect()
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (workloads, replicas) = (self.workloads(), self.replicas);
        let namespaces = self.namespaces;
        write!(
            f,
            "{workloads} workloads of {replicas} pods in {namespaces} namespaces"
        )
    }
}

/// Whether the newest template is rolled out, by what the status says.
pub(super) fn is_complete(object: &Deployment) -> bool {
    let wanted = object.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    object.status.as_ref().is_some_and(|status| {
        status.observed_generation >= object.metadata.generation
            && status.updated_replicas == Some(wanted)
            && status.available_replicas == Some(wanted)
            && status.replicas == Some(wanted)
    })
}

/// Creates everything and waits until it is ready.
pub(super) async fn create(client: &Client, size: Size) -> Result<()> {
    let injected = json!({"istio-injection": "enabled"});
    for number in 0..size.namespaces {
        namespace(client, &format!("bench-{number:02}"), &injected).await?;
    }
    namespace(client, SLOW_NAMESPACE, &injected).await?;
    let mut all: Vec<Deployment> = Vec::new();
    for key in size.keys() {
        all.push(small(&key, size.replicas)?);
    }
    all.push(slow()?);
    deployments(client, all).await?;
    wait_complete(client, &ListParams::default().labels("testbed/bench"), UP).await
}

/// Creates a namespace.
pub(super) async fn namespace(client: &Client, name: &str, labels: &Value) -> Result<()> {
    let object: Namespace =
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
    Api::all(client.clone())
        .create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("creating the namespace {name}"))?;
    Ok(())
}

/// Creates Deployments, some at a time.
pub(super) async fn deployments(client: &Client, all: Vec<Deployment>) -> Result<()> {
    let create = async |object: Deployment| {
        let api = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
        api.create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("creating {}", Key::of(&object)))
    };
    stream::iter(all)
        .map(create)
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

/// Waits until the selected Deployments are rolled out.
pub(super) async fn wait_complete(
    client: &Client,
    which: &ListParams,
    limit: Duration,
) -> Result<()> {
    let api = Api::<Deployment>::all(client.clone());
    let end = tokio::time::Instant::now() + limit;
    loop {
        let all = api.list(which).await.context("listing the workloads")?;
        let open: Vec<String> = all
            .iter()
            .filter(|object| !is_complete(object))
            .map(|object| Key::of(object).to_string())
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        if tokio::time::Instant::now() > end {
            bail!(
                "{} workloads are not ready within {limit:?}, the first is {}",
                open.len(),
                open[0]
            );
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn small(key: &Key, replicas: usize) -> Result<Deployment> {
    let labels = json!({"app": key.name, "testbed/bench": "moved"});
    deployment(key, replicas, &labels, &json!({}))
}

fn slow() -> Result<Deployment> {
    let key = Key {
        namespace: SLOW_NAMESPACE.into(),
        name: "slow".into(),
    };
    let labels = json!({"app": "slow", "testbed/bench": "slow", "testbed/behave": "slow-start"});
    let delay = json!({"testbed/start-milliseconds": format!("{}ms", SLOW.as_millis())});
    deployment(&key, 1, &labels, &delay)
}

fn deployment(
    key: &Key,
    replicas: usize,
    labels: &Value,
    annotations: &Value,
) -> Result<Deployment> {
    let container = json!({
        "name": "app",
        "image": "testbed.local/base:1",
        "command": ["sleep", "infinity"],
    });
    let spec = json!({
        "nodeSelector": {SIMULATED_NODE: "fake"},
        "tolerations": [{"key": SIMULATED_NODE, "operator": "Exists"}],
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    });
    Ok(serde_json::from_value(json!({
        "metadata": {"name": key.name, "namespace": key.namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": key.name}},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
        },
    }))?)
}
