//! Decision and outcome folded into status: the only place where status is made.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use meshlift_api::conditions as c;
use meshlift_api::{
    Attempts, BlockedWorkload, CheckResult, CheckStatus, MeshUpgradeStatus, Outcome, Phase,
    RunSummary,
};
use meshlift_model::decision::{Decision, Effect, Next, Report, Verdict, WaitingOn};
use meshlift_model::detection::Detection;
use meshlift_model::message;
use meshlift_model::outcome::{ErrorClass, Executed, backoff};
use meshlift_model::pace::Pace;
use meshlift_model::time::whole_second;
use meshlift_model::upgrade::Upgrade;

use crate::legs;

const HISTORY: usize = 10;
const BLOCKED_SHOWN: usize = 50;
const CHECKS_SHOWN: usize = 50;

/// The status after a decision was executed.
pub fn fold(
    now: Timestamp,
    upgrade: &Upgrade,
    decision: &Decision,
    executed: &Executed,
) -> MeshUpgradeStatus {
    let report = &decision.report;
    let mut status = match (report.new_run, report.hop_done) {
        (_, true) => new_run(&hop_ended(now, &upgrade.status, report)),
        (true, false) => new_run(&upgrade.status),
        (false, false) => upgrade.status.clone(),
    };
    let failed = matches!(executed, Executed::Failed { .. });
    let before = (status.phase, status.step);
    status.phase = Some(match decision.next {
        Next::Enter(phase) if !failed => phase,
        _ => status.phase.unwrap_or(Phase::Pending),
    });
    status.observed_generation = Some(upgrade.generation);
    status.observed_spec = Some(upgrade.spec_digest());
    status.observed_request_rollback = upgrade.spec.request_rollback;
    status.observed_retry.clone_from(&upgrade.retry);
    status.observed_redetect.clone_from(&upgrade.redetect);
    say(&mut status, upgrade, report);
    count_attempts(now, &mut status, decision, executed);
    slow_down(now, &mut status, upgrade, decision, executed);
    let goes_on = was_held(&upgrade.status) && !is_held(decision);
    set_times(now, &mut status, before, goes_on);
    set_waiting(now, &mut status, upgrade, decision, failed);
    if !failed && let Next::Record(record) = &decision.next {
        status.record = Some(upgrade.record_name());
        status.backup = Some(record.backup.clone());
    }
    // After a crash between the two the record is there and was never told of.
    if let Next::Enter(Phase::Upgrading) = decision.next
        && upgrade.phase() == Phase::Detecting
    {
        status.record = Some(upgrade.record_name());
        // A rollback after the end has the backup that its upgrade took, and takes none.
        let backup = report.backup.clone();
        status.backup = backup.or_else(|| Some(upgrade.backup_name()));
    }
    // Said only once it is written: what status names can be read.
    if !failed && report.plan.is_some() {
        status.plan.clone_from(&report.plan);
    }
    set_conditions(now, upgrade.generation, &mut status, decision, executed);
    legs::advance(now, &mut status, report.step);
    status
}

/// A run that ended with a step of several, as history tells it.
fn hop_ended(now: Timestamp, before: &MeshUpgradeStatus, report: &Report) -> MeshUpgradeStatus {
    MeshUpgradeStatus {
        target: report.target.clone(),
        message: report.message.clone(),
        outcome: Some(Outcome::Upgraded),
        finished_at: Some(Time(whole_second(now))),
        ..before.clone()
    }
}

/// A clean status that remembers the run before.
fn new_run(before: &MeshUpgradeStatus) -> MeshUpgradeStatus {
    let mut history = before.history.clone();
    history.insert(
        0,
        RunSummary {
            from: before.from.clone(),
            target: before.target.clone(),
            outcome: before.outcome,
            message: message::capped(&before.message),
            started_at: before.started_at.clone(),
            finished_at: before.finished_at.clone(),
        },
    );
    history.truncate(HISTORY);
    MeshUpgradeStatus {
        history,
        // What has ended stays so, and a retry must not take the rollouts of others for its own.
        ended_restarts: before.ended_restarts.clone(),
        ..MeshUpgradeStatus::default()
    }
}

fn say(status: &mut MeshUpgradeStatus, upgrade: &Upgrade, report: &Report) {
    let terminal = status.phase.is_some_and(Phase::is_terminal);
    let entered = terminal && !upgrade.phase().is_terminal();
    status.message = message::capped(&report.message);
    if !terminal {
        status.step = report.step;
    } else if entered {
        status.step = None;
    }
    // Pinned by the first report that speaks of it: later ones must not rewrite history.
    if report.from.is_some() {
        status.from.clone_from(&report.from);
    }
    if report.target.is_some() {
        status.target.clone_from(&report.target);
    }
    if let Some(counts) = report.workloads {
        status.progress = format!("{}/{}", counts.moved, counts.total);
        status.workloads = Some(counts);
    }
    status.proxies = report.proxies.or(status.proxies);
    if let Some(blocked) = &report.blocked {
        let shown = blocked.iter().take(BLOCKED_SHOWN);
        status.blocked = shown.map(readable).collect();
    }
    if let Some(waves) = &report.waves {
        status.waves.clone_from(waves);
    }
    if let Some(legs) = &report.legs {
        status.legs.clone_from(legs);
    }
    if report.rollback.is_some() {
        status.rollback.clone_from(&report.rollback);
    }
    if report.ended_restarts.is_some() {
        status.ended_restarts.clone_from(&report.ended_restarts);
    }
    if let Some(pace) = &report.pace {
        status.pace.clone_from(pace);
    }
    if let Some(soak) = &report.soak {
        status.soak.clone_from(soak);
    }
    if report.outcome.is_some() {
        status.outcome = report.outcome;
    }
    if let Some(detection) = &report.detection {
        say_detection(status, detection);
    }
}

fn say_detection(status: &mut MeshUpgradeStatus, detection: &Detection) {
    let passed = |told: &&CheckStatus| told.result == CheckResult::Passed;
    status.hops.clone_from(&detection.hops);
    status.clusters.clone_from(&detection.clusters);
    let mut worth_saying: Vec<&CheckStatus> = detection
        .checks
        .iter()
        .filter(|told| !passed(told))
        .collect();
    worth_saying.sort_by_key(|told| (told.severity, told.result));
    status.checks = worth_saying
        .into_iter()
        .take(CHECKS_SHOWN)
        .map(|told| CheckStatus {
            message: message::capped(&told.message),
            ..told.clone()
        })
        .collect();
    let passed = detection.checks.iter().filter(passed).count();
    status.checks_passed = Some(u32::try_from(passed).unwrap_or(u32::MAX));
}

fn readable(blocked: &BlockedWorkload) -> BlockedWorkload {
    BlockedWorkload {
        message: message::capped(&blocked.message),
        ..blocked.clone()
    }
}

fn count_attempts(
    now: Timestamp,
    status: &mut MeshUpgradeStatus,
    decision: &Decision,
    executed: &Executed,
) {
    match executed {
        Executed::Failed {
            class: ErrorClass::Conflict,
            ..
        } => {}
        Executed::Failed { class, message } => {
            let count = status.attempts.as_ref().map_or(0, |a| a.count) + 1;
            let next_at = now
                .checked_add(backoff(*class, count))
                .unwrap_or(Timestamp::MAX);
            let next_at = whole_second(next_at);
            let error = message::capped(message);
            let again = message::moment(next_at);
            status.message = format!("{error}; tried again at {again} (failure {count})");
            status.attempts = Some(Attempts {
                count,
                next_at: Some(Time(next_at)),
                last_error: error,
            });
        }
        Executed::Begun => {}
        Executed::Done | Executed::Refused(_) => status.attempts = None,
        Executed::Nothing => {
            let backing_off = matches!(&decision.next, Next::Wait(w) if w.on == WaitingOn::Backoff);
            if !backing_off {
                status.attempts = None;
            }
        }
    }
}

/// Fewer restarts at once after one that the API server did not take for now; and no pace once nothing restarts.
fn slow_down(
    now: Timestamp,
    status: &mut MeshUpgradeStatus,
    upgrade: &Upgrade,
    decision: &Decision,
    executed: &Executed,
) {
    let restarts = |effect: &Effect| {
        matches!(
            effect,
            Effect::RestartWorkload { .. } | Effect::EvictPod { .. }
        )
    };
    if status.phase.is_some_and(Phase::is_terminal) {
        status.pace = None;
    }
    if pushes_back(executed)
        && let Next::Act(batch) = &decision.next
        && batch.iter().any(restarts)
    {
        let max = upgrade.spec.data_plane.restart.max_concurrent;
        let reason = message::API_SERVER_PUSHES_BACK.to_owned();
        let halved = Pace::halved(now, max, status.pace.as_ref(), reason);
        status.pace = halved.or(status.pace.take());
    }
}

/// Whether the API server did not take something for now. What it refuses again and again is no sign of that: it
/// would slow everybody down for as long as it is tried.
fn pushes_back(executed: &Executed) -> bool {
    match executed {
        Executed::Failed { class, .. } => *class == ErrorClass::Transient,
        Executed::Refused(refused) => {
            let mut refused = refused.iter();
            refused.any(|write| write.class == ErrorClass::Transient && write.count == 1)
        }
        Executed::Nothing | Executed::Begun | Executed::Done => false,
    }
}

/// Whether a decision holds what it could do until a person or the clock lets it.
fn is_held(decision: &Decision) -> bool {
    matches!(&decision.next, Next::Wait(w) if matches!(w.on, WaitingOn::Paused | WaitingOn::Window))
}

/// Whether the decision before was held, as its condition tells.
fn was_held(status: &MeshUpgradeStatus) -> bool {
    was_waiting(status, WaitingOn::Paused) || was_waiting(status, WaitingOn::Window)
}

/// Whether the decision before waited for this, as its condition tells.
pub(crate) fn was_waiting(status: &MeshUpgradeStatus, on: WaitingOn) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|known| known.type_ == c::RECONCILING && known.reason == waiting_reason(on))
}

/// Since when it waits for what it waits for, and when a pause ended: deadlines count from there.
fn set_waiting(
    now: Timestamp,
    status: &mut MeshUpgradeStatus,
    upgrade: &Upgrade,
    decision: &Decision,
    failed: bool,
) {
    let now = || Some(Time(whole_second(now)));
    let on = match &decision.next {
        Next::Wait(waiting) if !failed && upgrade.phase().is_locked() => Some(waiting.on),
        _ => None,
    };
    let goes_on = on.is_some_and(|on| was_waiting(&upgrade.status, on));
    status.waiting_since = match on {
        None => None,
        Some(_) if goes_on => status.waiting_since.take().or_else(now),
        Some(_) => now(),
    };
    if on == Some(WaitingOn::Resumed) && !goes_on {
        status.resumed_at = now();
    }
}

fn set_times(
    now: Timestamp,
    status: &mut MeshUpgradeStatus,
    before: (Option<Phase>, Option<meshlift_api::Step>),
    goes_on: bool,
) {
    let now = Time(whole_second(now));
    if status.started_at.is_none() && status.phase != Some(Phase::Pending) {
        status.started_at = Some(now.clone());
    }
    // What was held has the whole of its time once it goes on.
    let entered = before != (status.phase, status.step) || goes_on;
    if entered || status.step_started_at.is_none() {
        status.step_started_at = Some(now.clone());
    }
    let terminal = status.phase.is_some_and(Phase::is_terminal);
    if terminal && status.finished_at.is_none() {
        status.finished_at = Some(now);
    }
}

// --- conditions, one function each -----------------------------------------------------------

fn set_conditions(
    now: Timestamp,
    generation: i64,
    status: &mut MeshUpgradeStatus,
    decision: &Decision,
    executed: &Executed,
) {
    let findings = &decision.report.findings;
    let ready = ready(status);
    let reconciling = reconciling(status, decision, executed);
    let stalled = stalled(status, executed);
    for (kind, verdict) in [
        (c::DETECTED, &findings.detected),
        (c::CONTROL_PLANE_READY, &findings.control_plane_ready),
        (c::DATA_PLANE_UPGRADED, &findings.data_plane_upgraded),
        (c::HEALTHY, &findings.healthy),
        (c::OLD_REVISION_RETIRED, &findings.old_revision_retired),
        (c::READY, &ready),
        (c::RECONCILING, &reconciling),
        (c::STALLED, &stalled),
    ] {
        if let Some(verdict) = verdict {
            set_condition(now, generation, &mut status.conditions, kind, verdict);
        }
    }
    for condition in &mut status.conditions {
        condition.observed_generation = Some(generation);
    }
}

fn ready(status: &MeshUpgradeStatus) -> Option<Verdict> {
    let message = status.message.clone();
    match (status.phase, status.outcome) {
        (Some(Phase::Done), Some(Outcome::PlanReady)) => Verdict::yes("PlanReady", message),
        (Some(Phase::Done), Some(Outcome::PlanBlocked)) => Verdict::no("PlanBlocked", message),
        (Some(Phase::Done), _) => Verdict::yes("Upgraded", message),
        (Some(Phase::Failed), Some(Outcome::RolledBack)) => Verdict::no("RolledBack", message),
        (Some(Phase::Failed), _) => Verdict::no("Stopped", message),
        (phase, _) => Verdict::no(phase_reason(phase), message),
    }
}

fn reconciling(
    status: &MeshUpgradeStatus,
    decision: &Decision,
    executed: &Executed,
) -> Option<Verdict> {
    if status.phase.is_some_and(Phase::is_terminal) {
        return Verdict::no("Ended", "");
    }
    let reason = match (&decision.next, executed) {
        (_, Executed::Failed { .. }) => "Retrying",
        (Next::Wait(waiting), _) => waiting_reason(waiting.on),
        _ => "Progressing",
    };
    Verdict::yes(reason, status.message.clone())
}

fn stalled(status: &MeshUpgradeStatus, executed: &Executed) -> Option<Verdict> {
    match executed {
        Executed::Failed {
            class: ErrorClass::Invalid,
            message,
        } => Verdict::yes("Invalid", message),
        Executed::Failed {
            class: ErrorClass::Bug,
            message,
        } => Verdict::yes("Bug", message),
        _ if status.phase == Some(Phase::Failed) => {
            let back = status.outcome == Some(Outcome::RolledBack);
            let reason = if back { "RolledBack" } else { "Stopped" };
            Verdict::yes(reason, status.message.clone())
        }
        // A person must act before such an upgrade could start.
        _ if status.outcome == Some(Outcome::PlanBlocked) => {
            Verdict::yes("PlanBlocked", status.message.clone())
        }
        // While the effect backs off it is as stalled as it was.
        _ if status.attempts.is_some() => None,
        _ => Verdict::no("NotStalled", ""),
    }
}

fn phase_reason(phase: Option<Phase>) -> &'static str {
    match phase {
        None | Some(Phase::Pending) => "Pending",
        Some(Phase::Detecting) => "Detecting",
        Some(Phase::Upgrading) => "Upgrading",
        Some(Phase::HealthChecking) => "HealthChecking",
        Some(Phase::Done) => "Upgraded",
        Some(Phase::Failed) => "Stopped",
    }
}

fn waiting_reason(on: WaitingOn) -> &'static str {
    match on {
        WaitingOn::Rival => "WaitingForOtherUpgrade",
        WaitingOn::Environment => "Blocked",
        WaitingOn::Paused => "Paused",
        WaitingOn::Resumed => "Resumed",
        WaitingOn::Window => "WaitingForWindow",
        WaitingOn::Approval => "WaitingForApproval",
        WaitingOn::Git => "WaitingForGit",
        WaitingOn::Person => "WaitingForPerson",
        WaitingOn::Wave => "VerifyingWave",
        WaitingOn::Gateways => "WaitingForGateways",
        WaitingOn::Backoff => "Retrying",
        WaitingOn::Unreadable => "Unreadable",
        WaitingOn::ForeignHelm => "WaitingForHelm",
        WaitingOn::ControlPlane => "WaitingForControlPlane",
        WaitingOn::Injection => "WaitingForInjection",
        WaitingOn::Workloads => "WaitingForWorkloads",
        WaitingOn::Soak => "Soaking",
        WaitingOn::RetireDelay => "KeepingOldControlPlane",
        WaitingOn::Validator => "WaitingForValidator",
        WaitingOn::Retirement => "WaitingForRetirement",
        WaitingOn::Nothing => "Idle",
    }
}

pub(crate) fn set_condition(
    now: Timestamp,
    generation: i64,
    conditions: &mut Vec<Condition>,
    kind: &str,
    verdict: &Verdict,
) {
    let value = if verdict.holds { "True" } else { "False" };
    let old = conditions
        .iter()
        .position(|condition| condition.type_ == kind);
    let since = old
        .map(|at| &conditions[at])
        .filter(|condition| condition.status == value)
        .map_or_else(
            || Time(whole_second(now)),
            |condition| condition.last_transition_time.clone(),
        );
    let condition = Condition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: verdict.reason.to_owned(),
        message: message::capped(&verdict.message),
        last_transition_time: since,
        observed_generation: Some(generation),
    };
    match old {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests;
