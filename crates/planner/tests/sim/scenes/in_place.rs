//! One control plane, upgraded where it is.

use meshlift_api::{InPlace, Strategy};

use super::*;

fn in_place(target: &str) -> World {
    let mut world = registered(target);
    edit(&mut world, |object| {
        object.spec.strategy = Strategy::InPlace
    });
    world
}

/// The same release at another version, and the workloads after it; no label changes.
fn in_place_goes_well() -> Story {
    story("in_place", in_place("1.31.0"))
}

fn over_two_minors() -> Story {
    let mut world = in_place("1.31.0");
    super::detection::from("1.29.8", &mut world);
    story("in_place_over_two_minors", world)
}

fn in_waves() -> Story {
    let mut world = in_place("1.31.0");
    edit(&mut world, |object| {
        object.spec.data_plane.waves = vec![super::waves::named("canary", &["blog"], 30)];
    });
    story("in_place_in_waves", world)
}

/// The new istiod does not come up: Helm takes it back, and no workload was touched.
fn istiod_does_not_come_up() -> Story {
    let mut world = in_place("1.31.0");
    world.istiod_trouble = Some("container discovery: CrashLoopBackOff".into());
    story("in_place_istiod_does_not_come_up", world)
}

/// A workload does not come up. What has moved goes back first, and then istiod: no sidecar is ever newer than it.
fn a_workload_crashes() -> Story {
    let mut world = in_place("1.31.0");
    world.app("cart").breaks = Some("container app: CrashLoopBackOff".into());
    story("in_place_goes_back", world)
}

fn asked_back_in_the_soak() -> Story {
    let story = story("in_place_asked_back_in_the_soak", in_place("1.31.0"));
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "a person sets requestRollback: true",
        |world| edit_spec(world, |spec| spec.request_rollback = true),
    )
}

fn asked_back_after_the_end() -> Story {
    let story = story("in_place_asked_back_after_the_end", in_place("1.31.0"));
    with(
        story,
        When::Reached(Phase::Done, None, 60),
        "a person sets requestRollback: true",
        |world| edit_spec(world, |spec| spec.request_rollback = true),
    )
}

/// A pod that nobody recreates keeps istiod where it is.
fn a_bare_pod_is_ahead() -> Story {
    let mut story = a_workload_crashes();
    story.name = "in_place_a_bare_pod_is_ahead";
    let story = with(
        story,
        When::Once(|world| marked(world, "cart")),
        "somebody makes a bare pod",
        |world| {
            let mut pod = (*loose("shop", "debug", None)).clone();
            pod.proxy_image = world.proxy_image("default");
            pod.created_at = Some(world.now);
            world.loose.push(Arc::new(pod));
        },
    );
    with(
        story,
        When::Reached(Phase::Failed, None, 60),
        "the pod is gone, and a person sets requestRollback: true",
        |world| {
            world.loose.clear();
            edit_spec(world, |spec| spec.request_rollback = true);
        },
    )
}

/// Tried again after the way back was not finished: sidecars of the target are injected again.
fn forward_again_half_way_back() -> Story {
    let mut story = a_bare_pod_is_ahead();
    story.name = "in_place_forward_again_half_way_back";
    story.events.pop();
    with(
        story,
        When::Reached(Phase::Failed, None, 60),
        "the workload is fixed, and a person annotates a retry",
        |world| {
            let cart = world.app("cart");
            cart.breaks = None;
            cart.change_template();
            edit(world, |object| object.retry = Some("1".into()));
        },
    )
}

fn one_replica() -> World {
    let mut world = in_place("1.31.0");
    let release = world.helm.find("istiod").expect("the release");
    let revision = release.revisions.last_mut().expect("a revision");
    revision.values.remove("autoscaleMin");
    let plane = &mut world.istiod("default").plane;
    plane.desired = 1;
    plane.ready = 1;
    world
}

fn with_one_replica() -> Story {
    story("in_place_with_one_replica", one_replica())
}

/// The second replica comes first, and goes last.
fn with_replicas_ensured() -> Story {
    let mut world = one_replica();
    edit(&mut world, |object| {
        object.spec.in_place = Some(InPlace {
            ensure_replicas: Some(2),
        });
    });
    story("in_place_with_replicas_ensured", world)
}

fn with_replicas_ensured_goes_back() -> Story {
    let mut story = with_replicas_ensured();
    story.name = "in_place_with_replicas_ensured_goes_back";
    story.world.app("cart").breaks = Some("container app: CrashLoopBackOff".into());
    story
}

/// Git owns every label and tag, and none of them changes: nobody is asked to commit anything, and nobody is waited for.
fn what_git_owns_stays() -> Story {
    let mut world = in_place("1.31.0");
    super::tags::tag(&mut world, "prod", &["blog"]);
    let git = || Some("argocd-controller".to_owned());
    for namespace in &mut world.namespaces {
        namespace.label_owner = git();
    }
    for tag in &mut world.tags {
        tag.owner = git();
    }
    story("in_place_what_git_owns_stays", world)
}

pub(super) fn all() -> Vec<Story> {
    vec![
        in_place_goes_well(),
        over_two_minors(),
        in_waves(),
        istiod_does_not_come_up(),
        a_workload_crashes(),
        asked_back_in_the_soak(),
        asked_back_after_the_end(),
        a_bare_pod_is_ahead(),
        forward_again_half_way_back(),
        with_one_replica(),
        with_replicas_ensured(),
        with_replicas_ensured_goes_back(),
        what_git_owns_stays(),
    ]
}
