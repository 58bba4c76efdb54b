//! Nodes, and the room on them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Taint, Toleration};
use kube::api::ObjectMeta;
use kube::core::ClusterResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_istio::version::KubernetesVersion;
use meshlift_model::view::{Node, Requests, Seen};
use serde::{Deserialize, Serialize};

use super::Found;
use super::list::list;
use crate::Error;
use crate::quantity::{Cpu, Memory};
use crate::slim::slim_resource;
use crate::watch::Watches;

slim_resource!(
    /// A Node; without its images, which are most of its size.
    NodeObject, "Node", "nodes", "", ClusterResourceScope,
    meta = "crate::slim::slim_meta", { spec: Spec, status: Status }
);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    unschedulable: bool,
    taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    conditions: Vec<Condition>,
    allocatable: Allocatable,
    node_info: Info,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Allocatable {
    cpu: Cpu,
    memory: Memory,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Info {
    kubelet_version: String,
}

/// What is kept of a node.
#[derive(Clone, Debug)]
pub(super) struct NodeFact {
    name: String,
    labels: BTreeMap<String, String>,
    /// Ready, and not cordoned.
    open: bool,
    taints: Vec<Taint>,
    kubelet: Option<KubernetesVersion>,
    cpu: i64,
    memory: i64,
}

/// Where an istiod may go.
struct Placing {
    tolerations: Vec<Toleration>,
    node_selector: BTreeMap<String, String>,
}

pub(super) async fn look(client: Client) -> Result<Found<NodeFact>, Error> {
    list(&Api::<NodeObject>::all(client), |node| Some(fact(node))).await
}

fn fact(object: NodeObject) -> NodeFact {
    let status = &object.status;
    let ready = |c: &Condition| c.kind == "Ready" && c.status == "True";
    NodeFact {
        name: object.name_any(),
        open: status.conditions.iter().any(ready) && !object.spec.unschedulable,
        kubelet: kubelet(&status.node_info.kubelet_version),
        cpu: status.allocatable.cpu.0,
        memory: status.allocatable.memory.0,
        labels: object.metadata.labels.unwrap_or_default(),
        taints: object.spec.taints,
    }
}

/// `v1.33.2`, `v1.32.4+k3s1`, `v1.31.7-eks-473151a`.
fn kubelet(version: &str) -> Option<KubernetesVersion> {
    let mut parts = version.strip_prefix('v').unwrap_or(version).split('.');
    let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(KubernetesVersion { major, minor })
}

/// The nodes with what the pods that sit there leave of them.
pub(super) fn with_room(nodes: Seen<Vec<NodeFact>>, watches: &Watches) -> Seen<Vec<Node>> {
    let taken = watches.placements.fold(HashMap::new(), |mut taken, pod| {
        let sum: &mut Requests = taken.entry(Arc::clone(&pod.node)).or_default();
        sum.cpu = sum.cpu.saturating_add(pod.requests.cpu);
        sum.memory = sum.memory.saturating_add(pod.requests.memory);
        taken
    });
    let taken = match taken {
        Seen::Present(taken) => taken,
        Seen::Absent => HashMap::new(),
        Seen::Unreadable(why) => return Seen::Unreadable(format!("the pods on the nodes: {why}")),
    };
    let istiods = match placings(watches) {
        Seen::Present(istiods) => istiods,
        Seen::Absent => Vec::new(),
        Seen::Unreadable(why) => return Seen::Unreadable(format!("where istiod may go: {why}")),
    };
    nodes.map(|nodes| {
        let mut nodes: Vec<Node> = nodes
            .into_iter()
            .map(|fact| {
                let taken = taken.get(fact.name.as_str()).copied().unwrap_or_default();
                node(fact, taken, &istiods)
            })
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    })
}

/// Where each istiod may go: a new one is rendered with the same values.
fn placings(watches: &Watches) -> Seen<Vec<Placing>> {
    watches.workloads[0].all().map(|deployments| {
        let istiods = deployments.iter().filter_map(|fact| fact.istiod.as_ref());
        istiods
            .map(|istiod| Placing {
                tolerations: istiod.tolerations.clone(),
                node_selector: istiod.node_selector.clone(),
            })
            .collect()
    })
}

fn node(fact: NodeFact, taken: Requests, istiods: &[Placing]) -> Node {
    let welcome = istiods.iter().any(|istiod| istiod.fits(&fact));
    // With no istiod to ask, it is one that bears nothing.
    let alone = istiods.is_empty() && Placing::ordinary().fits(&fact);
    Node {
        schedulable: fact.open && (welcome || alone),
        kubelet: fact.kubelet,
        free_cpu: fact.cpu - taken.cpu,
        free_memory: fact.memory - taken.memory,
        name: fact.name,
    }
}

impl Placing {
    fn ordinary() -> Self {
        Self {
            tolerations: Vec::new(),
            node_selector: BTreeMap::new(),
        }
    }

    fn fits(&self, node: &NodeFact) -> bool {
        let selected = |(key, value): (&String, &String)| node.labels.get(key) == Some(value);
        let keeps_off = |taint: &&Taint| taint.effect != "PreferNoSchedule";
        let borne = |taint: &Taint| self.tolerations.iter().any(|t| tolerates(t, taint));
        self.node_selector.iter().all(selected) && node.taints.iter().filter(keeps_off).all(borne)
    }
}

/// Source: kubernetes `staging/src/k8s.io/api/core/v1/toleration.go` (`ToleratesTaint`).
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if set(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    if set(&toleration.key).is_some_and(|key| key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => {
            toleration.value.as_deref().unwrap_or_default()
                == taint.value.as_deref().unwrap_or_default()
        }
        "Exists" => true,
        // What is not known keeps the pod off.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(spec: Value, ready: &str) -> NodeFact {
        let object = json!({
            "metadata": { "name": "a", "labels": { "kubernetes.io/os": "linux" } },
            "spec": spec,
            "status": {
                "capacity": { "cpu": "4", "memory": "16Gi" },
                "allocatable": { "cpu": "3920m", "ephemeral-storage": "1", "memory": "14Gi", "pods": "110" },
                "conditions": [
                    { "type": "MemoryPressure", "status": "False" },
                    { "type": "Ready", "status": ready },
                ],
                "nodeInfo": { "kubeletVersion": "v1.33.2-eks-473151a" },
                "images": [{ "names": ["x"], "sizeBytes": 1 }],
            },
        });
        fact(serde_json::from_value(object).expect("a node"))
    }

    fn placing(tolerations: Value) -> Placing {
        Placing {
            tolerations: serde_json::from_value(tolerations).expect("tolerations"),
            ..Placing::ordinary()
        }
    }

    #[test]
    fn room_is_what_the_pods_leave() {
        let taken = Requests {
            cpu: 4000,
            memory: 4 << 30,
        };
        let found = node(read(json!({}), "True"), taken, &[]);
        let expected = Node {
            name: "a".into(),
            schedulable: true,
            kubelet: Some(KubernetesVersion {
                major: 1,
                minor: 33,
            }),
            // More than there is may have been asked for before the node shrank.
            free_cpu: -80,
            free_memory: 10 << 30,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_node_takes_istiod_if_it_is_open_and_its_taints_are_borne() {
        let taint = |effect: &str| json!({ "taints": [{ "key": "dedicated", "value": "infra", "effect": effect }] });
        let none = || json!([]);
        let bears = |toleration: Value| json!([toleration]);
        for (what, spec, ready, tolerations, schedulable) in [
            ("plain", json!({}), "True", none(), true),
            ("not ready", json!({}), "False", none(), false),
            ("unknown", json!({}), "Unknown", none(), false),
            (
                "cordoned",
                json!({ "unschedulable": true }),
                "True",
                none(),
                false,
            ),
            ("tainted", taint("NoSchedule"), "True", none(), false),
            ("evicting", taint("NoExecute"), "True", none(), false),
            (
                "only preferred",
                taint("PreferNoSchedule"),
                "True",
                none(),
                true,
            ),
            (
                "borne by key",
                taint("NoSchedule"),
                "True",
                bears(json!({ "key": "dedicated", "operator": "Exists" })),
                true,
            ),
            (
                "borne by value",
                taint("NoSchedule"),
                "True",
                bears(json!({ "key": "dedicated", "value": "infra" })),
                true,
            ),
            (
                "another value",
                taint("NoSchedule"),
                "True",
                bears(json!({ "key": "dedicated", "operator": "Equal", "value": "db" })),
                false,
            ),
            (
                "another effect",
                taint("NoSchedule"),
                "True",
                bears(json!({ "key": "dedicated", "operator": "Exists", "effect": "NoExecute" })),
                false,
            ),
            (
                "another key",
                taint("NoSchedule"),
                "True",
                bears(json!({ "key": "cni.istio.io/not-ready", "operator": "Exists" })),
                false,
            ),
            (
                "everything borne",
                taint("NoExecute"),
                "True",
                bears(json!({ "operator": "Exists" })),
                true,
            ),
        ] {
            let found = node(
                read(spec, ready),
                Requests::default(),
                &[placing(tolerations)],
            );
            assert_eq!(found.schedulable, schedulable, "{what}");
        }
    }

    #[test]
    fn a_node_selector_of_istiod_leaves_other_nodes_out() {
        let selecting = |value: &str| Placing {
            node_selector: [("kubernetes.io/os".to_owned(), value.to_owned())].into(),
            ..Placing::ordinary()
        };
        let schedulable = |istiods: &[Placing]| {
            node(read(json!({}), "True"), Requests::default(), istiods).schedulable
        };
        assert!(schedulable(&[selecting("linux")]));
        assert!(!schedulable(&[selecting("windows")]));
        assert!(
            schedulable(&[selecting("windows"), Placing::ordinary()]),
            "one of them fits"
        );
    }

    #[test]
    fn a_kubelet_says_its_version_in_many_ways() {
        let v = |minor| Some(KubernetesVersion { major: 1, minor });
        for (text, expected) in [
            ("v1.33.2", v(33)),
            ("v1.32.4+k3s1", v(32)),
            ("v1.31.7-gke.100", v(31)),
            ("1.30", v(30)),
            ("", None),
            ("fake", None),
        ] {
            assert_eq!(kubelet(text), expected, "{text}");
        }
    }
}
