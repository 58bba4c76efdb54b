//! Dry-run pods: where they are made, and who refuses them.

use super::*;

/// istio-system with a label of its own: no pod there can ask for a revision.
fn labelled(name: &'static str, key: &str, value: &str) -> Story {
    let mut world = registered("1.31.0");
    world.namespace("istio-system").labels = labels(&[(key, value)]);
    story(name, world)
}

/// A namespace that refuses every pod with a sidecar, by a policy that came after its pods.
fn one_namespace_refuses() -> Story {
    let mut world = registered("1.31.0");
    let why = "no capabilities may be added".to_owned();
    world.refusing.insert("blog".into(), why);
    story("one_namespace_refuses_pods", world)
}

/// The same, and it gets its exception when the rest has moved.
fn one_namespace_refuses_for_long() -> Story {
    let mut story = one_namespace_refuses();
    story.name = "one_namespace_refuses_pods_for_long";
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "the policy is changed",
        |world| world.refusing.clear(),
    )
}

/// What has moved was injected, also when its owners scale it to nothing later: the namespace is at fault, and not istiod.
fn the_rest_sleeps_while_one_namespace_refuses() -> Story {
    let mut story = one_namespace_refuses_for_long();
    story.name = "the_rest_sleeps_while_one_namespace_refuses_pods";
    with(
        story,
        reached(Phase::Upgrading, Step::ProvingControlPlane, 120),
        "everything in shop is scaled to zero",
        |world| {
            for name in ["cart", "web", "db"] {
                let app = world.app(name);
                app.replicas = 0;
                app.pods.clear();
            }
        },
    )
}

fn every_namespace_refuses() -> Story {
    let mut world = registered("1.31.0");
    for name in ["blog", "shop"] {
        let why = "no capabilities may be added".to_owned();
        world.refusing.insert(name.into(), why);
    }
    let story = story("every_namespace_refuses_pods", world);
    with(story, When::After(120), "the policy is changed", |world| {
        world.refusing.clear();
    })
}

/// A quota that holds exactly what there is: a StatefulSet deletes before it creates, a Deployment does not.
fn quota_is_full() -> Story {
    let mut world = registered("1.31.0");
    world.full.insert("shop".into());
    story("quota_is_full", world)
}

/// The workload that comes first by name has a proxy image of its own, which shows nothing of the new version.
fn first_one_has_its_own_image() -> Story {
    let mut world = registered("1.31.0");
    world.app("agent").own_proxy_image = true;
    story("first_one_has_its_own_image", world)
}

pub fn all() -> Vec<Story> {
    vec![
        labelled(
            "control_planes_namespace_is_disabled",
            "istio-injection",
            "disabled",
        ),
        labelled(
            "control_planes_namespace_is_enabled",
            "istio-injection",
            "enabled",
        ),
        labelled(
            "control_planes_namespace_follows_default",
            "istio.io/rev",
            "default",
        ),
        one_namespace_refuses(),
        one_namespace_refuses_for_long(),
        the_rest_sleeps_while_one_namespace_refuses(),
        every_namespace_refuses(),
        quota_is_full(),
        first_one_has_its_own_image(),
    ]
}
