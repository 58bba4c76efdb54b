//! Pending: whose turn is it?

use jiff::Timestamp;
use meshlift_api::Phase;
use meshlift_model::decision::{Decision, Next, Report, WaitingOn};
use meshlift_model::message;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{MeshView, Rival};

use super::{BACKSTOP, wait};

pub(super) fn decide(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Decision {
    match in_the_way(upgrade, &view.rivals) {
        Some(rival) => {
            let message = message::waits_for_rival(&upgrade.spec.mesh, rival);
            let report = Report {
                message,
                ..Report::default()
            };
            Decision::new(wait(now, WaitingOn::Rival, BACKSTOP), report)
        }
        None => {
            let message = "checking whether the mesh can be upgraded".to_owned();
            Decision::new(
                Next::Enter(Phase::Detecting),
                Report {
                    message,
                    ..Report::default()
                },
            )
        }
    }
}

/// The upgrade of the same mesh that goes first: one that already moves things, else the oldest.
pub(super) fn in_the_way<'a>(upgrade: &Upgrade, rivals: &'a [Rival]) -> Option<&'a Rival> {
    let age = |created_at: Timestamp, uid: &str| (created_at, uid.to_owned());
    let own = age(upgrade.created_at, &upgrade.uid);
    let running = rivals.iter().filter(|rival| rival.phase.is_locked());
    let older = rivals
        .iter()
        .filter(|rival| !rival.phase.is_terminal() && age(rival.created_at, &rival.uid) < own);
    running
        .chain(older)
        .min_by_key(|rival| (!rival.phase.is_locked(), age(rival.created_at, &rival.uid)))
}
