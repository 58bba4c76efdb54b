//! Namespaces and workloads move to the new control plane.

use jiff::{SignedDuration, Timestamp};
use meshlift_api::{Phase, Step};

use super::control_plane::not_injecting;
use super::upgrading::{same_step, step_began, stop, timeout};
use super::{BACKSTOP, POLL, blind, later};
use crate::data_plane::{self, DataPlaneView, Placement};
use crate::decision::{Decision, Effect, Findings, Next, Report, Verdict, Waiting, WaitingOn};
use crate::injection::{Injector, injector_of};
use crate::message::{self, Progress};
use crate::record::Record;
use crate::upgrade::Upgrade;
use crate::view::{ControlPlane, MeshView, Namespace, Workload};

/// Judges the data plane; `None` when part of it could not be seen.
pub(super) fn judged<'a>(
    now: Timestamp,
    upgrade: &'a Upgrade,
    view: &'a MeshView,
    record: &'a Record,
) -> Option<DataPlaneView<'a>> {
    data_plane::assess(now, &record.target_revision, upgrade, view)
}

/// Moves namespaces, then workloads; `None` when all that can be moved has moved.
pub(super) fn data_plane(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
) -> Option<Decision> {
    let Some(judged) = judged(now, upgrade, view, record) else {
        let (what, why) = unseen(view);
        return Some(blind(now, same_step(upgrade), what, why));
    };
    let ready = Findings {
        control_plane_ready: Verdict::yes(
            "Proved",
            format!("istiod {} is ready and injects", record.target_revision),
        ),
        ..Findings::default()
    };
    let report = with_data_plane(
        Report {
            findings: ready,
            ..Report::default()
        },
        &judged,
        record,
    );
    move_namespaces(upgrade, view, record, &report)
        .or_else(|| restart_workloads(now, upgrade, view, record, &judged, report))
}

/// What of the data plane could not be seen, and why.
fn unseen(view: &MeshView) -> (&'static str, &str) {
    let parts = [
        ("the namespaces", view.namespaces.unreadable()),
        ("the workloads", view.workloads.unreadable()),
        ("the control planes", view.control_planes.unreadable()),
    ];
    let unreadable = parts.into_iter().find_map(|(what, why)| Some((what, why?)));
    unreadable.unwrap_or(("the mesh", "it was not looked at yet"))
}

/// Counts, blocked list and the condition of the data plane.
pub(super) fn with_data_plane(
    report: Report,
    judged: &DataPlaneView<'_>,
    record: &Record,
) -> Report {
    let counts = judged.counts();
    let message = message::moved(judged.proxies, &record.target_revision);
    let open = counts.restarting + counts.pending + counts.failed;
    let findings = Findings {
        data_plane_upgraded: match (open, counts.blocked) {
            (0, 0) => Verdict::yes("AllMoved", message),
            (0, _) => Verdict::yes("AllButBlockedMoved", message),
            _ => Verdict::no("Moving", message),
        },
        ..report.findings
    };
    Report {
        workloads: Some(counts),
        proxies: Some(judged.proxies),
        blocked: Some(judged.blocked.clone()),
        findings,
        ..report
    }
}

fn move_namespaces(
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
    report: &Report,
) -> Option<Decision> {
    if target_ill(view, record).is_some() {
        return None;
    }
    let batch: Vec<Effect> = view
        .namespaces
        .present()?
        .iter()
        .filter(|namespace| to_move(upgrade, view, record, namespace))
        .map(|namespace| Effect::MoveNamespace {
            name: namespace.name.clone(),
            uid: namespace.uid.clone(),
            resource_version: namespace.resource_version.clone(),
            revision: record.target_revision.clone(),
        })
        .collect();
    if batch.is_empty() {
        return None;
    }
    let names: Vec<&str> = batch
        .iter()
        .filter_map(|effect| match effect {
            Effect::MoveNamespace { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let message = format!(
        "moves namespaces to {}: {}",
        record.target_revision,
        message::first_few(&names)
    );
    let report = Report {
        step: Some(Step::MovingNamespaces),
        message,
        ..report.clone()
    };
    Some(Decision::new(Next::Act(batch), report))
}

/// Whether a namespace is moved: injected by the old control plane, and nothing speaks against it.
pub(crate) fn to_move(
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
    namespace: &Namespace,
) -> bool {
    let planes = view.control_planes.present().map_or(&[][..], Vec::as_slice);
    let none = std::collections::BTreeMap::new();
    let by_source = match injector_of(&namespace.labels, &none, planes, &view.tags) {
        Injector::Namespace(revision) => revision == record.source_revision,
        Injector::Tag(_) | Injector::Pod(_) | Injector::Nobody => false,
    };
    by_source
        && !namespace.terminating
        && !data_plane::put_back(namespace, &record.target_revision)
        && !data_plane::excluded(upgrade.spec.data_plane.exclude.as_ref(), &namespace.labels)
}

fn restart_workloads(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
    judged: &DataPlaneView<'_>,
    report: Report,
) -> Option<Decision> {
    let report = Report {
        step: Some(Step::RestartingWorkloads),
        ..report
    };
    let restarting = judged.in_order(|p| *p == Placement::Restarting);
    let failed: Vec<String> = judged
        .failed()
        .map(|(w, why)| format!("{} ({why})", w.key.short()))
        .collect();
    if !failed.is_empty() && restarting.is_empty() {
        return Some(stop_for_failed(&failed, judged, record, report));
    }
    let (batch, held) = match failed.is_empty() {
        true => next_restarts(now, upgrade, view, record, judged, restarting.len()),
        false => (Vec::new(), Vec::new()),
    };
    let progress = Progress {
        restarts: batch.iter().filter_map(restarted).collect(),
        waits: restarting.iter().map(|(w, _)| progress_of(w)).collect(),
        failed,
        held,
    };
    let counts = judged.counts();
    let message = message::restarting(counts, &record.target_revision, &progress);
    let held = progress.held;
    if !batch.is_empty() {
        return Some(Decision::new(
            Next::Act(batch),
            Report { message, ..report },
        ));
    }
    let busy = judged.in_order(|p| *p == Placement::Busy);
    if restarting.is_empty() && held.is_empty() {
        return wait_for_busy(now, upgrade, &busy, record, report);
    }
    // Nothing but injection is waited for: a step of its own, so that its deadline counts from here.
    let report = match restarting.is_empty() {
        true => Report {
            step: Some(Step::ProvingControlPlane),
            ..report
        },
        false => report,
    };
    let began = step_began(upgrade, Step::ProvingControlPlane, now);
    if restarting.is_empty() && now >= later(began, timeout(upgrade)) {
        return Some(stop_for_failed(&held, judged, record, report));
    }
    let until = restarting
        .iter()
        .filter_map(|(workload, _)| workload.restarted_at)
        .map(|at| {
            later(
                at,
                timeout(upgrade).saturating_add(SignedDuration::from_secs(1)),
            )
        })
        .fold(
            later(now, if held.is_empty() { BACKSTOP } else { POLL }),
            Timestamp::min,
        );
    let waiting = Waiting {
        on: WaitingOn::Workloads,
        until: until.max(later(now, SignedDuration::from_secs(1))),
    };
    Some(Decision::new(
        Next::Wait(waiting),
        Report { message, ..report },
    ))
}

fn restarted(effect: &Effect) -> Option<String> {
    match effect {
        Effect::RestartWorkload { key, .. } => Some(key.short()),
        _ => None,
    }
}

fn stop_for_failed(
    failed: &[String],
    judged: &DataPlaneView<'_>,
    record: &Record,
    report: Report,
) -> Decision {
    let what = format!(
        "not ready on {}: {}",
        record.target_revision,
        message::first_few(failed)
    );
    let state = message::mesh_left(record, judged.counts());
    stop(&what, &state, report)
}

/// What is wrong with the new control plane, if anything: it may have fallen ill since it was proved.
fn target_ill(view: &MeshView, record: &Record) -> Option<String> {
    let planes = view.control_planes.present().map_or(&[][..], Vec::as_slice);
    let target = |plane: &&ControlPlane| plane.revision == record.target_revision;
    match planes.iter().find(target) {
        Some(plane) if plane.is_ready() => None,
        Some(plane) => Some(message::not_ready(plane)),
        None => Some(format!("istiod {} is gone", record.target_revision)),
    }
}

/// The restarts that fit into the concurrency now, and what holds others back.
fn next_restarts(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
    judged: &DataPlaneView<'_>,
    in_flight: usize,
) -> (Vec<Effect>, Vec<String>) {
    let limits = &upgrade.spec.data_plane.restart;
    let mut free = (limits.max_concurrent as usize).saturating_sub(in_flight);
    let mut used = std::collections::BTreeMap::<&str, usize>::new();
    for (workload, _) in judged.in_order(|p| *p == Placement::Restarting) {
        *used.entry(&workload.key.namespace).or_default() += 1;
    }
    let mut held = std::collections::BTreeMap::<&str, String>::new();
    let mut batch = Vec::new();
    for (workload, placement) in judged.in_order(|p| matches!(p, Placement::Stale { .. })) {
        let Placement::Stale { mark } = placement else {
            continue;
        };
        let namespace = workload.key.namespace.as_str();
        let ill = target_ill(view, record);
        if let Some(why) = ill.or_else(|| not_injecting(view, namespace, record)) {
            held.entry(namespace).or_insert(why);
            continue;
        }
        let in_namespace = used.entry(namespace).or_default();
        if free == 0 || *in_namespace >= limits.max_concurrent_per_namespace as usize {
            continue;
        }
        free -= 1;
        *in_namespace += 1;
        batch.push(Effect::RestartWorkload {
            key: workload.key.clone(),
            uid: workload.uid.clone(),
            resource_version: workload.resource_version.clone(),
            mark: mark.clone(),
            at: now,
        });
    }
    (batch, held.into_values().collect())
}

/// `Deployment shop/cart`, with what keeps a pod from being ready. Without numbers of pods: they
/// would be a status write for each pod.
fn progress_of(workload: &Workload) -> String {
    let trouble = workload.pods.iter().find_map(|pod| pod.trouble.as_deref());
    let why = trouble.map(|t| format!(" ({t})")).unwrap_or_default();
    format!("{}{why}", workload.key.short())
}

/// Workloads in a rollout of their own get the restart timeout to end it, then they are named.
fn wait_for_busy(
    now: Timestamp,
    upgrade: &Upgrade,
    busy: &[(&Workload, &Placement)],
    record: &Record,
    report: Report,
) -> Option<Decision> {
    // In the health check they are named, and moved if they settle meanwhile.
    if busy.is_empty() || upgrade.phase() == Phase::HealthChecking {
        return None;
    }
    let deadline = later(
        step_began(upgrade, Step::RestartingWorkloads, now),
        timeout(upgrade),
    );
    if now >= deadline {
        return None;
    }
    let own = |w: &Workload| format!("{}, whose own rollout goes on", progress_of(w));
    let progress = Progress {
        waits: busy.iter().map(|(w, _)| own(w)).collect(),
        ..Progress::default()
    };
    let counts = report.workloads.unwrap_or_default();
    let message = message::restarting(counts, &record.target_revision, &progress);
    let until = later(now, BACKSTOP).min(deadline);
    Some(Decision::new(
        Next::Wait(Waiting {
            on: WaitingOn::Workloads,
            until,
        }),
        Report { message, ..report },
    ))
}
