//! The way back: the default revision, labels and tags as they were recorded, then the workloads that had moved;
//! and when all is well on the old control plane, the new one goes.

mod default_revision;
mod in_place;
mod proof;
mod removal;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use meshlift_api::conditions::CONTROL_PLANE_READY;
use meshlift_api::{BlockedWorkload, Predicate, Strategy};
use meshlift_model::data_plane::Placement;
use meshlift_model::decision::{Decision, Findings, Next, Report, Verdict, WaitingOn};
use meshlift_model::record::Record;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{ControlPlane, MeshView, Release, Seen};
use meshlift_model::{heading, message};

use super::data_plane::{Drive, with_data_plane};
use super::patience::is_late;
use super::upgrading::{same_step, stop, timeout};
use super::{BACKSTOP, blind, wait};

/// One look on the way back.
struct Back<'a> {
    drive: Drive<'a>,
    releases: &'a [Release],
    /// Why it goes back.
    reason: &'a str,
}

pub(super) fn decide(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
) -> Decision {
    let drive = match Drive::see(now, upgrade, view, record) {
        Ok(drive) => drive,
        Err(decision) => return *decision,
    };
    let releases = match &view.releases {
        Seen::Present(releases) => releases.as_slice(),
        Seen::Absent => &[],
        Seen::Unreadable(why) => return blind(now, same_step(upgrade), "the Helm releases", why),
    };
    let reason = heading::rollback(upgrade).map_or("", |rollback| &rollback.reason);
    let back = Back {
        drive,
        releases,
        reason,
    };
    if record.strategy == Strategy::InPlace {
        return back.in_place();
    }
    back.old_is_down()
        .or_else(|| back.default_revision())
        .or_else(|| back.moves())
        .or_else(|| back.drive.restarts(back.report()))
        .or_else(|| back.drive.refused_moves(&back.report()))
        .or_else(|| back.drive.git(&back.report()))
        .unwrap_or_else(|| back.all_moved())
}

impl<'a> Back<'a> {
    /// Everything is back that can be: proof, and then the new control plane goes.
    fn all_moved(mut self) -> Decision {
        self.name_what_is_left();
        self.proof().unwrap_or_else(|| self.removal())
    }

    /// Labels, tags and Gateways. A Gateway that is waited for holds no workload.
    fn moves(&self) -> Option<Decision> {
        let moves = self.drive.moves(&self.report())?;
        let waits = matches!(&moves.next, Next::Wait(w) if w.on == WaitingOn::Gateways);
        let restarts = || self.drive.restarts(self.report()).filter(Decision::mutates);
        Some(if waits {
            restarts().unwrap_or(moves)
        } else {
            moves
        })
    }

    /// Nothing moves to a control plane that is not ready: who injects then is nobody. If it does not get ready in
    /// the time that a restart may take, the rollback ends: half a mesh on each side is served best by what serves, and
    /// a locked object could neither be changed nor tried again.
    fn old_is_down(&self) -> Option<Decision> {
        let why = self.drive.destination_ill()?;
        let (now, upgrade) = (self.drive.now, self.drive.upgrade);
        if is_late(now, upgrade, WaitingOn::ControlPlane) {
            let record = self.drive.record;
            let patience = message::span(timeout(upgrade));
            let what = message::old_never_served(record, self.reason, &why, &patience);
            let left = message::left_between(record, self.drive.judged.counts());
            return Some(stop(&what, &left, self.report()));
        }
        let report = Report {
            step: self.drive.upgrade.status.step,
            message: message::waits_for_old(self.drive.record, &why),
            ..self.report()
        };
        let waiting = wait(self.drive.now, WaitingOn::ControlPlane, BACKSTOP);
        Some(Decision::new(waiting, report))
    }

    /// What is said of the data plane, whatever is done next.
    fn report(&self) -> Report {
        let (judged, to) = (&self.drive.judged, self.drive.heading.name());
        let report = with_data_plane(Report::default(), judged, &to);
        let moved = message::moved(judged.proxies, &to);
        Report {
            waves: self.drive.statuses(),
            findings: Findings {
                data_plane_upgraded: Verdict::no("RollingBack", moved),
                healthy: Verdict::no("RollingBack", self.reason),
                ..Findings::default()
            },
            ..report
        }
    }

    /// What is still on the new control plane when nothing more is waited for is told like everything that
    /// cannot be moved.
    fn name_what_is_left(&mut self) {
        let to = &self.drive.heading.name();
        let judged = std::mem::take(&mut self.drive.judged);
        let mut judged = judged.naming_busy(to);
        for (workload, placement) in &mut judged.placements {
            let predicate = match placement {
                Placement::Stale { .. } => Predicate::RestartFailed,
                Placement::Later if workload.managed_gateway => Predicate::ManagedGateway,
                // Its namespace was bound to the new control plane by somebody else.
                Placement::Later => Predicate::NotOurs,
                _ => continue,
            };
            *placement = Placement::Blocked(predicate);
            judged.blocked.push(BlockedWorkload {
                reference: workload.key.to_string(),
                predicate,
                message: message::not_moved_back(&workload.key, predicate, to),
            });
        }
        self.drive.judged = judged;
    }

    fn planes(&self) -> &'a [ControlPlane] {
        let planes = self.drive.view.control_planes.present();
        planes.map_or(&[], Vec::as_slice)
    }

    /// The new control plane, which is left.
    fn new_plane(&self) -> Option<&'a ControlPlane> {
        self.drive.view.plane(self.drive.record.target_plane())
    }

    /// Whether the new control plane was ever ready: a pod may be on it that no view shows.
    fn new_was_ready(&self) -> bool {
        let conditions = &self.drive.upgrade.status.conditions;
        let ready = |c: &Condition| c.type_ == CONTROL_PLANE_READY && c.status == "True";
        conditions.iter().any(ready)
    }

    /// The old control plane, which everything goes back to.
    fn old_plane(&self) -> Option<&'a ControlPlane> {
        self.drive.view.plane(self.drive.record.source_plane())
    }
}
