//! The life of a cluster: what others do in it between two looks, by seed. All of it is ordinary business, and none of
//! it a fault of the new control plane: pods die and come back, owners scale and deploy, nodes are drained, quotas fill
//! up and are raised, policies refuse for a while, a controller puts back what it owns, namespaces come and go.

mod events;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::seeded::Seeded;
use crate::transcript::Transcript;
use crate::world::{World, seconds};

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pod dies, and its controller makes another.
    PodDies,
    /// A node is drained: a pod of every second workload dies.
    NodeDrains,
    /// A workload is scaled, to zero too.
    Scales,
    /// An owner deploys a new template.
    Deploys,
    /// A namespace takes no new pod for a while.
    QuotaFills,
    /// A policy lets nobody change a workload for a while.
    PolicyRefuses,
    /// A controller takes our mark out of a template, once.
    RewritesTemplate,
    /// A namespace appears, with a workload in it, and goes later.
    NamespaceAppears,
    /// A replica of an istiod is not ready for a while, and enough others are.
    IstiodBlinks,
    /// The metrics of istiod cannot be read for a while.
    MetricsAreLost,
    /// Somebody runs Helm on a release of something else.
    ForeignHelm,
    /// Another mesh is installed, upgraded, and its old control plane removed.
    SecondMesh,
    /// The operator has much else to do, and looks at the mesh every few seconds only, whatever happens in it. It goes on so
    /// for the whole life.
    OperatorIsBusy,
}

impl Kind {
    pub const ALL: [Self; 13] = [
        Self::PodDies,
        Self::NodeDrains,
        Self::Scales,
        Self::Deploys,
        Self::QuotaFills,
        Self::PolicyRefuses,
        Self::RewritesTemplate,
        Self::NamespaceAppears,
        Self::IstiodBlinks,
        Self::MetricsAreLost,
        Self::ForeignHelm,
        Self::SecondMesh,
        Self::OperatorIsBusy,
    ];
}

/// What ends by itself.
enum End {
    Quota(String),
    Policy,
    Metrics,
    Blink(String),
    /// A workload, by UID, that goes back to so many replicas.
    Scaled(String, usize),
    Helm,
    Terminating(String),
    Namespace(String),
}

/// Why metrics cannot be read.
const SCRAPES_FAIL: &str = "connection reset by peer";

/// What the revisions of the mesh that appears begin with.
pub const OTHER_MESH: &str = "other-";

/// One life.
pub struct Life {
    seeded: Seeded,
    kinds: Vec<Kind>,
    /// Seconds between two events, at the most.
    pause: u32,
    next: Timestamp,
    ends: Vec<(Timestamp, End)>,
    /// How often somebody rewrote an object, by the name that writes have: a reason to write it once more.
    pub rewritten: BTreeMap<String, u32>,
    /// Workloads, by UID, that their owners rolled out lately, and until when they are left alone.
    rested: BTreeMap<String, Timestamp>,
    /// When the next node may be drained.
    drained: Timestamp,
    appeared: u32,
    /// Seconds between two looks, at the least.
    pub rest: i64,
    /// How far the other mesh is.
    second: u32,
    done_once: BTreeSet<&'static str>,
}

impl Life {
    /// The life of this seed, without some kinds of events.
    pub fn new(seed: u64, now: Timestamp, without: &[Kind]) -> Self {
        let mut seeded = Seeded(seed);
        // One seed in four sees a single kind, so that it is told what went wrong; the others half of them.
        let single = (seeded.below(4) == 0).then(|| seeded.place(Kind::ALL.len()));
        let chosen = |(at, _): &(usize, Kind)| match single {
            Some(only) => *at == only,
            None => seeded.below(2) == 0,
        };
        let kinds = Kind::ALL.into_iter().enumerate().filter(chosen);
        let kinds = kinds.map(|(_, kind)| kind);
        let mut kinds: Vec<Kind> = kinds.filter(|kind| !without.contains(kind)).collect();
        let pause = [20, 60, 180][seeded.place(3)];
        let busy = kinds.contains(&Kind::OperatorIsBusy);
        let rest = if busy { seeded.within(2, 8) } else { 1 };
        // It is so from the beginning, and does not happen.
        kinds.retain(|kind| *kind != Kind::OperatorIsBusy);
        let next = now + seconds(i64::from(seeded.within(1, pause)));
        Self {
            seeded,
            kinds,
            pause,
            next,
            ends: Vec::new(),
            rewritten: BTreeMap::new(),
            rested: BTreeMap::new(),
            drained: now,
            rest: i64::from(rest),
            appeared: 0,
            second: 0,
            done_once: BTreeSet::new(),
        }
    }

    /// When something happens next.
    pub fn due(&self) -> Timestamp {
        let ends = self.ends.iter().map(|(at, _)| *at);
        ends.fold(self.next, Timestamp::min)
    }

    /// Lets happen what is due.
    pub fn goes_on(&mut self, world: &mut World, told: &mut Transcript) {
        let now = world.now;
        while let Some(at) = self.ends.iter().position(|(at, _)| *at <= now) {
            let (_, end) = self.ends.swap_remove(at);
            self.end(world, told, end);
        }
        while self.next <= now {
            self.next = now + seconds(i64::from(self.seeded.within(1, self.pause)));
            if !self.kinds.is_empty() {
                let kind = self.kinds[self.seeded.place(self.kinds.len())];
                self.happens(world, told, kind);
            }
        }
    }

    fn later(&mut self, world: &World, from: u32, to: u32, end: End) {
        let after = i64::from(self.seeded.within(from, to));
        self.ends.push((world.now + seconds(after), end));
    }

    fn end(&mut self, world: &mut World, told: &mut Transcript, end: End) {
        let now = world.now;
        match end {
            End::Quota(namespace) => {
                world.refusing.remove(&namespace);
                told.happened(now, &format!("the quota of {namespace} is raised"));
            }
            End::Policy => {
                world.denied = None;
                told.happened(now, "the policy is corrected");
            }
            End::Metrics => {
                if world
                    .unreadable
                    .get("metrics")
                    .is_some_and(|why| why == SCRAPES_FAIL)
                {
                    world.unreadable.remove("metrics");
                }
                told.happened(now, "metrics can be read again");
            }
            End::Blink(name) => {
                let mut istiods = world.istiods.iter_mut();
                let found = istiods.find(|i| i.plane.name == name);
                if let Some(istiod) = found.filter(|i| i.plane.ready + 1 == i.plane.desired) {
                    istiod.plane.ready = istiod.plane.desired;
                }
                told.happened(now, &format!("the replica of {name} is ready again"));
            }
            End::Scaled(uid, replicas) => {
                if let Some(at) = world.apps.iter().position(|app| app.uid == uid) {
                    events::scale(world, at, replicas);
                    let key = &world.apps[at].key;
                    told.happened(now, &format!("{key} is scaled back to {replicas}"));
                }
            }
            End::Helm => {
                world.helm.end_pending("loki");
                told.happened(now, "Helm is done with loki");
            }
            End::Terminating(name) => {
                if world.namespaces.iter().any(|ns| ns.name == name) {
                    world.namespace(&name).terminating = true;
                    told.happened(now, &format!("namespace {name} is deleted"));
                    self.later(world, 2, 10, End::Namespace(name));
                }
            }
            End::Namespace(name) => {
                world.delete_namespace(&name);
                told.happened(now, &format!("namespace {name} is gone"));
            }
        }
    }
}
