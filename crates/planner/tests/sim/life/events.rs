//! What happens, kind by kind.

use jiff::Timestamp;
use meshlift_api::Phase;
use meshlift_model::view::{Namespace, ReleaseState, UpdateStrategy, WorkloadKind};
use serde_json::Map;

use super::{End, Kind, Life, SCRAPES_FAIL};
use crate::helm::{Revision, Stored};
use crate::istiod::Istiod;
use crate::transcript::Transcript;
use crate::world::{App, World, labels, seconds, version};

/// How long a workload is left alone after a rollout of its owner: deploys of every minute would never settle.
const REST: i64 = 120;
/// How long the drain of a node takes: one after the other, or pods that need ten seconds to start would never get ready,
/// and a rollout that makes no progress would be no fault of the planner.
const DRAIN: i64 = 60;
/// How many namespaces appear in one life.
const GUESTS: u32 = 3;

impl Life {
    pub(super) fn happens(&mut self, world: &mut World, told: &mut Transcript, kind: Kind) {
        match kind {
            Kind::PodDies => self.pod_dies(world, told),
            Kind::NodeDrains => self.node_drains(world, told),
            Kind::Scales => self.scales(world, told),
            Kind::Deploys => self.deploys(world, told),
            Kind::QuotaFills => self.quota_fills(world, told),
            Kind::PolicyRefuses => self.policy_refuses(world, told),
            Kind::RewritesTemplate => self.rewrites_template(world, told),
            Kind::NamespaceAppears => self.namespace_appears(world, told),
            Kind::IstiodBlinks => self.istiod_blinks(world, told),
            Kind::MetricsAreLost => self.metrics_are_lost(world, told),
            Kind::ForeignHelm => self.foreign_helm(world, told),
            Kind::SecondMesh => self.second_mesh(world, told),
            Kind::OperatorIsBusy => {}
        }
    }

    /// A workload of which this is true.
    fn one_of(&mut self, world: &World, is: impl Fn(&App) -> bool) -> Option<usize> {
        let apps = world.apps.iter().enumerate();
        let all: Vec<usize> = apps.filter(|(_, app)| is(app)).map(|(at, _)| at).collect();
        (!all.is_empty()).then(|| all[self.seeded.place(all.len())])
    }

    fn pod_dies(&mut self, world: &mut World, told: &mut Transcript) {
        let Some(at) = self.one_of(world, |app| comes_back(app) && !app.pods.is_empty()) else {
            return;
        };
        self.lose_a_pod(world, at, told, "dies");
    }

    fn node_drains(&mut self, world: &mut World, told: &mut Transcript) {
        if world.now < self.drained {
            return;
        }
        self.drained = world.now + seconds(DRAIN);
        for at in 0..world.apps.len() {
            let app = &world.apps[at];
            if comes_back(app) && !app.pods.is_empty() && self.seeded.below(2) == 0 {
                self.lose_a_pod(world, at, told, "is drained");
            }
        }
    }

    fn lose_a_pod(&mut self, world: &mut World, at: usize, told: &mut Transcript, how: &str) {
        let serial = world.next_serial();
        let app = &mut world.apps[at];
        let pod = self.seeded.place(app.pods.len());
        let lost = app.pods.remove(pod);
        app.resource_version = serial;
        told.happened(
            world.now,
            &format!("pod {} of {} {how}", lost.pod.name, app.key),
        );
    }

    fn scales(&mut self, world: &mut World, told: &mut Transcript) {
        let scales = |app: &App| {
            let fixed = app.key.kind == WorkloadKind::DaemonSet || app.managed_gateway;
            comes_back(app) && !fixed && app.replicas > 0
        };
        let Some(at) = self.one_of(world, scales) else {
            return;
        };
        let before = world.apps[at].replicas;
        let replicas = self.seeded.below(4) as usize;
        scale(world, at, replicas);
        let uid = world.apps[at].uid.clone();
        self.later(world, 20, 200, End::Scaled(uid, before));
        let key = &world.apps[at].key;
        told.happened(
            world.now,
            &format!("{key} is scaled from {before} to {replicas}"),
        );
    }

    fn deploys(&mut self, world: &mut World, told: &mut Transcript) {
        let now = world.now;
        let rested = self.rested.clone();
        let rests = |app: &App| rested.get(&app.uid).is_some_and(|until| *until > now);
        let Some(at) = self.one_of(world, |app| rolls(app) && !rests(app)) else {
            return;
        };
        let serial = world.next_serial();
        let app = &mut world.apps[at];
        app.change_template();
        app.resource_version = serial;
        let rollout = app.startup * i64::try_from(app.replicas).expect("a few");
        self.rested
            .insert(app.uid.clone(), now + seconds(REST + rollout));
        told.happened(now, &format!("{} is deployed by its owner", app.key));
    }

    fn quota_fills(&mut self, world: &mut World, told: &mut Transcript) {
        // A fault of the planner keeps those of control planes out of this: a dry-run pod that is refused there is a step
        // of its own (ProvingControlPlane), after which the clock of the step before begins anew. Quotas that fill up
        // again and again would make a rollout that never ends be waited for without end.
        let planes = |name: &String| world.istiods.iter().any(|i| i.plane.namespace == *name);
        let free = |ns: &&Namespace| {
            !world.refusing.contains_key(&ns.name) && !ns.terminating && !planes(&ns.name)
        };
        let all: Vec<String> = world
            .namespaces
            .iter()
            .filter(free)
            .map(|ns| ns.name.clone())
            .collect();
        if all.is_empty() {
            return;
        }
        let name = all[self.seeded.place(all.len())].clone();
        let why = "exceeded quota: pods, requested 1, used 10, limited 10";
        world.refusing.insert(name.clone(), why.to_owned());
        told.happened(world.now, &format!("the quota of {name} is used up"));
        self.later(world, 5, 60, End::Quota(name));
    }

    fn policy_refuses(&mut self, world: &mut World, told: &mut Transcript) {
        if world.denied.is_some() {
            return;
        }
        let Some(at) = self.one_of(world, |_| true) else {
            return;
        };
        let key = &world.apps[at].key;
        told.happened(world.now, &format!("a policy lets nobody change {key}"));
        world.denied = Some(key.name.clone());
        self.later(world, 5, 60, End::Policy);
    }

    fn rewrites_template(&mut self, world: &mut World, told: &mut Transcript) {
        if self.done_once.contains("template") {
            return;
        }
        let Some(at) = self.one_of(world, |app| app.mark.is_some() && rolls(app)) else {
            return;
        };
        let serial = world.next_serial();
        let app = &mut world.apps[at];
        app.mark = None;
        app.change_template();
        app.resource_version = serial;
        self.done_once.insert("template");
        *self.rewritten.entry(app.key.to_string()).or_default() += 1;
        told.happened(
            world.now,
            &format!("a controller puts the template of {} back", app.key),
        );
    }

    fn namespace_appears(&mut self, world: &mut World, told: &mut Transcript) {
        if self.appeared == GUESTS {
            return;
        }
        self.appeared += 1;
        let name = format!("guest-{}", self.appeared);
        let enabled = [("istio-injection", "enabled")];
        let labelled = if self.seeded.below(3) == 0 {
            &[][..]
        } else {
            &enabled
        };
        let namespace = Namespace {
            name: name.clone(),
            uid: format!("uid-{name}"),
            resource_version: world.next_serial().to_string(),
            labels: labels(labelled),
            ..Namespace::default()
        };
        world.namespaces.push(namespace);
        let replicas = self.seeded.within(1, 2) as usize;
        let app = App::new(WorkloadKind::Deployment, &name, "visitor", replicas);
        world.apps.push(app);
        told.happened(world.now, &format!("namespace {name} appears"));
        if self.seeded.below(2) == 0 {
            self.later(world, 20, 200, End::Terminating(name));
        }
    }

    fn istiod_blinks(&mut self, world: &mut World, told: &mut Transcript) {
        let now = world.now;
        let blinks = |i: &&mut Istiod| i.plane.desired > 1 && i.plane.ready == i.plane.desired;
        let mut all: Vec<&mut Istiod> = world.istiods.iter_mut().filter(blinks).collect();
        if all.is_empty() {
            return;
        }
        let at = self.seeded.place(all.len());
        let plane = &mut all[at].plane;
        plane.ready -= 1;
        plane.enough = Some(plane.ready);
        let name = plane.name.clone();
        told.happened(now, &format!("a replica of {name} is not ready"));
        self.later(world, 5, 40, End::Blink(name));
    }

    fn metrics_are_lost(&mut self, world: &mut World, told: &mut Transcript) {
        if world.unreadable.contains_key("metrics") {
            return;
        }
        world.unreadable.insert("metrics", SCRAPES_FAIL.to_owned());
        told.happened(world.now, "metrics cannot be read");
        self.later(world, 5, 60, End::Metrics);
    }

    fn foreign_helm(&mut self, world: &mut World, told: &mut Transcript) {
        let now = world.now;
        if world.helm.find("loki").is_none() {
            world
                .helm
                .releases
                .push(release("logging", "loki", "loki", "6.0.0"));
        }
        let loki = world.helm.find("loki").and_then(|r| r.revisions.last());
        if loki.is_some_and(|r| r.state != ReleaseState::Deployed) {
            return;
        }
        world.helm.begin_foreign("loki", now);
        told.happened(now, "somebody runs Helm on loki");
        self.later(world, 5, 120, End::Helm);
    }

    /// It begins once this upgrade has: how a second mesh is detected is told elsewhere.
    fn second_mesh(&mut self, world: &mut World, told: &mut Transcript) {
        let object = world.object.as_ref();
        if object.is_none_or(|object| object.phase() < Phase::Upgrading) {
            return;
        }
        let now = world.now;
        match self.second {
            0 => {
                install(world, now, "other-1-29", "1.29.8");
                let resource_version = world.next_serial().to_string();
                world.namespaces.push(Namespace {
                    name: "team-other".into(),
                    uid: "uid-team-other".into(),
                    resource_version,
                    labels: labels(&[("istio.io/rev", "other-1-29")]),
                    ..Namespace::default()
                });
                let app = App::new(WorkloadKind::Deployment, "team-other", "back", 2);
                world.apps.push(app);
                told.happened(now, "a second mesh appears");
            }
            1 => {
                install(world, now, "other-1-30", "1.30.2");
                told.happened(now, "the second mesh is upgraded");
            }
            2 => {
                let label = ("istio.io/rev".to_owned(), "other-1-30".to_owned());
                world.namespace("team-other").labels.extend([label]);
                world.app("back").change_template();
                told.happened(now, "the second mesh restarts its workloads");
            }
            3 if world
                .apps
                .iter()
                .all(|app| app.key.name != "back" || app.settled()) =>
            {
                world.istiods.retain(|i| i.plane.revision != "other-1-29");
                world
                    .helm
                    .releases
                    .retain(|r| r.name != "istiod-other-1-29");
                told.happened(now, "the second mesh retires its old control plane");
            }
            _ => return,
        }
        self.second += 1;
    }
}

/// Whether a lost pod of it comes back as it was made before.
fn comes_back(app: &App) -> bool {
    // A template that holds a sidecar, or is passed over, is not made by the webhooks that are simulated here.
    let simulated = app.sidecar_in_template.is_none() && !app.host_network;
    simulated && app.breaks.is_none() && app.replicas > 0
}

/// Whether a change of its template rolls it out to the end.
fn rolls(app: &App) -> bool {
    let by_itself = app.strategy == UpdateStrategy::Rolling && !app.paused;
    comes_back(app) && by_itself && app.key.kind.rolls() && !app.managed_gateway
}

/// Gives a workload so many replicas; what is too many ends, the oldest templates first.
pub(super) fn scale(world: &mut World, at: usize, replicas: usize) {
    let serial = world.next_serial();
    let app = &mut world.apps[at];
    app.replicas = replicas;
    app.resource_version = serial;
    app.pods
        .sort_by_key(|member| std::cmp::Reverse(member.template));
    app.pods.truncate(replicas);
}

fn release(namespace: &str, name: &str, chart: &str, of: &str) -> Stored {
    Stored {
        name: name.into(),
        namespace: namespace.into(),
        chart: chart.into(),
        revisions: vec![Revision {
            version: version(of),
            values: Map::new(),
            state: ReleaseState::Deployed,
            serial: 1,
        }],
    }
}

/// Installs a control plane of the other mesh, which is ready at once.
fn install(world: &mut World, now: Timestamp, revision: &str, of: &str) {
    let name = format!("istiod-{revision}");
    let mut istiod = Istiod::helm(revision, &name, &version(of), 1);
    istiod.plane.namespace = "istio-other".into();
    istiod.ready_at = Some(now);
    world.istiods.push(istiod);
    world
        .helm
        .releases
        .push(release("istio-other", &name, "istiod", of));
}
