//! Done and Failed: inert, until asked again.

use jiff::{SignedDuration, Timestamp};
use meshlift_api::Phase;
use meshlift_model::decision::{Decision, Effect, Next, Report, WaitingOn};
use meshlift_model::upgrade::Upgrade;

use super::wait;

/// Nothing is expected to change; a watch tells if it does.
const REST: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn decide(now: Timestamp, upgrade: &Upgrade) -> Decision {
    let unchanged = Report {
        message: upgrade.status.message.clone(),
        ..Report::default()
    };
    // Before anything else: folding another decision would mark what is asked as seen.
    if upgrade.asked_again() {
        let message = "asked again: starts anew".to_owned();
        let report = Report {
            message,
            new_run: true,
            ..Report::default()
        };
        return Decision::new(Next::Enter(Phase::Pending), report);
    }
    if upgrade.held {
        return Decision::new(Next::Act(vec![Effect::LetGo]), unchanged);
    }
    Decision::new(wait(now, WaitingOn::Nothing, REST), unchanged)
}
