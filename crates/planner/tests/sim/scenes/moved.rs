//! What has moved lives on: autoscalers, drains and deploys are no reason to restart a mesh.

use meshlift_api::RestartMethod;

use super::*;

/// Longer than any story lasts.
const NEVER: i64 = 100_000;

/// Whether the status remembers that the restart of a workload has ended.
fn has_moved(world: &World, name: &str) -> bool {
    let object = world.object.as_ref();
    let ended = object.and_then(|object| object.status.ended_restarts.as_ref());
    let app = world.apps.iter().find(|app| app.key.name == name);
    let (Some(ended), Some(app)) = (ended, app) else {
        return false;
    };
    let acted = app.restarted_at.max(app.evicted_at);
    acted.is_some_and(|at| at <= ended.until.0) && !ended.except.contains(&app.uid)
}

/// More pods than the nodes have room for.
fn scale(world: &mut World, name: &str) {
    let app = world.app(name);
    app.replicas += 2;
    app.startup = NEVER;
}

/// Its pods are deleted, and no node has room for new ones.
fn drain(world: &mut World, name: &str) {
    let app = world.app(name);
    app.startup = NEVER;
    // Somebody else's drain or scaling may have been first.
    app.pods.truncate(app.pods.len().saturating_sub(1));
}

/// A restart may stand still for three minutes, and that of the agents takes longer.
fn busy() -> World {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.data_plane.restart.timeout = duration(180);
    });
    let agent = world.apps.iter().position(|app| app.key.name == "agent");
    world.apps.remove(agent.expect("an agent"));
    let mut agent = App::new(WorkloadKind::DaemonSet, "blog", "agent", 10);
    agent.startup = 20;
    add(&mut world, agent);
    world
}

fn scaled_while_others_restart() -> Story {
    let story = story("scaled_while_others_restart", busy());
    with(
        story,
        When::Once(|world| has_moved(world, "cart")),
        "its autoscaler adds two pods to cart, for which there is no room",
        |world| scale(world, "cart"),
    )
}

fn evicted_and_scaled() -> Story {
    let mut world = busy();
    edit(&mut world, |object| {
        object.spec.data_plane.restart.method = RestartMethod::Evict;
    });
    let story = story("evicted_and_scaled", world);
    with(
        story,
        When::Once(|world| has_moved(world, "cart")),
        "its autoscaler adds two pods to cart, for which there is no room",
        |world| scale(world, "cart"),
    )
}

fn a_life_of_their_own_in_the_soak() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.data_plane.restart.timeout = duration(20);
    });
    let story = story("a_life_of_their_own_in_the_soak", world);
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 5),
        "its autoscaler adds two pods to cart, for which there is no room",
        |world| scale(world, "cart"),
    );
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 8),
        "a node with a pod of db is drained, and another with one of agent is lost",
        |world| {
            drain(world, "db");
            // It may have lost that pod already.
            if let Some(lost) = world.app("agent").pods.first_mut() {
                lost.pod_mut().ready = false;
            }
        },
    );
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 11),
        "a person deploys a new version of web, which crashes",
        |world| {
            let app = world.app("web");
            app.breaks = Some("container app: CrashLoopBackOff".into());
            app.change_template();
        },
    )
}

fn scaled_on_the_way_back() -> Story {
    let story = story("scaled_on_the_way_back", busy());
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 5),
        "a person asks to move back",
        |world| edit_spec(world, |spec| spec.request_rollback = true),
    );
    with(
        story,
        When::Once(|world| {
            let mut apps = world.apps.iter();
            let back = |app: &App| app.key.name == "cart" && app.mark.as_deref() == Some("default");
            apps.any(back) && has_moved(world, "cart")
        }),
        "its autoscaler adds two pods to cart, for which there is no room",
        |world| scale(world, "cart"),
    )
}

fn a_canary_pauses_for_hours() -> Story {
    let mut world = busy();
    add(
        &mut world,
        App::new(WorkloadKind::Rollout, "shop", "front", 2),
    );
    let story = story("a_canary_pauses_for_hours", world);
    with(
        story,
        When::Once(|world| has_moved(world, "front")),
        "a person deploys a new version of front, whose canary pauses",
        |world| {
            let app = world.app("front");
            app.change_template();
            app.paused = true;
        },
    )
}

fn a_daemon_set_stops() -> Story {
    let story = story("a_daemon_set_stops", busy());
    with(
        story,
        When::Once(|world| {
            let mut apps = world.apps.iter();
            let agent = apps.find(|app| app.key.name == "agent").expect("an agent");
            let new = agent.pods.iter().filter(|m| m.template > 1 && m.pod.ready);
            new.count() == 6
        }),
        "new pods of agent crash from now on",
        |world| world.app("agent").breaks = Some("container app: CrashLoopBackOff".into()),
    )
}

/// As check POD-NOT-READY advises: what crashes is excluded.
fn what_crashes_is_excluded() -> Story {
    let mut world = registered("1.31.0");
    let excluded = labels(&[("meshlift.io/exclude", "true")]);
    edit(&mut world, |object| {
        object.spec.data_plane.exclude = Some(LabelSelector {
            match_labels: Some(excluded.clone()),
            ..LabelSelector::default()
        });
    });
    let mut broken = App::new(WorkloadKind::Deployment, "shop", "broken", 1);
    broken.labels.extend(excluded);
    broken.flaps_on = Some("default");
    add(&mut world, broken);
    story("what_crashes_is_excluded", world)
}

/// Whatever becomes of it on the new control plane: it was so before.
fn what_crashed_before_goes_on_crashing() -> Story {
    let mut world = registered("1.31.0");
    world.crash("web", 5);
    let story = story("what_crashed_before_goes_on_crashing", world);
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "the containers of web restart five times",
        |world| world.crash("web", 5),
    )
}

fn containers_restart_now_and_then() -> Story {
    let story = story("containers_restart_now_and_then", registered("1.31.0"));
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 5),
        "the containers of web restart",
        |world| world.crash("web", 1),
    );
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 20),
        "the containers of cart restart, and those of web again",
        |world| {
            world.crash("cart", 1);
            world.crash("web", 1);
        },
    )
}

fn a_sidecar_is_lost_in_the_soak() -> Story {
    let story = story("a_sidecar_is_lost_in_the_soak", registered("1.31.0"));
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "somebody applies an old manifest of namespace blog, without its label, and the pod of api is replaced",
        |world| {
            world.namespace("blog").labels.clear();
            let app = world.app("api");
            app.startup = 0;
            app.pods.clear();
        },
    )
}

fn istiod_is_not_scaled_as_wanted() -> Story {
    let story = story("istiod_is_not_scaled_as_wanted", registered("1.31.0"));
    with(
        story,
        When::Once(|world| marked(world, "cart")),
        "autoscalers want five replicas of each istiod, and there is room for two",
        |world| {
            for istiod in &mut world.istiods {
                istiod.plane.desired = 5;
                istiod.plane.enough = Some(1);
            }
        },
    )
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        scaled_while_others_restart(),
        evicted_and_scaled(),
        a_life_of_their_own_in_the_soak(),
        scaled_on_the_way_back(),
        a_canary_pauses_for_hours(),
        a_daemon_set_stops(),
        what_crashes_is_excluded(),
        what_crashed_before_goes_on_crashing(),
        containers_restart_now_and_then(),
        a_sidecar_is_lost_in_the_soak(),
        istiod_is_not_scaled_as_wanted(),
    ]
}
