//! The stories: each a mesh, an upgrade and what happens to them.

mod asleep;
mod detection;
mod ending;
mod gateways;
mod going_well;
mod going_wrong;
mod in_place;
mod meanwhile;
mod moved;
mod owned;
mod pace;
mod proofs;
mod refusals;
mod refused;
mod rendered;
mod replicas;
mod rollback;
mod tags;
mod two_meshes;
mod waves;
mod workloads;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use meshlift_api::{
    GoDuration, MeshSpec, MeshType, MeshUpgradeSpec, MeshUpgradeStatus, Phase, Rollback, Step,
};
use meshlift_istio::version::KubernetesVersion;
use meshlift_model::view::{
    Installer, Namespace, Pod, ReleaseState, Rival, Tag, UpdateStrategy, Validator, WorkloadKind,
};
use meshlift_model::{ChartDigests, Upgrade};
use serde_json::{Map, Value, json};

use crate::helm::{Helm, Revision, Stored};
use crate::istiod::Istiod;
use crate::run::{Event, Story, When};
use crate::world::{App, Member, World, labels, seconds, version};

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
        redetect: None,
        accepts: None,
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
        "autoscaleMin": 2,
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
            proxy_image: revision.as_deref().and_then(|by| world.proxy_image(by)),
            namespace: app.key.namespace.clone(),
            name: format!("{}-{n}", app.key.name),
            uid: format!("uid-{}-{n}", app.key.name),
            created_at: Some(start()),
            owner_kind: Some(app.key.kind.to_string()),
            owner_name: Some(app.key.name.clone()),
            revision: revision.clone(),
            ready: true,
            ..Pod::default()
        };
        app.pods.push(Member {
            pod: Arc::new(pod),
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
        backups: std::collections::BTreeSet::new(),
        mesh: None,
        dependents: Default::default(),
        environment: Default::default(),
        plan: None,
        rivals: Vec::new(),
        kubernetes: KubernetesVersion {
            major: 1,
            minor: 36,
        },
        missing_permissions: Vec::new(),
        repository: Ok(["1.29.8", "1.30.2", "1.30.5", "1.31.0", "1.31.1", "1.32.0"]
            .map(version)
            .into()),
        archives: ChartDigests {
            base: "ba5e".into(),
            istiod: "1d".into(),
            source: None,
        },
        helm: Helm::default(),
        istiods: vec![istiod],
        validator: Some(Validator {
            namespace: "istio-system".into(),
            service: "istiod".into(),
            has_ca_bundle: true,
        }),
        tags: Vec::new(),
        gateways: Vec::new(),
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
        refusing: std::collections::BTreeMap::new(),
        lives: false,
        full: std::collections::BTreeSet::new(),
        denied: None,
        slow_istiod: false,
        too_many_requests: 0,
        budgets: std::collections::BTreeMap::new(),
        policies: Vec::new(),
        refusals: meshlift_model::Refusals::default(),
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

fn loose(namespace: &str, name: &str, owner: Option<(&str, &str)>) -> Arc<Pod> {
    let pod = Pod {
        namespace: namespace.into(),
        name: name.into(),
        owner_kind: owner.map(|(kind, _)| kind.into()),
        owner_name: owner.map(|(_, name)| name.into()),
        revision: Some("default".into()),
        ready: true,
        ..Pod::default()
    };
    Arc::new(pod)
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

/// A failed verification stops the upgrade.
fn never_back(world: &mut World) {
    edit(world, |object| object.spec.rollback = Rollback::Never);
}

/// Every story.
pub fn all() -> Vec<Story> {
    let groups = [
        going_well::all(),
        refused::all(),
        refusals::all(),
        going_wrong::all(),
        detection::all(),
        pace::all(),
        waves::all(),
        asleep::all(),
        owned::all(),
        workloads::all(),
        moved::all(),
        rollback::all(),
        tags::all(),
        gateways::all(),
        meanwhile::all(),
        ending::all(),
        two_meshes::all(),
        proofs::all(),
        in_place::all(),
        replicas::all(),
        rendered::all(),
    ];
    groups.into_iter().flatten().collect()
}
