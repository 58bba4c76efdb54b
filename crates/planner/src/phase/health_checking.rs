//! HealthChecking: everything moved. Watch health through the soak, then make the new control
//! plane the default one, and only then let the old one go, if nothing uses it any more.

use jiff::Timestamp;
use meshlift_api::{Step, WaveStatus};
use meshlift_model::data_plane::{DataPlaneView, Moved};
use meshlift_model::decision::{Decision, Next, Report, Verdict, Waiting, WaitingOn};
use meshlift_model::detection::METRICS_UNREADABLE;
use meshlift_model::heading::Heading;
use meshlift_model::message;
use meshlift_model::record::Record;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{ControlPlane, MeshView};

use super::data_plane::{Drive, with_data_plane};
use super::health::{Health, HealthLook};
use super::patience::blind_to_metrics;
use super::upgrading::{recorded, step_began};
use super::{BACKSTOP, POLL, failing, later, signed, wait};

/// One look of this phase.
pub(super) struct Look<'a> {
    pub(super) now: Timestamp,
    pub(super) upgrade: &'a Upgrade,
    pub(super) view: &'a MeshView,
    pub(super) record: &'a Record,
    pub(super) judged: DataPlaneView<'a>,
    /// Whether a workload waits for the proof that new pods of its namespace are injected.
    pub(super) may_still_move: bool,
    waves: Option<Vec<WaveStatus>>,
    pub(super) planes: &'a [ControlPlane],
}

pub(super) fn decide(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Decision {
    let record = match recorded(now, upgrade, view) {
        Ok(record) => record,
        Err(decision) => return *decision,
    };
    if let Some(decision) = failing::requested(now, upgrade, view, record) {
        return decision;
    }
    failing::too_late(upgrade, view, check(now, upgrade, view, record))
}

fn check(now: Timestamp, upgrade: &Upgrade, view: &MeshView, record: &Record) -> Decision {
    let drive = match Drive::see(now, upgrade, view, record) {
        Ok(drive) => drive,
        Err(decision) => return *decision,
    };
    // Something that appeared meanwhile moves like everything before it, and is proved by its own rollout. The soak of
    // the others goes on: where namespaces come and go by the hour, it would never end otherwise.
    if let Some(decision) = drive.decide() {
        return decision;
    }
    let look = Look {
        now,
        upgrade,
        view,
        record,
        waves: drive.statuses(),
        may_still_move: drive.may_still_move(),
        judged: drive.naming_rest(),
        planes: view.control_planes.present().map_or(&[], Vec::as_slice),
    };
    look.soak()
        .or_else(|| look.in_place_ends())
        .or_else(|| look.keep_old())
        .or_else(|| look.move_default())
        .or_else(|| look.hand_over())
        .unwrap_or_else(|| look.retire())
}

impl Look<'_> {
    pub(super) fn report(&self, step: Step, message: String) -> Report {
        let report = with_data_plane(
            Report::default(),
            &self.judged,
            &Heading::ahead(self.record).name(),
        );
        let mut findings = report.findings;
        // It was proved before this phase: a look that missed it for a moment must not stand there to the end.
        if self.target().is_some_and(ControlPlane::is_ready) {
            let to = self.record.target_name();
            let message = format!("istiod {to} is ready and injects");
            findings.control_plane_ready = Verdict::yes("Proved", message);
        }
        Report {
            findings,
            step: Some(step),
            message,
            waves: self.waves.clone(),
            ..report
        }
    }

    pub(super) fn target(&self) -> Option<&ControlPlane> {
        self.view.plane(self.record.target_plane())
    }

    pub(super) fn source(&self) -> Option<&ControlPlane> {
        self.view.plane(self.record.source_plane())
    }

    fn health(&self) -> HealthLook<'_> {
        HealthLook {
            now: self.now,
            planes: self.planes,
            to: self.record.target_plane(),
            moved: Moved {
                data_plane: &self.judged,
                heading: Heading::ahead(self.record),
                unsteady: &self.record.unsteady,
                back_since: None,
            },
            soak: signed(self.upgrade.spec.health_check.soak),
            accepts_blind: self.upgrade.accepts(METRICS_UNREADABLE),
            running: self.upgrade.status.soak.as_ref(),
        }
    }

    /// Watches health until the soak has passed; `None` when it has.
    fn soak(&self) -> Option<Decision> {
        let running = self.upgrade.status.soak.as_ref();
        if running.is_some_and(|soak| soak.passed_at.is_some()) {
            return self.still_ready();
        }
        let soak_time = signed(self.upgrade.spec.health_check.soak);
        let (soak, end, message, healthy) = match self.health().judge() {
            Health::Unseen(why) => {
                let report = self.report(Step::Soaking, String::new());
                let (now, upgrade) = (self.now, self.upgrade);
                return Some(blind_to_metrics(
                    now,
                    upgrade,
                    report,
                    "the metrics of istiod",
                    &why,
                ));
            }
            Health::Ill(problems) => return Some(self.unhealthy(&problems)),
            Health::Going { soak, end } => {
                let message = format!(
                    "{}; healthy, watched until {}{}{}",
                    message::moved(self.judged.proxies, &Heading::ahead(self.record).name()),
                    message::moment(end),
                    self.old_is_down(),
                    self.injections_unwatched()
                );
                let until = end.min(later(self.now, POLL));
                (
                    soak,
                    until,
                    message,
                    Verdict::no("Soaking", "healthy so far"),
                )
            }
            Health::Passed(soak) => {
                let message = format!("healthy through the soak of {}", message::span(soak_time));
                let healthy = Verdict::yes("Soaked", message.clone());
                (soak, self.now, message, healthy)
            }
        };
        let mut report = self.report(Step::Soaking, message);
        report.soak = Some(Some(soak));
        report.findings.healthy = healthy;
        let waiting = Waiting {
            on: WaitingOn::Soak,
            until: end,
        };
        Some(Decision::new(Next::Wait(waiting), report))
    }

    /// What is said of an old control plane that is not ready: nothing hangs on it any more.
    fn old_is_down(&self) -> String {
        let down = self.source().filter(|plane| !plane.is_ready());
        let version = &self.record.source.version;
        let said = down.map(|plane| message::old_is_not_needed(version, plane));
        said.unwrap_or_default()
    }

    /// What is said of a soak without metrics, which a person accepted.
    fn injections_unwatched(&self) -> &'static str {
        let unread = self
            .target()
            .is_some_and(|plane| plane.live.present().is_none());
        if unread {
            message::INJECTIONS_UNWATCHED
        } else {
            ""
        }
    }

    fn unhealthy(&self, problems: &[String]) -> Decision {
        let what = message::first_few(problems);
        let restart_timeout = signed(self.upgrade.spec.data_plane.restart.timeout);
        let patience = restart_timeout.saturating_add(signed(self.upgrade.spec.health_check.soak));
        let deadline = later(step_began(self.upgrade, Step::Soaking, self.now), patience);
        let message = format!(
            "not healthy, the soak starts over (until {}): {what}",
            message::moment(deadline)
        );
        let mut report = self.report(Step::Soaking, message);
        report.soak = Some(None);
        report.findings.healthy = Verdict::no("Unhealthy", what.clone());
        if self.now >= deadline {
            let what = format!("not healthy within {}: {what}", message::span(patience));
            return failing::failed(
                self.now,
                self.upgrade,
                self.view,
                self.record,
                &what,
                report,
            );
        }
        Decision::new(wait(self.now, WaitingOn::Soak, POLL), report)
    }

    /// After the soak only a control plane that is not ready holds things up.
    fn still_ready(&self) -> Option<Decision> {
        let problems: Vec<String> = match self.target() {
            Some(plane) if plane.is_ready() => return None,
            _ => self.health().planes_not_ready(),
        };
        let report = self.report(
            Step::KeepingOldControlPlane,
            format!(
                "waiting for the new control plane: {}",
                message::first_few(&problems)
            ),
        );
        Some(Decision::new(
            wait(self.now, WaitingOn::ControlPlane, BACKSTOP),
            report,
        ))
    }
}
