//! Simulated nodes beside the real one: pods on them live by rules, without containers.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};

use super::control_plane::ControlPlane;
use crate::versions;

/// The key of the annotation, label and taint of simulated nodes.
pub const KEY: &str = "kwok.x-k8s.io/node";

/// How a pod behaves (jq).
const BEHAVIOUR: &str = r#".metadata.labels["testbed/behave"] // (select((.metadata.annotations["istio.io/rev"] // "default") != "default") | .metadata.labels["testbed/behave-once-moved"])"#;

/// Starts KWOK, makes `count` nodes and waits until they are ready.
pub(super) async fn start(plane: &ControlPlane<'_>, client: &Client, count: u32) -> Result<()> {
    let kubeconfig = plane.component_config("kwok", "testbed:kwok", &["system:masters"])?;
    let stages = plane.directory.join("kwok.yaml");
    let version = format!("v{}", versions::KUBERNETES);
    fs::write(
        &stages,
        include_str!("kwok.yaml")
            .replace("KUBELET_VERSION", &version)
            .replace("BEHAVIOUR", BEHAVIOUR),
    )?;
    plane.spawn(
        "kwok",
        vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--config={}", stages.display()),
            "--manage-all-nodes=false".into(),
            format!("--manage-nodes-with-annotation-selector={KEY}=fake"),
            "--cidr=10.200.0.0/16".into(),
            "--node-ip=10.200.255.254".into(),
            // Without leases the controllers call the nodes dead after 40 s.
            "--node-lease-duration-seconds=40".into(),
        ],
    )?;
    let nodes: Api<Node> = Api::all(client.clone());
    futures::stream::iter(0..count)
        .map(|number| create(&nodes, number))
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await?;
    let ready = async || {
        let list = nodes
            .list(&ListParams::default().labels(&format!("{KEY}=fake")))
            .await?;
        let ready = list.items.iter().filter(|node| is_ready(node)).count();
        if ready < count as usize {
            bail!("{ready} of {count} simulated nodes are ready");
        }
        Ok(())
    };
    plane
        .processes
        .wait_until("the simulated nodes", Duration::from_secs(60), ready)
        .await
}

async fn create(nodes: &Api<Node>, number: u32) -> Result<()> {
    let name = format!("kwok-{number}");
    let node = serde_json::from_value(serde_json::json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {KEY: "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {KEY: "fake", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        // Only what tolerates it comes here: Istio itself stays on the real node.
        "spec": {"taints": [{"key": KEY, "value": "fake", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {"cpu": "64", "memory": "512Gi", "pods": "1000"},
            "capacity": {"cpu": "64", "memory": "512Gi", "pods": "1000"},
        },
    }))?;
    nodes
        .create(&PostParams::default(), &node)
        .await
        .with_context(|| format!("cannot create the simulated node {name}"))?;
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}
