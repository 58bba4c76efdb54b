//! What goes wrong on the way.

use super::*;

fn repository_goes_down() -> Story {
    let story = story("repository_goes_down", registered("1.31.0"));
    let story = with(
        story,
        reached(Phase::Upgrading, Step::UpgradingBase, 0),
        "the chart repository goes down",
        |world| world.repository = Err("connection refused".into()),
    );
    with(
        story,
        reached(Phase::Upgrading, Step::UpgradingBase, 40),
        "the chart repository is up again",
        |world| world.repository = Ok(["1.30.2", "1.31.0"].map(version).into()),
    )
}

/// Somebody replaces the chart of the new version once the upgrade has begun.
fn chart_replaced() -> Story {
    let story = story("chart_replaced", registered("1.31.0"));
    let story = with(
        story,
        reached(Phase::Upgrading, Step::UpgradingBase, 0),
        "the repository has another archive of chart istiod 1.31.0",
        |world| world.archives.istiod = "0dd".into(),
    );
    with(
        story,
        reached(Phase::Upgrading, Step::InstallingControlPlane, 40),
        "the archive that was detected is put back",
        |world| world.archives.istiod = "1d".into(),
    )
}

fn image_cannot_be_pulled() -> Story {
    let mut world = registered("1.31.0");
    world.istiod_trouble =
        Some("ImagePullBackOff: example.org/istio/pilot:1.31.0 not found".into());
    story("image_cannot_be_pulled", world)
}

fn retry_after_failed() -> Story {
    let mut story = image_cannot_be_pulled();
    story.name = "retry_after_failed";
    never_back(&mut story.world);
    with(
        story,
        When::Reached(Phase::Failed, None, 60),
        "the image is there, and a person annotates meshlift.io/retry",
        |world| {
            world.istiod_trouble = None;
            let ready_at = world.now + seconds(5);
            let istiod = world.istiod("1-31-0");
            istiod.plane.trouble = None;
            istiod.ready_at = Some(ready_at);
            edit(world, |object| object.retry = Some("1".into()));
        },
    )
}

fn workload_crashes() -> Story {
    let mut world = registered("1.31.0");
    world.app("cart").breaks = Some("container app: CrashLoopBackOff".into());
    never_back(&mut world);
    let story = story("workload_crashes", world);
    with(
        story,
        When::Reached(Phase::Failed, None, 60),
        "the workload is mended, and a person annotates meshlift.io/retry",
        |world| {
            let now = world.now;
            let app = world.app("cart");
            app.breaks = None;
            app.pods.retain(|member| member.pod.ready);
            assert!(app.restarted_at.is_some_and(|at| at < now));
            edit(world, |object| object.retry = Some("1".into()));
        },
    )
}

fn namespace_deleted() -> Story {
    let story = story("namespace_deleted", registered("1.31.0"));
    with(
        story,
        When::Once(|world| marked(world, "api")),
        "somebody deletes namespace blog",
        |world| world.delete_namespace("blog"),
    )
}

fn namespace_terminating() -> Story {
    let story = story("namespace_terminating", registered("1.31.0"));
    let story = with(
        story,
        When::Once(|world| {
            world
                .namespaces
                .iter()
                .any(|ns| ns.name == "blog" && ns.moved_to.is_some())
        }),
        "somebody deletes namespace blog, whose pods take long to end",
        |world| world.namespace("blog").terminating = true,
    );
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "namespace blog is gone",
        |world| world.delete_namespace("blog"),
    )
}

fn label_put_back() -> Story {
    let story = story("label_put_back", registered("1.31.0"));
    let story = with(
        story,
        When::Once(|world| marked(world, "cart")),
        "Argo CD puts the label of namespace shop back",
        |world| world.namespace("shop").labels = labels(&[("istio-injection", "enabled")]),
    );
    with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 300),
        "a person commits the new label",
        |world| world.namespace("shop").labels = labels(&[("istio.io/rev", "1-31-0")]),
    )
}

/// Whoever put it back does nothing more: its namespace is named, and the others end.
fn label_put_back_for_good() -> Story {
    let mut world = registered("1.31.0");
    edit(&mut world, |object| {
        object.spec.data_plane.restart.timeout = duration(300);
    });
    with(
        story("label_put_back_for_good", world),
        When::Once(|world| {
            let mut namespaces = world.namespaces.iter();
            namespaces.any(|ns| ns.name == "shop" && ns.moved_to.is_some())
        }),
        "a script puts the label of namespace shop back",
        |world| world.namespace("shop").labels = labels(&[("istio-injection", "enabled")]),
    )
}

fn not_all_can_move() -> Story {
    let mut world = registered("1.31.0");
    let excluded = labels(&[("team", "legacy")]);
    edit(&mut world, |object| {
        object.spec.data_plane.exclude = Some(LabelSelector {
            match_labels: Some(excluded.clone()),
            ..LabelSelector::default()
        });
    });
    world.tags.push(Tag {
        name: "prod".into(),
        revision: "default".into(),
        ..Tag::default()
    });
    world
        .namespaces
        .push(namespace("tagged", &[("istio.io/rev", "prod")]));
    let app = |name| App::new(WorkloadKind::Deployment, "shop", name, 1);
    add(
        &mut world,
        App::new(WorkloadKind::Deployment, "tagged", "tag", 1),
    );
    let mut on_delete = App::new(WorkloadKind::StatefulSet, "shop", "on-delete", 1);
    on_delete.strategy = UpdateStrategy::OnDelete;
    add(&mut world, on_delete);
    let mut partition = App::new(WorkloadKind::StatefulSet, "shop", "partition", 2);
    partition.strategy = UpdateStrategy::Partition(1);
    add(&mut world, partition);
    let mut paused = app("paused");
    paused.paused = true;
    add(&mut world, paused);
    let mut left_out = app("legacy");
    left_out.labels.extend(excluded);
    add(&mut world, left_out);
    let mut gateway = app("gateway");
    gateway.managed_gateway = true;
    add(&mut world, gateway);
    let mut by_pod = App::new(WorkloadKind::Deployment, "default", "by-pod", 1);
    by_pod.template_labels = labels(&[("sidecar.istio.io/inject", "true")]);
    add(&mut world, by_pod);
    world.loose = vec![
        loose("shop", "debug", None),
        loose("shop", "report-8w7xq", Some(("Job", "report"))),
        loose("blog", "game-0", Some(("GameServer", "game"))),
    ];
    story("not_all_can_move", world)
}

fn another_mesh() -> Story {
    let mut world = registered("1.31.0");
    let mut other = Istiod::helm("team-b", "istiod-b", &version("1.29.8"), 1);
    other.plane.namespace = "istio-b".into();
    other.plane.name = "istiod-team-b".into();
    other.plane.ready = 1;
    world.istiods.push(other);
    world
        .namespaces
        .push(namespace("team-b", &[("istio.io/rev", "team-b")]));
    add(
        &mut world,
        App::new(WorkloadKind::Deployment, "team-b", "other", 1),
    );
    story("another_mesh", world)
}

fn helm_killed_halfway() -> Story {
    let mut story = story("helm_killed_halfway", registered("1.31.0"));
    story.world.helm.dies = true;
    with(
        story,
        reached(Phase::HealthChecking, Step::KeepingOldControlPlane, 0),
        "the next Helm operation will be killed as well",
        |world| world.helm.dies = true,
    )
}

fn helm_pending_by_someone_else() -> Story {
    let mut world = registered("1.31.0");
    let now = world.now;
    world.helm.begin_foreign("istio-base", now - seconds(20));
    let story = story("helm_pending_by_someone_else", world);
    let story = with(story, When::After(90), "their operation ends", |world| {
        world.helm.end_pending("istio-base");
    });
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::KeepingOldControlPlane, 5),
        "someone begins a Helm operation on istiod",
        |world| {
            let now = world.now;
            world.helm.begin_foreign("istiod", now);
        },
    );
    with(
        story,
        reached(Phase::HealthChecking, Step::RetiringControlPlane, 90),
        "their operation ends",
        |world| world.helm.end_pending("istiod"),
    )
}

fn proxies_stay_connected() -> Story {
    let mut world = registered("1.31.0");
    world.outsiders.insert("default".into(), 3);
    story("proxies_stay_connected", world)
}

fn health_gets_worse() -> Story {
    let mut story = story("health_gets_worse", registered("1.31.0"));
    edit(&mut story.world, |object| {
        object.spec.health_check.soak = duration(60);
    });
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 20),
        "the containers of web restart three times, and an injection fails",
        |world| {
            world.crash("web", 3);
            world.injection_failures += 2;
        },
    );
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 50),
        "the containers of web restart again",
        |world| world.crash("web", 1),
    )
}

fn new_istiod_dies_in_the_soak() -> Story {
    let story = story("new_istiod_dies_in_the_soak", registered("1.31.0"));
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "the new istiod loses both pods",
        |world| {
            let plane = &mut world.istiod("1-31-0").plane;
            plane.ready = 0;
            plane.trouble = Some("container discovery: OOMKilled".into());
        },
    )
}

fn own_rollout_never_ends() -> Story {
    let mut world = registered("1.31.0");
    let app = world.app("web");
    app.breaks = Some("container app: ImagePullBackOff".into());
    app.change_template();
    story("own_rollout_never_ends", world)
}

fn workloads_unreadable_for_a_while() -> Story {
    let story = story("workloads_unreadable_for_a_while", registered("1.31.0"));
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::KeepingOldControlPlane, 10),
        "the API server does not answer for workloads",
        |world| {
            world.unreadable.insert(
                "workloads",
                "the server is currently unable to handle the request".into(),
            );
        },
    );
    with(
        story,
        reached(Phase::HealthChecking, Step::KeepingOldControlPlane, 30),
        "it answers again",
        |world| world.unreadable.clear(),
    )
}

fn new_namespace_in_the_soak() -> Story {
    let story = story("new_namespace_in_the_soak", registered("1.31.0"));
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 10),
        "somebody adds namespace news with a workload",
        |world| {
            let enabled = [("istio-injection", "enabled")];
            world.namespaces.push(namespace("news", &enabled));
            add(world, App::new(WorkloadKind::Deployment, "news", "feed", 1));
        },
    )
}

/// A namespace that asked for no sidecars asks for them once the others have moved: what its owner restarts then is injected
/// by the new control plane, and the old one is not kept for it.
fn first_label_in_the_middle() -> Story {
    let mut world = registered("1.31.0");
    add(
        &mut world,
        App::new(WorkloadKind::Deployment, "default", "site", 2),
    );
    world.namespaces.push(namespace("tools", &[]));
    add(
        &mut world,
        App::new(WorkloadKind::Deployment, "tools", "cron", 1),
    );
    let story = with(
        story("first_label_in_the_middle", world),
        When::Once(|world| marked(world, "db")),
        "a person labels namespace default with istio-injection=enabled",
        |world| world.namespace("default").labels = labels(&[("istio-injection", "enabled")]),
    );
    let story = with(
        story,
        When::Once(|world| {
            let mut namespaces = world.namespaces.iter();
            namespaces.any(|ns| ns.name == "default" && ns.moved_to.is_some())
        }),
        "a person restarts site",
        |world| world.app("site").change_template(),
    );
    with(
        story,
        reached(Phase::HealthChecking, Step::KeepingOldControlPlane, 10),
        "a person labels namespace tools with istio.io/rev=default",
        |world| world.namespace("tools").labels = labels(&[("istio.io/rev", "default")]),
    )
}

/// A restart that lands on the old control plane, because the label is back for a moment.
fn restart_undone() -> Story {
    let story = story("restart_undone", registered("1.31.0"));
    let story = with(
        story,
        When::Once(|world| marked(world, "cart")),
        "somebody puts the label of namespace shop back",
        |world| world.namespace("shop").labels = labels(&[("istio-injection", "enabled")]),
    );
    with(
        story,
        When::Once(|world| {
            let mut apps = world.apps.iter();
            apps.any(|app| app.key.name == "cart" && app.mark.is_some() && app.settled())
        }),
        "and moves the namespace again",
        |world| world.namespace("shop").labels = labels(&[("istio.io/rev", "1-31-0")]),
    )
}

fn refusing(world: &mut World) {
    let why = "exceeded quota: pods, requested 1, used 10, limited 10";
    world.refusing.insert("blog".into(), why.into());
}

fn injection_refused() -> Story {
    let mut world = registered("1.31.0");
    never_back(&mut world);
    refusing(&mut world);
    story("injection_refused", world)
}

fn injection_refused_for_a_while() -> Story {
    let mut world = registered("1.31.0");
    refusing(&mut world);
    let story = story("injection_refused_for_a_while", world);
    with(story, When::After(120), "the quota is raised", |world| {
        world.refusing.clear();
    })
}

fn restart_denied_for_a_while() -> Story {
    let mut world = registered("1.31.0");
    world.denied = Some("cart".into());
    let story = story("restart_denied_for_a_while", world);
    with(story, When::After(150), "the policy is mended", |world| {
        world.denied = None;
    })
}

/// All of these.
pub fn all() -> Vec<Story> {
    vec![
        repository_goes_down(),
        chart_replaced(),
        image_cannot_be_pulled(),
        retry_after_failed(),
        workload_crashes(),
        namespace_deleted(),
        namespace_terminating(),
        label_put_back(),
        label_put_back_for_good(),
        not_all_can_move(),
        another_mesh(),
        helm_killed_halfway(),
        helm_pending_by_someone_else(),
        proxies_stay_connected(),
        health_gets_worse(),
        new_istiod_dies_in_the_soak(),
        own_rollout_never_ends(),
        workloads_unreadable_for_a_while(),
        new_namespace_in_the_soak(),
        first_label_in_the_middle(),
        restart_undone(),
        injection_refused(),
        injection_refused_for_a_while(),
        restart_denied_for_a_while(),
    ]
}
