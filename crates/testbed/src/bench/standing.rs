//! Standing pods: copies of a pod that istiod injected, made without asking it again.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{NODES, mesh};
use crate::simulated;

/// The label of the workloads.
pub(super) const LABEL: &str = "testbed/standing";
const NAMESPACE: &str = "standing";
const UP: Duration = Duration::from_secs(1200);

/// Adds workloads of so many pods each to the `moved` pods until there are `wanted`, and waits until
/// they are ready.
pub(super) async fn fill(
    client: &Client,
    moved: usize,
    wanted: usize,
    per_workload: usize,
) -> Result<()> {
    let api = Api::<Deployment>::all(client.clone());
    let ours = ListParams::default().labels(LABEL);
    let there = api.list_metadata(&ours).await?.items.len();
    if there == 0 {
        let labels = json!({"istio-injection": "disabled"});
        mesh::namespace(client, NAMESPACE, &labels).await?;
    }
    let template = template(client).await?;
    let whole = wanted.saturating_sub(moved) / per_workload;
    let one = |number: usize| {
        let standing = Standing {
            namespace: NAMESPACE,
            name: &format!("standing-{number:04}"),
            replicas: per_workload,
            node: number % NODES as usize,
        };
        standing.deployment(&template)
    };
    let all = (there..whole).map(one).collect::<Result<Vec<_>>>()?;
    simulated::create(client, all).await?;
    mesh::wait_complete(client, LABEL, UP).await
}

/// A pod that was injected, without what belongs to that very pod.
pub(super) async fn template(client: &Client) -> Result<Value> {
    let pods = Api::<Pod>::all(client.clone());
    let one = ListParams::default().labels(mesh::MOVED).limit(1);
    let pod = pods.list(&one).await?.items.into_iter().next();
    let pod = pod.context("there is no injected pod to copy")?;
    let mut spec = serde_json::to_value(pod.spec)?;
    // Standing where they are told to: the scheduler is not what is measured.
    spec["nodeSelector"] = Value::Null;
    let mut labels = serde_json::to_value(pod.metadata.labels)?;
    for own in ["app", "pod-template-hash", "testbed/bench"] {
        labels[own] = Value::Null;
    }
    let annotations = pod.metadata.annotations;
    Ok(json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}))
}

/// A workload of standing pods, all on one simulated node.
pub(super) struct Standing<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) replicas: usize,
    /// Number of the node.
    pub(super) node: usize,
}

impl Standing<'_> {
    /// Its Deployment.
    pub(super) fn deployment(&self, template: &Value) -> Result<Deployment> {
        let mut template = template.clone();
        template["metadata"]["labels"]["app"] = json!(self.name);
        template["spec"]["nodeName"] = json!(format!("kwok-{}", self.node));
        let labels = template["metadata"]["labels"].as_object_mut();
        labels
            .context("a pod without labels")?
            .retain(|_, value| !value.is_null());
        Ok(serde_json::from_value(json!({
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": {LABEL: "true"}},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": self.name}},
                "template": template,
            },
        }))?)
    }
}
