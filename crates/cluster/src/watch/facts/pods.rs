//! Pods with a sidecar, and those of istiod; of all others only where they sit and what they ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use meshlift_api::labels as l;
use meshlift_model::view::{Pod, Requests};
use serde::{Deserialize, Serialize};

use super::containers::{Amounts, Container, Resources, requests};
use super::owner::owner;
use super::shared::{Shared, shared};
use super::{istiod_revision, pick};
use crate::slim::slim_resource;
use crate::watch::table::Fact;

/// Name of the container of a sidecar. Source: istio `pkg/kube/inject/inject.go` (`ProxyContainerName`).
const PROXY: &str = "istio-proxy";

slim_resource!(
    /// A Pod.
    pub PodObject, "Pod", "pods", "", NamespaceResourceScope, meta = "crate::slim::slim_meta", { spec: PodSpec, status: PodStatus }
);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<Shared>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    overhead: Amounts,
    resources: Resources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    conditions: Vec<PodCondition>,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: Option<Timestamp>,
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
    running: Option<Running>,
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Running {
    started_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i32,
    reason: String,
    finished_at: Option<Timestamp>,
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

/// Where a pod sits, and what it asks of that node. Also one that is being deleted has its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The node.
    pub node: Arc<str>,
    /// What it asks for.
    pub requests: Requests,
}

impl Fact<PodObject> for Placement {
    fn of(object: &PodObject) -> Option<Self> {
        let spec = &object.spec;
        let node = spec.node_name.as_ref().filter(|_| !object.has_ended())?;
        Some(Self {
            node: Arc::clone(&node.0),
            requests: requests(
                &spec.containers,
                &spec.init_containers,
                spec.overhead,
                &spec.resources,
            ),
        })
    }
}

impl ContainerStatus {
    /// When it last restarted: it runs again, or waits to.
    fn restarted_at(&self) -> Option<Timestamp> {
        let running = self.state.running.as_ref().and_then(|it| it.started_at);
        let ended = [&self.state, &self.last_state].map(|state| state.terminated.as_ref());
        let ended = ended.into_iter().flatten().filter_map(|it| it.finished_at);
        running.or(ended.max()).filter(|_| self.restart_count > 0)
    }
}

impl PodObject {
    fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Image of the sidecar; a native one is an init container.
    fn proxy_image(&self) -> Option<Arc<str>> {
        let spec = &self.spec;
        let mut all = spec.containers.iter().chain(&spec.init_containers);
        all.find(|container| container.name == PROXY)
            .map(|container| shared(&container.image))
    }
}

impl Fact<PodObject> for PodFact {
    fn of(object: &PodObject) -> Option<Self> {
        if object.has_ended() || object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let sidecar = object.annotations().get(l::SIDECAR_STATUS);
        let istiod = istiod_revision(object.labels());
        // Nobody injects the pods of a Gateway that istiod renders: it writes them whole.
        let rendered = object.labels().contains_key(l::GATEWAY_MANAGED);
        if sidecar.is_none() && istiod.is_none() && !rendered {
            return None;
        }
        let (owner_kind, owner_name) = owner(object).unzip();
        let status = &object.status;
        let containers = || {
            status
                .init_container_statuses
                .iter()
                .chain(&status.container_statuses)
        };
        let readiness = status.conditions.iter().find(|c| c.kind == "Ready");
        let ready = readiness.is_some_and(|condition| condition.status == "True");
        let pod = Pod {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.metadata.uid.clone().unwrap_or_default(),
            created_at: object.metadata.creation_timestamp.as_ref().map(|at| at.0),
            owner_kind,
            owner_name,
            revision: match sidecar {
                Some(status) => revision_of(status, object.annotations()),
                None => object.annotations().get(l::ISTIO_REV).cloned(),
            },
            mark: object.annotations().get(l::RESTARTED_FOR).cloned(),
            ready,
            ready_changed_at: readiness.and_then(|condition| condition.last_transition_time),
            proxy_image: object.proxy_image(),
            restarts: containers().map(|container| container.restart_count).sum(),
            restarted_at: containers().filter_map(ContainerStatus::restarted_at).max(),
            trouble: if ready { None } else { trouble(status) },
            labels: pick(object.labels(), &[l::SIDECAR_INJECT, l::ISTIO_REV]),
        };
        Some(Self {
            sidecar: sidecar.is_some() || rendered,
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

    fn pod(changes: serde_json::Value) -> PodObject {
        let mut pod = json!({
            "metadata": { "name": "cart-1", "namespace": "shop",
                "annotations": { "sidecar.istio.io/status": "{\"revision\":\"1-30-2\"}" } },
            "spec": { "nodeName": "a", "containers": [
                { "name": "app", "image": "cart", "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } } },
                { "name": "istio-proxy", "image": "hub/proxyv2:1.30.2",
                  "resources": { "requests": { "cpu": "10m", "memory": "40Mi" }, "limits": { "cpu": "2" } } },
            ] },
            "status": { "phase": "Running" },
        });
        json_patch(&mut pod, &changes);
        serde_json::from_value(pod).expect("a pod")
    }

    /// A JSON merge patch.
    fn json_patch(into: &mut serde_json::Value, from: &serde_json::Value) {
        let (Some(fields), Some(changes)) = (into.as_object_mut(), from.as_object()) else {
            *into = from.clone();
            return;
        };
        for (key, value) in changes {
            if value.is_null() {
                fields.remove(key);
            } else {
                json_patch(fields.entry(key).or_insert(json!({})), value);
            }
        }
    }

    #[test]
    fn the_image_of_a_sidecar_is_found_where_it_runs_and_kept_once() {
        let image =
            |changes| PodFact::of(&pod(changes)).and_then(|fact| fact.pod.proxy_image.clone());
        let usual = image(json!({})).expect("a sidecar");
        assert_eq!(&*usual, "hub/proxyv2:1.30.2");
        let native = image(json!({ "spec": {
            "containers": [{ "name": "app", "image": "cart" }],
            "initContainers": [
                { "name": "istio-validation", "image": "other" },
                { "name": "istio-proxy", "image": "hub/proxyv2:1.30.2", "restartPolicy": "Always" },
            ],
        } }));
        assert!(Arc::ptr_eq(&usual, &native.expect("a native sidecar")));
        let none = json!({ "spec": { "containers": [{ "name": "app", "image": "cart" }] } });
        assert_eq!(image(none), None);
    }

    #[test]
    fn every_live_pod_has_its_place_and_only_pods_of_the_mesh_have_more() {
        let asked = Requests {
            cpu: 110,
            memory: 104 << 20,
        };
        let plain = json!({ "metadata": { "annotations": { "sidecar.istio.io/status": null } } });
        let going = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        for (what, changes, asked, of_the_mesh) in [
            ("of the mesh", json!({}), Some(asked), true),
            ("without a sidecar", plain, Some(asked), false),
            ("being deleted", going, Some(asked), false),
            (
                "ended",
                json!({ "status": { "phase": "Succeeded" } }),
                None,
                false,
            ),
            (
                "failed",
                json!({ "status": { "phase": "Failed" } }),
                None,
                false,
            ),
            (
                "without a node",
                json!({ "spec": { "nodeName": null } }),
                None,
                true,
            ),
        ] {
            let pod = pod(changes);
            let placed = Placement::of(&pod);
            assert_eq!(placed.as_ref().map(|p| p.requests), asked, "{what}");
            assert!(placed.is_none_or(|p| &*p.node == "a"), "{what}");
            assert_eq!(PodFact::of(&pod).is_some(), of_the_mesh, "{what}");
        }
    }

    #[test]
    fn when_a_pod_became_ready_and_when_it_last_restarted() {
        let at = |text: &str| text.parse::<Timestamp>().ok();
        let fact = |status: serde_json::Value| {
            let fact = PodFact::of(&pod(json!({ "status": status }))).expect("a sidecar");
            (
                fact.pod.ready,
                fact.pod.ready_changed_at,
                fact.pod.restarted_at,
            )
        };
        let (first, then, last) = (
            "2026-11-02T02:00:00Z",
            "2026-11-02T02:10:00Z",
            "2026-11-02T02:20:00Z",
        );
        let ended = json!({ "terminated": { "exitCode": 1, "finishedAt": then } });
        let container = |restarts: u32, state: serde_json::Value| {
            let container = json!({ "name": "app", "restartCount": restarts, "state": state, "lastState": ended });
            fact(json!({ "containerStatuses": [container] })).2
        };
        let running = json!({ "running": { "startedAt": last } });
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        assert_eq!(container(1, running.clone()), at(last));
        assert_eq!(container(1, waiting), at(then));
        assert_eq!(container(0, running), None, "it only started");
        let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": first });
        assert_eq!(
            fact(json!({ "conditions": [ready] })),
            (true, at(first), None)
        );
        assert_eq!(fact(json!({})), (false, None, None));
    }

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
