//! The stories: each a mesh, an upgrade and what happens to them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use meshlift_api::{GoDuration, MeshSpec, MeshType, MeshUpgradeSpec, MeshUpgradeStatus};
use meshlift_api::{Phase, Step};
use meshlift_planner::Upgrade;
use meshlift_planner::version::KubernetesVersion;
use meshlift_planner::view::{
    Installer, Namespace, Pod, ReleaseState, Rival, Tag, UpdateStrategy, Validator, WorkloadKind,
};
use serde_json::{Map, Value, json};

use crate::helm::{Helm, Revision, Stored};
use crate::run::{Event, Story, When};
use crate::world::{App, Istiod, Member, World, labels, seconds, version};

const HOUR: i64 = 3600;

fn start() -> Timestamp {
    "2026-11-02T02:00:00Z".parse().expect("a time")
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn duration(seconds: u64) -> GoDuration {
    std::time::Duration::from_secs(seconds).into()
}

fn spec(target: &str) -> MeshUpgradeSpec {
    let spec = json!({ "targetVersion": target });
    let mut spec: MeshUpgradeSpec = serde_json::from_value(spec).expect("a spec");
    spec.health_check.soak = duration(30);
    spec.retire.after = duration(60);
    spec
}

fn upgrade(target: &str) -> Upgrade {
    Upgrade {
        name: "to-1-31".into(),
        uid: "0b5e".into(),
        generation: 1,
        created_at: start(),
        deleting: false,
        held: false,
        retry: None,
        spec: spec(target),
        status: MeshUpgradeStatus::default(),
    }
}

fn namespace(name: &str, pairs: &[(&str, &str)]) -> Namespace {
    Namespace {
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: "1".into(),
        labels: labels(pairs),
        ..Namespace::default()
    }
}

fn release(name: &str, chart: &str, of: &str, values: Value) -> Stored {
    Stored {
        name: name.into(),
        namespace: "istio-system".into(),
        chart: chart.into(),
        revisions: vec![Revision {
            version: version(of),
            values: object(values),
            state: ReleaseState::Deployed,
            serial: 1,
        }],
    }
}

fn values() -> Value {
    json!({
        "global": { "hub": "example.org/istio", "imagePullPolicy": "Never" },
        "meshConfig": { "accessLogFile": "/dev/stdout" },
    })
}

/// Gives an app its pods, as its namespace has them injected now.
fn with_pods(world: &World, mut app: App) -> App {
    let by = world.injecting(&app.key.namespace, &app.template_labels);
    let revision = match by {
        crate::world::Injection::By(revision) => Some(revision),
        _ => None,
    };
    for n in 0..app.replicas {
        let pod = Pod {
            namespace: app.key.namespace.clone(),
            name: format!("{}-{n}", app.key.name),
            owner_kind: Some(app.key.kind.to_string()),
            owner_name: Some(app.key.name.clone()),
            revision: revision.clone(),
            ready: true,
            ..Pod::default()
        };
        app.pods.push(Member {
            pod,
            sidecar: revision.is_some(),
            template: 1,
            ready_at: None,
        });
    }
    app
}

fn add(world: &mut World, app: App) {
    let app = with_pods(world, app);
    world.apps.push(app);
}

/// Istio 1.30.2 by Helm without a revision, and a shop of five workloads in two namespaces.
fn shop(target: &str) -> World {
    let mut istiod = Istiod::helm("default", "istiod", &version("1.30.2"), 2);
    istiod.ready_at = Some(start());
    let enabled = [("istio-injection", "enabled")];
    let mut world = World {
        now: start(),
        object: Some(upgrade(target)),
        records: std::collections::BTreeMap::new(),
        mesh: None,
        rivals: Vec::new(),
        kubernetes: KubernetesVersion {
            major: 1,
            minor: 36,
        },
        missing_permissions: Vec::new(),
        repository: Ok(["1.29.8", "1.30.2", "1.30.5", "1.31.0", "1.31.1", "1.32.0"]
            .map(version)
            .into()),
        helm: Helm::default(),
        istiods: vec![istiod],
        validator: Some(Validator {
            service: "istiod".into(),
            has_ca_bundle: true,
        }),
        tags: Vec::new(),
        namespaces: vec![
            namespace("blog", &enabled),
            namespace("default", &[]),
            namespace("istio-system", &[]),
            namespace("shop", &enabled),
        ],
        apps: Vec::new(),
        loose: Vec::new(),
        outsiders: std::collections::BTreeMap::new(),
        injection_failures: 0,
        unreadable: std::collections::BTreeMap::new(),
        istiod_trouble: None,
        writes: std::collections::BTreeMap::new(),
        status_writes: 0,
        serial: 100,
    };
    world.helm.releases = vec![
        release("istio-base", "base", "1.30.2", json!({})),
        release("istiod", "istiod", "1.30.2", values()),
    ];
    world.now = start() + seconds(1);
    world.settle();
    world.now = start() + seconds(2);
    world.settle();
    for app in [
        App::new(WorkloadKind::Deployment, "shop", "cart", 2),
        App::new(WorkloadKind::Deployment, "shop", "web", 2),
        App::new(WorkloadKind::StatefulSet, "shop", "db", 2),
        App::new(WorkloadKind::Deployment, "blog", "api", 1),
        App::new(WorkloadKind::DaemonSet, "blog", "agent", 2),
    ] {
        add(&mut world, app);
    }
    world
}

/// A Mesh object that somebody already made.
fn registered(target: &str) -> World {
    World {
        mesh: Some(MeshSpec::default()),
        ..shop(target)
    }
}

fn loose(namespace: &str, name: &str, owner: Option<(&str, &str)>) -> Pod {
    Pod {
        namespace: namespace.into(),
        name: name.into(),
        owner_kind: owner.map(|(kind, _)| kind.into()),
        owner_name: owner.map(|(_, name)| name.into()),
        revision: Some("default".into()),
        ready: true,
        ..Pod::default()
    }
}

fn story(name: &'static str, world: World) -> Story {
    Story {
        name,
        world,
        events: Vec::new(),
        limit: HOUR,
    }
}

fn with(mut story: Story, when: When, what: &'static str, act: fn(&mut World)) -> Story {
    story.events.push(Event::new(when, what, act));
    story
}

fn reached(phase: Phase, step: Step, delay: i64) -> When {
    When::Reached(phase, Some(step), delay)
}

fn marked(world: &World, name: &str) -> bool {
    let mut apps = world.apps.iter();
    apps.any(|app| app.key.name == name && app.mark.is_some())
}

fn edit(world: &mut World, change: impl FnOnce(&mut Upgrade)) {
    change(world.object.as_mut().expect("the object"));
}

/// Changes the spec, as an API server does: the generation goes up.
fn edit_spec(world: &mut World, change: impl FnOnce(&mut MeshUpgradeSpec)) {
    edit(world, |object| {
        change(&mut object.spec);
        object.generation += 1;
    });
}

// --- the way it goes -------------------------------------------------------------------------

pub fn happy_path() -> Story {
    let mut world = shop("1.31.0");
    edit(&mut world, |object| {
        object.spec.health_check.soak = duration(60);
        object.spec.retire.after = duration(600);
    });
    story("happy_path", world)
}

pub fn newest_patch_of_a_minor() -> Story {
    story("newest_patch_of_a_minor", registered("1.31"))
}

/// A mesh at 1.31.0 under its revision.
fn at_target() -> World {
    let mut world = registered("1.31.0");
    let mut istiod = Istiod::helm("1-31-0", "istiod-1-31-0", &version("1.31.0"), 2);
    istiod.ready_at = Some(world.now);
    world.istiods = vec![istiod];
    world.helm.releases = vec![
        release(
            "istio-base",
            "base",
            "1.31.0",
            json!({ "defaultRevision": "1-31-0" }),
        ),
        release(
            "istiod-1-31-0",
            "istiod",
            "1.31.0",
            json!({ "revision": "1-31-0" }),
        ),
    ];
    world.validator = Some(Validator {
        service: "istiod-1-31-0".into(),
        has_ca_bundle: true,
    });
    for name in ["shop", "blog"] {
        world.namespace(name).labels = labels(&[("istio.io/rev", "1-31-0")]);
    }
    for member in world.apps.iter_mut().flat_map(|app| &mut app.pods) {
        member.pod.revision = Some("1-31-0".into());
    }
    world.settle();
    world.now += seconds(1);
    world.settle();
    world
}

pub fn already_at_target() -> Story {
    story("already_at_target", at_target())
}

pub fn at_target_with_old_sidecars() -> Story {
    let mut world = at_target();
    world.app("web").pods[0].pod.revision = Some("1-30-2".into());
    story("at_target_with_old_sidecars", world)
}

pub fn next_target_after_done() -> Story {
    let story = story("next_target_after_done", registered("1.31.0"));
    with(
        story,
        When::Reached(Phase::Done, None, 20),
        "a person sets targetVersion: 1.31.1",
        |world| edit_spec(world, |spec| spec.target_version = "1.31.1".into()),
    )
}

pub fn recreated_half_way() -> Story {
    let story = story("recreated_half_way", registered("1.31.0"));
    with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 6),
        "the object is replaced by a new one, its finalizer torn off",
        |world| {
            world.object = Some(Upgrade {
                uid: "77aa".into(),
                created_at: world.now,
                ..upgrade("1.31.0")
            });
        },
    )
}

pub fn paused_and_resumed() -> Story {
    let story = story("paused_and_resumed", registered("1.31.0"));
    let story = with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 2),
        "a person sets paused: true",
        |world| edit_spec(world, |spec| spec.paused = true),
    );
    with(
        story,
        reached(Phase::Upgrading, Step::RestartingWorkloads, 1500),
        "a person sets paused: false",
        |world| edit_spec(world, |spec| spec.paused = false),
    )
}

pub fn deleted_while_running() -> Story {
    let story = story("deleted_while_running", registered("1.31.0"));
    with(
        story,
        reached(Phase::Upgrading, Step::InstallingControlPlane, 1),
        "a person deletes the object",
        |world| edit(world, |object| object.deleting = true),
    )
}

pub fn deleted_while_detecting() -> Story {
    let story = story("deleted_while_detecting", registered("1.33.0"));
    with(
        story,
        When::After(60),
        "a person deletes the object",
        |world| {
            edit(world, |object| object.deleting = true);
            let held = world.object.as_ref().is_some_and(|object| object.held);
            if !held {
                world.object = None;
            }
        },
    )
}

// --- what cannot begin -----------------------------------------------------------------------

fn refused(name: &'static str, target: &str) -> Story {
    Story {
        limit: 120,
        ..story(name, registered(target))
    }
}

pub fn unknown_version() -> Story {
    refused("unknown_version", "1.31.7")
}

pub fn lower_version() -> Story {
    refused("lower_version", "1.29.8")
}

pub fn two_minors_up() -> Story {
    refused("two_minors_up", "1.32.0")
}

pub fn malformed_version() -> Story {
    refused("malformed_version", "v1.31")
}

pub fn mesh_not_found() -> Story {
    let mut story = refused("mesh_not_found", "1.31.0");
    edit(&mut story.world, |object| object.spec.mesh = "prod".into());
    story.world.mesh = None;
    story
}

pub fn external_mesh() -> Story {
    let mut story = refused("external_mesh", "1.31.0");
    story.world.mesh.as_mut().expect("a Mesh").mesh_type = MeshType::External;
    story
}

pub fn installed_by_istioctl() -> Story {
    let mut story = refused("installed_by_istioctl", "1.31.0");
    story.world.istiod("default").plane.installer = Installer::Istioctl;
    story
}

pub fn no_istio() -> Story {
    let mut story = refused("no_istio", "1.31.0");
    story.world.mesh = None;
    story.world.istiods.clear();
    story
}

pub fn kubernetes_too_new() -> Story {
    let mut story = refused("kubernetes_too_new", "1.30.5");
    story.world.kubernetes.minor = 37;
    story
}

pub fn kubernetes_mended() -> Story {
    let mut world = registered("1.31.0");
    world.kubernetes.minor = 30;
    world.missing_permissions = ["patch namespaces", "create pods", "list secrets", "get x"]
        .map(str::to_owned)
        .into();
    let story = story("kubernetes_mended", world);
    let story = with(story, When::After(60), "the cluster is upgraded", |world| {
        world.kubernetes.minor = 34;
    });
    with(story, When::After(120), "the RBAC is mended", |world| {
        world.missing_permissions.clear();
    })
}

pub fn two_at_once() -> Story {
    let mut world = registered("1.31.0");
    world.rivals.push(Rival {
        name: "to-1-30-5".into(),
        uid: "0aaa".into(),
        created_at: start() - seconds(60),
        phase: Phase::Upgrading,
    });
    with(
        story("two_at_once", world),
        When::After(300),
        "the other upgrade ends",
        |world| world.rivals[0].phase = Phase::Done,
    )
}

pub fn repository_down() -> Story {
    let mut world = registered("1.31.0");
    world.repository =
        Err("GET https://charts.example.org/index.yaml: 503 Service Unavailable".into());
    with(
        story("repository_down", world),
        When::After(180),
        "the chart repository is up again",
        |world| world.repository = Ok(["1.30.2", "1.31.0"].map(version).into()),
    )
}

// --- what goes wrong -------------------------------------------------------------------------

pub fn repository_goes_down() -> Story {
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

pub fn image_cannot_be_pulled() -> Story {
    let mut world = registered("1.31.0");
    world.istiod_trouble =
        Some("ImagePullBackOff: example.org/istio/pilot:1.31.0 not found".into());
    story("image_cannot_be_pulled", world)
}

pub fn retry_after_failed() -> Story {
    let mut story = image_cannot_be_pulled();
    story.name = "retry_after_failed";
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

pub fn workload_crashes() -> Story {
    let mut world = registered("1.31.0");
    world.app("cart").breaks = Some("container app: CrashLoopBackOff".into());
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

pub fn namespace_deleted() -> Story {
    let story = story("namespace_deleted", registered("1.31.0"));
    with(
        story,
        When::Once(|world| marked(world, "api")),
        "somebody deletes namespace blog",
        |world| world.delete_namespace("blog"),
    )
}

pub fn namespace_terminating() -> Story {
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

pub fn label_put_back() -> Story {
    let story = story("label_put_back", registered("1.31.0"));
    with(
        story,
        When::Once(|world| marked(world, "cart")),
        "Argo CD puts the label of namespace shop back",
        |world| world.namespace("shop").labels = labels(&[("istio-injection", "enabled")]),
    )
}

pub fn not_all_can_move() -> Story {
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

pub fn another_mesh() -> Story {
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

pub fn helm_killed_halfway() -> Story {
    let mut story = story("helm_killed_halfway", registered("1.31.0"));
    story.world.helm.dies = true;
    with(
        story,
        reached(Phase::HealthChecking, Step::KeepingOldControlPlane, 0),
        "the next Helm operation will be killed as well",
        |world| world.helm.dies = true,
    )
}

pub fn helm_pending_by_someone_else() -> Story {
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

pub fn proxies_stay_connected() -> Story {
    let mut world = registered("1.31.0");
    world.outsiders.insert("default".into(), 3);
    story("proxies_stay_connected", world)
}

pub fn health_gets_worse() -> Story {
    let mut story = story("health_gets_worse", registered("1.31.0"));
    edit(&mut story.world, |object| {
        object.spec.health_check.soak = duration(60);
    });
    let story = with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 20),
        "a container of web restarts, and an injection fails",
        |world| {
            world.app("web").pods[0].pod.restarts += 1;
            world.injection_failures += 2;
        },
    );
    with(
        story,
        reached(Phase::HealthChecking, Step::Soaking, 50),
        "a container of web restarts again",
        |world| world.app("web").pods[0].pod.restarts += 1,
    )
}

pub fn new_istiod_dies_in_the_soak() -> Story {
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

pub fn own_rollout_never_ends() -> Story {
    let mut world = registered("1.31.0");
    let app = world.app("web");
    app.breaks = Some("container app: ImagePullBackOff".into());
    app.change_template();
    story("own_rollout_never_ends", world)
}

pub fn workloads_unreadable_for_a_while() -> Story {
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

pub fn new_namespace_in_the_soak() -> Story {
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

/// Every story.
pub fn all() -> Vec<Story> {
    vec![
        happy_path(),
        newest_patch_of_a_minor(),
        already_at_target(),
        at_target_with_old_sidecars(),
        next_target_after_done(),
        recreated_half_way(),
        paused_and_resumed(),
        deleted_while_running(),
        deleted_while_detecting(),
        unknown_version(),
        lower_version(),
        two_minors_up(),
        malformed_version(),
        mesh_not_found(),
        external_mesh(),
        installed_by_istioctl(),
        no_istio(),
        kubernetes_too_new(),
        kubernetes_mended(),
        two_at_once(),
        repository_down(),
        repository_goes_down(),
        image_cannot_be_pulled(),
        retry_after_failed(),
        workload_crashes(),
        namespace_deleted(),
        namespace_terminating(),
        label_put_back(),
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
    ]
}
