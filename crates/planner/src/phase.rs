//! One decision function per phase, behind one door.

mod asked_back;
mod control_plane;
mod data_plane;
mod detecting;
mod ended;
mod failing;
mod handing_over;
mod health;
mod health_checking;
mod patience;
mod pause;
mod pending;
mod preflight;
mod rendered;
mod retirement;
mod retirement_tags;
mod rolling_back;
mod upgrading;
mod versions;

use jiff::{SignedDuration, Timestamp};
use meshlift_api::{Phase, WaveState, WaveStatus};
use meshlift_model::decision::{Decision, Effect, Next, Report, Waiting, WaitingOn};
use meshlift_model::message;
use meshlift_model::refusals::Refusal;
use meshlift_model::time::{later, signed};
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::MeshView;
use meshlift_model::windows::{self, Opening};

pub use self::data_plane::trial;
pub use self::data_plane::{tags_to_move, to_move};
pub use self::detecting::drafted;
pub(crate) use self::upgrading::is_proving;

/// How soon to look again when nothing is expected to change by itself.
const BACKSTOP: SignedDuration = SignedDuration::from_secs(30);
/// How soon to look again at something that is not watched.
const POLL: SignedDuration = SignedDuration::from_secs(5);
/// How many tries in a row fail before a person is told: about ten minutes, with the pauses between them.
const LASTING: u32 = 10;

/// Decides what an upgrade does next.
pub fn decide(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Decision {
    if upgrade.deleting && !upgrade.phase().is_locked() {
        return let_go(now, upgrade);
    }
    if let Some(decision) = pause::resumed(now, upgrade) {
        return decision;
    }
    let decision = match upgrade.phase() {
        Phase::Pending => pending::decide(now, upgrade, view),
        Phase::Detecting => detecting::decide(now, upgrade, view),
        Phase::Upgrading => upgrading::decide(now, upgrade, view),
        Phase::HealthChecking => health_checking::decide(now, upgrade, view),
        Phase::Done | Phase::Failed => ended::decide(now, upgrade),
    };
    let decision = step_aside(now, upgrade, view, decision);
    let decision = patience::ask(now, upgrade, decision);
    begins(now, upgrade, hold_back(now, upgrade, decision))
}

/// Nothing is tried again before its own time after it was refused, wherever it was decided.
fn step_aside(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    mut decision: Decision,
) -> Decision {
    let Next::Act(batch) = &mut decision.next else {
        return decision;
    };
    let timeout = signed(upgrade.spec.data_plane.restart.timeout);
    let refusal = |effect: &Effect| view.refusals.get(effect.object()?);
    let again = |refusal: &Refusal| {
        if refusal.is_over(timeout) {
            refusal.is_worth_a_try(now)
        } else {
            refusal.is_due(now, timeout)
        }
    };
    let refused: Vec<&Refusal> = batch.iter().filter_map(refusal).collect();
    batch.retain(|effect| refusal(effect).is_none_or(again));
    if batch.is_empty()
        && let Some(first) = refused.first()
    {
        let next = refused.iter().map(|refusal| refusal.next_at(timeout)).min();
        let until = next.unwrap_or(now).min(later(now, BACKSTOP));
        decision.report.message = format!("{}: refused by {}", decision.report.message, first.why);
        // It is tried for as long as it takes, but no longer without telling whom it waits for.
        if refused.iter().all(|refusal| refusal.is_over(timeout)) {
            decision.report.message = message::must_be_allowed(&decision.report.message);
            decision.report.needs_person = true;
        }
        decision.next = Next::Wait(Waiting {
            on: WaitingOn::Backoff,
            until: until.max(later(now, SignedDuration::from_secs(1))),
        });
    }
    decision
}

/// That a wave moves is written down before anything of it is: from then on nobody has to let it, also if this
/// program dies between the two.
///
/// A wave that is ready to move and is deferred (by a window, a pause, a backoff, somebody's commit) has not begun:
/// written down as begun, it would move although its approval is taken back meanwhile.
fn begins(now: Timestamp, upgrade: &Upgrade, mut decision: Decision) -> Decision {
    let waves = decision.report.waves.iter_mut().flatten();
    let new =
        |wave: &&mut WaveStatus| wave.state == WaveState::Moving && !begun(upgrade, &wave.name);
    let Some(wave) = waves.into_iter().find(new) else {
        return decision;
    };
    if let Next::Act(_) = &decision.next {
        decision.report.message = format!("wave {} begins", wave.name);
        decision.next = Next::Wait(Waiting {
            on: WaitingOn::Wave,
            until: now,
        });
    } else {
        wave.state = WaveState::Pending;
        wave.started_at = None;
    }
    decision
}

fn begun(upgrade: &Upgrade, wave: &str) -> bool {
    let mut known = upgrade.status.waves.iter();
    known.any(|known| known.name == wave && known.started_at.is_some())
}

/// Deletion of an upgrade that is not between two versions goes through.
fn let_go(now: Timestamp, upgrade: &Upgrade) -> Decision {
    let message = "being deleted; the mesh is left as it is".to_owned();
    let next = if upgrade.held {
        Next::Act(vec![Effect::LetGo])
    } else {
        wait(now, WaitingOn::Nothing, BACKSTOP)
    };
    Decision::new(
        next,
        Report {
            message,
            ..Report::default()
        },
    )
}

/// Holds a mutation while the upgrade is paused, outside its windows, or while an effect that failed has to wait.
fn hold_back(now: Timestamp, upgrade: &Upgrade, mut decision: Decision) -> Decision {
    if upgrade.phase().is_terminal() {
        return decision;
    }
    if waits_for_window(upgrade, &decision)
        && !upgrade.spec.paused
        && let Some((sentence, until)) = closed(now, upgrade, &decision)
    {
        decision.report.message = sentence;
        decision.next = Next::Wait(Waiting {
            on: WaitingOn::Window,
            until,
        });
        return decision;
    }
    if upgrade.spec.paused {
        return pause::hold(now, upgrade, decision);
    }
    if !decision.mutates() {
        return decision;
    }
    let attempts = upgrade.status.attempts.as_ref();
    if let Some(next_at) = attempts
        .and_then(|a| a.next_at.as_ref())
        .filter(|at| at.0 > now)
    {
        decision.report.message.clone_from(&upgrade.status.message);
        decision.report.needs_person = attempts.is_some_and(|a| a.count >= LASTING);
        decision.next = Next::Wait(Waiting {
            on: WaitingOn::Backoff,
            until: next_at.0,
        });
    }
    decision
}

/// Whether a decision is one for a maintenance window. The way back is not: it is what makes the mesh well again.
fn waits_for_window(upgrade: &Upgrade, decision: &Decision) -> bool {
    let asked_back = upgrade.phase() == Phase::Detecting && upgrade.spec.request_rollback;
    if upgrade.status.rollback.is_some() || asked_back {
        return false;
    }
    match &decision.next {
        Next::Record(_) => true,
        Next::Act(batch) => batch.iter().any(Effect::begins),
        // An upgrade that has not begun can be changed and deleted until the window opens.
        Next::Enter(phase) => *phase == Phase::Upgrading && upgrade.phase() == Phase::Detecting,
        Next::Wait(_) => false,
    }
}

/// What is said outside all windows, and when to look again; `None` while one is open.
fn closed(now: Timestamp, upgrade: &Upgrade, decision: &Decision) -> Option<(String, Timestamp)> {
    let windows = &upgrade.spec.windows;
    let next = &decision.report.message;
    match windows::open(now, windows) {
        Opening::Open => None,
        Opening::ClosedUntil(at) => {
            let begun = upgrade.phase().is_locked();
            let sentence = message::outside_windows(&windows::told(at, windows), begun, next);
            Some((sentence, at))
        }
        // Detection refuses those; what began under other rules gets here all the same.
        Opening::Never => Some((message::no_window_opens(next), later(now, BACKSTOP))),
    }
}

pub(crate) fn wait(now: Timestamp, on: WaitingOn, recheck: SignedDuration) -> Next {
    Next::Wait(Waiting {
        on,
        until: later(now, recheck),
    })
}

/// Whether the soak has passed and the old control plane has stayed for as long as it should.
pub(crate) fn retirement_due(now: Timestamp, upgrade: &Upgrade) -> bool {
    retirement_at(upgrade).is_some_and(|at| now >= at)
}

/// When the old control plane may go; known once the soak has passed.
fn retirement_at(upgrade: &Upgrade) -> Option<Timestamp> {
    let passed = upgrade.status.soak.as_ref()?.passed_at.as_ref()?.0;
    Some(later(passed, signed(upgrade.spec.retire.after)))
}

/// Waits because something could not be read, and says what.
fn blind(now: Timestamp, report: Report, what: &str, why: &str) -> Decision {
    let message = format!("{what} cannot be read just now, so nothing is done: {why}");
    Decision::new(
        wait(now, WaitingOn::Unreadable, POLL),
        Report { message, ..report },
    )
}

#[cfg(test)]
mod tests;
