//! HealthChecking: everything moved. Watch health through the soak, then make the new control
//! plane the default one, and only then let the old one go, if nothing uses it any more.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::{Outcome, Phase, Soak, Step};

use super::upgrading::{
    base_target, data_plane, helm_step, judged, recorded, step_began, stop, with_data_plane,
};
use super::{BACKSTOP, POLL, blind, later, signed, wait};
use crate::data_plane::DataPlaneView;
use crate::decision::{Decision, Effect, Findings, Next, Report, Verdict, Waiting, WaitingOn};
use crate::injection::{Injector, injector_of};
use crate::record::Record;
use crate::upgrade::Upgrade;
use crate::view::{ControlPlane, MeshView, Release, ReleaseState, Seen};
use crate::{message, values};

/// How long a watch may lag behind what Helm did: the API server ends each within this time.
const SETTLING: SignedDuration = SignedDuration::from_mins(5);

/// One look of this phase.
struct Look<'a> {
    now: Timestamp,
    upgrade: &'a Upgrade,
    view: &'a MeshView,
    record: &'a Record,
    judged: DataPlaneView<'a>,
    planes: &'a [ControlPlane],
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
    fn report(&self, step: Step, message: String) -> Report {
        let report = with_data_plane(Report::default(), &self.judged, self.record);
        Report {
            step: Some(step),
            message,
            ..report
        }
    }

    fn target(&self) -> Option<&ControlPlane> {
        self.planes
            .iter()
            .find(|plane| plane.revision == self.record.target_revision)
    }

    fn source(&self) -> Option<&ControlPlane> {
        let namespace = &self.record.source.namespace;
        self.planes
            .iter()
            .find(|p| p.revision == self.record.source_revision && p.namespace == *namespace)
    }

    // --- soak --------------------------------------------------------------------------------

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
                problems.push(format!("{grown} container restarts in pods with a sidecar"));
            }
            if failures > soak.injection_failures {
                let grown = failures - soak.injection_failures;
                problems.push(format!("{grown} failed injections"));
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

    // --- the old control plane ---------------------------------------------------------------

    fn keep_old(&self) -> Option<Decision> {
        let passed = self.upgrade.status.soak.as_ref()?.passed_at.as_ref()?.0;
        let end = later(passed, signed(self.upgrade.spec.retire.after));
        if self.now >= end {
            return None;
        }
        let message = format!(
            "healthy on {}; the old control plane {} stays until {}",
            self.record.target_revision,
            self.record.source.version,
            message::moment(end)
        );
        let report = self.report(Step::KeepingOldControlPlane, message);
        let until = end.min(later(self.now, BACKSTOP));
        Some(Decision::new(
            Next::Wait(Waiting {
                on: WaitingOn::RetireDelay,
                until,
            }),
            report,
        ))
    }

    /// Points the default revision at the new control plane; `None` when it does.
    fn move_default(&self) -> Option<Decision> {
        let step = Step::MovingDefaultRevision;
        let validator = match &self.view.validator {
            Seen::Present(validator) => validator,
            Seen::Absent => return None,
            Seen::Unreadable(why) => {
                let report = self.report(step, String::new());
                return Some(blind(self.now, report, "the validating webhook", why));
            }
        };
        let target = self.target()?;
        if validator.service == target.name && validator.has_ca_bundle {
            return None;
        }
        if validator.service == target.name {
            let message = format!(
                "waits until {} writes its CA bundle into the default validator",
                target.name
            );
            return Some(Decision::new(
                wait(self.now, WaitingOn::Validator, BACKSTOP),
                self.report(step, message),
            ));
        }
        let releases = match &self.view.releases {
            Seen::Present(releases) => releases.as_slice(),
            Seen::Absent => &[],
            Seen::Unreadable(why) => {
                return Some(blind(
                    self.now,
                    self.report(step, String::new()),
                    "the Helm releases",
                    why,
                ));
            }
        };
        let base = base_target(self.record, self.base_with_default());
        // What Helm says to have done may take a while to be seen, but not for ever.
        let patience = later(step_began(self.upgrade, step, self.now), SETTLING);
        let undone =
            |release: &Release| release.values != self.base_with_default() || self.now >= patience;
        let Some(decision) = helm_step(
            self.now,
            releases,
            base,
            step,
            undone,
            Effect::PointDefaultRevision,
        ) else {
            let message = format!("waits until the default validator calls {}", target.name);
            let waiting = wait(self.now, WaitingOn::Validator, POLL);
            return Some(Decision::new(waiting, self.report(step, message)));
        };
        let message = match &decision.next {
            Next::Act(batch) if matches!(batch[..], [Effect::PointDefaultRevision(_)]) => format!(
                "points the default revision and its validating webhook at {} (Helm release {}/{})",
                target.name, self.record.base.namespace, self.record.base.name
            ),
            _ => decision.report.message,
        };
        let report = self.report(step, message);
        Some(Decision {
            next: decision.next,
            report,
        })
    }

    fn base_with_default(&self) -> serde_json::Map<String, serde_json::Value> {
        values::base_with_default(&self.record.base_values, &self.record.target_revision)
    }

    fn retire(&self) -> Decision {
        let step = Step::RetiringControlPlane;
        let release = self.source_release();
        let (plane, release) = match (self.source(), release) {
            (_, Err(why)) => {
                return blind(
                    self.now,
                    self.report(step, String::new()),
                    "the Helm releases",
                    &why,
                );
            }
            (None, Ok(None)) => return self.done(),
            (plane, Ok(release)) => (plane, release),
        };
        if let Some(waiting) = release.and_then(|release| self.foreign_helm(release)) {
            return waiting;
        }
        let users = self.users();
        if !users.is_empty() {
            return self.old_stays(&users);
        }
        let Some(plane) = plane else {
            // The Deployment is gone and the release is not: the uninstall was cut off.
            return self.uninstall();
        };
        match &plane.live {
            Seen::Present(live) if live.connected == 0 => {}
            Seen::Present(live) => return self.wait_for_disconnect(live.connected),
            Seen::Unreadable(why) if plane.desired > 0 => return self.blind_to_old(why),
            Seen::Absent if plane.ready > 0 => return self.blind_to_old("not looked at yet"),
            // It has no pod, so nothing can be connected to it.
            Seen::Unreadable(_) | Seen::Absent => {}
        }
        match release {
            Some(_) => self.uninstall(),
            None => {
                let message = format!("waits for {} to be gone", plane.name);
                Decision::new(
                    wait(self.now, WaitingOn::Retirement, POLL),
                    self.report(step, message),
                )
            }
        }
    }

    fn blind_to_old(&self, why: &str) -> Decision {
        let report = self.report(Step::RetiringControlPlane, String::new());
        blind(self.now, report, "the metrics of the old istiod", why)
    }

    /// The old release, if it is still in Helm's storage.
    fn source_release(&self) -> Result<Option<&Release>, String> {
        let source = &self.record.source;
        let same = |r: &&Release| r.name == source.name && r.namespace == source.namespace;
        match &self.view.releases {
            Seen::Present(releases) => Ok(releases.iter().find(same)),
            Seen::Absent => Ok(None),
            Seen::Unreadable(why) => Err(why.clone()),
        }
    }

    /// Waits for someone else who works on the old release.
    fn foreign_helm(&self, release: &Release) -> Option<Decision> {
        let ReleaseState::Pending { ours: false, since } = release.state else {
            return None;
        };
        let message = message::foreign_helm(release, since);
        Some(Decision::new(
            wait(self.now, WaitingOn::ForeignHelm, POLL),
            self.report(Step::RetiringControlPlane, message),
        ))
    }

    /// Who still uses the old control plane, besides open connections.
    fn users(&self) -> Vec<String> {
        let old = &self.record.source_revision;
        let mut users = Vec::new();
        let none = std::collections::BTreeMap::new();
        for namespace in self.view.namespaces.present().into_iter().flatten() {
            match injector_of(&namespace.labels, &none, self.planes, &self.view.tags) {
                Injector::Namespace(revision) if revision == *old && !namespace.terminating => {
                    users.push(format!("namespace {}", namespace.name));
                }
                _ => {}
            }
        }
        let tags = self.view.tags.iter().filter(|tag| tag.revision == *old);
        users.extend(tags.map(|tag| format!("revision tag {}", tag.name)));
        if let (Some(plane), Some(validator)) = (self.source(), self.view.validator.present())
            && validator.service == plane.name
        {
            users.push("webhook istiod-default-validator".to_owned());
        }
        let in_workloads = self
            .view
            .workloads
            .present()
            .into_iter()
            .flatten()
            .flat_map(|w| &w.pods);
        for pod in in_workloads.chain(&self.view.loose_pods) {
            // A sidecar without a readable revision may belong to any control plane.
            if pod.revision.as_ref().is_none_or(|revision| revision == old) {
                users.push(format!("pod {}/{}", pod.namespace, pod.name));
            }
        }
        users
    }

    fn wait_for_disconnect(&self, connected: u64) -> Decision {
        let step = Step::RetiringControlPlane;
        let patience = signed(self.upgrade.spec.data_plane.restart.timeout);
        if self.now >= later(step_began(self.upgrade, step, self.now), patience) {
            let user = format!(
                "{connected} connected proxies that are no pods of this cluster (virtual machines, other clusters?)"
            );
            return self.old_stays(&[user]);
        }
        let message = format!("waits for {connected} proxies to leave the old control plane");
        Decision::new(
            wait(self.now, WaitingOn::Retirement, POLL),
            self.report(step, message),
        )
    }

    fn uninstall(&self) -> Decision {
        let source = &self.record.source;
        let effect = Effect::RetireRevision {
            release: source.name.clone(),
            namespace: source.namespace.clone(),
            revision: self.record.source_revision.clone(),
        };
        let message = format!(
            "removes the old control plane: Helm uninstalls {}/{}",
            source.namespace, source.name
        );
        Decision::new(
            Next::Act(vec![effect]),
            self.report(Step::RetiringControlPlane, message),
        )
    }

    fn old_stays(&self, users: &[String]) -> Decision {
        let message = message::done_old_stays(self.record, self.judged.counts(), users);
        let retired = Verdict::no("InUse", format!("used by {}", message::first_few(users)));
        self.end(message, retired)
    }

    fn done(&self) -> Decision {
        let blocked = self
            .report(Step::RetiringControlPlane, String::new())
            .blocked
            .unwrap_or_default();
        let message = message::done(&self.record.target_version, &blocked);
        let retired = Verdict::yes(
            "Retired",
            format!("istiod {} is gone", self.record.source.version),
        );
        self.end(message, retired)
    }

    fn end(&self, message: String, retired: Option<Verdict>) -> Decision {
        let mut report = self.report(Step::RetiringControlPlane, message);
        report.outcome = Some(Outcome::Upgraded);
        report.findings = Findings {
            old_revision_retired: retired,
            ..report.findings
        };
        Decision::new(Next::Enter(Phase::Done), report)
    }
}
