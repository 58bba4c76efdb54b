//! Whether istiod bears the loss of a node, and whether a second one finds room beside it.

use meshlift_api::Severity;
use meshlift_model::replicas::Start;
use meshlift_model::view::{Autoscaler, Budget, ControlPlane, Node, Quota, Requests, Seen};
use meshlift_model::{budgets, replicas};

use super::subject::judge;
use super::{Check, Finding, Look, Subject};

const MIB: i64 = 1024 * 1024;

pub(super) static SINGLE: Check = Check {
    code: "ISTIOD-SINGLE",
    reason: "SingleIstiod",
    severity: Severity::Warning,
    acceptable: true,
    title: "istiod has at least two replicas",
    explanation: "The injection webhook fails closed. While the only replica of istiod restarts or moves to another node, no pod with a sidecar can start, and the restarts of an upgrade start many. The new control plane starts with as many replicas as the old one runs.",
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
    explanation: "Without a budget a drain may take all replicas of istiod at once; with one that allows no disruption a drain never ends. Neither stops an upgrade of Istio, and both hurt when nodes are upgraded at the same time. The chart makes a budget once there are two replicas. One that a person made for the old control plane alone is copied for the new one.",
    fix: "Give istiod two replicas, and a budget with maxUnavailable: 1.",
    source: "istio manifests/charts/istio-control/istio-discovery/templates/poddisruptionbudget.yaml",
    look: Look::Mesh(budget),
};

pub(super) static NO_ROOM: Check = Check {
    code: "NO-ROOM",
    reason: "NoRoom",
    severity: Severity::Blocking,
    acceptable: true,
    title: "there is room for a second istiod",
    explanation: "The old control plane serves until the last workload has left it, so the new one needs room beside it: as many replicas as the old one runs now, with the same requests for each. The nodes must have that room, and the ResourceQuotas of the control plane's namespace must allow it. Without room its pods stay Pending and the upgrade ends as failed before it has moved anything.",
    fix: "Add nodes or raise the quota, or ask for less under spec.values.istiod.resources of the Mesh. Where a node autoscaler adds nodes by itself, accept it.",
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

fn budget(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    judge(
        &subject.view.environment.budgets,
        "the disruption budgets",
        |budgets| {
            let ours: Vec<&Budget> =
                budgets::of_revision(budgets, &plane.namespace, &plane.revision).collect();
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
    let wanted = starts_with(subject);
    let mut findings = judge(&subject.view.environment.nodes, "the nodes", |nodes| {
        on_nodes(subject.course.source, nodes, wanted)
    });
    findings.extend(judge(
        &subject.view.environment.quotas,
        "the resource quotas",
        |quotas| within_quotas(subject.course.source, quotas, wanted),
    ));
    findings
}

/// How many replicas the new control plane starts with.
fn starts_with(subject: &Subject<'_>) -> u32 {
    let plane = subject.course.source;
    let own = &subject.course.mesh.values.istiod;
    let Some(values) = subject.istiod_values() else {
        return plane.desired.max(1);
    };
    match replicas::start(&values, own, plane.desired) {
        Start::AsConfigured => replicas::configured(&values).max(1),
        Start::Minimum(replicas) | Start::Count(replicas) => replicas,
    }
}

fn on_nodes(plane: &ControlPlane, nodes: &[Node], wanted: u32) -> Vec<Finding> {
    let room: u64 = nodes.iter().map(|node| fits(node, plane.requests)).sum();
    if nodes.is_empty() || room >= u64::from(wanted) {
        return Vec::new();
    }
    let Requests { cpu, memory } = plane.requests;
    let mib = memory / MIB;
    let finding = Finding::wrong(
        format!(
            "a second istiod needs room for {wanted} pods with {cpu}m of CPU and {mib} MiB of memory each, and the nodes have room for {room}"
        ),
        "add nodes, or lower resources.requests under spec.values.istiod of the Mesh; if an autoscaler adds nodes by itself, accept NO-ROOM",
    );
    let full = nodes.iter().filter(|node| fits(node, plane.requests) == 0);
    vec![finding.about(full.map(|node| format!("Node {}", node.name)))]
}

/// A quota refuses pods when they are made: the Deployment would stay short of replicas, with no pod to show why.
fn within_quotas(plane: &ControlPlane, quotas: &[Quota], wanted: u32) -> Vec<Finding> {
    let wanted = i64::from(wanted);
    let Requests { cpu, memory } = plane.requests;
    let asked = |quota: &Quota| {
        let pods = (quota.pods, wanted, 1, " pods");
        let cpu = (quota.cpu, wanted.saturating_mul(cpu), 1, "m of CPU");
        let memory = (
            quota.memory,
            wanted.saturating_mul(memory),
            MIB,
            " MiB of memory",
        );
        [pods, cpu, memory]
    };
    quotas
        .iter()
        .filter(|quota| quota.namespace == plane.namespace)
        .filter_map(|quota| {
            let mut all = asked(quota).into_iter();
            let (left, needed, unit, what) =
                all.find(|(left, needed, ..)| left.is_some_and(|left| left < *needed))?;
            let name = format!("{}/{}", quota.namespace, quota.name);
            let finding = Finding::wrong(
                format!(
                    "a second istiod of {wanted} replicas needs {}, and resource quota {name} allows {}",
                    format_args!("{}{what}", needed / unit),
                    format_args!("{}{what}", left.unwrap_or_default().max(0) / unit)
                ),
                format!("raise resource quota {name}, or ask for less under spec.values.istiod of the Mesh"),
            );
            Some(finding.about([format!("ResourceQuota {name}")]))
        })
        .collect()
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
