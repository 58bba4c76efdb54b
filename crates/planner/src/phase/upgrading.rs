//! Upgrading: CRDs, the new control plane beside the old one, proof that it works, then
//! namespaces and workloads. Every look starts at the top: nothing is believed done that is not seen.

use jiff::{SignedDuration, Timestamp};
use meshlift_api::{Outcome, Phase, Step};
use meshlift_model::decision::{Decision, Next, Report};
use meshlift_model::message;
use meshlift_model::record::Record;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{MeshView, Seen};

use super::control_plane::control_plane;
use super::data_plane::{Drive, with_data_plane};
use super::{blind, failing, rolling_back, signed};

pub(super) fn decide(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Decision {
    let record = match recorded(now, upgrade, view) {
        Ok(record) => record,
        Err(decision) => return *decision,
    };
    if upgrade.status.rollback.is_some() {
        return rolling_back::decide(now, upgrade, view, record);
    }
    if let Some(decision) = failing::requested(now, upgrade, view, record) {
        return decision;
    }
    let decision = control_plane(now, upgrade, view, record)
        .unwrap_or_else(|| move_data_plane(now, upgrade, view, record));
    failing::too_late(upgrade, view, decision)
}

/// Moves the data plane, and goes on to the health check once all of it has moved.
fn move_data_plane(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
) -> Decision {
    let drive = match Drive::see(now, upgrade, view, record) {
        Ok(drive) => drive,
        Err(decision) => return *decision,
    };
    drive.decide().unwrap_or_else(|| {
        let to = drive.heading.name();
        let message = message::moved(drive.judged.proxies, &to);
        let report = Report {
            message,
            ..Report::default()
        };
        let report = with_data_plane(report, &drive.judged, &to);
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

pub(super) fn same_step(upgrade: &Upgrade) -> Report {
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

pub(super) fn timeout(upgrade: &Upgrade) -> SignedDuration {
    signed(upgrade.spec.data_plane.restart.timeout)
}

/// Whether the new control plane is being proved: its metrics report its version.
pub(crate) fn is_proving(upgrade: &Upgrade) -> bool {
    let steps = [
        Step::EnsuringReplicas,
        Step::UpgradingBase,
        Step::InstallingControlPlane,
        Step::ProvingControlPlane,
    ];
    upgrade.status.step.is_none_or(|step| steps.contains(&step))
}
