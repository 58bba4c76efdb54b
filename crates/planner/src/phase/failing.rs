//! What follows a failed verification: everything goes back, or it holds, or it stops.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::{Phase, Rollback, RollbackStatus, Step, Strategy};
use meshlift_model::decision::{Decision, Next, Report, WaitingOn};
use meshlift_model::message;
use meshlift_model::record::Record;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{ControlPlane, MeshView, Release, ReleaseState, Seen};

use super::data_plane::judged;
use super::upgrading::stop;
use super::{POLL, blind, wait};

/// The reason of a rollback that a person asked for.
pub(super) const ASKED: &str = "spec.requestRollback asks for it";

/// Answers a failure, as the spec asks for it. `what` says what failed.
pub(super) fn failed(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
    what: &str,
    report: Report,
) -> Decision {
    let counts = judged(now, upgrade, view, record)
        .unwrap_or_default()
        .counts();
    let stays = || stop(what, &message::mesh_left(record, counts), report.clone());
    // Failing on the way back has no other way out.
    let Some(old) = old_plane(view, record).filter(|_| upgrade.status.rollback.is_none()) else {
        return stays();
    };
    match upgrade.spec.rollback {
        Rollback::Never => stays(),
        // Restarted toward a control plane that does not serve, nothing would come up again.
        // In place Helm leads back, and the replicas of before may serve as long as the new ones do not.
        Rollback::Automatic if record.strategy == Strategy::Canary && !serves(old) => {
            let what = message::nowhere_to_go(what, record, &message::not_ready(old));
            stop(&what, &message::mesh_left(record, counts), report)
        }
        Rollback::Automatic => go_back(now, what, report),
        Rollback::Manual => {
            let report = Report {
                message: message::waits_for_person(&upgrade.name, what),
                ..report
            };
            Decision::new(wait(now, WaitingOn::Person, POLL), report)
        }
    }
}

/// A person asks to move back; `None` when nobody does, or it goes back already, or it is too late.
pub(super) fn requested(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
) -> Option<Decision> {
    if !upgrade.spec.request_rollback || upgrade.status.rollback.is_some() {
        return None;
    }
    let report = Report {
        step: upgrade.status.step,
        ..Report::default()
    };
    match retirement_began(view, record) {
        Err(why) => Some(blind(now, report, "the Helm releases", why)),
        Ok(true) => None,
        Ok(false) => Some(match down(view, record) {
            Some(why) => {
                let message = message::asked_back_to_nowhere(&upgrade.name, record, &why);
                let waiting = wait(now, WaitingOn::Person, POLL);
                Decision::new(waiting, Report { message, ..report })
            }
            None => go_back(now, ASKED, report),
        }),
    }
}

/// The same decision, saying that what a person asked for comes too late.
pub(super) fn too_late(upgrade: &Upgrade, view: &MeshView, mut decision: Decision) -> Decision {
    let Some(record) = view.record.present() else {
        return decision;
    };
    let asked = upgrade.spec.request_rollback && upgrade.status.rollback.is_none();
    if asked && retirement_began(view, record) == Ok(true) {
        decision.report.message = message::too_late(&decision.report.message, record);
    }
    decision
}

/// Whether the old control plane is gone, or Helm has begun to take it away.
fn retirement_began<'v>(view: &'v MeshView, record: &Record) -> Result<bool, &'v str> {
    if let Some(why) = view.control_planes.unreadable() {
        return Err(why);
    }
    if record.strategy == Strategy::InPlace {
        return Ok(false);
    }
    if old_plane(view, record).is_none() {
        return Ok(true);
    }
    // Who renders it may bring it back as long as it is there.
    if !record.by_helm() {
        return Ok(false);
    }
    let source = &record.source;
    match &view.releases {
        Seen::Unreadable(why) => Err(why),
        Seen::Absent => Err("not looked at yet"),
        Seen::Present(releases) => Ok(
            match Release::find(releases, &source.name, &source.namespace) {
                None => true,
                // As Helm names it while it uninstalls.
                Some(release) => release.state == ReleaseState::Other("uninstalling".to_owned()),
            },
        ),
    }
}

/// The control plane to go back to, if it is there.
fn old_plane<'v>(view: &'v MeshView, record: &Record) -> Option<&'v ControlPlane> {
    view.plane(record.source_plane())
}

/// Whether a control plane answers at all: a rollback waits for the rest of its replicas.
pub(super) fn serves(plane: &ControlPlane) -> bool {
    plane.ready > 0
}

/// Why the control plane to go back to does not serve, if so.
fn down(view: &MeshView, record: &Record) -> Option<String> {
    let beside = record.strategy == Strategy::Canary;
    let old = old_plane(view, record).filter(|plane| beside && !serves(plane));
    old.map(message::not_ready)
}

/// Written down before anything is moved back: from then on the way leads back, whatever happens.
pub(super) fn go_back(now: Timestamp, why: &str, report: Report) -> Decision {
    let since = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let report = Report {
        step: Some(Step::MovingBack),
        message: message::goes_back(why),
        rollback: Some(RollbackStatus {
            reason: why.to_owned(),
            since: Time(since),
            soak: None,
        }),
        soak: Some(None),
        ..report
    };
    Decision::new(Next::Enter(Phase::Upgrading), report)
}
