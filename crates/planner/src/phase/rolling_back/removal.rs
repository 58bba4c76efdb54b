//! The new control plane goes when nothing uses it, and else stays and is named with who does.

use meshlift_api::{Outcome, Phase, Step, Strategy};
use meshlift_model::decision::{Decision, Effect, Findings, Next, Report, Verdict, WaitingOn};
use meshlift_model::detection::METRICS_UNREADABLE;
use meshlift_model::message;
use meshlift_model::route::NO_LONGER_MOVED_TO;
use meshlift_model::users::{blocking, unread, users};
use meshlift_model::view::{ControlPlane, Release, ReleaseState, Seen};

use super::Back;
use crate::phase::control_plane::other_helm;
use crate::phase::patience::blind_to_metrics;
use crate::phase::retirement::SETTLING;
use crate::phase::upgrading::{step_began, timeout};
use crate::phase::{POLL, blind, later, wait};

impl Back<'_> {
    /// Removes the new control plane, or ends with it where it is used.
    pub(super) fn removal(&self) -> Decision {
        let record = self.drive.record;
        let plane = self.new_plane();
        let name = record.target_release();
        let release = Release::find(self.releases, &name, &record.source.namespace);
        if plane.is_none() && release.is_none() {
            return self.rolled_back(&[]);
        }
        if let Some(waiting) = release.and_then(|release| self.other_helm(release)) {
            return waiting;
        }
        let users = users(self.drive.view, &record.target_revision, plane);
        if !users.is_empty() {
            return self.rolled_back(&users);
        }
        if !record.by_helm() {
            return self.rolled_back(&[]);
        }
        if let Some((what, why)) = unread(self.drive.view) {
            return self.blind_to_users(what, why);
        }
        if let Some(waiting) = plane.and_then(|plane| self.connections(plane)) {
            return waiting;
        }
        match (release, plane) {
            (None, Some(plane)) => self.orphan(plane),
            // A watch that lags shows no Deployment yet; that of a removal that was cut off is gone.
            (Some(release), None) if release.state == ReleaseState::Deployed && self.settling() => {
                let message = format!("waiting for the Deployment of {name} to appear");
                let waiting = wait(self.drive.now, WaitingOn::Retirement, POLL);
                Decision::new(waiting, self.removing(message))
            }
            _ => self.uninstall(name),
        }
    }

    /// Waits for whoever works on the release. One of ours that was cut off is uninstalled as it is.
    fn other_helm(&self, release: &Release) -> Option<Decision> {
        let message = other_helm(self.drive.now, release)?;
        let waiting = wait(self.drive.now, WaitingOn::ForeignHelm, POLL);
        Some(Decision::new(waiting, self.removing(message)))
    }

    /// Waits for proxies that are still connected, and for eyes to see them; `None` when there are none.
    fn connections(&self, plane: &ControlPlane) -> Option<Decision> {
        match &plane.live {
            Seen::Present(live) if live.connected == 0 => None,
            Seen::Present(live) => Some(self.wait_for_disconnect(live.connected)),
            // Nothing can be connected to an istiod of which no pod ever got ready.
            Seen::Unreadable(_) | Seen::Absent if plane.ready == 0 => None,
            // No pod of this cluster runs its sidecar, and a person accepts that more is not known.
            _ if self.drive.upgrade.accepts(METRICS_UNREADABLE) => None,
            Seen::Unreadable(why) => Some(self.blind_to_new(why)),
            Seen::Absent => Some(self.blind_to_new("not looked at yet")),
        }
    }

    /// What cannot be read may use it. It is waited for in the time that proxies have to leave it.
    fn blind_to_users(&self, what: &str, why: &str) -> Decision {
        let (now, upgrade) = (self.drive.now, self.drive.upgrade);
        let began = step_began(upgrade, Step::RemovingNewControlPlane, now);
        if now >= later(began, timeout(upgrade)) {
            return self.rolled_back(&[message::unread_users(what, why)]);
        }
        blind(now, self.removing(String::new()), what, why)
    }

    fn blind_to_new(&self, why: &str) -> Decision {
        let report = self.removing(String::new());
        let (now, upgrade) = (self.drive.now, self.drive.upgrade);
        blind_to_metrics(now, upgrade, report, "the metrics of the new istiod", why)
    }

    fn wait_for_disconnect(&self, connected: u64) -> Decision {
        let (now, upgrade) = (self.drive.now, self.drive.upgrade);
        let began = step_began(upgrade, Step::RemovingNewControlPlane, now);
        let deadline = later(began, timeout(upgrade));
        if now >= deadline {
            return self.rolled_back(&[message::foreign_proxies(connected)]);
        }
        let message = format!(
            "waiting for {connected} proxies to leave the new control plane (until {})",
            message::moment(deadline)
        );
        let waiting = wait(now, WaitingOn::Retirement, POLL);
        Decision::new(waiting, self.removing(message))
    }

    fn uninstall(&self, release: String) -> Decision {
        let record = self.drive.record;
        let namespace = record.source.namespace.clone();
        let message =
            format!("removing the new control plane: Helm uninstalls {namespace}/{release}");
        let effect = Effect::RetireRevision {
            release,
            namespace,
            revision: record.target_revision.clone(),
        };
        Decision::new(Next::Act(vec![effect]), self.removing(message))
    }

    /// Helm says that it is gone, and its Deployment is still there.
    fn orphan(&self, plane: &ControlPlane) -> Decision {
        if !self.settling() {
            return self.rolled_back(&[message::without_release(plane)]);
        }
        let message = format!("waiting for the removal of {}", plane.name);
        let waiting = wait(self.drive.now, WaitingOn::Retirement, POLL);
        Decision::new(waiting, self.removing(message))
    }

    /// Whether a watch may still lag behind what Helm did.
    fn settling(&self) -> bool {
        let (now, upgrade) = (self.drive.now, self.drive.upgrade);
        let began = step_began(upgrade, Step::RemovingNewControlPlane, now);
        now < later(began, SETTLING)
    }

    fn removing(&self, message: String) -> Report {
        Report {
            step: Some(Step::RemovingNewControlPlane),
            message,
            ..self.report()
        }
    }

    /// The end; `users` are those for whom the new control plane stays.
    pub(super) fn rolled_back(&self, users: &[String]) -> Decision {
        let (record, report) = (self.drive.record, self.report());
        let blocked = report.blocked.as_ref().map_or(0, Vec::len);
        let asked = self.drive.upgrade.spec.request_rollback;
        let new_stays = self.new_plane().is_some();
        let message = message::rolled_back(record, self.reason, (users, new_stays), blocked, asked);
        let (reason, ready) = match (record.strategy, users) {
            (Strategy::InPlace, _) => (
                "Restored",
                format!("istiod runs {} again", record.source.version),
            ),
            (Strategy::Canary, []) if record.by_helm() || !new_stays => (
                "Removed",
                format!("istiod {} is gone", record.target_revision),
            ),
            (Strategy::Canary, _) => (
                NO_LONGER_MOVED_TO,
                format!("istiod {} is no longer moved to", record.target_revision),
            ),
        };
        let report = Report {
            message,
            outcome: Some(Outcome::RolledBack),
            findings: Findings {
                control_plane_ready: Verdict::no(reason, ready),
                data_plane_upgraded: Verdict::no(
                    "RolledBack",
                    message::moved(self.drive.judged.proxies, &self.drive.heading.name()),
                ),
                healthy: Verdict::no("RolledBack", self.reason),
                ..report.findings.clone()
            },
            ..report
        };
        let mut decision = Decision::new(Next::Enter(Phase::Failed), report);
        if !users.is_empty() {
            let (revision, to) = (&record.target_revision, self.drive.heading.to);
            let blocked = decision.report.blocked.get_or_insert_default();
            blocked.extend(blocking(self.drive.view, revision, to));
        }
        decision
    }
}
