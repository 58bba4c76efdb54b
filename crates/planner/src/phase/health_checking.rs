//! HealthChecking: everything moved. Watch health through the soak, then make the new control
//! plane the default one, and only then let the old one go, if nothing uses it any more.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::{Soak, Step};

use super::data_plane::{data_plane, judged, with_data_plane};
use super::upgrading::{recorded, step_began, stop};
use super::{BACKSTOP, POLL, blind, later, signed, wait};
use crate::data_plane::DataPlaneView;
use crate::decision::{Decision, Next, Report, Verdict, Waiting, WaitingOn};
use crate::message;
use crate::record::Record;
use crate::upgrade::Upgrade;
use crate::view::{ControlPlane, MeshView, Seen};

/// One look of this phase.
pub(super) struct Look<'a> {
    pub(super) now: Timestamp,
    pub(super) upgrade: &'a Upgrade,
    pub(super) view: &'a MeshView,
    pub(super) record: &'a Record,
    pub(super) judged: DataPlaneView<'a>,
    pub(super) planes: &'a [ControlPlane],
}

pub(super) fn decide(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Decision {
    let record = match recorded(now, upgrade, view) {
        Ok(record) => record,
        Err(decision) => return *decision,
    };
    // Something that appeared meanwhile moves like everything before it.
    if let Some(mut decision) = data_plane(now, upgrade, view, record) {
        let blind = matches!(&decision.next, Next::Wait(w) if w.on == WaitingOn::Unreadable);
        if !blind {
            decision.report.soak = Some(None);
        }
        return decision;
    }
    let (Some(judged), Some(planes)) = (
        judged(now, upgrade, view, record),
        view.control_planes.present(),
    ) else {
        return blind(
            now,
            Report::default(),
            "the mesh",
            "no list of workloads yet",
        );
    };
    let look = Look {
        now,
        upgrade,
        view,
        record,
        judged: judged.naming_busy(&record.target_revision),
        planes,
    };
    look.soak()
        .or_else(|| look.keep_old())
        .or_else(|| look.move_default())
        .unwrap_or_else(|| look.retire())
}

impl Look<'_> {
    pub(super) fn report(&self, step: Step, message: String) -> Report {
        let report = with_data_plane(Report::default(), &self.judged, self.record);
        Report {
            step: Some(step),
            message,
            ..report
        }
    }

    pub(super) fn target(&self) -> Option<&ControlPlane> {
        self.planes
            .iter()
            .find(|plane| plane.revision == self.record.target_revision)
    }

    pub(super) fn source(&self) -> Option<&ControlPlane> {
        let namespace = &self.record.source.namespace;
        self.planes
            .iter()
            .find(|p| p.revision == self.record.source_revision && p.namespace == *namespace)
    }

    /// Watches health until the soak has passed; `None` when it has.
    fn soak(&self) -> Option<Decision> {
        let running = self.upgrade.status.soak.as_ref();
        if running.is_some_and(|soak| soak.passed_at.is_some()) {
            return self.still_ready();
        }
        let soak_time = signed(self.upgrade.spec.health_check.soak);
        // A control plane that is down has no metrics either: that is the problem to name.
        let down = self.planes_not_ready();
        if !down.is_empty() {
            return Some(self.unhealthy(&down));
        }
        let failures = match self.injection_failures() {
            Ok(failures) => failures,
            Err(why) => {
                let report = self.report(Step::Soaking, String::new());
                return Some(blind(self.now, report, "the metrics of istiod", &why));
            }
        };
        let problems = self.problems(running, failures);
        if !problems.is_empty() {
            return Some(self.unhealthy(&problems));
        }
        let fresh = Soak {
            since: Time(self.now),
            restarts: self.judged.restarts,
            injection_failures: failures,
            passed_at: None,
        };
        let soak = running.cloned().unwrap_or(fresh);
        let end = later(soak.since.0, soak_time);
        let passed = self.now >= end;
        let message = match passed {
            true => format!("healthy through the soak of {}", message::span(soak_time)),
            false => format!(
                "{}; healthy, watched until {}",
                message::moved(self.judged.proxies, &self.record.target_revision),
                message::moment(end)
            ),
        };
        let healthy = match passed {
            true => Verdict::yes("Soaked", message.clone()),
            false => Verdict::no("Soaking", "healthy so far"),
        };
        let passed_at = passed.then_some(Time(self.now));
        let mut report = self.report(Step::Soaking, message);
        report.soak = Some(Some(Soak { passed_at, ..soak }));
        report.findings.healthy = healthy;
        let until = if passed {
            self.now
        } else {
            end.min(later(self.now, POLL))
        };
        Some(Decision::new(
            Next::Wait(Waiting {
                on: WaitingOn::Soak,
                until,
            }),
            report,
        ))
    }

    fn problems(&self, soak: Option<&Soak>, failures: u64) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(soak) = soak {
            if self.judged.restarts > soak.restarts {
                let grown = self.judged.restarts - soak.restarts;
                problems.push(format!("container restarts went up by {grown}"));
            }
            if failures > soak.injection_failures {
                let grown = failures - soak.injection_failures;
                problems.push(format!("failed injections went up by {grown}"));
            }
        }
        problems
    }

    fn planes_not_ready(&self) -> Vec<String> {
        let ours = [self.target(), self.source()];
        let mut problems: Vec<String> = ours
            .into_iter()
            .flatten()
            .filter(|plane| !plane.is_ready())
            .map(message::not_ready)
            .collect();
        if self.target().is_none() {
            problems.push(format!("istiod {} is gone", self.record.target_revision));
        }
        problems
    }

    fn injection_failures(&self) -> Result<u64, String> {
        match self.target().map(|plane| &plane.live) {
            Some(Seen::Present(live)) => Ok(live.injection_failures),
            Some(Seen::Unreadable(why)) => Err(why.clone()),
            Some(Seen::Absent) | None => Err("no istiod pod answers".to_owned()),
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
            let state = message::mesh_left(self.record, self.judged.counts());
            let what = format!("not healthy within {}: {what}", message::span(patience));
            return stop(&what, &state, report);
        }
        Decision::new(wait(self.now, WaitingOn::Soak, POLL), report)
    }

    /// After the soak only a control plane that is not ready holds things up.
    fn still_ready(&self) -> Option<Decision> {
        let problems: Vec<String> = match self.target() {
            Some(plane) if plane.is_ready() => return None,
            _ => self.planes_not_ready(),
        };
        let report = self.report(
            Step::KeepingOldControlPlane,
            format!(
                "waits for the new control plane: {}",
                message::first_few(&problems)
            ),
        );
        Some(Decision::new(
            wait(self.now, WaitingOn::ControlPlane, BACKSTOP),
            report,
        ))
    }
}
