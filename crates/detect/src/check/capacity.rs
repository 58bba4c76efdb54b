//! Whether istiod bears the loss of a node, and whether a second one finds room beside it.

use std::collections::BTreeMap;

use meshlift_api::Severity;
use meshlift_api::labels::{DEFAULT_REVISION, ISTIO_REV};
use meshlift_model::selector;
use meshlift_model::view::{Autoscaler, Budget, ControlPlane, Node, Requests, Seen};

use super::subject::judge;
use super::{Check, Finding, Look, Subject};

pub(super) static SINGLE: Check = Check {
    code: "ISTIOD-SINGLE",
    reason: "SingleIstiod",
    severity: Severity::Warning,
    acceptable: true,
    title: "istiod has at least two replicas",
    explanation: "The injection webhook fails closed. While the only replica of istiod restarts or moves to another node, no pod with a sidecar can start, and the restarts of an upgrade start many. The new control plane gets the same number of replicas.",
    fix: "Set autoscaleMin (or replicaCount, without an autoscaler) to 2 under spec.values.istiod of the Mesh.",
    source: "istio manifests/charts/istio-control/istio-discovery/values.yaml (autoscaleMin: 1)",
    look: Look::Mesh(single),
};

pub(super) static BUDGET: Check = Check {
    code: "ISTIOD-BUDGET",
    reason: "IstiodBudget",
    severity: Severity::Info,
    acceptable: true,
    title: "istiod has a disruption budget that leaves room",
    explanation: "Without a budget a drain may take all replicas of istiod at once; with one that allows no disruption a drain never ends. Neither stops an upgrade of Istio, and both hurt when nodes are upgraded at the same time. The chart makes a budget once there are two replicas.",
    fix: "Give istiod two replicas, and a budget with maxUnavailable: 1.",
    source: "istio manifests/charts/istio-control/istio-discovery/templates/poddisruptionbudget.yaml",
    look: Look::Mesh(budget),
};

pub(super) static NO_ROOM: Check = Check {
    code: "NO-ROOM",
    reason: "NoRoom",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the nodes have room for a second istiod",
    explanation: "The old control plane serves until the last workload has left it, so the new one needs room beside it, with the same requests for each replica. Without room its pods stay Pending and the upgrade ends as failed before it has moved anything.",
    fix: "Add nodes, or ask for less under spec.values.istiod.resources of the Mesh. Where a node autoscaler adds nodes by itself, accept it.",
    source: "istio manifests/charts/istio-control/istio-discovery/values.yaml (resources)",
    look: Look::Hop(no_room),
};

pub(super) fn deployment(plane: &ControlPlane) -> String {
    format!("Deployment {}/{}", plane.namespace, plane.name)
}

/// The autoscaler of a control plane.
fn autoscaler<'a>(subject: &Subject<'a>, plane: &ControlPlane) -> Option<&'a Autoscaler> {
    let all = subject.view.environment.autoscalers.present()?;
    all.iter()
        .find(|scaler| scaler.namespace == plane.namespace && scaler.target == plane.name)
}

/// The fewest replicas that a control plane runs with, and the value of the chart that says so.
pub(super) fn least(subject: &Subject<'_>, plane: &ControlPlane) -> (u32, &'static str) {
    match autoscaler(subject, plane) {
        Some(scaler) => (scaler.min, "autoscaleMin"),
        None => (plane.desired, "replicaCount"),
    }
}

fn single(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    if let Seen::Unreadable(why) = &subject.view.environment.autoscalers {
        return vec![Finding::unknown("the autoscaler of istiod", why)];
    }
    let scaler = autoscaler(subject, plane);
    let (least, field) = least(subject, plane);
    if least >= 2 {
        return Vec::new();
    }
    let scaler = scaler.map(|s| format!("HorizontalPodAutoscaler {}/{}", s.namespace, s.name));
    let finding = Finding::wrong(
        format!("{} runs with as little as one replica", plane.name),
        format!("set {field}: 2 under spec.values.istiod of the Mesh"),
    );
    vec![finding.about(std::iter::once(deployment(plane)).chain(scaler))]
}

/// Labels that the chart gives the pods of a control plane, as far as budgets select by them.
fn pod_labels(plane: &ControlPlane) -> BTreeMap<String, String> {
    let istio = match plane.revision.as_str() {
        DEFAULT_REVISION => "pilot",
        _ => "istiod",
    };
    [
        ("app", "istiod"),
        ("app.kubernetes.io/name", "istiod"),
        ("istio", istio),
        (ISTIO_REV, plane.revision.as_str()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The disruption budgets that cover a control plane.
pub(super) fn budgets_of<'b>(plane: &ControlPlane, budgets: &'b [Budget]) -> Vec<&'b Budget> {
    let labels = pod_labels(plane);
    budgets
        .iter()
        .filter(|budget| budget.namespace == plane.namespace)
        .filter(|budget| selector::matches(&budget.selector, &labels))
        .collect()
}

fn budget(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    judge(
        &subject.view.environment.budgets,
        "the disruption budgets",
        |budgets| {
            let ours = budgets_of(plane, budgets);
            if ours.is_empty() {
                let finding = Finding::wrong(
                    format!(
                        "no disruption budget keeps {} up while nodes are drained",
                        plane.name
                    ),
                    "give istiod two replicas; the chart then makes a budget",
                );
                return vec![finding.about([deployment(plane)])];
            }
            let stuck = ours
                .into_iter()
                .filter(|budget| budget.allowed == 0 && budget.expected > 0);
            stuck
            .map(|budget| {
                let name = format!("{}/{}", budget.namespace, budget.name);
                Finding::wrong(
                    format!(
                        "disruption budget {name} lets nobody evict a pod of {}: drains of its nodes wait for ever",
                        plane.name
                    ),
                    "let it allow one (maxUnavailable: 1), or add a replica",
                )
                .about([format!("PodDisruptionBudget {name}")])
            })
            .collect()
        },
    )
}

fn no_room(subject: &Subject<'_>) -> Vec<Finding> {
    let revision = subject.revision();
    let is_there = subject.plane(&revision).is_some();
    // On later hops the control plane that is left makes room for the next one.
    if is_there || subject.from != subject.course.from {
        return Vec::new();
    }
    let plane = subject.course.source;
    judge(&subject.view.environment.nodes, "the nodes", |nodes| {
        // An autoscaler adds replicas later, when there is load.
        let scaler = autoscaler(subject, plane).map(|scaler| scaler.min.max(1));
        let wanted = u64::from(scaler.unwrap_or(plane.desired));
        let room: u64 = nodes.iter().map(|node| fits(node, plane.requests)).sum();
        if nodes.is_empty() || room >= wanted {
            return Vec::new();
        }
        let Requests { cpu, memory } = plane.requests;
        let mib = memory / (1024 * 1024);
        let finding = Finding::wrong(
            format!(
                "a second istiod needs room for {wanted} pods with {cpu}m of CPU and {mib} MiB of memory each, and the nodes have room for {room}"
            ),
            "add nodes, or lower resources.requests under spec.values.istiod of the Mesh; if an autoscaler adds nodes by itself, accept NO-ROOM",
        );
        let full = nodes.iter().filter(|node| fits(node, plane.requests) == 0);
        vec![finding.about(full.map(|node| format!("Node {}", node.name)))]
    })
}

/// How many such pods a node takes.
fn fits(node: &Node, requests: Requests) -> u64 {
    if !node.schedulable {
        return 0;
    }
    // Enough for any control plane, for pods that ask for nothing.
    const MANY: i64 = 1000;
    let of = |free: i64, asked: i64| match asked {
        1.. => (free / asked).clamp(0, MANY),
        _ => MANY,
    };
    let pods = of(node.free_cpu, requests.cpu).min(of(node.free_memory, requests.memory));
    u64::try_from(pods).unwrap_or_default()
}
