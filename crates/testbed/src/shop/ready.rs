//! Whether workloads are rolled out: every pod of the newest template, and available.

use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

/// How far one workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// `Kind namespace/name`.
    pub workload: String,
    /// Pods wanted.
    pub wanted: i32,
    /// Pods of the newest template that are available.
    pub available: i32,
    /// Nothing is left to do: no old pod is left, and the controller has seen the newest template.
    pub complete: bool,
}

/// Waits until every workload of the namespaces is rolled out, at least one workload in all.
pub async fn wait_ready_in(client: &Client, namespaces: &[&str], limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let mut all = Vec::new();
        for namespace in namespaces {
            all.extend(rollouts(client, namespace).await?);
        }
        let open: Vec<String> = all
            .iter()
            .filter(|rollout| !rollout.complete)
            .map(|r| format!("{} ({}/{} available)", r.workload, r.available, r.wanted))
            .collect();
        if open.is_empty() && !all.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "not ready within {} s: {}; see `kubectl get pods -A` and `kubectl get events -A`",
                limit.as_secs(),
                if all.is_empty() {
                    "no workload at all".to_owned()
                } else {
                    open.join(", ")
                }
            );
        }
        sleep(Duration::from_millis(300)).await;
    }
}

/// How far each workload of a namespace is.
pub async fn rollouts(client: &Client, namespace: &str) -> Result<Vec<Rollout>> {
    let all = ListParams::default();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let stateful_sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    let mut rollouts: Vec<Rollout> = Vec::new();
    rollouts.extend(deployments.list(&all).await?.iter().map(deployment));
    rollouts.extend(stateful_sets.list(&all).await?.iter().map(stateful_set));
    rollouts.extend(daemon_sets.list(&all).await?.iter().map(daemon_set));
    Ok(rollouts)
}

fn deployment(object: &Deployment) -> Rollout {
    let status = object.status.clone().unwrap_or_default();
    let wanted = object
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0).min(updated);
    let seen = status.observed_generation >= object.metadata.generation;
    Rollout {
        workload: name("Deployment", &object.metadata),
        wanted,
        available,
        complete: seen && available == wanted && status.replicas.unwrap_or(0) == wanted,
    }
}

fn stateful_set(object: &StatefulSet) -> Rollout {
    let status = object.status.clone().unwrap_or_default();
    let wanted = object
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let available = status.available_replicas.unwrap_or(0);
    let seen = status.observed_generation >= object.metadata.generation;
    let newest = status.current_revision == status.update_revision;
    Rollout {
        workload: name("StatefulSet", &object.metadata),
        wanted,
        available,
        complete: seen && newest && available == wanted && status.replicas == wanted,
    }
}

fn daemon_set(object: &DaemonSet) -> Rollout {
    let status = object.status.clone().unwrap_or_default();
    let wanted = status.desired_number_scheduled;
    let available = status.number_available.unwrap_or(0);
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let seen = status.observed_generation >= object.metadata.generation;
    Rollout {
        workload: name("DaemonSet", &object.metadata),
        wanted,
        available,
        complete: seen && wanted > 0 && updated == wanted && available == wanted,
    }
}

fn name(
    kind: &str,
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> String {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    format!("{kind} {namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(status: serde_json::Value) -> Rollout {
        let object = serde_json::json!({
            "metadata": {"namespace": "shop", "name": "cart", "generation": 2},
            "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": status,
        });
        deployment(&serde_json::from_value(object).expect("a Deployment"))
    }

    #[test]
    fn a_deployment_is_complete_only_without_old_pods_and_with_its_newest_template_seen() {
        let done = serde_json::json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert!(rollout(done.clone()).complete);
        for (field, value) in [
            ("observedGeneration", 1),
            ("replicas", 3),
            ("updatedReplicas", 1),
            ("availableReplicas", 1),
        ] {
            let mut status = done.clone();
            status[field] = value.into();
            assert!(!rollout(status).complete, "{field}: {value}");
        }
    }
}
