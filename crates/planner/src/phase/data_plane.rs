//! Namespaces, tags, gateways and workloads move: forward wave by wave, or back all at once.

mod busy;
mod moves;
mod pacing;
mod rest;
mod restarts;
mod trial;
mod waves;

use jiff::Timestamp;
use meshlift_api::Step;
use meshlift_model::data_plane::{DataPlaneView, Moved, assess_toward};
use meshlift_model::decision::{Decision, Findings, Report, Verdict};
use meshlift_model::heading::{self, Heading};
use meshlift_model::message;
use meshlift_model::proof::{self, Expected};
use meshlift_model::record::Record;
use meshlift_model::stages::Stages;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{ControlPlane, MeshView};

use super::blind;
use super::upgrading::same_step;

pub use self::moves::{tags_to_move, to_move};
pub use self::trial::trial;

/// One look at the data plane on its way.
pub(super) struct Drive<'a> {
    pub(super) now: Timestamp,
    pub(super) upgrade: &'a Upgrade,
    pub(super) view: &'a MeshView,
    pub(super) record: &'a Record,
    pub(super) heading: Heading<'a>,
    pub(super) stages: Stages<'a>,
    pub(super) judged: DataPlaneView<'a>,
}

/// Judges the data plane; `None` when part of it could not be seen.
pub(super) fn judged<'a>(
    now: Timestamp,
    upgrade: &'a Upgrade,
    view: &'a MeshView,
    record: &'a Record,
) -> Option<DataPlaneView<'a>> {
    Drive::look(now, upgrade, view, record).map(|drive| drive.judged)
}

impl<'a> Drive<'a> {
    /// `None` when part of the data plane could not be seen.
    pub(super) fn look(
        now: Timestamp,
        upgrade: &'a Upgrade,
        view: &'a MeshView,
        record: &'a Record,
    ) -> Option<Self> {
        let heading = Heading::of(upgrade, record);
        let stages = Stages::of(upgrade, record);
        let judged = assess_toward(now, heading, Some(&stages), upgrade, view)?;
        let mut drive = Self {
            now,
            upgrade,
            view,
            record,
            heading,
            stages,
            judged,
        };
        let put_back = drive.named_as_put_back();
        drive.judged.refused = [drive.named_as_refused(), put_back].concat();
        Some(drive)
    }

    /// The same, or the decision to wait until all of it can be seen.
    pub(super) fn see(
        now: Timestamp,
        upgrade: &'a Upgrade,
        view: &'a MeshView,
        record: &'a Record,
    ) -> Result<Self, Box<Decision>> {
        Self::look(now, upgrade, view, record).ok_or_else(|| {
            let (what, why) = unseen(view);
            Box::new(blind(now, same_step(upgrade), what, why))
        })
    }

    /// Moves what may move now; `None` when all that can be moved has moved and was verified.
    pub(super) fn decide(&self) -> Option<Decision> {
        let report = self.report();
        self.moves(&report)
            .or_else(|| self.restarts(report.clone()))
            .or_else(|| self.refused_moves(&report))
            .or_else(|| self.git(&report))
            .or_else(|| self.waves(report))
    }

    /// What is said of the data plane, whatever is done next.
    pub(super) fn report(&self) -> Report {
        let expected = Expected::of(self.heading, self.record);
        let proved = proof::is_shown(self.view, expected) || self.judged.shows_target();
        let to = &self.heading.name();
        let ready = Findings {
            control_plane_ready: if proved || self.view.probes.is_empty() {
                Verdict::yes("Proved", format!("istiod {to} is ready and injects"))
            } else {
                Verdict::yes("Ready", message::not_proved_yet(to))
            },
            ..Findings::default()
        };
        let report = Report {
            findings: ready,
            waves: self.statuses(),
            ..Report::default()
        };
        with_data_plane(report, &self.judged, &self.heading.name())
    }

    /// `wave canary: ` where there is more than one.
    fn wave(&self) -> String {
        let stage = self.stage().and_then(|at| self.stages.all().get(at));
        stage.map_or_else(String::new, |stage| format!("wave {}: ", stage.name))
    }

    /// What is wrong with the control plane that is moved to, if anything: it may have fallen ill since
    /// it was proved.
    pub(super) fn destination_ill(&self) -> Option<String> {
        match self.destination() {
            Some(plane) if plane.is_ready() => None,
            Some(plane) => Some(message::not_ready(plane)),
            None => Some(format!("istiod {} is gone", self.heading.to)),
        }
    }

    /// The control plane that is moved to, if it is there.
    pub(super) fn destination(&self) -> Option<&'a ControlPlane> {
        self.view.plane(self.record.plane(self.heading.to))
    }

    /// What has moved so far, to be judged by its health.
    pub(super) fn moved(&self) -> Moved<'_> {
        Moved {
            data_plane: &self.judged,
            heading: self.heading,
            unsteady: &self.record.unsteady,
            back_since: heading::rollback(self.upgrade).map(|rollback| rollback.since.0),
        }
    }

    fn restarting_step(&self) -> Step {
        if self.heading.is_back() {
            Step::RestartingBack
        } else {
            Step::RestartingWorkloads
        }
    }
}

/// What of the data plane could not be seen, and why.
fn unseen(view: &MeshView) -> (&'static str, &str) {
    let parts = [
        ("the namespaces", view.namespaces.unreadable()),
        ("the workloads", view.workloads.unreadable()),
        ("the control planes", view.control_planes.unreadable()),
        ("the revision tags", view.tags.unreadable()),
    ];
    let unreadable = parts.into_iter().find_map(|(what, why)| Some((what, why?)));
    unreadable.unwrap_or(("the mesh", "it was not looked at yet"))
}

/// Counts, blocked list and the condition of the data plane.
pub(super) fn with_data_plane(report: Report, judged: &DataPlaneView<'_>, to: &str) -> Report {
    let counts = judged.counts();
    let message = message::moved(judged.proxies, to);
    let open = counts.restarting + counts.pending + counts.failed;
    let blocked = counts.blocked > 0 || !judged.refused.is_empty();
    let findings = Findings {
        data_plane_upgraded: match (open, blocked) {
            (0, false) => Verdict::yes("AllMoved", message),
            (0, _) => Verdict::yes("AllButBlockedMoved", message),
            _ => Verdict::no("Moving", message),
        },
        ..report.findings
    };
    Report {
        workloads: Some(counts),
        proxies: Some(judged.proxies),
        blocked: Some([&judged.refused[..], &judged.blocked].concat()),
        ended_restarts: judged.ended.clone(),
        findings,
        ..report
    }
}
