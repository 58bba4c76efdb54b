//! Workloads of every kind, and the ways in which they do not come along.

use meshlift_api::RestartMethod;

use super::*;

fn evicting() -> World {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.data_plane.restart.method = RestartMethod::Evict;
    });
    world
}

fn app(kind: WorkloadKind, name: &str, replicas: usize) -> App {
    App::new(kind, "shop", name, replicas)
}

/// Everything that no rolling update moves.
fn with_what_does_not_roll(world: &mut World) {
    let mut on_delete = app(WorkloadKind::StatefulSet, "on-delete", 2);
    on_delete.strategy = UpdateStrategy::OnDelete;
    add(world, on_delete);
    let mut partition = app(WorkloadKind::AdvancedStatefulSet, "partition", 2);
    partition.strategy = UpdateStrategy::Partition(1);
    add(world, partition);
    let mut in_place = app(WorkloadKind::CloneSet, "in-place", 2);
    in_place.strategy = UpdateStrategy::InPlace;
    add(world, in_place);
    let mut paused = app(WorkloadKind::Deployment, "paused", 1);
    paused.paused = true;
    add(world, paused);
    add(world, app(WorkloadKind::ReplicaSet, "bare", 2));
}

fn kinds_that_do_not_roll_are_named() -> Story {
    let mut world = registered("1.31.0");
    with_what_does_not_roll(&mut world);
    let mut on_host = app(WorkloadKind::DaemonSet, "on-host", 1);
    on_host.host_network = true;
    add(&mut world, on_host);
    story("kinds_that_do_not_roll_are_named", world)
}

fn evictions_move_what_does_not_roll() -> Story {
    let mut world = evicting();
    with_what_does_not_roll(&mut world);
    add(&mut world, app(WorkloadKind::Rollout, "front", 2));
    story("evictions_move_what_does_not_roll", world)
}

fn a_budget_opens_later() -> Story {
    let mut world = evicting();
    world.budgets.insert("cart".into(), 2);
    let story = story("a_budget_opens_later", world);
    with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 40),
        "a person lets the budget of cart allow one",
        |world| {
            world.budgets.insert("cart".into(), 1);
        },
    )
}

fn a_budget_never_opens() -> Story {
    let mut world = evicting();
    world.budgets.insert("cart".into(), 2);
    edit(&mut world, |object| {
        object.spec.data_plane.restart.timeout = duration(300);
    });
    story("a_budget_never_opens", world)
}

fn an_evicted_pod_does_not_come_back() -> Story {
    let mut world = evicting();
    edit(&mut world, |object| {
        object.spec.data_plane.restart.retries = 1;
        object.spec.data_plane.restart.max_failures = 1;
    });
    world.app("cart").breaks = Some("container app: CrashLoopBackOff".into());
    story("an_evicted_pod_does_not_come_back", world)
}

fn kinds_of_others() -> Story {
    let mut world = registered("1.31.0");
    add(&mut world, app(WorkloadKind::Rollout, "front", 2));
    add(&mut world, app(WorkloadKind::CloneSet, "pool", 2));
    add(&mut world, app(WorkloadKind::AdvancedDaemonSet, "agent", 2));
    let mut own = app(WorkloadKind::Deployment, "own-image", 1);
    own.own_proxy_image = true;
    add(&mut world, own);
    story("kinds_of_others", world)
}

fn failures_within_the_budget_are_retried_and_named() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.data_plane.restart.retries = 1;
        object.spec.data_plane.restart.max_failures = 1;
    });
    world.app("cart").breaks = Some("container app: CrashLoopBackOff".into());
    story("failures_within_the_budget_are_retried_and_named", world)
}

fn a_retry_helps() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.data_plane.restart.retries = 2;
    });
    world.app("cart").breaks = Some("container app: CrashLoopBackOff".into());
    let story = story("a_retry_helps", world);
    with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 300),
        "what cart needs is there again",
        |world| world.app("cart").breaks = None,
    )
}

fn too_many_failures() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.data_plane.restart.max_failures = 1;
        object.spec.rollback = meshlift_api::Rollback::Never;
    });
    // Alone in its namespace: what else has moved by then must not hang on when a crash was.
    world.apps.retain(|app| app.key.name != "agent");
    for name in ["cart", "api"] {
        world.app(name).breaks = Some("container app: CrashLoopBackOff".into());
    }
    story("too_many_failures", world)
}

fn someone_rolls_while_we_do() -> Story {
    let mut world = registered("1.31.0");
    world.app("cart").startup = 30;
    let story = story("someone_rolls_while_we_do", world);
    with(
        story,
        When::Once(|world| marked(world, "cart")),
        "a person deploys a new image of cart",
        |world| world.app("cart").change_template(),
    )
}

/// Two workloads in a namespace without labels, whose templates ask for injection themselves.
fn with_pinned(world: &mut World) {
    let mut asks = App::new(WorkloadKind::Deployment, "default", "asks", 1);
    asks.template_labels
        .extend(labels(&[("sidecar.istio.io/inject", "true")]));
    add(world, asks);
    let mut pinned = App::new(WorkloadKind::StatefulSet, "default", "pinned", 1);
    pinned
        .template_labels
        .extend(labels(&[("istio.io/rev", "default")]));
    add(world, pinned);
}

fn templates_that_ask_themselves() -> Story {
    let mut world = registered("1.31.0");
    with_pinned(&mut world);
    let mut by_git = App::new(WorkloadKind::Deployment, "default", "by-git", 1);
    by_git
        .template_labels
        .extend(labels(&[("istio.io/rev", "default")]));
    by_git.template_revision_owner = Some("argocd-controller".into());
    add(&mut world, by_git);
    story("templates_that_ask_themselves", world)
}

fn templates_that_ask_themselves_go_back() -> Story {
    let mut world = registered("1.31.0");
    with_pinned(&mut world);
    world.app("web").breaks = Some("container app: CrashLoopBackOff".into());
    story("templates_that_ask_themselves_go_back", world)
}

pub(super) fn all() -> Vec<Story> {
    vec![
        kinds_that_do_not_roll_are_named(),
        evictions_move_what_does_not_roll(),
        a_budget_opens_later(),
        a_budget_never_opens(),
        an_evicted_pod_does_not_come_back(),
        kinds_of_others(),
        failures_within_the_budget_are_retried_and_named(),
        a_retry_helps(),
        too_many_failures(),
        someone_rolls_while_we_do(),
        templates_that_ask_themselves(),
        templates_that_ask_themselves_go_back(),
    ]
}
