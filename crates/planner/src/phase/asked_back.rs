//! A rollback that a person requests when the upgrade has ended, and both control planes are still there.

use jiff::Timestamp;
use meshlift_api::{ControlPlaneRef, LegState, LegStatus, Mode, Strategy};
use meshlift_model::decision::{Decision, Effect, Next, Report, WaitingOn};
use meshlift_model::record::Record;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{ControlPlane, MeshView, Seen};
use meshlift_model::{message, route};

use super::failing::{ASKED, go_back, serves};
use super::{BACKSTOP, blind, wait};

/// Begins it, or says why it cannot begin; `None` where there is nothing to move back from.
pub(super) fn decide(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Option<Decision> {
    if !upgrade.spec.request_rollback || upgrade.spec.mode == Mode::Preflight {
        return None;
    }
    let record = match &view.record {
        Seen::Present(record) => record,
        Seen::Absent => return None,
        Seen::Unreadable(why) => return Some(blind(now, Report::default(), "the record", why)),
    };
    let planes = match &view.control_planes {
        Seen::Present(planes) => planes,
        Seen::Absent => return None,
        Seen::Unreadable(why) => {
            return Some(blind(now, Report::default(), "the control planes", why));
        }
    };
    let home = &record.source.namespace;
    let find = |revision: &str| {
        let mut planes = planes.iter();
        planes.find(|plane| plane.revision == revision && plane.namespace == *home)
    };
    find(&record.target_revision)?;
    // An upgrade in place since then has left nothing of what was recorded.
    let expected = match record.strategy {
        Strategy::Canary => &record.source.version,
        Strategy::InPlace => &record.target_version,
    };
    let recorded = |plane: &&ControlPlane| plane.version.as_ref() == Some(expected);
    let report = report(record);
    let waits = |message: String| {
        let report = Report {
            message,
            ..report.clone()
        };
        Decision::new(wait(now, WaitingOn::Person, BACKSTOP), report)
    };
    Some(match find(&record.source_revision).filter(recorded) {
        None => waits(message::cannot_go_back(&upgrade.name, record)),
        Some(old) if !serves(old) => {
            let down = message::not_ready(old);
            let message = message::asked_back_to_nowhere(&upgrade.name, record, &down);
            waits(message)
        }
        Some(_) if !upgrade.held => Decision::new(
            Next::Act(vec![Effect::HoldDeletion]),
            Report {
                message: message::goes_back(ASKED),
                ..report
            },
        ),
        Some(_) => go_back(now, ASKED, report),
    })
}

/// The legs of an upgrade that has ended: what rolls back.
fn travelled(record: &Record) -> Vec<LegStatus> {
    let mut legs = route::pending(&record.legs());
    for leg in &mut legs {
        leg.state = LegState::Done;
    }
    legs
}

fn report(record: &Record) -> Report {
    let plane = |version: &meshlift_istio::version::Version, revision: &str| ControlPlaneRef {
        version: version.to_string(),
        revision: Some(revision.to_owned()),
    };
    Report {
        from: Some(plane(&record.source.version, &record.source_revision)),
        target: Some(plane(&record.target_version, &record.target_revision)),
        backup: Some(record.backup.clone()),
        legs: Some(travelled(record)),
        ..Report::default()
    }
}
