//! What the new control plane has from the old one besides its values: as many replicas, and the disruption budget that a
//! person made for it. Both are given before anything moves; the raised minimum of its autoscaler is put back afterwards.

use jiff::Timestamp;
use meshlift_api::Step;
use meshlift_model::decision::{ChartTarget, Decision, Effect, Next, Report};
use meshlift_model::record::Record;
use meshlift_model::view::{MeshView, Release, Seen};
use meshlift_model::{budgets, message, replicas};

use super::blind;
use super::control_plane::helm_step;
use super::health_checking::Look;

/// Copies the budget of the old control plane; `None` where there is none to copy, or the new one has one.
///
/// The copy is owned by the Deployment of the new istiod: it is removed with it, on the way back or by the next upgrade.
pub(super) fn copy_budget(
    now: Timestamp,
    view: &MeshView,
    record: &Record,
    report: Report,
) -> Option<Decision> {
    let budget = record.budget.as_ref()?;
    let plane = view.plane(record.target_plane())?;
    let seen = match &view.budgets {
        Seen::Present(seen) => seen,
        Seen::Absent => return None,
        Seen::Unreadable(why) => return Some(blind(now, report, "the disruption budgets", why)),
    };
    let mut own = budgets::of_revision(seen, &plane.namespace, &plane.revision);
    if own.next().is_some() {
        return None;
    }
    let effect = Effect::CopyBudget {
        namespace: plane.namespace.clone(),
        name: budgets::copy_name(&plane.revision),
        of: budget.name.clone(),
        revision: plane.revision.clone(),
        owner: plane.name.clone(),
        owner_uid: plane.uid.clone(),
        rule: budget.rule.clone(),
    };
    let message = message::copies_budget(&plane.namespace, &budget.name, &plane.name);
    Some(Decision::new(
        Next::Act(vec![effect]),
        Report { message, ..report },
    ))
}

impl Look<'_> {
    /// Puts back what was raised while both control planes ran; `None` when nothing is.
    ///
    /// This comes before the old control plane is removed: however the upgrade ends from here on, the values of the new
    /// release are those that its owner chose. By now its autoscaler knows the load of the whole mesh.
    pub(super) fn hand_over(&self) -> Option<Decision> {
        if self.record.raised_minimum.is_none() && self.record.budget.is_none() {
            return None;
        }
        let step = Step::RestoringAutoscaler;
        let report = || self.report(step, String::new());
        if let Some(why) = self.view.releases.unreadable() {
            return Some(blind(self.now, report(), "the Helm releases", why));
        }
        self.restore_minimum()
            // The chart renders a budget only while the minimum is more than one.
            .or_else(|| copy_budget(self.now, self.view, self.record, report()))
    }

    fn restore_minimum(&self) -> Option<Decision> {
        let raised = self.record.raised_minimum?;
        let releases = self.view.releases.present()?;
        let target = self.record.target_istiod();
        let release = Release::find(releases, &target.release, &target.namespace)?;
        let (version, owned) = (&self.record.target_version, &self.record.target_values);
        let restored = replicas::put_back(release, version, owned, raised);
        let is_raised = |of: &Release| replicas::put_back(of, version, owned, raised).is_some();
        let target = ChartTarget {
            values: restored.unwrap_or_else(|| release.values.clone()),
            ..target
        };
        let step = Step::RestoringAutoscaler;
        let restore = Effect::RestoreMinimum;
        let decision = helm_step(self.now, releases, target, step, is_raised, restore)?;
        let message = match &decision.next {
            Next::Act(batch) if matches!(batch[..], [Effect::RestoreMinimum(_)]) => {
                message::restores_minimum(self.record, raised)
            }
            _ => decision.report.message,
        };
        Some(Decision {
            next: decision.next,
            report: self.report(step, message),
        })
    }
}
