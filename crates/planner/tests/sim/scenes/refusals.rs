//! Writes that somebody refuses: the others move at full pace, and what is refused is named in the end.

use meshlift_api::{GatewayOrder, RestartMethod, Wave};
use meshlift_model::ErrorClass;

use super::ending::says;
use super::tags::{revisioned, tag};
use super::*;
use crate::world::Policy;

const FROZEN: &str = "ValidatingAdmissionPolicy change-freeze: the namespace is frozen";

fn refuse(world: &mut World, class: ErrorClass, what: &'static str, why: &'static str) {
    world.policies.push(Policy { what, class, why });
}

/// Namespaces whose names sort first, so that their workloads are tried first, all of them frozen.
fn restarts_refused_forever() -> Story {
    let mut world = registered("1.31.0");
    let names = ["aaa-0", "aaa-1", "aaa-2", "aaa-3", "aaa-4", "aaa-5"];
    for name in names {
        let enabled = [("istio-injection", "enabled")];
        world.namespaces.push(namespace(name, &enabled));
        let idle = App::new(WorkloadKind::Deployment, name, &format!("idle-{name}"), 1);
        add(&mut world, idle);
    }
    refuse(
        &mut world,
        ErrorClass::Blocked,
        "restarting apps/v1 Deployment aaa-",
        FROZEN,
    );
    story("restarts_refused_forever", world)
}

/// Others of its namespace have its slot meanwhile.
fn restart_invalid_for_a_while() -> Story {
    let mut world = registered("1.31.0");
    let why = "admission webhook policy: replicas are missing";
    refuse(
        &mut world,
        ErrorClass::Invalid,
        "restarting apps/v1 Deployment shop/cart",
        why,
    );
    let story = story("restart_invalid_for_a_while", world);
    with(story, When::After(150), "the policy is changed", |world| {
        world.policies.clear();
    })
}

/// A busy answer for one of them alone is no sign that the API server is busy.
fn restart_busy_forever() -> Story {
    let mut world = registered("1.31.0");
    let why = "the API server: too many requests, please try again later";
    refuse(
        &mut world,
        ErrorClass::Transient,
        "restarting apps/v1 Deployment shop/cart",
        why,
    );
    story("restart_busy_forever", world)
}

fn api_server_away_for_a_while() -> Story {
    let story = story("api_server_away_for_a_while", registered("1.31.0"));
    let story = with(
        story,
        When::Once(|world| marked(world, "agent")),
        "the API server answers nothing any more",
        |world| refuse(world, ErrorClass::Transient, "", ""),
    );
    with(story, When::After(900), "the API server is back", |world| {
        world.policies.clear();
    })
}

fn namespace_refused_forever() -> Story {
    let mut world = registered("1.31.0");
    refuse(
        &mut world,
        ErrorClass::Blocked,
        "moving namespace blog",
        FROZEN,
    );
    story("namespace_refused_forever", world)
}

/// A canary of which nothing moves shows nothing, and the shop is not the first to try.
fn canary_refused() -> World {
    let mut world = registered("1.31.0");
    refuse(
        &mut world,
        ErrorClass::Invalid,
        "moving namespace blog",
        FROZEN,
    );
    super::tags::in_waves(&mut world);
    edit(&mut world, |object| {
        let mut shop = Wave {
            name: "shop".into(),
            ..object.spec.data_plane.waves[0].clone()
        };
        shop.namespaces.names = vec!["shop".into()];
        object.spec.data_plane.waves.push(shop);
    });
    world
}

fn shows_nothing(world: &World) -> bool {
    says(world, "wave canary shows nothing yet")
}

fn namespace_refused_in_a_wave() -> Story {
    let story = story("namespace_refused_in_a_wave", canary_refused());
    with(
        story,
        When::Once(shows_nothing),
        "the policy lets it through",
        |world| world.policies.clear(),
    )
}

fn wave_that_shows_nothing_is_accepted() -> Story {
    let story = story("wave_that_shows_nothing_is_accepted", canary_refused());
    with(
        story,
        When::Once(shows_nothing),
        "a person accepts WAVE-UNPROVED by annotation",
        |world| {
            edit(world, |object| {
                object.accepts = Some("WAVE-UNPROVED".into())
            })
        },
    )
}

/// Its namespace moves, and what is in it stays.
fn restarts_refused_in_a_wave() -> Story {
    let mut world = canary_refused();
    world.policies.clear();
    refuse(
        &mut world,
        ErrorClass::Blocked,
        "restarting apps/v1 D",
        FROZEN,
    );
    let story = story("restarts_refused_in_a_wave", world);
    with(
        story,
        When::Once(shows_nothing),
        "the policy lets them through",
        |world| world.policies.clear(),
    )
}

fn tag_refused_forever() -> Story {
    let mut world = revisioned();
    tag(&mut world, "prod", &["blog"]);
    refuse(&mut world, ErrorClass::Blocked, "pointing tag prod", FROZEN);
    story("tag_refused_forever", world)
}

/// What would roll it by accident waits with it. The Gateways come first, so that their wave has begun whenever a crash
/// makes the operator forget that this one was refused for as long as it is waited for.
fn gateway_refused_forever() -> Story {
    let mut world = revisioned();
    world.add_gateway("shop", "inner", None);
    edit(&mut world, |object| {
        object.spec.accept_risks = vec!["GATEWAY-OUTAGE".into()];
        object.spec.gateways.order = GatewayOrder::First;
    });
    refuse(
        &mut world,
        ErrorClass::Blocked,
        "in Gateway shop/inner",
        FROZEN,
    );
    story("gateway_refused_forever", world)
}

fn evictions_refused_forever() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.data_plane.restart.method = RestartMethod::Evict;
    });
    let why = "admission webhook pods.example: it may not be evicted";
    refuse(
        &mut world,
        ErrorClass::Blocked,
        "evicting pod shop/web",
        why,
    );
    story("evictions_refused_forever", world)
}

fn back(name: &'static str, freeze: fn(&mut World)) -> Story {
    let story = story(name, registered("1.31.0"));
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 5),
        "a person asks to go back",
        |world| edit_spec(world, |spec| spec.request_rollback = true),
    );
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 5),
        "somebody freezes part of the cluster",
        freeze,
    )
}

fn restart_refused_on_the_way_back() -> Story {
    back("restart_refused_on_the_way_back", |world| {
        refuse(
            world,
            ErrorClass::Blocked,
            "restarting apps/v1 Deployment shop/web",
            FROZEN,
        );
    })
}

fn namespace_refused_on_the_way_back() -> Story {
    back("namespace_refused_on_the_way_back", |world| {
        refuse(world, ErrorClass::Blocked, "moving namespace blog", FROZEN);
    })
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        restarts_refused_forever(),
        restart_invalid_for_a_while(),
        restart_busy_forever(),
        api_server_away_for_a_while(),
        namespace_refused_forever(),
        namespace_refused_in_a_wave(),
        wave_that_shows_nothing_is_accepted(),
        restarts_refused_in_a_wave(),
        tag_refused_forever(),
        gateway_refused_forever(),
        evictions_refused_forever(),
        restart_refused_on_the_way_back(),
        namespace_refused_on_the_way_back(),
    ]
}
