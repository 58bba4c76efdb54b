//! What only looks, what several clusters say, and what a person accepts.

use meshlift_api::{ClusterRole, Mode};
use meshlift_planner::view::{Cluster, Seen};

use super::*;

fn preflight(name: &'static str, target: &str) -> Story {
    let mut world = registered(target);
    edit(&mut world, |object| object.spec.mode = Mode::Preflight);
    Story {
        limit: 120,
        ..story(name, world)
    }
}

fn preflight_ready() -> Story {
    preflight("preflight_ready", "1.31.0")
}

fn preflight_blocked() -> Story {
    let mut story = preflight("preflight_blocked", "1.31.0");
    story.world.kubernetes.minor = 31;
    story
}

fn preflight_then_apply() -> Story {
    let story = Story {
        limit: HOUR,
        ..preflight("preflight_then_apply", "1.31.0")
    };
    with(
        story,
        When::After(60),
        "the mode is set to Apply",
        |world| {
            edit_spec(world, |spec| spec.mode = Mode::Apply);
        },
    )
}

pub(super) fn from(of: &str, world: &mut World) {
    world.istiod("default").plane.version = Some(version(of));
    world.helm.releases = vec![
        release("istio-base", "base", of, json!({})),
        release("istiod", "istiod", of, values()),
    ];
}

fn several_hops_planned() -> Story {
    let mut story = preflight("several_hops_planned", "1.31.0");
    from("1.28.4", &mut story.world);
    story
}

fn several_hops() -> Story {
    let mut world = registered("1.31.0");
    from("1.28.4", &mut world);
    story("several_hops", world)
}

fn several_hops_and_a_user_left() -> Story {
    let mut world = registered("1.31.0");
    from("1.28.4", &mut world);
    world.loose.push(loose("shop", "by-hand", None));
    story("several_hops_and_a_user_left", world)
}

fn remote(minor: u32) -> Seen<Vec<Cluster>> {
    Seen::Present(vec![Cluster {
        name: "east".into(),
        role: ClusterRole::Remote,
        kubernetes: Seen::Present(KubernetesVersion { major: 1, minor }),
    }])
}

fn other_cluster_too_old() -> Story {
    let mut world = registered("1.31.0");
    world.environment.clusters = remote(30);
    let story = story("other_cluster_too_old", world);
    with(
        story,
        When::After(60),
        "cluster east is upgraded",
        |world| {
            world.environment.clusters = remote(33);
        },
    )
}

fn other_cluster_accepted() -> Story {
    let mut world = registered("1.31.0");
    world.environment.clusters = remote(30);
    let story = story("other_cluster_accepted", world);
    with(
        story,
        When::After(60),
        "a person accepts K8S-TOO-OLD",
        |world| {
            edit_spec(world, |spec| spec.accept_risks = vec!["K8S-TOO-OLD".into()]);
        },
    )
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        preflight_ready(),
        preflight_blocked(),
        preflight_then_apply(),
        several_hops_planned(),
        several_hops(),
        several_hops_and_a_user_left(),
        other_cluster_too_old(),
        other_cluster_accepted(),
    ]
}
