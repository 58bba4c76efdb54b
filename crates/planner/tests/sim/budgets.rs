//! How many replicas istiod has, and which disruption budgets: what the chart renders, and what the garbage collector
//! removes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use meshlift_model::view::{Budget, Seen};
use meshlift_model::{ChartTarget, Effect};

use crate::execute::{Failure, conflict};
use crate::world::{World, labels};

/// Fewest replicas that the autoscaler of a release keeps.
pub fn minimum(target: &ChartTarget) -> u32 {
    let minimum = target.values.get("autoscaleMin");
    let minimum = minimum.map(|minimum| minimum.as_u64().expect("a number"));
    u32::try_from(minimum.unwrap_or(1)).expect("a few")
}

/// A budget for the pods of a revision.
pub fn budget(name: &str, revision: &str) -> Budget {
    let pods = labels(&[("app", "istiod"), ("istio.io/rev", revision)]);
    Budget {
        namespace: "istio-system".into(),
        name: name.into(),
        selector: LabelSelector {
            match_labels: Some(pods),
            ..LabelSelector::default()
        },
        ..Budget::default()
    }
}

impl World {
    fn budgets_there(&mut self) -> Option<&mut Vec<Budget>> {
        match &mut self.environment.budgets {
            Seen::Present(budgets) => Some(budgets),
            Seen::Absent | Seen::Unreadable(_) => None,
        }
    }

    /// The chart has a budget for an istiod that never has less than two replicas.
    pub fn render_budget(&mut self, target: &ChartTarget) {
        let release = format!("{}/{}", target.namespace, target.release);
        let revision = target.values.get("revision").and_then(|of| of.as_str());
        let revision = revision.unwrap_or("default");
        let rendered = Budget {
            helm_release: Some(release.clone()),
            ..budget(&format!("istiod-{revision}"), revision)
        };
        let enabled = target
            .values
            .get("global")
            .and_then(|global| global.get("defaultPodDisruptionBudget")?.get("enabled"));
        let renders = minimum(target) > 1 && enabled != Some(&false.into());
        if let Some(budgets) = self.budgets_there() {
            budgets.retain(|budget| budget.helm_release.as_ref() != Some(&release));
            budgets.extend(renders.then_some(rendered));
        }
        self.one_budget_at_most(revision);
    }

    /// Its autoscaler goes to its minimum: the example has no load.
    pub fn restore_minimum(&mut self, target: &ChartTarget) -> Result<(), Failure> {
        self.begin_or_die(target)?;
        self.render_budget(target);
        let revision = target.values.get("revision").and_then(|of| of.as_str());
        let plane = &mut self.istiod(revision.unwrap_or("default")).plane;
        plane.desired = minimum(target);
        plane.ready = plane.ready.min(plane.desired);
        Ok(())
    }

    pub fn copy_budget(&mut self, effect: &Effect) -> Result<(), Failure> {
        let Effect::CopyBudget {
            name,
            revision,
            owner_uid,
            rule,
            ..
        } = effect
        else {
            unreachable!("the caller knows the effect");
        };
        let mut istiods = self.istiods.iter();
        assert!(
            istiods.any(|istiod| istiod.plane.uid == *owner_uid),
            "a budget owned by nothing is removed at once"
        );
        let made = Budget {
            rule: rule.clone(),
            ..budget(name, revision)
        };
        let budgets = self.budgets_there().expect("what was seen");
        if budgets.iter().any(|budget| budget.name == *name) {
            return Err(conflict(format!("budget {name} exists")));
        }
        budgets.push(made);
        self.wrote(format!("budget {name}"));
        self.one_budget_at_most(revision);
        Ok(())
    }

    /// What Helm rendered, and what the Deployment owns.
    pub fn lose_budgets(&mut self, release: &str, revision: &str) {
        let of_release = format!("istio-system/{release}");
        let copy = format!("istiod-{revision}-copy");
        if let Some(budgets) = self.budgets_there() {
            budgets.retain(|budget| {
                budget.name != copy && budget.helm_release.as_ref() != Some(&of_release)
            });
        }
    }

    /// The API server evicts no pod that two budgets select.
    fn one_budget_at_most(&mut self, revision: &str) {
        let of_revision = budget("", revision).selector;
        let budgets = self.budgets_there().map_or(&[][..], |budgets| budgets);
        let selecting = budgets
            .iter()
            .filter(|budget| budget.selector == of_revision);
        assert!(selecting.count() < 2, "two budgets for revision {revision}");
    }
}
