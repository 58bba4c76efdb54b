//! Waves and gateways as one row of stages: who belongs to which, and how far the row is open.

mod pinned;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshlift_api::{Approval, GatewayOrder, Wave, WaveState, WaveStatus};

use crate::record::Record;
use crate::upgrade::Upgrade;
use crate::view::{MeshView, Workload, WorkloadKey};

pub use self::pinned::{Candidates, chosen, pinned};

/// Name of the stage of the gateways.
pub const GATEWAYS: &str = "gateways";
/// Name of the stage of all namespaces that no wave names.
pub const REST: &str = "rest";

/// The stages of an upgrade, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages<'a> {
    all: Vec<Stage<'a>>,
    order: GatewayOrder,
    of_namespace: Arc<BTreeMap<&'a str, usize>>,
    rest: usize,
    gateways: Option<usize>,
    /// Which may move.
    open: Vec<bool>,
}

/// A wave, the rest, or the gateways.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage<'a> {
    /// Its name.
    pub name: &'a str,
    /// The wave of the spec, if it is one.
    pub wave: Option<&'a Wave>,
    /// What status says of it.
    pub status: Option<&'a WaveStatus>,
}

impl Stage<'_> {
    /// Where it is.
    pub fn state(&self) -> WaveState {
        self.status
            .map_or(WaveState::Pending, |status| status.state)
    }

    /// Whether something of it was moved, or is being moved.
    pub fn has_begun(&self) -> bool {
        self.status
            .is_some_and(|status| status.started_at.is_some())
    }

    /// Whether nobody has to let it begin, or somebody did.
    fn is_approved(&self, approvals: &[String]) -> bool {
        let required = |wave: &Wave| wave.approval == Approval::Required;
        !self.wave.is_some_and(required) || approvals.iter().any(|name| name == self.name)
    }
}

impl<'a> Stages<'a> {
    /// The stages that were recorded, as far open as status and approvals let them be. Back goes
    /// everything at once.
    pub fn of(upgrade: &'a Upgrade, record: &'a Record) -> Self {
        let spec = &upgrade.spec;
        let waves = &upgrade.status.waves;
        let mut of_namespace = BTreeMap::new();
        let mut all = Vec::new();
        for (at, recorded) in record.waves.iter().enumerate() {
            for namespace in &recorded.namespaces {
                of_namespace.entry(namespace.as_str()).or_insert(at);
            }
            let in_spec = spec.data_plane.waves.iter();
            all.push(Stage {
                name: &recorded.name,
                wave: in_spec.into_iter().find(|wave| wave.name == recorded.name),
                status: waves.iter().find(|wave| wave.name == recorded.name),
            });
        }
        let named = |name| all.iter().position(|stage| stage.name == name);
        let stages = Self {
            order: spec.gateways.order,
            of_namespace: Arc::new(of_namespace),
            rest: named(REST).unwrap_or(all.len().saturating_sub(1)),
            gateways: named(GATEWAYS),
            open: open(&all, &spec.approvals),
            all,
        };
        match crate::heading::rollback(upgrade) {
            Some(_) => stages.opened(),
            None => stages,
        }
    }

    /// The same with every stage open: what moves in the end.
    pub fn opened(mut self) -> Self {
        self.open.fill(true);
        self
    }

    /// All of them; empty where everything moves at once.
    pub fn all(&self) -> &[Stage<'a>] {
        &self.all
    }

    /// The first that is not verified.
    pub fn current(&self) -> Option<usize> {
        self.all
            .iter()
            .position(|stage| stage.state() != WaveState::Verified)
    }

    /// Whether a stage may move.
    pub fn is_open(&self, stage: usize) -> bool {
        self.all.is_empty() || self.open.get(stage).copied().unwrap_or_default()
    }

    /// The stage of a namespace.
    pub fn of_namespace(&self, name: &str) -> usize {
        self.of_namespace.get(name).copied().unwrap_or(self.rest)
    }

    /// The stage of a workload: its namespace's, or the gateways'.
    pub fn of_workload(&self, workload: &Workload) -> usize {
        let own = self.gateways.filter(|_| workload.is_gateway());
        own.unwrap_or_else(|| self.of_namespace(&workload.key.namespace))
    }

    /// The stage of the workload with this key.
    pub fn of_key(&self, view: &MeshView, key: &WorkloadKey) -> usize {
        let mut workloads = view.workloads.present().into_iter().flatten();
        let found = workloads.find(|workload| workload.key == *key);
        found.map_or_else(
            || self.of_namespace(&key.namespace),
            |workload| self.of_workload(workload),
        )
    }

    /// The stage of the gateways, where they move by themselves.
    pub fn gateways(&self) -> Option<usize> {
        self.gateways
    }

    /// Whether a workload is a gateway that the spec leaves alone.
    pub fn leaves_alone(&self, workload: &Workload) -> bool {
        self.order == GatewayOrder::None && workload.is_gateway()
    }

    /// The namespaces of each stage: those of the mesh when it was recorded, and those of these workloads.
    pub fn namespaces<'b>(
        &self,
        record: &'b Record,
        workloads: impl Iterator<Item = &'b Workload>,
    ) -> Vec<BTreeSet<&'b str>> {
        let mut of = vec![BTreeSet::new(); self.all.len()];
        let recorded = record.namespaces.iter().map(|ns| ns.name.as_str());
        let waves = record.waves.iter().flat_map(|wave| &wave.namespaces);
        let recorded = recorded.chain(waves.map(String::as_str));
        let recorded = recorded.map(|name| (self.of_namespace(name), name));
        let theirs = workloads.map(|w| (self.of_workload(w), w.key.namespace.as_str()));
        for (stage, name) in recorded.chain(theirs) {
            if let Some(of) = of.get_mut(stage) {
                of.insert(name);
            }
        }
        of
    }
}

/// Which may move: what has begun, because half a wave is no place to stay, also if its approval is taken
/// back; and the first of the others, once a person lets it where one must.
fn open(all: &[Stage<'_>], approvals: &[String]) -> Vec<bool> {
    let mut before = true;
    let mut may = |stage: &Stage<'_>| {
        let open = stage.has_begun() || (before && stage.is_approved(approvals));
        before &= stage.state() == WaveState::Verified;
        open
    };
    all.iter().map(&mut may).collect()
}
