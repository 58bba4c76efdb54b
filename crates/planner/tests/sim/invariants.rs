//! What must hold whatever others do in the cluster, checked before each effect, after each step and at the end.
//! What a story itself holds is no fault: it is compared with what happens in it when nobody disturbs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshlift_api::{LegState, MeshUpgradeStatus, Outcome, Phase, Predicate, Strategy};
use meshlift_model::view::Pod;
use meshlift_model::{Decision, Effect, Next, Waiting, WaitingOn};

use crate::life::OTHER_MESH;
use crate::run::Run;
use crate::world::{App, World};

/// A story as it is when nobody disturbs it.
pub struct Calm {
    /// UIDs of the workloads that were there at the beginning and had pods.
    awake: BTreeSet<String>,
    writes: BTreeMap<String, u32>,
    went_back: bool,
    outcome: Option<Outcome>,
    /// Workloads that it names as none that it may move.
    left_alone: BTreeSet<String>,
    /// Whether all that is not at the target is named at its end.
    names_all: bool,
    /// Whether pods lose their sidecars in it.
    loses_sidecars: bool,
    /// How often it writes a workload or namespace at the most.
    ways: u32,
    /// Whether it comes to an end.
    pub ends: bool,
}

impl Calm {
    /// The story that begins so, and was told.
    pub fn of(start: &World, told: &Run) -> Self {
        let object = told.world.object.as_ref();
        let awake = start.apps.iter().filter(|app| !app.pods.is_empty());
        let blocked = object.map(|object| object.status.blocked.iter());
        let alone = blocked
            .into_iter()
            .flatten()
            .filter(|blocked| is_left_alone(blocked.predicate));
        let moves = |object: &str| object.starts_with("apps") || object.starts_with("namespace ");
        let writes = told.world.writes.iter().filter(|(object, _)| moves(object));
        Self {
            left_alone: alone.map(|blocked| blocked.reference.clone()).collect(),
            loses_sidecars: without(&told.world) > without(start),
            names_all: unnamed(&told.world).is_none(),
            ways: writes.map(|(_, count)| *count).max().unwrap_or(1),
            awake: awake.map(|app| app.uid.clone()).collect(),
            writes: told.world.writes.clone(),
            went_back: told.went_back,
            outcome: object.and_then(|object| object.status.outcome),
            ends: object.is_none_or(|object| object.phase().is_terminal()),
        }
    }

    fn upgrades(&self) -> bool {
        self.outcome == Some(Outcome::Upgraded) && !self.went_back
    }

    /// How often an object is written: once for each way, or as often as the story wants.
    fn allowed(&self, object: &str) -> u32 {
        let told = self.writes.get(object).copied().unwrap_or_default();
        // The base release is upgraded, and carries the default revision later.
        let ways = if object.starts_with("release ") {
            self.ways + 1
        } else {
            self.ways
        };
        told.max(ways)
    }
}

/// What was seen of one run so far.
pub struct Invariants {
    calm: Arc<Calm>,
    /// Workloads, by UID, and the revision on which they were seen settled.
    settled: BTreeSet<(String, String)>,
    /// Where workloads are moved to.
    heading: Option<String>,
    /// Workloads, by UID, that had a sidecar in every pod.
    in_mesh: BTreeSet<String>,
    /// Resource version at which a workload was last looked at.
    seen: BTreeMap<String, u64>,
    /// Whether a person is waited for, or a time that is written in the spec.
    waits_for_person: bool,
    /// Whether the success was looked at.
    succeeded: bool,
}

impl Invariants {
    pub fn new(calm: &Arc<Calm>) -> Self {
        Self {
            calm: Arc::clone(calm),
            settled: BTreeSet::new(),
            heading: None,
            in_mesh: BTreeSet::new(),
            seen: BTreeMap::new(),
            waits_for_person: false,
            succeeded: false,
        }
    }

    /// What has moved stays moved, and what the calm story leaves alone is left alone.
    pub fn before(&self, world: &World, effect: &Effect, rewritten: &BTreeMap<String, u32>) {
        let (key, to) = match effect {
            Effect::RestartWorkload { key, mark, .. } => (key, mark.split('.').next()),
            Effect::EvictPod { workload, at, .. } if at.is_some() => (workload, None),
            _ => return,
        };
        let Some(app) = world.apps.iter().find(|app| app.key == *key) else {
            return;
        };
        let to = to.map(str::to_owned).or_else(|| heading(world));
        let moved = to.is_some_and(|to| self.settled.contains(&(app.uid.clone(), to)));
        let name = key.to_string();
        let reason = rewritten.contains_key(&name) || self.calm.allowed(&name) > 1;
        assert!(!moved || reason, "{key} had moved, and is restarted again");
        let awake = self.calm.awake.contains(&app.uid);
        assert!(
            !awake || !self.calm.left_alone.contains(&name) || self.calm.writes.contains_key(&name),
            "{key} is none that this upgrade moves, and is restarted"
        );
    }

    pub fn decided(&mut self, decision: &Decision) {
        let window = |waiting: &Waiting| waiting.on == WaitingOn::Window;
        let in_window = matches!(&decision.next, Next::Wait(waiting) if window(waiting));
        self.waits_for_person = in_window || decision.waits_for_person();
    }

    /// No way back without a fault of the new side, and nobody loses a sidecar.
    pub fn after_step(&mut self, world: &World) {
        let object = world.object.as_ref();
        let back = object.and_then(|object| object.status.rollback.as_ref());
        let asked = |reason: &str| reason.contains("requestRollback");
        if let Some(back) = back
            && !self.calm.went_back
            && !asked(&back.reason)
        {
            panic!(
                "a way back begins without a fault of the new side: {}",
                back.reason
            );
        }
        // Where it turns round, what ran there before has not moved yet.
        let to = heading(world);
        if to != self.heading {
            self.heading = to;
            self.settled.clear();
        }
        for app in &world.apps {
            if self.seen.get(&app.uid) != Some(&app.resource_version) {
                self.seen.insert(app.uid.clone(), app.resource_version);
                self.look_at(world, app);
            }
        }
        if let Some(object) = object {
            on_the_route(&object.status);
        }
        let outcome = object.and_then(|object| object.status.outcome);
        if outcome == Some(Outcome::Upgraded) && !self.succeeded {
            self.succeeded = true;
            let left = unnamed(world).filter(|_| self.calm.names_all);
            assert_eq!(left, None, "Done, and this is neither moved nor named");
        }
        self.succeeded &= outcome.is_some();
    }

    fn look_at(&mut self, world: &World, app: &App) {
        if app.pods.is_empty() {
            return;
        }
        let lost = app.pods.iter().find(|member| !member.sidecar);
        if let Some(lost) = lost {
            let loses = self.calm.loses_sidecars || !self.calm.upgrades();
            let had = !loses && self.in_mesh.contains(&app.uid);
            assert!(
                !had,
                "pod {} of {} has lost its sidecar",
                lost.pod.name, app.key
            );
            return;
        }
        self.in_mesh.insert(app.uid.clone());
        let at = world.sidecar(&app.pods[0].pod);
        let mut pods = app.pods.iter();
        let same = pods.all(|member| world.sidecar(&member.pod) == at);
        if let Some(at) = at.filter(|_| same && app.settled()) {
            self.settled.insert((app.uid.clone(), at));
        }
    }

    /// It ended, as the calm story does; nothing was written twice; and a success is one.
    pub fn at_the_end(&self, world: &World, rewritten: &BTreeMap<String, u32>) {
        let back = world
            .object
            .iter()
            .any(|object| object.status.rollback.is_some());
        let asked_back = u32::from(back && !self.calm.went_back);
        for (object, count) in &world.writes {
            let moved = [
                "namespace ",
                "tag ",
                "gateway ",
                "apps",
                "argoproj",
                "release ",
            ];
            let object_rewritten = rewritten.get(object).copied().unwrap_or(0);
            let allowed = self.calm.allowed(object) + object_rewritten + asked_back;
            let counts = moved.iter().any(|kind| object.starts_with(kind));
            assert!(
                !counts || *count <= allowed,
                "{object} is written {count} times, and {allowed} are enough"
            );
        }
        let Some(object) = &world.object else {
            return;
        };
        let (phase, message) = (object.phase(), &object.status.message);
        if !self.calm.ends {
            return;
        }
        assert!(
            phase.is_terminal() || self.waits_for_person,
            "it does not end: {message}"
        );
        // Where others hold it up, a request comes in time that comes too late when nobody does.
        let asked = object.spec.request_rollback && back;
        if self.calm.upgrades() && !asked {
            let ends_well = phase != Phase::Failed;
            assert!(
                ends_well,
                "it fails without a fault of the new side: {message}"
            );
        }
    }
}

/// Every step belongs to a leg of the route that was pinned, and an end leaves none under way.
fn on_the_route(status: &MeshUpgradeStatus) {
    let active = status.legs.iter().any(|leg| leg.state == LegState::Active);
    let phase = status.phase.unwrap_or(Phase::Pending);
    let forward = status.rollback.is_none() && phase.is_locked() && !status.legs.is_empty();
    if let Some(step) = status.step.filter(|_| forward) {
        assert!(active, "{step} is on no leg of {:?}", status.legs);
    }
    assert!(!phase.is_terminal() || !active, "{:?}", status.legs);
}

/// How many pods have no sidecar.
fn without(world: &World) -> usize {
    let pods = world.apps.iter().flat_map(|app| &app.pods);
    pods.filter(|member| !member.sidecar).count()
}

/// Whether a workload is none of this upgrade's, whatever becomes of it.
fn is_left_alone(why: Predicate) -> bool {
    matches!(
        why,
        Predicate::Excluded
            | Predicate::InjectionOff
            | Predicate::HostNetwork
            | Predicate::SidecarInTemplate
            | Predicate::GatewaysExcluded
    )
}

/// What workloads are moved to: a revision, in place a version as restarts are marked with it.
fn heading(world: &World) -> Option<String> {
    let object = world.object.as_ref()?;
    let to = match object.status.rollback {
        Some(_) => &object.status.from,
        None => &object.status.target,
    };
    let to = to.as_ref()?;
    match object.spec.strategy {
        Strategy::Canary => to.revision.clone(),
        Strategy::InPlace => Some(to.version.replace('.', "-")),
    }
}

/// A workload with a pod that is not at the target and not named.
fn unnamed(world: &World) -> Option<String> {
    let to = heading(world)?;
    let blocked = &world.object.as_ref()?.status.blocked;
    let named = |app: &App| {
        let name = format!("{}/{}", app.key.namespace, app.key.name);
        blocked
            .iter()
            .any(|blocked| blocked.reference.contains(&name))
    };
    let old = |app: &&App| {
        let other = |pod: &Pod| {
            let revision = pod.revision.as_deref();
            revision.is_some_and(|revision| revision.starts_with(OTHER_MESH))
        };
        let ours = app.pods.iter().filter(|m| !other(&m.pod));
        let mut at = ours.filter_map(|m| world.sidecar(&m.pod));
        at.any(|at| at != to)
    };
    // What is about to go moves nowhere.
    let stays = |app: &&App| {
        let mut namespaces = world.namespaces.iter();
        namespaces.any(|ns| ns.name == app.key.namespace && !ns.terminating)
    };
    let mut left = world.apps.iter().filter(old).filter(stays);
    let left = left.find(|app| !named(app));
    left.map(|app| app.key.to_string())
}
