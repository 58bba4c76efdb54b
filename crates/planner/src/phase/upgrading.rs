//! Upgrading: CRDs, the new control plane beside the old one, proof that it works, then
//! namespaces and workloads. Every look starts at the top: nothing is believed done that is not seen.

use jiff::{SignedDuration, Timestamp};
use meshlift_api::{Outcome, Phase, Step};

use super::{BACKSTOP, POLL, blind, later, signed, wait};
use crate::data_plane::{self, DataPlaneView, Placement};
use crate::decision::{
    Chart, ChartTarget, Decision, Effect, Findings, Next, Report, Verdict, Waiting, WaitingOn,
};
use crate::injection::{Injector, injector_of};
use crate::message::{self, Progress};
use crate::record::Record;
use crate::upgrade::Upgrade;
use crate::version::Version;
use crate::view::{
    ControlPlane, MeshView, Namespace, Probe, Release, ReleaseState, Seen, Workload,
};

pub(super) fn decide(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Decision {
    let record = match recorded(now, upgrade, view) {
        Ok(record) => record,
        Err(decision) => return *decision,
    };
    let moves = control_plane(now, upgrade, view, record)
        .or_else(|| data_plane(now, upgrade, view, record));
    moves.unwrap_or_else(|| {
        let counts = judged(now, upgrade, view, record).unwrap_or_default();
        let message = message::moved(counts.proxies, &record.target_revision);
        let report = with_data_plane(
            Report {
                message,
                ..Report::default()
            },
            &counts,
            record,
        );
        Decision::new(Next::Enter(Phase::HealthChecking), report)
    })
}

/// The record, without which nothing is done.
pub(super) fn recorded<'a>(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &'a MeshView,
) -> Result<&'a Record, Box<Decision>> {
    match &view.record {
        Seen::Present(record) => Ok(record),
        Seen::Unreadable(why) => Err(Box::new(blind(now, same_step(upgrade), "the record", why))),
        Seen::Absent => {
            let what = "the Secret with the record of this upgrade is gone, so what it came from is not known for sure";
            Err(Box::new(stop(
                what,
                "The mesh is left as it is.",
                Report::default(),
            )))
        }
    }
}

fn same_step(upgrade: &Upgrade) -> Report {
    Report {
        step: upgrade.status.step,
        ..Report::default()
    }
}

/// Ends the run as Failed, saying what happened and how the mesh is left.
pub(super) fn stop(what: &str, state: &str, report: Report) -> Decision {
    let report = Report {
        message: message::stopped(what, state),
        outcome: Some(Outcome::Stopped),
        ..report
    };
    Decision::new(Next::Enter(Phase::Failed), report)
}

/// When the present step began, if it is this one.
pub(super) fn step_began(upgrade: &Upgrade, step: Step, now: Timestamp) -> Timestamp {
    let began = upgrade
        .status
        .step_started_at
        .as_ref()
        .filter(|_| upgrade.status.step == Some(step));
    began.map_or(now, |time| time.0)
}

// --- control plane ---------------------------------------------------------------------------

/// Brings up the new control plane; `None` when it is there and proved.
fn control_plane(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
) -> Option<Decision> {
    let releases = match &view.releases {
        Seen::Present(releases) => releases.as_slice(),
        Seen::Absent => &[],
        Seen::Unreadable(why) => {
            return Some(blind(now, same_step(upgrade), "the Helm releases", why));
        }
    };
    let to = &record.target_version;
    let base = base_target(record, record.base_values.clone());
    let base_is_behind = |release: &Release| release.version.as_ref().is_none_or(|v| v < to);
    helm_step(
        now,
        releases,
        base,
        Step::UpgradingBase,
        base_is_behind,
        Effect::UpgradeBase,
    )
    .or_else(|| {
        let istiod = ChartTarget {
            release: record.target_release(),
            namespace: record.source.namespace.clone(),
            chart: Chart::Istiod,
            repository: record.repository.clone(),
            version: to.clone(),
            values: record.target_values.clone(),
        };
        // Of the same version it is left as it is, unless it does not come up: then what was mended
        // since it was installed (an image, a value) has to reach it.
        let down = target_is_down(view, record);
        let differs = |release: &Release| {
            release.version.as_ref() != Some(to) || (down && release.values != record.target_values)
        };
        let step = Step::InstallingControlPlane;
        helm_step(
            now,
            releases,
            istiod,
            step,
            differs,
            Effect::InstallRevision,
        )
    })
    .or_else(|| prove(now, upgrade, view, record))
}

/// Whether the new control plane is seen not to be ready.
fn target_is_down(view: &MeshView, record: &Record) -> bool {
    let target = |plane: &&ControlPlane| plane.revision == record.target_revision;
    view.control_planes.present().is_some_and(|planes| {
        !planes
            .iter()
            .find(target)
            .is_some_and(ControlPlane::is_ready)
    })
}

/// The `base` release at the target version.
pub(super) fn base_target(
    record: &Record,
    values: serde_json::Map<String, serde_json::Value>,
) -> ChartTarget {
    ChartTarget {
        release: record.base.name.clone(),
        namespace: record.base.namespace.clone(),
        chart: Chart::Base,
        repository: record.repository.clone(),
        version: record.target_version.clone(),
        values,
    }
}

/// A Helm operation of ours that is still pending when nothing of ours runs was cut off; the label
/// that tells ours outlives us, though, so a person's operation gets this long to end.
const CUT_OFF_AFTER: SignedDuration = SignedDuration::from_secs(20);

/// Brings a release to its target, or waits for whoever works on it; `None` when it is there.
pub(super) fn helm_step(
    now: Timestamp,
    releases: &[Release],
    target: ChartTarget,
    step: Step,
    outdated: impl Fn(&Release) -> bool,
    effect: impl FnOnce(ChartTarget) -> Effect,
) -> Option<Decision> {
    let found = releases
        .iter()
        .find(|r| r.name == target.release && r.namespace == target.namespace);
    let message = format!(
        "Helm brings release {}/{} to chart {} {}",
        target.namespace,
        target.release,
        target.chart.name(),
        target.version
    );
    let report = Report {
        step: Some(step),
        message,
        ..Report::default()
    };
    match found {
        Some(release) => match &release.state {
            ReleaseState::Pending { ours: true, since } if now >= later(*since, CUT_OFF_AFTER) => {
                let clear = Effect::ClearPendingRelease {
                    release: release.name.clone(),
                    namespace: release.namespace.clone(),
                    storage: release.storage.clone(),
                };
                let message = format!(
                    "clears the Helm operation on {}/{} that was cut off",
                    release.namespace, release.name
                );
                Some(Decision::new(
                    Next::Act(vec![clear]),
                    Report { message, ..report },
                ))
            }
            ReleaseState::Pending { ours: true, since } => {
                let message = format!(
                    "waits whether the Helm operation on {}/{} that began at {} still ends",
                    release.namespace,
                    release.name,
                    message::moment(*since)
                );
                Some(Decision::new(
                    wait(now, WaitingOn::ForeignHelm, POLL),
                    Report { message, ..report },
                ))
            }
            ReleaseState::Pending { ours: false, since } => {
                let message = message::foreign_helm(release, *since);
                Some(Decision::new(
                    wait(now, WaitingOn::ForeignHelm, POLL),
                    Report { message, ..report },
                ))
            }
            ReleaseState::Deployed if !outdated(release) => None,
            _ => Some(Decision::new(Next::Act(vec![effect(target)]), report)),
        },
        None => Some(Decision::new(Next::Act(vec![effect(target)]), report)),
    }
}

/// Waits until the new control plane is available, has its CA bundle and injects.
fn prove(now: Timestamp, upgrade: &Upgrade, view: &MeshView, record: &Record) -> Option<Decision> {
    let planes = match &view.control_planes {
        Seen::Present(planes) => planes.as_slice(),
        Seen::Absent => &[],
        Seen::Unreadable(why) => {
            return Some(blind(now, same_step(upgrade), "the control planes", why));
        }
    };
    let plane = planes
        .iter()
        .find(|plane| plane.revision == record.target_revision);
    let missing = unproved(plane, view, record)?;
    let report = Report {
        step: Some(Step::ProvingControlPlane),
        message: format!("waits for the new control plane: {}", missing.what),
        findings: Findings {
            control_plane_ready: Verdict::no(missing.reason, missing.what.clone()),
            ..Findings::default()
        },
        ..Report::default()
    };
    let deadline = later(
        step_began(upgrade, Step::ProvingControlPlane, now),
        timeout(upgrade),
    );
    if now >= deadline {
        let what = format!(
            "the new control plane {} did not come up within {}: {}",
            record.target_revision,
            message::span(timeout(upgrade)),
            missing.what
        );
        let counts = judged(now, upgrade, view, record)
            .unwrap_or_default()
            .counts();
        let state = message::mesh_left(record, counts);
        return Some(stop(&what, &state, report));
    }
    let until = later(now, missing.recheck).min(deadline);
    Some(Decision::new(
        Next::Wait(Waiting {
            on: missing.on,
            until,
        }),
        report,
    ))
}

struct Missing {
    reason: &'static str,
    what: String,
    on: WaitingOn,
    recheck: SignedDuration,
}

impl Missing {
    fn plane(reason: &'static str, what: String) -> Option<Self> {
        Some(Self {
            reason,
            what,
            on: WaitingOn::ControlPlane,
            recheck: BACKSTOP,
        })
    }
}

fn unproved(plane: Option<&ControlPlane>, view: &MeshView, record: &Record) -> Option<Missing> {
    let Some(plane) = plane else {
        let what = format!(
            "istiod of revision {} is not there yet",
            record.target_revision
        );
        return Missing::plane("NotFound", what);
    };
    if !plane.is_ready() {
        return Missing::plane("NotReady", message::not_ready(plane));
    }
    match &plane.injector {
        Seen::Present(webhook) if webhook.has_ca_bundle => {}
        Seen::Present(webhook) => {
            let what = format!(
                "{} has written no CA bundle into its webhook {}",
                plane.name, webhook.name
            );
            return Missing::plane("NoCaBundle", what);
        }
        Seen::Absent => {
            return Missing::plane(
                "NoWebhook",
                format!("{} has no injection webhook", plane.name),
            );
        }
        Seen::Unreadable(why) => {
            return Missing::plane("Unreadable", format!("its webhook cannot be read: {why}"));
        }
    }
    let what = not_injecting(view, &plane.namespace, record)?;
    Some(Missing {
        reason: "NotInjecting",
        what,
        on: WaitingOn::Injection,
        recheck: POLL,
    })
}

/// What is wrong with the injection of a dry-run pod in a namespace, if anything.
fn not_injecting(view: &MeshView, namespace: &str, record: &Record) -> Option<String> {
    let wanted = &record.target_revision;
    let Some(probe) = view.probes.get(namespace) else {
        return Some(format!(
            "no dry-run pod was tried in namespace {namespace} yet"
        ));
    };
    match probe {
        Probe::Injected { revision, image } if revision == wanted => {
            let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
            let version = Version::from_image_tag(tag);
            // A tag of the user's own making says nothing about the version.
            version.filter(|v| *v != record.target_version).map(|found| {
                format!("a dry-run pod in namespace {namespace} got proxy image {image}, which is {found} and not {}", record.target_version)
            })
        }
        Probe::Injected { revision, .. } => Some(format!(
            "a dry-run pod in namespace {namespace} was injected by revision {revision} and not by {wanted}"
        )),
        Probe::NotInjected => Some(format!(
            "a dry-run pod in namespace {namespace} came back without a sidecar"
        )),
        Probe::Refused(why) => Some(format!(
            "a dry-run pod in namespace {namespace} was refused: {why}"
        )),
    }
}

fn timeout(upgrade: &Upgrade) -> SignedDuration {
    signed(upgrade.spec.data_plane.restart.timeout)
}

// --- data plane ------------------------------------------------------------------------------

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

fn to_move(upgrade: &Upgrade, view: &MeshView, record: &Record, namespace: &Namespace) -> bool {
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
