//! The way back.

use meshlift_api::Rollback;

use super::*;

fn crashing(name: &'static str) -> Story {
    let mut world = registered("1.31.0");
    world.app("cart").breaks = Some("container app: CrashLoopBackOff".into());
    story(name, world)
}

/// A workload that does not come up: everything goes back, and the workload is named.
fn workload_crashes_and_goes_back() -> Story {
    crashing("workload_crashes_and_goes_back")
}

fn ask(world: &mut World) {
    edit_spec(world, |spec| spec.request_rollback = true);
}

fn asked_back_while_restarting() -> Story {
    let story = story("asked_back_while_restarting", registered("1.31.0"));
    with(
        story,
        When::Once(|world| marked(world, "db")),
        "a person sets requestRollback: true",
        ask,
    )
}

fn has_default(world: &World, service: &str) -> bool {
    let mut validator = world.validator.iter();
    validator.any(|validator| validator.service == service)
}

/// After the default revision has moved, and before the old control plane goes.
fn asked_back_after_the_default_moved() -> Story {
    let mut world = registered("1.31.0");
    world.outsiders.insert("default".into(), 1);
    let story = story("asked_back_after_the_default_moved", world);
    with(
        story,
        When::Once(|world| has_default(world, "istiod-1-31-0")),
        "a person sets requestRollback: true, for a proxy outside is still on the old control plane",
        ask,
    )
}

fn old_istiod_falls_ill() -> Story {
    let mut story = asked_back_while_restarting();
    story.name = "old_istiod_falls_ill_on_the_way_back";
    let story = with(
        story,
        When::Once(|world| {
            let object = world.object.as_ref();
            object.is_some_and(|object| object.status.rollback.is_some())
        }),
        "the old istiod loses its pods",
        |world| {
            let plane = &mut world.istiod("default").plane;
            plane.ready = 0;
            plane.trouble = Some("container discovery: OOMKilled".into());
        },
    );
    with(
        story,
        reached(Phase::Upgrading, Step::MovingBack, 300),
        "the old istiod is mended",
        |world| {
            // Where others keep it from going back for long, it may be gone.
            for istiod in &mut world.istiods {
                istiod.plane.ready = istiod.plane.desired;
                istiod.plane.trouble = None;
            }
        },
    )
}

/// Somebody has begun to use the new control plane.
fn new_control_plane_is_used() -> Story {
    let mut story = asked_back_while_restarting();
    story.name = "new_control_plane_is_used";
    with(
        story,
        reached(Phase::Upgrading, Step::MovingBack, 0),
        "somebody adds namespace news on the new revision",
        |world| {
            let bound = [("istio.io/rev", "1-31-0")];
            world.namespaces.push(namespace("news", &bound));
            add(world, App::new(WorkloadKind::Deployment, "news", "feed", 1));
        },
    )
}

fn proxies_stay_on_the_new_control_plane() -> Story {
    let mut story = asked_back_while_restarting();
    story.name = "proxies_stay_on_the_new_control_plane";
    story.world.outsiders.insert("1-31-0".into(), 2);
    story
}

fn unhealthy_on_the_way_back() -> Story {
    let mut story = asked_back_while_restarting();
    story.name = "unhealthy_on_the_way_back";
    let story = with(
        story,
        reached(Phase::Upgrading, Step::ProvingBack, 10),
        "the containers of web restart three times",
        |world| world.crash("web", 3),
    );
    with(
        story,
        reached(Phase::Upgrading, Step::ProvingBack, 25),
        "an injection fails",
        |world| world.injection_failures += 1,
    )
}

fn manual(name: &'static str) -> Story {
    let mut story = crashing(name);
    edit(&mut story.world, |object| {
        object.spec.rollback = Rollback::Manual;
    });
    story
}

fn waits_for_a_person(world: &World) -> bool {
    let object = world.object.as_ref();
    object.is_some_and(|object| object.status.message.starts_with("waiting for a person: "))
}

fn manual_and_mended() -> Story {
    with(
        manual("manual_and_mended"),
        When::Once(waits_for_a_person),
        "the workload is mended",
        |world| {
            let app = world.app("cart");
            app.breaks = None;
            app.pods.retain(|member| member.pod.ready);
        },
    )
}

fn manual_and_asked_back() -> Story {
    with(
        manual("manual_and_asked_back"),
        When::Once(waits_for_a_person),
        "a person sets requestRollback: true",
        ask,
    )
}

fn asked_back_too_late() -> Story {
    let story = story("asked_back_too_late", registered("1.31.0"));
    with(
        story,
        When::Once(|world| {
            world.istiods.len() == 1
                && !world.records.is_empty()
                && has_default(world, "istiod-1-31-0")
        }),
        "a person sets requestRollback: true",
        ask,
    )
}

fn asked_back_before_it_began() -> Story {
    let mut story = story("asked_back_before_it_began", registered("1.31.0"));
    edit(&mut story.world, |object| {
        object.spec.request_rollback = true
    });
    with(
        story,
        When::After(60),
        "a person sets requestRollback: false",
        |world| edit_spec(world, |spec| spec.request_rollback = false),
    )
}

fn paused_on_the_way_back() -> Story {
    let mut story = asked_back_while_restarting();
    story.name = "paused_on_the_way_back";
    let story = with(
        story,
        reached(Phase::Upgrading, Step::RestartingBack, 0),
        "a person sets paused: true",
        |world| edit_spec(world, |spec| spec.paused = true),
    );
    with(
        story,
        reached(Phase::Upgrading, Step::RestartingBack, 1200),
        "a person sets paused: false",
        |world| edit_spec(world, |spec| spec.paused = false),
    )
}

fn helm_killed_on_the_way_back() -> Story {
    let mut story = asked_back_after_the_default_moved();
    story.name = "helm_killed_on_the_way_back";
    with(
        story,
        When::Once(is_asked),
        "the next Helm operation will be killed",
        |world| world.helm.dies = true,
    )
}

fn is_asked(world: &World) -> bool {
    let object = world.object.as_ref();
    object.is_some_and(|object| object.spec.request_rollback)
}

fn asked_back_when_the_installation_was_cut_off() -> Story {
    let story = story(
        "asked_back_when_the_installation_was_cut_off",
        registered("1.31.0"),
    );
    let story = with(
        story,
        When::Once(|world| {
            let mut releases = world.helm.list().into_iter();
            releases.any(|r| r.name == "istio-base" && r.version == Some(version("1.31.0")))
        }),
        "the next Helm operation will be killed",
        |world| world.helm.dies = true,
    );
    with(
        story,
        When::Once(|world| world.istiods.len() == 2),
        "a person sets requestRollback: true",
        ask,
    )
}

fn waves(world: &mut World) {
    edit(world, |object| {
        let wave = json!({ "name": "canary", "namespaces": { "names": ["blog"] } });
        object.spec.data_plane.waves = vec![serde_json::from_value(wave).expect("a wave")];
    });
}

/// The last wave goes back first.
fn asked_back_in_the_second_wave() -> Story {
    let mut world = registered("1.31.0");
    waves(&mut world);
    edit(&mut world, |object| {
        object.spec.data_plane.restart.max_concurrent = 1;
    });
    with(
        story("asked_back_in_the_second_wave", world),
        When::Once(|world| {
            let object = world.object.as_ref();
            let mut waves = object.iter().flat_map(|object| &object.status.waves);
            waves.any(|wave| wave.name == "rest" && wave.progress == "1/3")
        }),
        "a person sets requestRollback: true",
        ask,
    )
}

/// New pods are refused in a namespace: what runs in it stays where it is, and is named.
fn refused_on_the_way_back() -> Story {
    let mut story = asked_back_while_restarting();
    story.name = "refused_on_the_way_back";
    with(
        story,
        When::Once(is_asked),
        "a quota refuses new pods in namespace blog",
        |world| {
            let why = "exceeded quota: pods, requested 1, used 10, limited 10";
            world.refusing.insert("blog".into(), why.into());
        },
    )
}

/// What somebody decided meanwhile is not overwritten.
fn bound_elsewhere_meanwhile() -> Story {
    let mut story = asked_back_while_restarting();
    story.name = "bound_elsewhere_meanwhile";
    with(
        story,
        When::Once(is_asked),
        "somebody takes namespace blog out of the mesh",
        |world| world.namespace("blog").labels = labels(&[("istio-injection", "disabled")]),
    )
}

fn asked_back_in_the_soak() -> Story {
    with(
        story("asked_back_in_the_soak", registered("1.31.0")),
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "a person sets requestRollback: true",
        ask,
    )
}

fn again_after_it_went_back() -> Story {
    let mut story = crashing("again_after_it_went_back");
    story.limit = 2 * HOUR;
    with(
        story,
        When::Reached(Phase::Failed, None, 60),
        "the workload is mended, namespace blog is bound by its revision, and a person annotates meshlift.io/retry",
        |world| {
            world.app("cart").breaks = None;
            world.app("cart").pods.retain(|member| member.pod.ready);
            world.namespace("blog").labels = labels(&[("istio.io/rev", "default")]);
            edit(world, |object| object.retry = Some("1".into()));
        },
    )
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        workload_crashes_and_goes_back(),
        asked_back_while_restarting(),
        asked_back_after_the_default_moved(),
        old_istiod_falls_ill(),
        new_control_plane_is_used(),
        proxies_stay_on_the_new_control_plane(),
        unhealthy_on_the_way_back(),
        manual_and_mended(),
        manual_and_asked_back(),
        asked_back_too_late(),
        asked_back_before_it_began(),
        paused_on_the_way_back(),
        helm_killed_on_the_way_back(),
        again_after_it_went_back(),
        asked_back_when_the_installation_was_cut_off(),
        asked_back_in_the_second_wave(),
        refused_on_the_way_back(),
        asked_back_in_the_soak(),
        bound_elsewhere_meanwhile(),
    ]
}
