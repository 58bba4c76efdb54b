//! The new control plane is kept as available as the old one: as many replicas, and the same disruption budget.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use meshlift_model::view::{Budget, BudgetRule, Seen};

use super::detection::from;
use super::*;
use crate::budgets::budget;

/// The chart's minimum of one, three replicas by load, and a budget that a person made.
fn grown() -> World {
    let mut world = registered("1.31.0");
    grow(&mut world);
    world
}

fn grow(world: &mut World) {
    let release = world.helm.find("istiod").expect("the release");
    let revision = release.revisions.last_mut().expect("a revision");
    revision.values.remove("autoscaleMin");
    let plane = &mut world.istiod("default").plane;
    (plane.desired, plane.ready) = (3, 3);
    world.environment.budgets = Seen::Present(vec![Budget {
        rule: BudgetRule {
            max_unavailable: Some(IntOrString::Int(1)),
            ..BudgetRule::default()
        },
        ..budget("by-hand", "default")
    }]);
}

/// It starts with three replicas and the chart's budget, and has its own minimum and a copy of the budget afterwards.
fn grown_istiod() -> Story {
    story("grown_istiod", grown())
}

/// The same where the chart renders no budget.
fn without_chart_budget() -> World {
    let mut world = grown();
    let release = world.helm.find("istiod").expect("the release");
    let revision = release.revisions.last_mut().expect("a revision");
    revision.values.insert(
        "global".into(),
        json!({ "defaultPodDisruptionBudget": { "enabled": false } }),
    );
    world
}

fn budget_is_copied_before_anything_moves() -> Story {
    story(
        "budget_is_copied_before_anything_moves",
        without_chart_budget(),
    )
}

/// The copy is removed with the control plane that owns it.
fn budget_goes_with_the_new_istiod() -> Story {
    let mut world = without_chart_budget();
    world.app("cart").breaks = Some("container app: CrashLoopBackOff".into());
    story("budget_goes_with_the_new_istiod", world)
}

/// The autoscaler of the old one has grown again when the second step begins: each step has its own minimum.
fn grown_over_two_minors() -> Story {
    let mut world = registered("1.31.0");
    from("1.29.8", &mut world);
    grow(&mut world);
    let story = story("grown_over_two_minors", world);
    with(
        story,
        When::Once(|world| {
            let [istiod] = &world.istiods[..] else {
                return false;
            };
            istiod.plane.revision == "1-30-5"
        }),
        "the autoscaler of istiod-1-30-5 adds a replica",
        |world| {
            let plane = &mut world.istiod("1-30-5").plane;
            (plane.desired, plane.ready) = (3, 3);
        },
    )
}

pub fn all() -> Vec<Story> {
    vec![
        grown_istiod(),
        budget_is_copied_before_anything_moves(),
        budget_goes_with_the_new_istiod(),
        grown_over_two_minors(),
    ]
}
