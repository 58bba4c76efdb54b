//! The way back in place. A sidecar may be older than its control plane and never newer, so the order is turned round:
//!
//! | what is seen | what follows |
//! |---|---|
//! | a sidecar of the target | istiod stays at the target and injects the sidecars of before; workloads restart |
//! | none any more | istiod goes back to its version and values; CRDs stay as they are |
//! | istiod as before, all ready | proof, and the end |

use meshlift_api::Step;
use meshlift_model::decision::{ChartTarget, Decision, Effect, Report, WaitingOn};
use meshlift_model::detection::METRICS_UNREADABLE;
use meshlift_model::message;
use meshlift_model::view::{Pod, Release, Seen};

use super::Back;
use crate::phase::control_plane::helm_step;
use crate::phase::patience::{blind_to_metrics, is_late};
use crate::phase::upgrading::{stop, timeout};
use crate::phase::versions::of_another_version;
use crate::phase::{BACKSTOP, wait};

impl Back<'_> {
    pub(super) fn in_place(mut self) -> Decision {
        // Once Helm has taken istiod back, a pod that seems to be ahead is one that a lagging watch shows.
        if !self.has_gone_back() && self.is_ahead() {
            let moves = self
                .leads_back()
                .or_else(|| self.old_is_down())
                .or_else(|| self.drive.restarts(self.report()));
            return moves.unwrap_or_else(|| self.stays_ahead());
        }
        let back = self
            .connected_ahead()
            .or_else(|| self.restores())
            .or_else(|| self.is_not_restored())
            .or_else(|| self.old_is_down());
        back.unwrap_or_else(|| {
            self.name_what_is_left();
            self.proof().unwrap_or_else(|| self.rolled_back(&[]))
        })
    }

    /// Pods that run a sidecar of the target.
    fn ahead(&self) -> Vec<&Pod> {
        let sidecars = self.drive.view.sidecars().map(AsRef::as_ref);
        sidecars
            .filter(|pod| self.drive.heading.leaves(pod))
            .collect()
    }

    /// Whether the release of istiod is at its version of before.
    fn has_gone_back(&self) -> bool {
        let source = &self.drive.record.source;
        let release = Release::find(self.releases, &source.name, &source.namespace);
        release.is_some_and(|release| release.version.as_ref() == Some(&source.version))
    }

    fn is_ahead(&self) -> bool {
        !self.ahead().is_empty()
    }

    /// Lets the istiod of the target inject the sidecars of before; `None` when it does.
    fn leads_back(&self) -> Option<Decision> {
        let target = self.drive.record.leading_back()?;
        self.helm(target, Step::MovingBack)
            .or_else(|| self.is_not_replaced(Step::MovingBack))
    }

    /// Waits while a proxy that is newer than istiod will be is connected, also one that is no pod of this cluster or that
    /// a watch does not show yet; `None` when there is none, or when istiod is back.
    fn connected_ahead(&self) -> Option<Decision> {
        if self.has_gone_back() {
            return None;
        }
        let plane = self.old_plane()?;
        let before = &self.drive.record.source.version;
        match &plane.live {
            Seen::Present(live) => {
                let why = message::proxies_ahead(&live.ahead_of(before)?, before);
                Some(self.waits_for(Step::MovingBack, why))
            }
            // No replica at the target ever got ready, so none of them has injected anything.
            Seen::Unreadable(_) | Seen::Absent if plane.ready == 0 && self.never_served() => None,
            _ if self.drive.upgrade.accepts(METRICS_UNREADABLE) => None,
            Seen::Unreadable(why) => Some(self.blind_to_istiod(why)),
            Seen::Absent => Some(self.blind_to_istiod("not looked at yet")),
        }
    }

    /// Whether the istiod of the target never got ready, in this run or an earlier one.
    fn never_served(&self) -> bool {
        !self.new_was_ready() && self.drive.upgrade.status.history.is_empty()
    }

    fn blind_to_istiod(&self, why: &str) -> Decision {
        let report = Report {
            step: Some(Step::MovingBack),
            ..self.report()
        };
        let (now, upgrade) = (self.drive.now, self.drive.upgrade);
        blind_to_metrics(now, upgrade, report, "the metrics of istiod", why)
    }

    /// Takes istiod back; `None` when Helm says that it is.
    fn restores(&self) -> Option<Decision> {
        self.helm(
            self.drive.record.source_istiod(),
            Step::RestoringControlPlane,
        )
    }

    fn helm(&self, target: ChartTarget, step: Step) -> Option<Decision> {
        let (version, values) = (target.version.clone(), target.values.clone());
        let differs = |release: &Release| {
            release.version.as_ref() != Some(&version) || release.values != values
        };
        let decision = helm_step(
            self.drive.now,
            self.releases,
            target,
            step,
            differs,
            Effect::UpgradeIstiod,
        )?;
        let report = Report {
            step: decision.report.step,
            message: decision.report.message,
            ..self.report()
        };
        Some(Decision { report, ..decision })
    }

    /// Waits while a replica of before still injects what it did.
    fn is_not_replaced(&self, step: Step) -> Option<Decision> {
        let plane = self.old_plane()?;
        let replaced = plane.is_ready() && !plane.rolling;
        (!replaced).then(|| self.waits_for(step, message::not_replaced(plane)))
    }

    /// Waits until istiod is seen at its version of before.
    fn is_not_restored(&self) -> Option<Decision> {
        let step = Step::RestoringControlPlane;
        let plane = self.old_plane()?;
        let other = of_another_version(plane, &self.drive.record.source.version);
        let other = other.map(|what| self.waits_for(step, what));
        other.or_else(|| self.is_not_replaced(step))
    }

    fn waits_for(&self, step: Step, why: String) -> Decision {
        let (now, upgrade) = (self.drive.now, self.drive.upgrade);
        let record = self.drive.record;
        if is_late(now, upgrade, WaitingOn::ControlPlane) {
            let patience = message::span(timeout(upgrade));
            let what = message::old_never_served(record, self.reason, &why, &patience);
            let left = message::left_between(record, self.drive.judged.counts());
            return stop(&what, &left, self.report());
        }
        let report = Report {
            step: Some(step),
            message: message::waits_for_old(record, &why),
            ..self.report()
        };
        Decision::new(wait(now, WaitingOn::ControlPlane, BACKSTOP), report)
    }

    /// What could not be restarted keeps istiod where it is: a control plane older than its proxies is supported by nobody.
    fn stays_ahead(&self) -> Decision {
        let pods: Vec<String> = self
            .ahead()
            .iter()
            .map(|pod| format!("{}/{}", pod.namespace, pod.name))
            .collect();
        let (what, left) = message::stays_ahead(self.drive.record, self.reason, &pods);
        stop(&what, &left, self.report())
    }
}
