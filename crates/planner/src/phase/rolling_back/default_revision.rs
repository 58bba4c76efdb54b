//! The default revision and its validating webhook, back at the old control plane. CRDs never go back: the
//! `base` release stays at the target version.

use meshlift_api::Step;
use meshlift_istio::values;
use meshlift_model::decision::{Decision, Effect, Next, Report, WaitingOn};
use meshlift_model::view::{Release, ReleaseState, Seen, Validator};
use serde_json::{Map, Value};

use super::Back;
use crate::phase::control_plane::helm_step;
use crate::phase::retirement::SETTLING;
use crate::phase::upgrading::{step_began, timeout};
use crate::phase::{BACKSTOP, POLL, blind, later, wait};

impl Back<'_> {
    /// Points the default revision at the old control plane, if it was moved; `None` when it is there.
    pub(super) fn default_revision(&self) -> Option<Decision> {
        let record = self.drive.record;
        // Only who renders the validator can point it elsewhere: the new control plane stays and serves it.
        if !record.by_helm() {
            return None;
        }
        let validator = match &self.drive.view.validator {
            Seen::Present(validator) if validator.namespace == record.source.namespace => {
                Some(validator)
            }
            Seen::Present(_) | Seen::Absent => None,
            Seen::Unreadable(why) => {
                let report = self.moving_back(String::new());
                return Some(blind(self.drive.now, report, "the validating webhook", why));
            }
        };
        let base = &record.base;
        // Who took the release away has said where the default revision shall be.
        let release = Release::find(self.releases, &base.name, &base.namespace)?;
        let by_webhook = validator.is_some_and(|v| v.service == self.new_service());
        let pending = matches!(release.state, ReleaseState::Pending { .. });
        if !by_webhook && !pending && !self.is_moved(&release.values) {
            return self.wait_for_ca_bundle(validator);
        }
        Some(self.point_back(by_webhook))
    }

    fn point_back(&self, by_webhook: bool) -> Decision {
        let (now, record) = (self.drive.now, self.drive.record);
        let values = values::base_as_found(&record.base_values, &record.base.values);
        let began = step_began(self.drive.upgrade, Step::MovingBack, now);
        // What Helm says to have done may take a while to be seen, but not for ever.
        let patience = later(began, SETTLING);
        let undone = |release: &Release| {
            let unseen = by_webhook && (release.values != values || now >= patience);
            unseen || self.is_moved(&release.values)
        };
        let decision = helm_step(
            now,
            self.releases,
            record.target_base(values.clone()),
            Step::MovingBack,
            undone,
            Effect::PointDefaultRevision,
        );
        let Some(decision) = decision else {
            let old = self.old_plane().map_or("istiod", |plane| &plane.name);
            let report = self.moving_back(format!(
                "waiting until the default validator calls {old} again"
            ));
            return Decision::new(wait(now, WaitingOn::Validator, POLL), report);
        };
        let message = match &decision.next {
            Next::Act(batch) if matches!(batch[..], [Effect::PointDefaultRevision(_)]) => format!(
                "pointing the default revision and its validating webhook back at {} (Helm release {}/{})",
                record.source_revision, record.base.namespace, record.base.name
            ),
            _ => decision.report.message,
        };
        Decision::new(decision.next, self.moving_back(message))
    }

    /// Only in the step that moves it: what the validator lacked before is no reason to hold workloads.
    fn wait_for_ca_bundle(&self, validator: Option<&Validator>) -> Option<Decision> {
        let (now, upgrade) = (self.drive.now, self.drive.upgrade);
        let (validator, old) = (validator?, self.old_plane()?);
        let deadline = later(step_began(upgrade, Step::MovingBack, now), timeout(upgrade));
        let waits = upgrade.status.step == Some(Step::MovingBack) && now < deadline;
        if !waits || !validator.calls(old) || validator.has_ca_bundle {
            return None;
        }
        let message = format!(
            "waiting until {} writes its CA bundle into the default validator",
            old.name
        );
        let waiting = wait(now, WaitingOn::Validator, BACKSTOP);
        Some(Decision::new(waiting, self.moving_back(message)))
    }

    fn is_moved(&self, release: &Map<String, Value>) -> bool {
        let target = Some(self.drive.record.target_revision.as_str());
        let recorded = values::default_revision(&self.drive.record.base.values);
        values::default_revision(release) == target && recorded != target
    }

    fn new_service(&self) -> String {
        let plane = self.new_plane().map(|plane| plane.name.clone());
        plane.unwrap_or_else(|| format!("istiod-{}", self.drive.record.target_revision))
    }

    fn moving_back(&self, message: String) -> Report {
        Report {
            step: Some(Step::MovingBack),
            message,
            ..self.report()
        }
    }
}
