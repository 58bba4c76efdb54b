//! The few facts kept of each watched object.

mod agents;
mod containers;
mod gateways;
mod injection;
mod others;
mod owner;
mod pods;
mod shared;
mod workloads;

use std::collections::BTreeMap;

use meshlift_api::labels as l;

pub use agents::NodeAgentFact;
pub use gateways::GatewayObject;
pub use injection::InjectionFact;
pub use others::{NamespaceObject, WebhookFact};
pub use pods::{Placement, PodFact, PodObject};
pub use workloads::{
    AdvancedDaemonSetObject, AdvancedStatefulSetObject, CloneSetObject, DaemonSetObject,
    DeploymentObject, IstiodFact, ReplicaSetObject, RolloutObject, StatefulSetObject, WorkloadFact,
    WorkloadObject, WorkloadSource,
};

fn pick(labels: &BTreeMap<String, String>, keys: &[&str]) -> BTreeMap<String, String> {
    keys.iter()
        .filter_map(|key| {
            labels
                .get(*key)
                .map(|value| ((*key).to_owned(), value.clone()))
        })
        .collect()
}

/// Revision of an istiod Deployment or pod, from its labels.
fn istiod_revision(labels: &BTreeMap<String, String>) -> Option<String> {
    let istiod = labels.get("app").is_some_and(|app| app == "istiod");
    istiod.then(|| {
        labels
            .get(l::ISTIO_REV)
            .cloned()
            .unwrap_or_else(|| l::DEFAULT_REVISION.to_owned())
    })
}
