//! Pods with a sidecar, and those of istiod.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use meshlift_api::labels as l;
use meshlift_planner::view::Pod;
use serde::{Deserialize, Serialize};

use super::slim::slim_resource;
use super::{istiod_revision, pick};
use crate::watch::table::Fact;

slim_resource!(
    /// A Pod.
    PodObject, "Pod", "pods", "", NamespaceResourceScope, meta = "super::slim::slim_meta", { status: PodStatus }
);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    conditions: Vec<PodCondition>,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    restart_count: u32,
    state: ContainerState,
    last_state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i32,
    reason: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

/// A live pod with a sidecar, or one of istiod.
#[derive(Clone, Debug)]
pub struct PodFact {
    /// What decisions need of it.
    pub pod: Arc<Pod>,
    /// Whether it has a sidecar.
    pub sidecar: bool,
    /// Revision of the istiod it runs, if it is one.
    pub istiod: Option<String>,
}

impl Fact<PodObject> for PodFact {
    fn of(object: PodObject) -> Option<Self> {
        let ended = matches!(object.status.phase.as_str(), "Succeeded" | "Failed");
        if ended || object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let sidecar = object.annotations().get(l::SIDECAR_STATUS);
        let istiod = istiod_revision(object.labels());
        if sidecar.is_none() && istiod.is_none() {
            return None;
        }
        let (owner_kind, owner_name) = owner(&object).unzip();
        let status = &object.status;
        let containers = || {
            status
                .init_container_statuses
                .iter()
                .chain(&status.container_statuses)
        };
        let ready = status
            .conditions
            .iter()
            .any(|c| c.kind == "Ready" && c.status == "True");
        let pod = Pod {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            owner_kind,
            owner_name,
            revision: sidecar.and_then(|status| revision_of(status, object.annotations())),
            mark: object.annotations().get(l::RESTARTED_FOR).cloned(),
            ready,
            proxy_image: None,
            restarts: containers().map(|container| container.restart_count).sum(),
            trouble: if ready { None } else { trouble(status) },
            labels: pick(object.labels(), &[l::SIDECAR_INJECT, l::ISTIO_REV]),
        };
        Some(Self {
            sidecar: sidecar.is_some(),
            istiod,
            pod: Arc::new(pod),
        })
    }
}

fn revision_of(status: &str, annotations: &BTreeMap<String, String>) -> Option<String> {
    #[derive(Deserialize)]
    struct Injected {
        revision: Option<String>,
    }
    let injected = serde_json::from_str::<Injected>(status).ok();
    injected
        .and_then(|i| i.revision)
        .or_else(|| annotations.get(l::ISTIO_REV).cloned())
}

/// Kind and name of the controller. A ReplicaSet made by a Deployment carries its name and the
/// hash that the pod has as a label, as istiod itself tells it (`pkg/kube/inject`).
fn owner(pod: &PodObject) -> Option<(String, String)> {
    let reference = pod
        .owner_references()
        .iter()
        .find(|o| o.controller == Some(true))?;
    let hash = pod.labels().get("pod-template-hash");
    let deployment = hash
        .filter(|_| reference.kind == "ReplicaSet")
        .and_then(|hash| {
            reference
                .name
                .strip_suffix(hash.as_str())?
                .strip_suffix('-')
        });
    Some(match deployment {
        Some(name) => ("Deployment".to_owned(), name.to_owned()),
        None => (reference.kind.clone(), reference.name.clone()),
    })
}

/// What keeps a pod from being ready, if it is more than taking its time.
fn trouble(status: &PodStatus) -> Option<String> {
    const IN_GOOD_TIME: &[&str] = &["", "ContainerCreating", "PodInitializing"];
    let unscheduled = status
        .conditions
        .iter()
        .find(|c| c.kind == "PodScheduled" && c.status == "False")
        .map(|c| with_message(&c.reason, &c.message));
    let containers = || {
        status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
    };
    let waiting = containers().filter_map(|container| {
        let waiting = container.state.waiting.as_ref()?;
        let expected = IN_GOOD_TIME.contains(&waiting.reason.as_str());
        (!expected).then(|| {
            format!(
                "container {}: {}",
                container.name,
                with_message(&waiting.reason, &waiting.message)
            )
        })
    });
    // Between two crashes a container runs for a moment and waits for nothing.
    let crashed = containers().filter_map(|container| {
        let states = [&container.state, &container.last_state];
        let ended = states.into_iter().find_map(|s| s.terminated.as_ref())?;
        let (code, reason) = (ended.exit_code, &ended.reason);
        (code != 0).then(|| {
            format!(
                "container {}: ended with exit code {code} ({reason})",
                container.name
            )
        })
    });
    waiting.chain(crashed).chain(unscheduled).next()
}

fn with_message(reason: &str, message: &str) -> String {
    let message: String = message.chars().take(200).collect();
    if message.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason} ({message})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trouble_of(container: serde_json::Value) -> Option<String> {
        let status = json!({ "containerStatuses": [container] });
        trouble(&serde_json::from_value(status).expect("a pod's status"))
    }

    #[test]
    fn a_crash_is_told_also_while_the_container_runs_again() {
        let ended = |code: i32| json!({ "terminated": { "exitCode": code, "reason": "Error" } });
        let running = json!({ "running": {} });
        let backing_off = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let told = "container app: ended with exit code 7 (Error)";
        for (state, last, expected) in [
            (&running, ended(7), Some(told)),
            (&ended(7), json!({}), Some(told)),
            (
                &backing_off,
                ended(7),
                Some("container app: CrashLoopBackOff"),
            ),
            (&running, ended(0), None),
            (&running, json!({}), None),
        ] {
            let container = json!({ "name": "app", "state": state, "lastState": last });
            assert_eq!(
                trouble_of(container.clone()).as_deref(),
                expected,
                "{container}"
            );
        }
    }
}
