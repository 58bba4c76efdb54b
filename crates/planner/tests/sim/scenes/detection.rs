//! What only looks, what several clusters say, and what a person accepts.

use meshlift_api::{ClusterRole, Mode, UpgradePath};
use meshlift_model::view::{Cluster, NodeAgent, NodeAgentKind, Seen};

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
    // One that every Istio on the path supports.
    world.kubernetes.minor = 34;
    world.istiod("default").plane.version = Some(version(of));
    world.helm.releases = vec![
        release("istio-base", "base", of, json!({})),
        release("istiod", "istiod", of, values()),
    ];
    world.renew_images();
}

/// The image of istiod by its full name: the chart of the target would run the old one.
fn image_by_full_name() -> Story {
    let mut world = registered("1.31.0");
    let values = json!({ "pilot": { "image": "reg.corp/istio/pilot:1.30.2" }, "autoscaleMin": 2 });
    world.helm.releases[1] = release("istiod", "istiod", "1.30.2", values);
    with(
        story("image_by_full_name", world),
        When::After(60),
        "the Mesh names the image of 1.31.0",
        |world| {
            let mesh = world.mesh.as_mut().expect("a Mesh");
            let image = json!({ "image": "reg.corp/istio/pilot:1.31.0" });
            mesh.values.istiod.insert("pilot".into(), image);
        },
    )
}

/// Someone began it with Helm, under another name.
fn begun_by_hand() -> Story {
    let mut world = registered("1.31.0");
    let mut istiod = Istiod::helm("1-31-0", "istio-new", &version("1.31.0"), 1);
    istiod.ready_at = Some(world.now);
    world.istiods.push(istiod);
    let by_hand = release(
        "istio-new",
        "istiod",
        "1.31.0",
        json!({ "revision": "1-31-0" }),
    );
    world.helm.releases.push(by_hand);
    Story {
        limit: 120,
        ..story("begun_by_hand", world)
    }
}

/// The control plane was upgraded in place, and nothing else.
fn in_place(name: &'static str) -> Story {
    let mut world = registered("1.31.0");
    world.istiod("default").plane.version = Some(version("1.31.0"));
    world.helm.releases[1] = release("istiod", "istiod", "1.31.0", values());
    story(name, world)
}

/// Most sidecars are old: they are renewed as in any upgrade.
fn upgraded_in_place() -> Story {
    in_place("upgraded_in_place")
}

/// Only one is, and the CRDs are: both are named, and it ends by itself once they are not.
fn upgraded_in_place_but_for_a_few() -> Story {
    let mut story = in_place("upgraded_in_place_but_for_a_few");
    let old = story.world.app("db").pods[0].pod.proxy_image.clone();
    story.world.renew_images();
    story.world.app("db").pods[0].pod_mut().proxy_image = old;
    let story = with(
        story,
        When::After(60),
        "a person upgrades the base release",
        |world| {
            world.helm.releases[0] = release("istio-base", "base", "1.31.0", json!({}));
        },
    );
    with(
        story,
        When::After(120),
        "a person restarts StatefulSet shop/db",
        |world| world.renew_images(),
    )
}

fn several_hops_planned() -> Story {
    let mut story = preflight("several_hops_planned", "1.31.0");
    from("1.28.4", &mut story.world);
    story
}

/// The name is part of everything that the new control plane has, and of the labels.
fn revision_by_name() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.revision = Some("canary".into());
    });
    story("revision_by_name", world)
}

/// The name of a revision that was removed long ago: marks of that time would be taken for restarts of this upgrade.
fn revision_by_a_name_of_old() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.revision = Some("canary".into());
    });
    let long_ago = start() - seconds(100 * 24 * HOUR);
    for name in ["cart", "db"] {
        let app = world.app(name);
        app.mark = Some("canary".into());
        app.restarted_at = Some(long_ago);
    }
    with(
        story("revision_by_a_name_of_old", world),
        When::After(60),
        "a person sets spec.revision: green",
        |world| edit_spec(world, |spec| spec.revision = Some("green".into())),
    )
}

/// One name for two control planes: nothing begins until a person goes one step at a time.
fn revision_by_name_over_two_minors() -> Story {
    let mut world = registered("1.31.0");
    from("1.29.8", &mut world);
    edit(&mut world, |object| {
        object.spec.revision = Some("canary".into());
    });
    with(
        story("revision_by_name_over_two_minors", world),
        When::After(60),
        "a person removes spec.revision",
        |world| edit_spec(world, |spec| spec.revision = None),
    )
}

fn several_hops() -> Story {
    let mut world = registered("1.31.0");
    from("1.28.4", &mut world);
    story("several_hops", world)
}

fn cni(of: &str) -> Seen<Vec<NodeAgent>> {
    Seen::Present(vec![NodeAgent {
        kind: NodeAgentKind::Cni,
        namespace: "kube-system".into(),
        name: "istio-cni-node".into(),
        version: Some(version(of)),
        image: format!("example.org/istio/install-cni:{of}"),
        desired: 2,
        ready: 2,
    }])
}

/// The next step waits until the CNI agent has followed, and the end names one that has not.
fn several_hops_with_a_cni_agent() -> Story {
    let mut world = registered("1.31.0");
    from("1.29.8", &mut world);
    world.environment.node_agents = cni("1.29.8");
    let waits = |world: &World| {
        let message = world.object.as_ref().map(|object| &object.status.message);
        message.is_some_and(|message| message.starts_with("the CNI agent is of 1.29.8"))
    };
    with(
        story("several_hops_with_a_cni_agent", world),
        When::Once(waits),
        "a person upgrades the CNI agent",
        |world| world.environment.node_agents = cni("1.30.2"),
    )
}

/// A minor is skipped where that was chosen.
fn fewest_restarts() -> Story {
    let mut world = registered("1.31.0");
    from("1.28.4", &mut world);
    edit(&mut world, |object| {
        object.spec.path = UpgradePath::FewestRestarts
    });
    story("fewest_restarts", world)
}

/// Builds of a vendor that counts them, to the newest of the next minor.
fn flavour_with_a_counter() -> Story {
    let mut world = registered("1.31-asm");
    from("1.30.2-asm.9", &mut world);
    let builds = ["1.31.0", "1.31.0-asm.9", "1.31.0-asm.10"];
    world.repository = Ok(builds.map(version).into());
    story("flavour_with_a_counter", world)
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
        several_hops_with_a_cni_agent(),
        revision_by_name(),
        revision_by_a_name_of_old(),
        revision_by_name_over_two_minors(),
        fewest_restarts(),
        flavour_with_a_counter(),
        several_hops_and_a_user_left(),
        image_by_full_name(),
        begun_by_hand(),
        upgraded_in_place(),
        upgraded_in_place_but_for_a_few(),
        other_cluster_too_old(),
        other_cluster_accepted(),
    ]
}
