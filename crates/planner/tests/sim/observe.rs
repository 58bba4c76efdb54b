//! A look at the simulated cluster, as the observer of the operator takes it: first what is
//! watched, then the costlier looks that the planner asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use meshlift_detect::next_charts;
use meshlift_model::view::{
    Dependents, LiveCounters, MeshView, PodRefusal, Probe, Recent, Refuser, Release, Replicas,
    Seen, Workload,
};
use meshlift_model::{Sample, Upgrade, admitted_by};
use meshlift_planner::{ReleasesWanted, wanted};

use crate::execute::ask;
use crate::world::{App, Injection, World, labels};

/// How old the watched parts of a view are.
pub struct Age<'a> {
    /// The world as the watches of namespaces, workloads and control planes show it.
    pub watched: &'a World,
    /// The world as the watch of pods shows it.
    pub pods: &'a World,
}

/// Looks at the world, everything fresh.
pub fn look(world: &World, upgrade: &Upgrade) -> MeshView {
    look_stale(
        world,
        upgrade,
        &Age {
            watched: world,
            pods: world,
        },
    )
}

/// Looks at the world through watches that lag behind; what is read and not watched is fresh.
pub fn look_stale(world: &World, upgrade: &Upgrade, age: &Age<'_>) -> MeshView {
    let mut view = watched(age);
    // The world keeps one Mesh, that of its object: while a watch shows another one, that of this upgrade is not there yet.
    let named = age.watched.object.as_ref().map(|object| &object.spec.mesh);
    if named.is_some_and(|name| *name != upgrade.spec.mesh) {
        view.mesh = Seen::Absent;
    }
    view.refusals = world.refusals.of(upgrade);
    view.record = match world.unreadable.get("record") {
        Some(why) => Seen::Unreadable(why.clone()),
        None => match world.records.get(&upgrade.record_name()) {
            Some(record) => Seen::Present(record.clone()),
            None => Seen::Absent,
        },
    };
    let taken = world.backups.get(&upgrade.backup_name());
    view.backup = match world.unreadable.get("backup") {
        Some(why) => Seen::Unreadable(why.clone()),
        None => taken.cloned().map_or(Seen::Absent, Seen::Present),
    };
    let wanted = wanted(world.now, upgrade, &view);
    view.releases = match wanted.releases {
        ReleasesWanted::No => Seen::Absent,
        ReleasesWanted::Known => seen(world, "releases", known(world, age.watched)),
        ReleasesWanted::Fresh => seen(world, "releases", world.helm.list()),
    };
    view.dependents = match wanted.dependents {
        ReleasesWanted::No => unread("they were not looked at"),
        ReleasesWanted::Known => dependents(age.watched),
        ReleasesWanted::Fresh => dependents(world),
    };
    // Those of the namespace of the control plane only.
    if let (Some(home), Seen::Present(releases)) = (view.home(), view.releases.clone()) {
        let here = releases.into_iter().filter(|r| r.namespace == home);
        view.releases = Seen::Present(here.collect());
    }
    if wanted.catalog {
        view.catalog = match &world.repository {
            Ok(versions) => Seen::Present(versions.clone()),
            Err(why) => Seen::Unreadable(why.clone()),
        };
    }
    if wanted.archives {
        view.archives = seen(world, "archives", world.archives.clone());
        let source = next_charts(upgrade, &view).and_then(|charts| charts.source);
        if let Seen::Present(archives) = &mut view.archives {
            archives.source = source.map(|_| archives.istiod.clone());
        }
    }
    if wanted.permissions {
        view.missing_permissions = Seen::Present(world.missing_permissions.clone());
    }
    if wanted.budgets {
        view.budgets = world.environment.budgets.clone();
    }
    if let Seen::Present(planes) = &mut view.control_planes {
        for plane in planes {
            if wanted.pace.contains(&plane.revision) {
                plane.live = live(world, &plane.revision).map(|seen| paced(world, seen));
            }
        }
    }
    if let (true, Seen::Present(planes)) = (wanted.live_counters, &mut view.control_planes) {
        for plane in planes {
            plane.live = live(world, &plane.revision);
        }
    }
    for (name, sample) in wanted.probes.into_iter().flat_map(|runs| runs.pods) {
        let probe = probe(world, &name, &sample);
        view.probes.insert(name, probe);
    }
    if wanted.diffs {
        view.plan = meshlift_guide::plan::draft(world.now, upgrade, &view);
    }
    view
}

/// Who depends on a control plane without running.
fn dependents(world: &World) -> Dependents {
    match world.unreadable.get("dependents") {
        Some(why) => unread(why),
        None => world.dependents.clone(),
    }
}

fn unread(why: &str) -> Dependents {
    Dependents {
        templates: Seen::Unreadable(why.to_owned()),
        configuration: Seen::Unreadable(why.to_owned()),
    }
}

/// Releases as listed a while ago; the list is forgotten with each change of our own.
fn known(world: &World, then: &World) -> Vec<Release> {
    if world.helm.changed_by_us == then.helm.changed_by_us {
        then.helm.list()
    } else {
        world.helm.list()
    }
}

fn seen<T>(world: &World, part: &str, value: T) -> Seen<T> {
    match world.unreadable.get(part) {
        Some(why) => Seen::Unreadable(why.clone()),
        None => Seen::Present(value),
    }
}

fn watched(age: &Age<'_>) -> MeshView {
    let world = age.watched;
    let apps = world.apps.iter().map(|app| workload(app, age.pods));
    let ours = |w: &Workload| w.mark.is_some() || w.evicted_at.is_some();
    let known = |w: &Workload| !w.pods.is_empty() || ours(w) || w.asks_itself();
    let with_sidecar = apps.filter(known);
    MeshView {
        mesh: match &world.mesh {
            Some(mesh) => Seen::Present(mesh.clone()),
            None => Seen::Absent,
        },
        kubernetes: Seen::Present(world.kubernetes),
        control_planes: seen(world, "control planes", world.planes()),
        releases: Seen::Absent,
        catalog: Seen::Absent,
        validator: match &world.validator {
            Some(validator) => Seen::Present(validator.clone()),
            None => Seen::Absent,
        },
        gateways: seen(world, "gateways", world.gateways.clone()),
        tags: seen(world, "tags", world.tags.clone()),
        namespaces: seen(world, "namespaces", world.namespaces.clone()),
        workloads: seen(world, "workloads", with_sidecar.collect()),
        loose_pods: age.pods.loose.clone(),
        undecoded: Vec::new(),
        refusals: BTreeMap::new(),
        missing_permissions: Seen::Absent,
        probes: BTreeMap::new(),
        rivals: world.rivals.clone(),
        record: Seen::Absent,
        archives: Seen::Absent,
        backup: Seen::Absent,
        budgets: Seen::Absent,
        dependents: Dependents::default(),
        environment: world.environment.clone(),
        diffs: Seen::Absent,
        plan: None,
        knowledge: Default::default(),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("a few")
}

fn workload(app: &App, pods: &World) -> Workload {
    let same = pods.apps.iter().find(|other| other.uid == app.uid);
    let members = || same.into_iter().flat_map(|app| &app.pods);
    Workload {
        key: app.key.clone(),
        uid: app.uid.clone(),
        resource_version: app.resource_version.to_string(),
        labels: app.labels.clone(),
        template_labels: app.template_labels.clone(),
        template_revision_before: app.template_revision_before.clone(),
        template_revision_owner: app.template_revision_owner.clone(),
        own_proxy_image: app.own_proxy_image,
        sidecar_in_template: app.sidecar_in_template.clone(),
        host_network: app.host_network,
        mark: app.mark.clone(),
        restarted_at: app.restarted_at,
        evicted_at: app.evicted_at,
        strategy: app.strategy,
        paused: app.paused,
        managed_gateway: app.managed_gateway,
        injected_gateway: app.injected_gateway,
        asleep: app.replicas == 0,
        settled: app.settled(),
        // Two watches have to say so.
        whole: app.whole()
            && members().count() >= app.replicas
            && members().all(|member| member.pod.ready),
        replicas: Replicas {
            desired: count(app.replicas),
            ready: count(app.pods.iter().filter(|member| member.pod.ready).count()),
            rolling: app.pods.iter().any(|member| member.template < app.template),
        },
        pods: members()
            .filter(|member| member.sidecar)
            .map(|member| Arc::clone(&member.pod))
            .collect(),
    }
}

/// The metrics of an istiod: who is connected is the truth about who uses it.
fn live(world: &World, revision: &str) -> Seen<LiveCounters> {
    let Some(istiod) = world
        .istiods
        .iter()
        .find(|istiod| istiod.plane.revision == revision)
    else {
        return Seen::Absent;
    };
    if let Some(why) = world.unreadable.get("metrics") {
        return Seen::Unreadable(why.clone());
    }
    // In the middle of an upgrade in place the replicas of before answer.
    if !istiod.plane.is_ready() && !istiod.plane.rolling {
        return Seen::Unreadable(format!("{} has no ready pod", istiod.plane.name));
    }
    let members = world.apps.iter().flat_map(|app| &app.pods);
    let pods = members.map(|member| &member.pod).chain(&world.loose);
    let inside: Vec<_> = pods
        .filter(|pod| pod.revision.as_deref() == Some(revision))
        .collect();
    let versions = inside.iter().filter_map(|pod| pod.version());
    let newest = versions.map(|of| of.numbers()).max();
    let outside = world.outsiders.get(revision).copied().unwrap_or_default();
    Seen::Present(LiveCounters {
        connected: inside.len() as u64 + outside,
        newest,
        injection_failures: world.injection_failures,
        build: istiod.plane.version.as_ref().map(|v| v.numbers()),
        // Two replicas of two cores.
        admits: 2 * admitted_by(2),
        recent: None,
    })
}

/// The same with what it did since the look before, ten seconds ago.
fn paced(world: &World, live: LiveCounters) -> LiveCounters {
    let second = world.now.as_second();
    let (slow, took) = if world.slow_istiod {
        (9, 120_000)
    } else {
        (0, 1_000)
    };
    let recent = Timestamp::from_second(second - second % 10).map(|at| Recent {
        at,
        converged: 10,
        slow,
        took,
        push_errors: 0,
        rejects: 0,
    });
    LiveCounters {
        recent: recent.ok(),
        ..live
    }
}

fn probe(world: &World, namespace: &str, sample: &Sample) -> Probe {
    let (template, own_image) = match sample {
        Sample::Minimal { revision, .. } => (labels(&[("istio.io/rev", revision)]), false),
        Sample::Workload { key, template, .. } => {
            let mut apps = world.apps.iter();
            let Some(app) = apps.find(|app| app.key == *key) else {
                return Probe::Failed(format!("{key} not found"));
            };
            let mut labels = app.template_labels.clone();
            if let Some(asked) = template {
                ask(&mut labels, asked);
            }
            (labels, app.own_proxy_image)
        }
    };
    let refused = |by: Refuser, why: &str| {
        let why = why.to_owned();
        Probe::Refused(PodRefusal { by, why })
    };
    if let Some(why) = world.refusing.get(namespace) {
        return refused(Refuser::Policy("new-pods".into()), why);
    }
    if world.full.contains(namespace) {
        return refused(Refuser::Quota, "exceeded quota team");
    }
    match world.injecting(namespace, &template) {
        Injection::By(by) => {
            let injected = world.proxy_image(&by).unwrap_or_default();
            Probe::Injected {
                revision: by,
                image: if own_image {
                    "example.org/own/proxyv2:1.30.2".to_owned()
                } else {
                    injected.to_string()
                },
            }
        }
        Injection::None => Probe::NotInjected,
        Injection::Refused(why) => Probe::Failed(why),
    }
}
