//! What changes on the object itself between a look and the record of what was decided from it: nothing of it may be lost.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::RollbackStatus;
use meshlift_model::{Decision, Next};

use super::*;

fn begins(decision: &Decision) -> bool {
    decision.next == Next::Enter(Phase::Upgrading)
}

/// The new target is what is installed: Done must not be said of a version that nobody asked for any more.
fn target_changes_as_it_begins() -> Story {
    with(
        story("target_changes_as_it_begins", registered("1.31.0")),
        When::Meanwhile(begins),
        "a person changes the target to 1.31.1",
        |world| edit_spec(world, |spec| spec.target_version = "1.31.1".into()),
    )
}

/// It was deleted before it began, so it does not begin.
fn deleted_as_it_begins() -> Story {
    with(
        story("deleted_as_it_begins", registered("1.31.0")),
        When::Meanwhile(begins),
        "a person deletes the upgrade",
        |world| edit(world, |object| object.deleting = true),
    )
}

/// What another process recorded stays: a way back that has begun is not taken back by one that did not know of it.
fn way_back_recorded_by_another_process() -> Story {
    with(
        story("way_back_recorded_by_another_process", registered("1.31.0")),
        When::Meanwhile(|decision| decision.next == Next::Enter(Phase::HealthChecking)),
        "another process records that everything goes back",
        |world| {
            let since = Time(world.now);
            edit(world, |object| {
                object.status.rollback = Some(RollbackStatus {
                    reason: "another process saw it fail".into(),
                    since,
                    soak: None,
                });
            });
        },
    )
}

/// The pod that ran Helm is lost in the middle of it, and nobody knows whether its Helm still is at work: the next leader
/// gives it the time that Helm itself would.
fn helm_of_a_pod_that_is_lost() -> Story {
    let mut story = story("helm_of_a_pod_that_is_lost", registered("1.31.0"));
    story.world.helm.dies = true;
    story.world.helm.fails_over = true;
    with(
        story,
        When::Meanwhile(|decision| decision.report.step == Some(Step::UpgradingBase)),
        "the pod is lost, and another leads",
        |world| world.helm.crashed(),
    )
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        target_changes_as_it_begins(),
        deleted_as_it_begins(),
        way_back_recorded_by_another_process(),
        helm_of_a_pod_that_is_lost(),
    ]
}
