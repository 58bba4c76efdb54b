//! The workloads that an upgrade restarts: which cannot be, and which should not be surprised.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshlift_api::{BlockedWorkload, Predicate, Severity};
use meshlift_model::data_plane::assess_toward;
use meshlift_model::view::{Budget, Seen, UpdateStrategy, Workload, WorkloadKind};
use meshlift_model::{message, selector};

use super::subject::{about, count, judge};
use super::{Check, Finding, Look, Subject};

pub(super) static NOT_MOVED: Check = Check {
    code: "NOT-MOVED",
    reason: "NotMoved",
    severity: Severity::Warning,
    acceptable: true,
    title: "a restart moves every workload",
    explanation: "Sidecars are renewed by a rolling restart. Pods without a controller, Jobs, workloads that replace no pod by themselves or that ask for a revision of their own are named and left alone. As long as one of them uses the old control plane, that is not retired.",
    fix: "Move each by the command in the message, or leave it and let the old control plane stay.",
    source: "istio.io docs/setup/upgrade/canary, \"Data plane\"; Kubernetes docs, update strategies",
    look: Look::Mesh(not_moved),
};

pub(super) static UNSETTLED: Check = Check {
    code: "ROLLOUT-UNFINISHED",
    reason: "RolloutUnfinished",
    severity: Severity::Warning,
    acceptable: true,
    title: "no workload is in the middle of a rollout of its own",
    explanation: "A workload whose own rollout goes on is left alone until that ends: two changes at once would make it impossible to tell which of them broke it. A rollout that never ends is left out of the upgrade.",
    fix: "Let the rollouts end, or mend them.",
    source: "",
    look: Look::Mesh(unsettled),
};

pub(super) static PDB_BLOCKS: Check = Check {
    code: "PDB-BLOCKS",
    reason: "BudgetBlocks",
    severity: Severity::Warning,
    acceptable: true,
    title: "no disruption budget of a workload that is restarted is used up",
    explanation: "Evictions (restart.method: Evict) wait for the budget, and what it never allows is named and left. A rolling restart goes by the workload's own strategy and is not stopped by a budget. But a budget that allows no disruption says that the workload bears none, and a restart is one; and drains of its nodes wait as long as the upgrade keeps it below its number.",
    fix: "Add a replica, or let the budget allow one, before the upgrade.",
    source: "Kubernetes docs, Disruptions",
    look: Look::Mesh(pdb_blocks),
};

pub(super) static SINGLE: Check = Check {
    code: "SINGLE-REPLICA",
    reason: "SingleReplica",
    severity: Severity::Info,
    acceptable: true,
    title: "every workload that is restarted has more than one pod",
    explanation: "A StatefulSet with one pod is away while that pod restarts, and every workload with one pod whose pods are evicted. A Deployment with one pod starts the new one first, unless its maxSurge is 0. With the strategy Recreate it ends all its pods before it starts the new ones.",
    fix: "Add a replica, or upgrade when a short gap does no harm (spec.dataPlane and spec.paused).",
    source: "Kubernetes docs, Deployment and StatefulSet update strategies",
    look: Look::Mesh(single),
};

pub(super) static OWN_IMAGE: Check = Check {
    code: "PROXY-IMAGE-PINNED",
    reason: "ProxyImagePinned",
    severity: Severity::Warning,
    acceptable: true,
    title: "no pod template names a proxy image of its own",
    explanation: "A pod template with the annotation sidecar.istio.io/proxyImage gets that image from every control plane: the workload is restarted and asks the new istiod for its configuration, but with the old proxy. istiod supports proxies of one minor version below its own, so the one after the next upgrade breaks it.",
    fix: "Take the annotation away, or set it to the image of the target version, before the upgrade restarts the workload.",
    source: "istio.io docs/reference/config/annotations, sidecar.istio.io/proxyImage",
    look: Look::Mesh(own_image),
};

/// What stands in the way of a restart, each with what to say of it.
const WHY: &[(Predicate, &str)] = &[
    (
        Predicate::BarePod,
        "pods that no controller would bring back",
    ),
    (Predicate::Job, "pods of Jobs, which run to their end"),
    (
        Predicate::UnknownController,
        "pods of controllers that this operator does not restart",
    ),
    (
        Predicate::OnDelete,
        "workloads that replace no pod by themselves (OnDelete)",
    ),
    (
        Predicate::Partition,
        "workloads that keep pods back by a partition",
    ),
    (Predicate::Paused, "paused workloads"),
    (
        Predicate::BareReplicaSet,
        "ReplicaSets without a Deployment, which replace only pods that go",
    ),
    (
        Predicate::InPlace,
        "workloads that change running pods in place",
    ),
    (
        Predicate::RestartPutBack,
        "workloads whose restart someone took back",
    ),
    (
        Predicate::GatewaysExcluded,
        "gateways, which spec.gateways.order leaves alone",
    ),
    (
        Predicate::NotOurs,
        "workloads in namespaces that spec.dataPlane.move leaves to others",
    ),
    (
        Predicate::Excluded,
        "workloads excluded by spec.dataPlane.exclude",
    ),
    (
        Predicate::PodLabel,
        "workloads whose pod template asks for injection itself",
    ),
    (
        Predicate::Tag,
        "workloads in namespaces that follow a revision tag",
    ),
    (
        Predicate::ManagedGateway,
        "gateways that istiod rolls itself",
    ),
    (
        Predicate::InjectionOff,
        "workloads that a restart would take out of the mesh",
    ),
    (
        Predicate::SidecarInTemplate,
        "workloads whose pod template itself holds the sidecar (kube-inject)",
    ),
    (
        Predicate::HostNetwork,
        "workloads on the host's network, where no sidecar is injected",
    ),
    (
        Predicate::RolloutIncomplete,
        "workloads whose own rollout has not ended",
    ),
];

fn not_moved(subject: &Subject<'_>) -> Vec<Finding> {
    if let Seen::Unreadable(why) = &subject.view.workloads {
        return vec![Finding::unknown("the workloads", why)];
    }
    let target = subject.revision();
    // Only restarts that are under way are judged by the time, and they are not asked for here.
    let judged = assess_toward(
        Timestamp::UNIX_EPOCH,
        subject.heading(&target),
        None,
        subject.upgrade,
        subject.view,
    );
    let mut by_reason: BTreeMap<&str, Vec<BlockedWorkload>> = BTreeMap::new();
    let named = judged.map(|judged| judged.blocked).unwrap_or_default();
    for blocked in named.into_iter().filter(|b| !b.predicate.moves()) {
        let why = WHY
            .iter()
            .find(|(predicate, _)| *predicate == blocked.predicate);
        let why = why.map_or("workloads", |(_, why)| why);
        by_reason.entry(why).or_default().push(blocked);
    }
    by_reason
        .into_iter()
        .flat_map(|(why, blocked)| {
            about(blocked.iter().map(reference), |all| {
                let example = blocked.first().map_or("", |blocked| &blocked.message);
                Finding::wrong(
                    format!("not moved: {why} ({})", all.len()),
                    format!("{}: {example}", all.first().map_or("", String::as_str)),
                )
            })
        })
        .collect()
}

fn own_image(subject: &Subject<'_>) -> Vec<Finding> {
    let pinned = subject
        .workloads()
        .filter(|workload| workload.own_proxy_image);
    about(pinned.map(|workload| workload.key.short()), |all| {
        Finding::wrong(
            format!(
                "{} whose pod template names its proxy image: restarted, it keeps that proxy",
                count(all.len(), "workload")
            ),
            "take annotation sidecar.istio.io/proxyImage away, or set the image of the target version",
        )
    })
}

/// `Pod shop/debug` from `v1 Pod shop/debug`.
fn reference(blocked: &BlockedWorkload) -> String {
    let reference = blocked.reference.as_str();
    let short = reference.split_once(' ').map(|(_, short)| short);
    short.unwrap_or(reference).to_owned()
}

fn unsettled(subject: &Subject<'_>) -> Vec<Finding> {
    // Those with a pod that is not ready are told by POD-NOT-READY.
    let busy = subject
        .workloads()
        .filter(|workload| !workload.settled && workload.pods.iter().all(|pod| pod.ready))
        .filter(|workload| !subject.is_restarting(workload));
    about(busy.map(|workload| workload.key.short()), |all| {
        Finding::wrong(
            format!(
                "{} in the middle of a rollout of its own",
                count(all.len(), "workload")
            ),
            "let it end (kubectl rollout status): a workload is restarted only after that",
        )
    })
}

fn pdb_blocks(subject: &Subject<'_>) -> Vec<Finding> {
    judge(
        &subject.view.environment.budgets,
        "the disruption budgets",
        |budgets| {
            let used_up = budgets
                .iter()
                .filter(|budget| budget.allowed == 0 && budget.expected > 0);
            let ours = used_up.filter(|budget| subject.workloads().any(|w| covers(budget, w)));
            let named = ours.map(|b| format!("PodDisruptionBudget {}/{}", b.namespace, b.name));
            let evicts = subject.upgrade.spec.data_plane.restart.evicts();
            let so = if evicts {
                "their pods are not evicted until it does, and after spec.dataPlane.restart.timeout they are left as they are"
            } else {
                "the restart goes on all the same, drains of their nodes do not"
            };
            about(named, |all| {
                Finding::wrong(
                    format!(
                        "{} of workloads to be restarted {} no disruption: {so}",
                        count(all.len(), "disruption budget"),
                        if all.len() == 1 { "allows" } else { "allow" }
                    ),
                    if evicts {
                        "add a replica or let the budget allow one"
                    } else {
                        "add a replica or let the budget allow one; if the restart does no harm, accept PDB-BLOCKS"
                    },
                )
            })
        },
    )
}

fn covers(budget: &Budget, workload: &Workload) -> bool {
    budget.namespace == workload.key.namespace
        && !workload.pods.is_empty()
        && selector::matches(&budget.selector, &workload.template_labels)
}

fn single(subject: &Subject<'_>) -> Vec<Finding> {
    let evicts = subject.upgrade.spec.data_plane.restart.evicts();
    let recreates = |workload: &Workload| workload.strategy == UpdateStrategy::Recreate && !evicts;
    // A daemon set has one pod on each node by its nature.
    let concerned = subject.workloads().filter(|workload| {
        let daemons = [WorkloadKind::DaemonSet, WorkloadKind::AdvancedDaemonSet];
        let alone = workload.pods.len() == 1 && !daemons.contains(&workload.key.kind);
        alone || recreates(workload)
    });
    // A Deployment starts the new pod first, unless it is told not to or the old one is evicted.
    let starts_first = |workload: &Workload| {
        let deployment = workload.key.kind == WorkloadKind::Deployment;
        deployment && !evicts && !recreates(workload)
    };
    let (stateless, away): (Vec<_>, Vec<_>) = concerned.partition(|w| starts_first(w));
    let named = |workload: &&Workload| workload.key.short();
    let gaps: Vec<String> = away.iter().map(named).collect();
    let gap = if gaps.is_empty() {
        String::new()
    } else {
        format!("; away meanwhile: {}", message::first_few(&gaps))
    };
    let objects = gaps.iter().cloned().chain(stateless.iter().map(named));
    about(objects, |all| {
        Finding::wrong(
            format!(
                "{} with one pod, or that ends all of them at once, which is restarted{gap}",
                count(all.len(), "workload")
            ),
            "add a replica where a gap does harm",
        )
    })
}
