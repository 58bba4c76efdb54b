//! The metrics of istiod: what the soak compares, and what shows that nobody is connected any more.

use meshlift_api::Severity;
use meshlift_model::detection::METRICS_UNREADABLE;
use meshlift_model::view::Seen;

use super::{Check, Finding, Look, Subject};

pub(super) static UNREADABLE: Check = Check {
    code: METRICS_UNREADABLE,
    reason: "MetricsUnreadable",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the metrics of the running istiod can be read",
    explanation: "The soak compares how many injections fail, and a control plane is removed only when its metrics show that no proxy is connected to it. Where the API server cannot reach them, an upgrade would move every workload and then wait for a person. Once accepted, the soak watches the pods that have moved and no injections, and a control plane is removed when no pod of this cluster runs its sidecar: proxies outside of the cluster are not seen.",
    fix: "Open port 15014 of the istiod pods to the API server (firewall of the nodes, NetworkPolicy), or accept it: METRICS-UNREADABLE in spec.acceptRisks, or while the upgrade runs as annotation meshlift.io/accept of the MeshUpgrade.",
    source: "istio pilot/cmd/pilot-discovery (--monitoringAddr)",
    look: Look::Mesh(unreadable),
};

fn unreadable(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    // One that is not ready has no metrics either: ISTIOD-NOT-READY names that.
    let Seen::Unreadable(why) = &plane.live else {
        return Vec::new();
    };
    if !plane.is_ready() {
        return Vec::new();
    }
    let finding = Finding::wrong(
        format!("the metrics of {} cannot be read: {why}", plane.name),
        "open port 15014 of its pods to the API server, or accept METRICS-UNREADABLE in spec.acceptRisks",
    );
    vec![finding.about([format!("Deployment {}/{}", plane.namespace, plane.name)])]
}
