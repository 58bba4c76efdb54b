//! How long something has been waited for that nothing of ours brings about, and whom that is for once it takes too
//! long. Without it an upgrade could wait forever for a thing that nobody knows it waits for.

use jiff::Timestamp;
use meshlift_api::Rollback;
use meshlift_model::decision::{Decision, Next, Report, WaitingOn};
use meshlift_model::message;
use meshlift_model::upgrade::Upgrade;

use super::upgrading::timeout;
use super::{blind, later};
use crate::status::was_waiting;

/// Since when this has been waited for, if it was what the last decision waited for.
pub(super) fn waiting_since(upgrade: &Upgrade, on: WaitingOn) -> Option<Timestamp> {
    let since = upgrade.status.waiting_since.as_ref()?.0;
    was_waiting(&upgrade.status, on).then_some(since)
}

/// Whether this has been waited for longer than a restart may take.
pub(super) fn is_late(now: Timestamp, upgrade: &Upgrade, on: WaitingOn) -> bool {
    waiting_since(upgrade, on).is_some_and(|since| now >= later(since, timeout(upgrade)))
}

/// Waits for metrics of istiod that cannot be read, and after a while for a person who opens them or accepts it.
pub(super) fn blind_to_metrics(
    now: Timestamp,
    upgrade: &Upgrade,
    report: Report,
    what: &str,
    why: &str,
) -> Decision {
    let mut decision = blind(now, report, what, why);
    if is_late(now, upgrade, WaitingOn::Unreadable) {
        let said = &decision.report.message;
        decision.report.message = message::metrics_unreadable(&upgrade.name, said);
        decision.report.needs_person = true;
    }
    decision
}

/// Asks a person once a wait has lasted too long that has no deadline of its own.
pub(super) fn ask(now: Timestamp, upgrade: &Upgrade, mut decision: Decision) -> Decision {
    let Next::Wait(waiting) = &decision.next else {
        return decision;
    };
    let asked = decision.report.needs_person || !upgrade.phase().is_locked();
    if asked || !has_no_end(waiting.on) || !is_late(now, upgrade, waiting.on) {
        return decision;
    }
    let Some(since) = waiting_since(upgrade, waiting.on) else {
        return decision;
    };
    let may_go_back = upgrade.status.rollback.is_none() && upgrade.spec.rollback != Rollback::Never;
    let message = &decision.report.message;
    decision.report.message = message::lasts(message, since, may_go_back.then_some(&upgrade.name));
    decision.report.needs_person = true;
    decision
}

/// Waits for what others do or fail to do. The others end by the clock: a soak, a window, a restart and its timeout.
fn has_no_end(on: WaitingOn) -> bool {
    match on {
        WaitingOn::Unreadable
        | WaitingOn::ForeignHelm
        | WaitingOn::ControlPlane
        | WaitingOn::Injection
        | WaitingOn::Validator
        | WaitingOn::Retirement
        | WaitingOn::Gateways => true,
        WaitingOn::Rival
        | WaitingOn::Environment
        | WaitingOn::Paused
        | WaitingOn::Resumed
        | WaitingOn::Window
        | WaitingOn::Approval
        | WaitingOn::Git
        | WaitingOn::Person
        | WaitingOn::Wave
        | WaitingOn::Backoff
        | WaitingOn::Workloads
        | WaitingOn::Soak
        | WaitingOn::RetireDelay
        | WaitingOn::Nothing => false,
    }
}
