//! A pause. Nothing is changed and no clock runs: what fails, goes back or ends by a deadline in the middle of the
//! night would be what the person paused it for.

use jiff::Timestamp;
use meshlift_model::decision::{Decision, Next, Report, Waiting, WaitingOn};
use meshlift_model::message;
use meshlift_model::upgrade::Upgrade;

use super::{BACKSTOP, wait};
use crate::status::was_waiting;

/// Holds every change of the mesh and of the phase. What is only observed is still reported.
pub(super) fn hold(now: Timestamp, upgrade: &Upgrade, mut decision: Decision) -> Decision {
    let locked = upgrade.phase().is_locked();
    match &decision.next {
        Next::Act(_) | Next::Record(_) => {
            decision.report.message = message::paused(&decision.report.message);
            decision.next = wait(now, WaitingOn::Paused, BACKSTOP);
            decision
        }
        Next::Enter(to) if locked || to.is_locked() => Decision::new(
            wait(now, WaitingOn::Paused, BACKSTOP),
            observed(upgrade, decision.report),
        ),
        Next::Wait(waiting) if locked => {
            decision.report.message = message::paused_meanwhile(&decision.report.message);
            decision.next = Next::Wait(Waiting {
                on: WaitingOn::Paused,
                until: waiting.until,
            });
            decision
        }
        Next::Wait(_) | Next::Enter(_) => decision,
    }
}

/// Of a report that comes with another phase: what was seen, and nothing of what would have become of it.
fn observed(upgrade: &Upgrade, report: Report) -> Report {
    Report {
        step: upgrade.status.step,
        message: message::paused(&report.message),
        workloads: report.workloads,
        proxies: report.proxies,
        blocked: report.blocked,
        waves: report.waves,
        ..Report::default()
    }
}

/// The first decision after a pause does nothing: it is written down with it that all clocks count from now, so that
/// the second one finds no deadline that passed in between.
pub(super) fn resumed(now: Timestamp, upgrade: &Upgrade) -> Option<Decision> {
    let paused = was_waiting(&upgrade.status, WaitingOn::Paused);
    if !upgrade.phase().is_locked() || upgrade.spec.paused || !paused {
        return None;
    }
    let report = Report {
        step: upgrade.status.step,
        message: message::resumed(),
        ..Report::default()
    };
    let waiting = Waiting {
        on: WaitingOn::Resumed,
        until: now,
    };
    Some(Decision::new(Next::Wait(waiting), report))
}
