//! The old control plane stays for a while, stops being the default one, and goes when nothing uses
//! it any more.

use jiff::SignedDuration;
use meshlift_api::{BlockedWorkload, ControlPlaneRef, Outcome, Phase, Step, Strategy};
use meshlift_istio::values;
use meshlift_istio::version::Version;
use meshlift_model::decision::{
    Decision, Effect, Findings, Next, Report, Verdict, Waiting, WaitingOn,
};
use meshlift_model::detection::METRICS_UNREADABLE;
use meshlift_model::message;
use meshlift_model::users::{asking_in_vain, blocking, unread, users};
use meshlift_model::view::{Release, ReleaseState, Seen};

use super::control_plane::{helm_step, other_helm};
use super::health_checking::Look;
use super::patience::blind_to_metrics;
use super::upgrading::{step_began, stop};
use super::{BACKSTOP, POLL, blind, later, retirement_at, signed, wait};

/// How long a watch may lag behind what Helm did: the API server ends each within this time.
pub(super) const SETTLING: SignedDuration = SignedDuration::from_mins(5);

impl Look<'_> {
    pub(super) fn keep_old(&self) -> Option<Decision> {
        let end = retirement_at(self.upgrade)?;
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

    /// The end of an upgrade in place: nothing is left to remove.
    pub(super) fn in_place_ends(&self) -> Option<Decision> {
        let ends = || self.hand_over().unwrap_or_else(|| self.done(Vec::new()));
        (self.record.strategy == Strategy::InPlace).then(ends)
    }

    /// Points the default revision at the new control plane; `None` when it does.
    pub(super) fn move_default(&self) -> Option<Decision> {
        let step = Step::MovingDefaultRevision;
        let validator = match &self.view.validator {
            Seen::Present(validator) if validator.namespace == self.record.source.namespace => {
                validator
            }
            // That of another mesh is not pointed elsewhere: its configuration would be judged by this one.
            Seen::Present(_) | Seen::Absent => return None,
            Seen::Unreadable(why) => {
                let report = self.report(step, String::new());
                return Some(blind(self.now, report, "the validating webhook", why));
            }
        };
        let target = self.target()?;
        let served = validator.calls(target);
        if !served && !self.record.by_helm() {
            return Some(self.default_is_committed(step));
        }
        if served && self.base_is_settled() {
            if validator.has_ca_bundle {
                return None;
            }
            let message = format!(
                "waiting until {} writes its CA bundle into the default validator",
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
        let base = self.record.target_base(self.base_with_default());
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
            let message = format!("waiting until the default validator calls {}", target.name);
            let waiting = wait(self.now, WaitingOn::Validator, POLL);
            return Some(Decision::new(waiting, self.report(step, message)));
        };
        let message = match &decision.next {
            Next::Act(batch) if matches!(batch[..], [Effect::PointDefaultRevision(_)]) => format!(
                "pointing the default revision and its validating webhook at {} (Helm release {}/{})",
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

    /// Whether Helm has ended what it did to the base release: cut off after the webhook was written,
    /// it would hold up the user's next upgrade, or take the webhook back to the old control plane.
    fn base_is_settled(&self) -> bool {
        if !self.record.by_helm() {
            return true;
        }
        let base = &self.record.base;
        let Seen::Present(releases) = &self.view.releases else {
            return false;
        };
        Release::find(releases, &base.name, &base.namespace).is_none_or(|release| {
            release.state == ReleaseState::Deployed && release.values == self.base_with_default()
        })
    }

    fn base_with_default(&self) -> serde_json::Map<String, serde_json::Value> {
        values::base_with_default(&self.record.base_values, &self.record.target_revision)
    }

    pub(super) fn retire(&self) -> Decision {
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
            (None, Ok(None)) => return self.gone(),
            (plane, Ok(release)) => (plane, release),
        };
        if let Some(waiting) = release.and_then(|release| self.other_helm(release)) {
            return waiting;
        }
        let users = users(self.view, &self.record.source_revision, plane);
        if !users.is_empty() && self.may_still_move && self.in_time() {
            let message = message::waits_for_users(&users);
            let waiting = wait(self.now, WaitingOn::Retirement, POLL);
            return Decision::new(waiting, self.report(step, message));
        }
        if !users.is_empty() {
            return self.old_stays(&users);
        }
        if let Some((what, why)) = unread(self.view) {
            return self.blind_to_users(what, why);
        }
        if let Some(decision) = release.and_then(|release| self.release_tags(release)) {
            return decision;
        }
        let Some(plane) = plane else {
            // The Deployment is gone and the release is not: the uninstall was cut off.
            return self.uninstall();
        };
        match &plane.live {
            Seen::Present(live) if live.connected == 0 => {}
            Seen::Present(live) => return self.wait_for_disconnect(live.connected),
            // It has no pod that is ready, so nothing can be connected to it.
            Seen::Unreadable(_) | Seen::Absent if plane.ready == 0 => {}
            // No pod of this cluster runs its sidecar, and a person accepts that more is not known.
            _ if self.upgrade.accepts(METRICS_UNREADABLE) => {}
            Seen::Unreadable(why) => return self.blind_to_old(why),
            Seen::Absent => return self.blind_to_old("not looked at yet"),
        }
        match release {
            Some(_) => self.uninstall(),
            None if !self.record.by_helm() => self.removal_is_committed(step),
            // Nobody removes a Deployment that no release has.
            None if !self.settling() => self.old_stays(&[message::without_release(plane)]),
            None => {
                let message = format!("waiting for the removal of {}", plane.name);
                Decision::new(
                    wait(self.now, WaitingOn::Retirement, POLL),
                    self.report(step, message),
                )
            }
        }
    }

    /// What cannot be read may use it. It is waited for in the time that proxies have to leave it.
    fn blind_to_users(&self, what: &str, why: &str) -> Decision {
        let step = Step::RetiringControlPlane;
        let patience = signed(self.upgrade.spec.data_plane.restart.timeout);
        if self.now >= later(step_began(self.upgrade, step, self.now), patience) {
            return self.old_stays(&[message::unread_users(what, why)]);
        }
        blind(self.now, self.report(step, String::new()), what, why)
    }

    /// Whether what still uses the old control plane has time to leave it.
    fn in_time(&self) -> bool {
        let patience = signed(self.upgrade.spec.data_plane.restart.timeout);
        let began = step_began(self.upgrade, Step::RetiringControlPlane, self.now);
        self.now < later(began, patience)
    }

    fn blind_to_old(&self, why: &str) -> Decision {
        let report = self.report(Step::RetiringControlPlane, String::new());
        let (now, upgrade) = (self.now, self.upgrade);
        blind_to_metrics(now, upgrade, report, "the metrics of the old istiod", why)
    }

    /// The old release, if it is still in Helm's storage.
    fn source_release(&self) -> Result<Option<&Release>, String> {
        let source = &self.record.source;
        if !self.record.by_helm() {
            return Ok(None);
        }
        match &self.view.releases {
            Seen::Present(releases) => Ok(Release::find(releases, &source.name, &source.namespace)),
            Seen::Absent => Ok(None),
            Seen::Unreadable(why) => Err(why.clone()),
        }
    }

    /// Waits for whoever works on the old release. One of ours that was cut off is uninstalled as it is.
    fn other_helm(&self, release: &Release) -> Option<Decision> {
        let message = other_helm(self.now, release)?;
        Some(Decision::new(
            wait(self.now, WaitingOn::ForeignHelm, POLL),
            self.report(Step::RetiringControlPlane, message),
        ))
    }

    fn wait_for_disconnect(&self, connected: u64) -> Decision {
        let step = Step::RetiringControlPlane;
        let patience = signed(self.upgrade.spec.data_plane.restart.timeout);
        let deadline = later(step_began(self.upgrade, step, self.now), patience);
        if self.now >= deadline {
            return self.old_stays(&[message::foreign_proxies(connected)]);
        }
        let message = format!(
            "waiting for {connected} proxies to leave the old control plane (until {})",
            message::moment(deadline)
        );
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
        let unread = self
            .source()
            .is_some_and(|plane| plane.live.present().is_none() && plane.ready > 0);
        let message = format!(
            "removing the old control plane: Helm uninstalls {}/{}{}",
            source.namespace,
            source.name,
            if unread {
                message::CONNECTIONS_UNKNOWN
            } else {
                ""
            }
        );
        Decision::new(
            Next::Act(vec![effect]),
            self.report(Step::RetiringControlPlane, message),
        )
    }

    fn old_stays(&self, users: &[String]) -> Decision {
        let (revision, to) = (&self.record.source_revision, &self.record.target_revision);
        let named = blocking(self.view, revision, to);
        let mut decision = match self.record.later.first() {
            Some(next) => self.stuck_between(next, users),
            None => {
                let mut counts = self.judged.counts();
                counts.blocked += u32::try_from(named.len()).unwrap_or_default();
                let message = message::done_old_stays(self.record, counts, users);
                let used = format!("used by {}", message::first_few(users));
                self.end(message, Verdict::no("InUse", used))
            }
        };
        let blocked = decision.report.blocked.get_or_insert_default();
        blocked.extend(named);
        decision
    }

    /// The next step cannot begin while two control planes are there.
    fn stuck_between(&self, next: &Version, users: &[String]) -> Decision {
        let message = message::stuck_between(self.record, next, users);
        let mut report = self.report(Step::RetiringControlPlane, message);
        report.outcome = Some(Outcome::Stopped);
        report.findings.old_revision_retired =
            Verdict::no("InUse", format!("used by {}", message::first_few(users)));
        Decision::new(Next::Enter(Phase::Failed), report)
    }

    /// The way has more steps: the next one starts from a detection of its own.
    fn go_on(&self, next: &Version) -> Decision {
        let at = &self.record.target_version;
        let message = format!("the mesh is at {at} on its way, and goes on to {next}");
        let report = Report {
            message,
            target: Some(ControlPlaneRef {
                version: at.to_string(),
                revision: Some(self.record.target_revision.clone()),
            }),
            hop_done: true,
            ..Report::default()
        };
        Decision::new(Next::Enter(Phase::Pending), report)
    }

    /// The old control plane is gone. What still runs its sidecar has no control plane: that is not Done.
    fn gone(&self) -> Decision {
        let users = users(self.view, &self.record.source_revision, None);
        if users.is_empty() {
            return self.done(Vec::new());
        }
        let step = Step::RetiringControlPlane;
        if self.settling() {
            let message = message::waits_for_orphans(&self.record.source.version, &users);
            let waiting = wait(self.now, WaitingOn::Retirement, POLL);
            return Decision::new(waiting, self.report(step, message));
        }
        let (revision, to) = (&self.record.source_revision, &self.record.target_revision);
        let in_vain = asking_in_vain(self.view, revision, to);
        // Each of them is among the users: then there are no others.
        if in_vain.len() == users.len() {
            return self.done(in_vain);
        }
        let what = message::gone_and_used(&self.record.source.version, &users);
        let mut report = self.report(step, String::new());
        report.findings.old_revision_retired =
            Verdict::no("InUse", format!("used by {}", message::first_few(&users)));
        let left = message::rest_is_at(&self.record.target_version, self.judged.counts());
        stop(&what, &left, report)
    }

    /// Whether a watch may still lag behind what Helm did.
    fn settling(&self) -> bool {
        let began = step_began(self.upgrade, Step::RetiringControlPlane, self.now);
        self.now < later(began, SETTLING)
    }

    /// Done, but for what is left to others.
    fn done(&self, left: Vec<BlockedWorkload>) -> Decision {
        if let Some(next) = self.record.later.first() {
            return self.go_on(next);
        }
        let mut blocked = self
            .report(Step::RetiringControlPlane, String::new())
            .blocked
            .unwrap_or_default();
        blocked.extend(left);
        let notes = self.notes_on_versions();
        let message = message::done(self.record, &blocked, &notes);
        let before = &self.record.source.version;
        let retired = match self.record.strategy {
            Strategy::Canary => Verdict::yes("Retired", format!("istiod {before} is gone")),
            Strategy::InPlace => Verdict::yes("Replaced", message::replaced(self.record)),
        };
        let mut decision = self.end(message, retired);
        decision.report.blocked = Some(blocked);
        decision
    }

    fn end(&self, message: String, retired: Option<Verdict>) -> Decision {
        let others = self.sidecars_of_another_version();
        if !others.is_empty() {
            let (what, state) = message::sidecars_of_another_version(self.record, &others);
            let report = self.report(Step::RetiringControlPlane, String::new());
            return stop(&what, &state, report);
        }
        let mut report = self.report(Step::RetiringControlPlane, message);
        report.outcome = Some(Outcome::Upgraded);
        report.findings = Findings {
            old_revision_retired: retired,
            ..report.findings
        };
        Decision::new(Next::Enter(Phase::Done), report)
    }
}
