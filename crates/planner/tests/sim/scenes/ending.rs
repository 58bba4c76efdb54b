//! Everything ends, or waits for a person it names: control planes that are down or gone, metrics that cannot be read,
//! gateways that do not come back, pauses, and namespaces that come by the hour.

use meshlift_api::GatewayOrder;

use super::detection::from;
use super::gateways::{edge, ordered};
use super::tags::{in_waves, revisioned};
use super::*;

fn ask(world: &mut World) {
    edit_spec(world, |spec| spec.request_rollback = true);
}

fn is_asked(world: &World) -> bool {
    let object = world.object.as_ref();
    object.is_some_and(|object| object.spec.request_rollback)
}

pub(super) fn says(world: &World, piece: &str) -> bool {
    let object = world.object.as_ref();
    object.is_some_and(|object| object.status.message.contains(piece))
}

fn goes_down(world: &mut World) {
    let plane = &mut world.istiod("default").plane;
    plane.ready = 0;
    plane.trouble = Some("container discovery: ImagePullBackOff".into());
}

/// The old control plane, uninstalled by somebody.
fn uninstalled(world: &mut World) {
    world.istiods.retain(|i| i.plane.revision != "default");
    world.helm.releases.retain(|r| r.name != "istiod");
}

fn old_istiod_down_in_the_soak() -> Story {
    with(
        story("old_istiod_down_in_the_soak", registered("1.31.0")),
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "the image of the old istiod cannot be pulled any more",
        goes_down,
    )
}

/// The first wave has moved, and the namespace of the second one is bound to what is gone.
fn old_istiod_uninstalled_half_way() -> Story {
    let mut world = registered("1.31.0");
    in_waves(&mut world);
    with(
        story("old_istiod_uninstalled_half_way", world),
        When::Once(|world| marked(world, "api")),
        "somebody uninstalls the old istiod",
        uninstalled,
    )
}

fn old_istiod_gone_on_the_way_back() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.health_check.soak = duration(600);
    });
    let story = story("old_istiod_gone_on_the_way_back", world);
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "a person sets requestRollback: true",
        ask,
    );
    with(
        story,
        // When nothing restarts: what a lagging watch would still do has been done.
        reached(Phase::Upgrading, Step::ProvingBack, 300),
        "somebody uninstalls the old istiod",
        uninstalled,
    )
}

/// A request that cannot be met: it is said, and the person takes it back.
fn asked_back_while_the_old_istiod_is_down() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.retire.after = duration(1800);
    });
    let story = story("asked_back_while_the_old_istiod_is_down", world);
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "the old istiod goes down",
        goes_down,
    );
    // Long after: a watch that lags shows it too.
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 900),
        "a person sets requestRollback: true",
        ask,
    );
    with(
        story,
        When::Once(|world| says(world, "does not serve")),
        "a person sets requestRollback: false",
        |world| edit_spec(world, |spec| spec.request_rollback = false),
    )
}

fn blind(world: &mut World) {
    let why = "dial tcp 10.0.0.7:15014: i/o timeout";
    world.unreadable.insert("metrics", why.into());
}

fn accepted(world: &mut World) {
    edit(world, |object| {
        object.accepts = Some("METRICS-UNREADABLE".into())
    });
}

fn needs_a_person_for_metrics(world: &World) -> bool {
    says(world, "meshlift.io/accept=METRICS-UNREADABLE")
}

fn metrics_unreadable_from_the_start() -> Story {
    let mut world = registered("1.31.0");
    blind(&mut world);
    with(
        story("metrics_unreadable_from_the_start", world),
        When::After(60),
        "a person accepts METRICS-UNREADABLE",
        |world| {
            edit_spec(world, |spec| {
                spec.accept_risks = vec!["METRICS-UNREADABLE".into()];
            });
        },
    )
}

fn metrics_lost_in_the_soak() -> Story {
    let story = story("metrics_lost_in_the_soak", registered("1.31.0"));
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "a firewall closes the port of the metrics",
        blind,
    );
    with(
        story,
        When::Once(needs_a_person_for_metrics),
        "a person accepts METRICS-UNREADABLE by annotation",
        accepted,
    )
}

fn metrics_lost_on_the_way_back() -> Story {
    let story = story("metrics_lost_on_the_way_back", registered("1.31.0"));
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "a firewall closes the port of the metrics, and a person asks to go back",
        |world| {
            blind(world);
            ask(world);
        },
    );
    with(
        story,
        When::Once(needs_a_person_for_metrics),
        "a person accepts METRICS-UNREADABLE by annotation",
        accepted,
    )
}

/// The node that it needs is gone: a reason that has nothing to do with the version.
fn gateway_does_not_come_back() -> Story {
    let mut world = edge(revisioned());
    edit(&mut world, |object| {
        // Longer than any watch of the simulator lags.
        object.spec.data_plane.restart.timeout = duration(300);
    });
    let story = ordered("gateway_does_not_come_back", world, GatewayOrder::Last);
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 5),
        "the node of the gateway goes, and a person asks to go back",
        |world| {
            let why = "pod is unschedulable: 0/3 nodes are available";
            world.app("public-istio").breaks = Some(why.into());
            ask(world);
        },
    )
}

/// Paused in order to fix what does not come up.
fn paused_to_fix_the_new_istiod() -> Story {
    let mut world = registered("1.31.0");
    world.istiod_trouble = Some("container discovery: ImagePullBackOff".into());
    let story = story("paused_to_fix_the_new_istiod", world);
    let story = with(
        story,
        reached(Phase::Upgrading, Step::ProvingControlPlane, 300),
        "a person sets paused: true",
        |world| edit_spec(world, |spec| spec.paused = true),
    );
    let story = with(
        story,
        reached(Phase::Upgrading, Step::ProvingControlPlane, 1500),
        "a person sets paused: false",
        |world| edit_spec(world, |spec| spec.paused = false),
    );
    with(
        story,
        reached(Phase::Upgrading, Step::ProvingControlPlane, 1900),
        "the image is there",
        |world| {
            let now = world.now;
            world.istiod_trouble = None;
            let istiod = world.istiod("1-31-0");
            istiod.plane.trouble = None;
            istiod.ready_at = Some(now);
        },
    )
}

fn preview(world: &mut World, name: &str, owner: Option<&str>) {
    let mut preview = namespace(name, &[("istio-injection", "enabled")]);
    preview.label_owner = owner.map(str::to_owned);
    world.namespaces.push(preview);
    let app = App::new(WorkloadKind::Deployment, name, name, 1);
    add(world, app);
}

/// The soak, and the hour after it, are those of the mesh.
fn namespaces_come_by_the_hour() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.retire.after = duration(7000);
    });
    let mut story = story("namespaces_come_by_the_hour", world);
    story.limit = 3 * HOUR;
    let soaking = |delay| reached(Phase::HealthChecking, Step::Soaking, delay);
    let story = with(story, soaking(20), "namespace pr-1 appears", |world| {
        preview(world, "pr-1", None);
    });
    let story = with(story, soaking(3600), "namespace pr-2 appears", |world| {
        preview(world, "pr-2", None);
    });
    let story = with(
        story,
        soaking(3700),
        "namespace pr-3 appears, and its Deployment does not come up once it is restarted",
        |world| {
            preview(world, "pr-3", None);
            world.app("pr-3").breaks = Some("container app: CrashLoopBackOff".into());
        },
    );
    with(story, soaking(6500), "namespace pr-3 goes", |world| {
        world.delete_namespace("pr-3");
    })
}

/// What is refused just then has its time like everything that is refused: the way to the target does not end over it.
fn late_restart_refused_on_the_way() -> Story {
    let mut world = registered("1.31.0");
    from("1.29.8", &mut world);
    let soaking = |delay| reached(Phase::HealthChecking, Step::Soaking, delay);
    let story = with(
        story("late_restart_refused_on_the_way", world),
        soaking(85),
        "namespace pr-1 appears, and a policy lets nobody change its Deployment",
        |world| {
            preview(world, "pr-1", None);
            world.denied = Some("pr-1".into());
        },
    );
    with(story, soaking(110), "the policy is corrected", |world| {
        world.denied = None;
    })
}

/// What Git owns is named, and nobody waits for it.
fn namespace_of_git_in_the_soak() -> Story {
    with(
        story("namespace_of_git_in_the_soak", registered("1.31.0")),
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "namespace pr-1 of Argo CD appears",
        |world| preview(world, "pr-1", Some("argocd-controller")),
    )
}

/// Something outside of the cluster keeps the old control plane, which everything can go back to.
fn asked_back_after_the_end() -> Story {
    let mut world = registered("1.31.0");
    world.outsiders.insert("default".into(), 1);
    with(
        story("asked_back_after_the_end", world),
        When::Reached(Phase::Done, None, 60),
        "a person sets requestRollback: true",
        ask,
    )
}

fn asked_back_after_the_end_too_late() -> Story {
    let story = story("asked_back_after_the_end_too_late", registered("1.31.0"));
    let story = with(
        story,
        When::Reached(Phase::Done, None, 60),
        "a person sets requestRollback: true",
        ask,
    );
    with(
        story,
        When::Once(|world| is_asked(world) && says(world, "nothing can be moved back")),
        "a person sets requestRollback: false",
        |world| edit_spec(world, |spec| spec.request_rollback = false),
    )
}

pub fn all() -> Vec<Story> {
    vec![
        old_istiod_down_in_the_soak(),
        old_istiod_uninstalled_half_way(),
        old_istiod_gone_on_the_way_back(),
        asked_back_while_the_old_istiod_is_down(),
        metrics_unreadable_from_the_start(),
        metrics_lost_in_the_soak(),
        metrics_lost_on_the_way_back(),
        gateway_does_not_come_back(),
        paused_to_fix_the_new_istiod(),
        namespaces_come_by_the_hour(),
        late_restart_refused_on_the_way(),
        namespace_of_git_in_the_soak(),
        asked_back_after_the_end(),
        asked_back_after_the_end_too_late(),
    ]
}
