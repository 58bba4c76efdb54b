//! Waves: one after the other, some of them when a person lets them.

use meshlift_api::{Approval, GatewayOrder, NamespaceSelector, Rollback, Wave, WaveState, Window};

use super::tags::{revisioned, tag};
use super::*;

fn wave(name: &str, selector: Value, soak: u64) -> Wave {
    Wave {
        name: name.into(),
        namespaces: serde_json::from_value(selector).expect("a selector"),
        soak: Some(duration(soak)),
        approval: Approval::Automatic,
    }
}

pub(super) fn named(name: &str, namespaces: &[&str], soak: u64) -> Wave {
    wave(name, json!({ "names": namespaces }), soak)
}

fn asked(wave: Wave) -> Wave {
    Wave {
        approval: Approval::Required,
        ..wave
    }
}

/// The shop, with a staging namespace, and these waves.
fn mall(waves: Vec<Wave>) -> World {
    let mut world = registered("1.31.0");
    let enabled = [("istio-injection", "enabled"), ("tier", "test")];
    world.namespaces.push(namespace("staging", &enabled));
    add(
        &mut world,
        App::new(WorkloadKind::Deployment, "staging", "try", 1),
    );
    edit_spec(&mut world, |spec| spec.data_plane.waves = waves);
    edit(&mut world, |object| object.generation = 1);
    world
}

fn state(world: &World, name: &str) -> Option<WaveState> {
    let waves = &world.object.as_ref()?.status.waves;
    Some(waves.iter().find(|wave| wave.name == name)?.state)
}

fn waves_with_soak() -> Story {
    let canary = wave("canary", json!({ "matchLabels": { "tier": "test" } }), 20);
    let prod = named("prod", &["shop"], 40);
    story("waves_with_soak", mall(vec![canary, prod]))
}

fn wave_approved() -> Story {
    let canary = named("canary", &["staging"], 10);
    let prod = asked(named("prod", &["shop"], 0));
    let story = story("wave_approved", mall(vec![canary, prod]));
    let story = with(
        story,
        When::Once(|world| state(world, "prod") == Some(WaveState::WaitingForApproval)),
        "a person approves what is no wave",
        |world| edit_spec(world, |spec| spec.approvals = vec!["prdo".into()]),
    );
    with(
        story,
        reached(Phase::Upgrading, Step::WaitingForApproval, 600),
        "a person approves prod",
        |world| edit_spec(world, |spec| spec.approvals.push("prod".into())),
    )
}

fn approval_taken_back() -> Story {
    let shop = asked(named("shop", &["shop"], 10));
    let blog = asked(named("blog", &["blog"], 10));
    let mut world = mall(vec![shop, blog]);
    edit(&mut world, |object| {
        object.spec.approvals = vec!["shop".into(), "blog".into()]
    });
    let story = story("approval_taken_back", world);
    let story = with(
        story,
        When::Once(|world| marked(world, "cart")),
        "a person takes all approvals back",
        |world| edit_spec(world, |spec| spec.approvals.clear()),
    );
    with(
        story,
        reached(Phase::Upgrading, Step::WaitingForApproval, 100),
        "a person approves blog",
        |world| edit_spec(world, |spec| spec.approvals = vec!["blog".into()]),
    )
}

fn waves_by_share() -> Story {
    let third = wave("third", json!({ "percent": 33 }), 5);
    let most = wave("most", json!({ "percent": 60 }), 5);
    let none = wave("none", json!({ "percent": 100 }), 600);
    story("waves_by_share", mall(vec![third, most, none]))
}

fn wave_becomes_empty() -> Story {
    let first = named("first", &["staging"], 30);
    let gone = asked(named("gone", &["blog"], 600));
    let story = story("wave_becomes_empty", mall(vec![first, gone]));
    with(
        story,
        When::Once(|world| marked(world, "try")),
        "somebody deletes namespace blog",
        |world| world.delete_namespace("blog"),
    )
}

fn namespace_appears_between_waves() -> Story {
    let canary = named("canary", &["staging"], 60);
    let prod = asked(named("prod", &["shop"], 10));
    let story = story("namespace_appears_between_waves", mall(vec![canary, prod]));
    let story = with(
        story,
        When::Once(|world| state(world, "canary") == Some(WaveState::Verifying)),
        "somebody makes namespace new, and in staging a Deployment that runs the old sidecar",
        |world| {
            let enabled = [("istio-injection", "enabled")];
            world.namespaces.push(namespace("new", &enabled));
            add(world, App::new(WorkloadKind::Deployment, "new", "fresh", 1));
            let mut late = App::new(WorkloadKind::Deployment, "staging", "late", 1);
            late = with_pods(world, late);
            late.pods[0].pod_mut().revision = Some("default".into());
            world.apps.push(late);
        },
    );
    with(
        story,
        reached(Phase::Upgrading, Step::WaitingForApproval, 60),
        "a person approves prod",
        |world| edit_spec(world, |spec| spec.approvals = vec!["prod".into()]),
    )
}

/// Its containers restart after it has moved.
fn crashes(world: &mut World) {
    let mut members = world.app("try").pods.iter();
    assert!(members.all(|member| member.pod.revision.as_deref() == Some("1-31-0")));
    world.crash("try", 3);
}

fn ill(name: &'static str, rollback: Rollback) -> Story {
    let canary = named("canary", &["staging"], 30);
    let mut world = mall(vec![canary]);
    edit(&mut world, |object| {
        object.spec.rollback = rollback;
        object.spec.data_plane.restart.timeout = duration(300);
    });
    world.app("try").flaps_on = Some("1-31-0");
    story(name, world)
}

fn wave_ill() -> Story {
    ill("wave_ill", Rollback::Never)
}

fn wave_ill_goes_back() -> Story {
    ill("wave_ill_goes_back", Rollback::Automatic)
}

fn wave_ill_for_a_while() -> Story {
    let canary = named("canary", &["staging"], 30);
    let story = story("wave_ill_for_a_while", mall(vec![canary]));
    let story = with(
        story,
        reached(Phase::Upgrading, Step::VerifyingWave, 12),
        "the containers of staging/try restart three times",
        crashes,
    );
    with(
        story,
        reached(Phase::Upgrading, Step::VerifyingWave, 20),
        "a container of shop/cart, which has not moved, restarts",
        |world| world.crash("cart", 3),
    )
}

fn ingress(world: &mut World) {
    let enabled = [("istio-injection", "enabled")];
    world.namespaces.push(namespace("ingress", &enabled));
    let mut gateway = App::new(WorkloadKind::Deployment, "ingress", "gateway", 2);
    gateway.injected_gateway = true;
    add(world, gateway);
}

fn gateways(name: &'static str, order: GatewayOrder) -> Story {
    let mut world = mall(vec![named("canary", &["staging"], 10)]);
    ingress(&mut world);
    edit(&mut world, |object| object.spec.gateways.order = order);
    story(name, world)
}

fn gateways_last() -> Story {
    gateways("gateways_last", GatewayOrder::Last)
}

fn gateways_first() -> Story {
    gateways("gateways_first", GatewayOrder::First)
}

fn gateways_left_alone() -> Story {
    gateways("gateways_left_alone", GatewayOrder::None)
}

fn gateways_without_waves() -> Story {
    let mut world = registered("1.31.0");
    ingress(&mut world);
    story("gateways_without_waves", world)
}

fn busy_in_a_wave() -> Story {
    let canary = named("canary", &["shop"], 10);
    let mut world = mall(vec![canary]);
    let app = world.app("cart");
    app.breaks = Some("container app: CrashLoopBackOff".into());
    app.change_template();
    story("busy_in_a_wave", world)
}

fn waves_over_several_hops() -> Story {
    let canary = asked(named("canary", &["staging"], 10));
    let mut world = mall(vec![canary]);
    super::detection::from("1.28.4", &mut world);
    edit(&mut world, |object| {
        object.spec.approvals = vec!["canary".into()]
    });
    story("waves_over_several_hops", world)
}

fn waves_after_a_retry() -> Story {
    let canary = named("canary", &["staging"], 10);
    let prod = named("prod", &["shop"], 10);
    let mut world = mall(vec![canary, prod]);
    edit(&mut world, |object| {
        object.spec.rollback = Rollback::Never;
        object.spec.data_plane.restart.timeout = duration(300);
    });
    world.app("cart").breaks = Some("container app: CrashLoopBackOff".into());
    let story = story("waves_after_a_retry", world);
    with(
        story,
        When::Reached(Phase::Failed, None, 60),
        "the workload is mended, and a person puts prod into wave late and annotates meshlift.io/retry",
        |world| {
            let app = world.app("cart");
            app.breaks = None;
            app.pods.retain(|member| member.pod.ready);
            edit_spec(world, |spec| spec.data_plane.waves[1].name = "late".into());
            edit(world, |object| object.retry = Some("1".into()));
        },
    )
}

fn wave_of_nothing() -> Story {
    let mut typo = named("canary", &["stagign"], 10);
    typo.namespaces = NamespaceSelector {
        names: vec!["stagign".into()],
        ..typo.namespaces
    };
    let story = story("wave_of_nothing", mall(vec![typo]));
    with(
        story,
        When::After(60),
        "a person corrects the name",
        |world| {
            edit_spec(world, |spec| {
                spec.data_plane.waves[0].namespaces.names = vec!["staging".into()];
            });
        },
    )
}

/// Approved on Friday for a window on Saturday, and taken back in between.
fn approval_taken_back_before_the_window() -> Story {
    let canary = named("canary", &["staging"], 400);
    let prod = asked(named("prod", &["shop"], 0));
    let mut world = mall(vec![canary, prod]);
    edit(&mut world, |object| {
        object.spec.approvals = vec!["prod".into()];
        let window = |start: &str, end: &str| Window {
            days: Vec::new(),
            start: start.into(),
            end: end.into(),
            time_zone: "UTC".into(),
        };
        object.spec.windows = vec![window("02:00", "02:05"), window("03:00", "04:00")];
    });
    let mut story = story("approval_taken_back_before_the_window", world);
    story.limit = 3 * HOUR;
    let story = with(
        story,
        When::Once(|world| {
            let object = world.object.as_ref();
            object.is_some_and(|object| {
                object.status.message.starts_with("outside")
                    && state(world, "canary") == Some(WaveState::Verified)
            })
        }),
        "a person takes the approval back",
        |world| edit_spec(world, |spec| spec.approvals.clear()),
    );
    with(
        story,
        When::After(4000),
        "a person approves prod",
        |world| edit_spec(world, |spec| spec.approvals = vec!["prod".into()]),
    )
}

/// Pods that follow tag prod by their own label, and nothing else, in a wave that a person lets begin.
fn wave_of_pods_that_follow_a_tag() -> Story {
    let mut world = revisioned();
    tag(&mut world, "prod", &[]);
    world.namespaces.push(namespace("batch", &[]));
    let mut app = App::new(WorkloadKind::Deployment, "batch", "worker", 1);
    app.template_labels = labels(&[("istio.io/rev", "prod")]);
    add(&mut world, app);
    edit(&mut world, |object| {
        object.spec.data_plane.waves = vec![asked(named("batch", &["batch"], 5))];
    });
    with(
        story("wave_of_pods_that_follow_a_tag", world),
        reached(Phase::Upgrading, Step::WaitingForApproval, 60),
        "a person approves batch",
        |world| edit_spec(world, |spec| spec.approvals = vec!["batch".into()]),
    )
}

/// Tag default has a namespace of the first wave, and pods of a later one that only ask for a sidecar.
fn tag_default_waits_for_pods() -> Story {
    let mut world = revisioned();
    tag(&mut world, "default", &[]);
    world.namespace("blog").labels = labels(&[("istio-injection", "enabled")]);
    world.namespaces.push(namespace("pay", &[]));
    let mut app = App::new(WorkloadKind::Deployment, "pay", "checkout", 1);
    app.template_labels = labels(&[("sidecar.istio.io/inject", "true")]);
    add(&mut world, app);
    edit(&mut world, |object| {
        object.spec.data_plane.waves = vec![
            named("canary", &["blog"], 10),
            asked(named("pay", &["pay"], 5)),
        ];
    });
    with(
        story("tag_default_waits_for_pods", world),
        reached(Phase::Upgrading, Step::WaitingForApproval, 60),
        "a person approves pay",
        |world| edit_spec(world, |spec| spec.approvals = vec!["pay".into()]),
    )
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        waves_with_soak(),
        wave_approved(),
        approval_taken_back(),
        waves_by_share(),
        wave_becomes_empty(),
        namespace_appears_between_waves(),
        wave_ill(),
        wave_ill_goes_back(),
        wave_ill_for_a_while(),
        gateways_last(),
        gateways_first(),
        gateways_left_alone(),
        gateways_without_waves(),
        busy_in_a_wave(),
        waves_over_several_hops(),
        waves_after_a_retry(),
        wave_of_nothing(),
        approval_taken_back_before_the_window(),
        wave_of_pods_that_follow_a_tag(),
        tag_default_waits_for_pods(),
    ]
}
