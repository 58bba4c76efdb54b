//! The workloads that an upgrade restarts: which cannot be, and which should not be surprised.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshlift_api::{BlockedWorkload, Predicate, Severity};

use super::subject::{about, count, judge};
use super::{Check, Finding, Look, Subject};
use crate::data_plane::assess;
use crate::message;
use crate::selector;
use crate::view::{Budget, Seen, Workload, WorkloadKind};

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
    explanation: "A rolling restart goes by the workload's own strategy and is not stopped by a budget. But a budget that allows no disruption says that the workload bears none, and a restart is one; and drains of its nodes wait as long as the upgrade keeps it below its number.",
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
    explanation: "A StatefulSet with one pod is away while that pod restarts. A Deployment with one pod starts the new one first, unless its strategy is Recreate or its maxSurge is 0.",
    fix: "Add a replica, or upgrade when a short gap does no harm (spec.dataPlane and spec.paused).",
    source: "Kubernetes docs, Deployment and StatefulSet update strategies",
    look: Look::Mesh(single),
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
        "StatefulSets that keep pods back by a partition",
    ),
    (Predicate::Paused, "paused Deployments"),
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
        Predicate::RolloutIncomplete,
        "workloads whose own rollout has not ended",
    ),
];

fn not_moved(subject: &Subject<'_>) -> Vec<Finding> {
    if let Seen::Unreadable(why) = &subject.view.workloads {
        return vec![Finding::unknown("the workloads", why)];
    }
    let target = subject.to.revision();
    // Only restarts that are under way are judged by the time, and they are not asked for here.
    let judged = assess(
        Timestamp::UNIX_EPOCH,
        &target,
        subject.upgrade,
        subject.view,
    );
    let mut by_reason: BTreeMap<&str, Vec<BlockedWorkload>> = BTreeMap::new();
    for blocked in judged.map(|judged| judged.blocked).unwrap_or_default() {
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
            about(named, |all| {
                Finding::wrong(
                    format!(
                        "{} of workloads to be restarted {} no disruption: the restart goes on all the same, drains of their nodes do not",
                        count(all.len(), "disruption budget"),
                        if all.len() == 1 { "allows" } else { "allow" }
                    ),
                    "add a replica or let the budget allow one; if the restart does no harm, accept PDB-BLOCKS",
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
    // A DaemonSet has one pod on each node by its nature.
    let alone = subject.workloads().filter(|workload| {
        workload.pods.len() == 1 && workload.key.kind != WorkloadKind::DaemonSet
    });
    let (stateful, stateless): (Vec<_>, Vec<_>) =
        alone.partition(|workload| workload.key.kind == WorkloadKind::StatefulSet);
    let named = |workload: &&Workload| workload.key.short();
    let gaps: Vec<String> = stateful.iter().map(named).collect();
    let gap = match gaps.is_empty() {
        true => String::new(),
        false => format!(
            "; a StatefulSet is away meanwhile ({})",
            message::first_few(&gaps)
        ),
    };
    let objects = gaps.iter().cloned().chain(stateless.iter().map(named));
    about(objects, |all| {
        Finding::wrong(
            format!(
                "{} with one pod, which is restarted{gap}",
                count(all.len(), "workload")
            ),
            "add a replica where a gap does harm",
        )
    })
}
