//! Proof that all is well on the old control plane.

use jiff::SignedDuration;
use meshlift_api::{RollbackStatus, Soak, Step};
use meshlift_model::decision::{Decision, Next, Report, Waiting, WaitingOn};
use meshlift_model::detection::METRICS_UNREADABLE;
use meshlift_model::{heading, message};

use super::Back;
use crate::phase::health::{Health, HealthLook};
use crate::phase::patience::blind_to_metrics;
use crate::phase::upgrading::{step_began, stop, timeout};
use crate::phase::{POLL, later, signed, wait};

impl Back<'_> {
    /// Watches the health of the old control plane and what is on it; `None` when the soak has passed.
    pub(super) fn proof(&self) -> Option<Decision> {
        let now = self.drive.now;
        let running = self.running();
        if self.nothing_changed() || running.is_some_and(|soak| soak.passed_at.is_some()) {
            return None;
        }
        Some(match self.health(running).judge() {
            Health::Unseen(why) => {
                let report = self.proving(String::new(), running.cloned());
                let upgrade = self.drive.upgrade;
                blind_to_metrics(now, upgrade, report, "the metrics of istiod", &why)
            }
            Health::Ill(problems) => self.unhealthy(&problems),
            Health::Going { soak, end } => {
                let message = format!(
                    "{}; healthy, watched until {}",
                    message::moved(self.drive.judged.proxies, &self.drive.heading.name()),
                    message::moment(end)
                );
                let until = end.min(later(now, POLL));
                self.soaking(until, self.proving(message, Some(soak)))
            }
            Health::Passed(soak) => {
                let message = format!("back on {} and healthy", self.drive.record.source.version);
                self.soaking(now, self.proving(message, Some(soak)))
            }
        })
    }

    /// Where the new control plane never got ready and no pod was replaced on the way back, all run as
    /// they did before.
    fn nothing_changed(&self) -> bool {
        if self.new_was_ready() {
            return false;
        }
        let since = heading::rollback(self.drive.upgrade).map(|rollback| rollback.since.0);
        self.drive.judged.placements.iter().all(|(workload, _)| {
            let replaced = workload.restarted_at.max(workload.evicted_at);
            !workload.managed_gateway && (replaced.is_none() || replaced < since)
        })
    }

    fn soaking(&self, until: jiff::Timestamp, report: Report) -> Decision {
        let on = WaitingOn::Soak;
        Decision::new(Next::Wait(Waiting { on, until }), report)
    }

    /// The watch under way: one that was left for another step begins anew.
    fn running(&self) -> Option<&Soak> {
        let status = &self.drive.upgrade.status;
        let proving = [Step::ProvingBack, Step::RemovingNewControlPlane];
        let here = status.step.is_some_and(|step| proving.contains(&step));
        let soak = heading::rollback(self.drive.upgrade)?.soak.as_ref();
        soak.filter(|_| here)
    }

    fn health<'b>(&'b self, running: Option<&'b Soak>) -> HealthLook<'b> {
        HealthLook {
            now: self.drive.now,
            planes: self.planes(),
            to: self.drive.record.source_plane(),
            moved: self.drive.moved(),
            soak: self.soak_time(),
            accepts_blind: self.drive.upgrade.accepts(METRICS_UNREADABLE),
            running,
        }
    }

    fn soak_time(&self) -> SignedDuration {
        signed(self.drive.upgrade.spec.health_check.soak)
    }

    fn unhealthy(&self, problems: &[String]) -> Decision {
        let (now, upgrade) = (self.drive.now, self.drive.upgrade);
        let what = message::first_few(problems);
        let patience = timeout(upgrade).saturating_add(self.soak_time());
        let deadline = later(step_began(upgrade, Step::ProvingBack, now), patience);
        if now >= deadline {
            let what = format!(
                "everything is back, but not healthy within {}: {what}",
                message::span(patience)
            );
            let left = message::left_after_rollback(self.drive.record);
            return stop(&what, &left, self.proving(String::new(), None));
        }
        let message = format!(
            "not healthy, the soak starts over (until {}): {what}",
            message::moment(deadline)
        );
        // From the counters as they are now.
        let fresh = match self.health(None).judge() {
            Health::Going { soak, .. } => Some(soak),
            Health::Passed(_) | Health::Ill(_) | Health::Unseen(_) => None,
        };
        let report = self.proving(message, fresh);
        Decision::new(wait(now, WaitingOn::Soak, POLL), report)
    }

    fn proving(&self, message: String, soak: Option<Soak>) -> Report {
        let rollback = heading::rollback(self.drive.upgrade);
        Report {
            step: Some(Step::ProvingBack),
            message,
            rollback: rollback.map(|rollback| RollbackStatus {
                soak,
                ..rollback.clone()
            }),
            ..self.report()
        }
    }
}
