//! Waves and gateways as one row of stages: who belongs to which, and how far the row is open.

use std::collections::BTreeSet;

use meshlift_api::{Approval, GatewayOrder, NamespaceSelector, Wave, WaveState, WaveStatus};

use crate::record::{Record, RecordedWave};
use crate::selector;
use crate::upgrade::Upgrade;
use crate::view::{Namespace, Workload};

/// Name of the stage of the gateways.
pub const GATEWAYS: &str = "gateways";
/// Name of the stage of all namespaces that no wave names.
pub const REST: &str = "rest";

/// The stages of an upgrade, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages<'a> {
    all: Vec<Stage<'a>>,
    order: GatewayOrder,
    /// How many may move.
    open: usize,
}

/// A wave, the rest, or the gateways.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespaces; those of the rest are all others.
    namespaces: &'a [String],
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
}

impl<'a> Stages<'a> {
    /// The stages that were recorded, as far open as status and approvals let them be. Back goes
    /// everything at once.
    pub fn of(upgrade: &'a Upgrade, record: &'a Record) -> Self {
        let spec = &upgrade.spec;
        let all: Vec<Stage<'a>> = record
            .waves
            .iter()
            .map(|recorded| Stage {
                name: &recorded.name,
                namespaces: &recorded.namespaces,
                wave: spec
                    .data_plane
                    .waves
                    .iter()
                    .find(|w| w.name == recorded.name),
                status: upgrade
                    .status
                    .waves
                    .iter()
                    .find(|w| w.name == recorded.name),
            })
            .collect();
        let open = match crate::heading::rollback(upgrade) {
            Some(_) => all.len(),
            None => open(&all, &spec.approvals),
        };
        Self {
            all,
            order: spec.gateways.order,
            open,
        }
    }

    /// All of them; empty where everything moves at once.
    pub fn all(&self) -> &[Stage<'a>] {
        &self.all
    }

    /// The stage that moves, or waits for approval: the first that is not verified.
    pub fn current(&self) -> Option<usize> {
        self.all
            .iter()
            .position(|stage| stage.state() != WaveState::Verified)
    }

    /// Whether a stage may move.
    pub fn is_open(&self, stage: usize) -> bool {
        stage < self.open || self.all.is_empty()
    }

    /// The stage of a namespace.
    pub fn of_namespace(&self, name: &str) -> usize {
        let named = |stage: &Stage<'_>| stage.namespaces.iter().any(|n| n == name);
        let rest = |stage: &Stage<'_>| stage.name == REST;
        let found = self.all.iter().position(named);
        found
            .or_else(|| self.all.iter().position(rest))
            .unwrap_or(self.all.len().saturating_sub(1))
    }

    /// The stage of a workload: its namespace's, or the gateways'.
    pub fn of_workload(&self, workload: &Workload) -> usize {
        let gateways = || self.all.iter().position(|stage| stage.name == GATEWAYS);
        let own = workload.is_gateway().then(gateways).flatten();
        own.unwrap_or_else(|| self.of_namespace(&workload.key.namespace))
    }

    /// Whether a workload is a gateway that the spec leaves alone.
    pub fn leaves_alone(&self, workload: &Workload) -> bool {
        self.order == GatewayOrder::None && workload.is_gateway()
    }
}

/// How many stages may move: those that are verified, and the next one if a person lets it.
fn open(all: &[Stage<'_>], approvals: &[String]) -> usize {
    let verified = all
        .iter()
        .take_while(|stage| stage.state() == WaveState::Verified)
        .count();
    let next = all
        .get(verified)
        .is_some_and(|stage| approved(stage, approvals));
    verified + usize::from(next)
}

fn approved(stage: &Stage<'_>, approvals: &[String]) -> bool {
    // What has begun goes on, also if the approval is taken back: half a wave is no place to stay.
    let begun = matches!(stage.state(), WaveState::Moving | WaveState::Verifying);
    let required = stage
        .wave
        .is_some_and(|wave| wave.approval == Approval::Required);
    begun || !required || approvals.iter().any(|name| name == stage.name)
}

/// The waves of a spec over these namespaces of the mesh, pinned: a label that changes later moves no namespace
/// to another wave. Empty where everything moves at once.
pub(crate) fn pinned(
    upgrade: &Upgrade,
    namespaces: &[&Namespace],
    gateways: &[&Workload],
    workloads: &[Workload],
) -> Vec<RecordedWave> {
    let spec = &upgrade.spec;
    let apart = !gateways.is_empty() && spec.gateways.order != GatewayOrder::None;
    if spec.data_plane.waves.is_empty() && !apart {
        return Vec::new();
    }
    let mut taken = BTreeSet::new();
    let of_gateways = match apart {
        true => only_gateways(gateways, workloads),
        false => BTreeSet::new(),
    };
    taken.extend(of_gateways.iter().cloned());
    let mut waves: Vec<RecordedWave> = Vec::new();
    for wave in &spec.data_plane.waves {
        let chosen = chosen(&wave.namespaces, namespaces, &taken);
        taken.extend(chosen.iter().cloned());
        waves.push(RecordedWave {
            name: wave.name.clone(),
            namespaces: chosen,
        });
    }
    waves.push(RecordedWave {
        name: REST.to_owned(),
        namespaces: Vec::new(),
    });
    if apart {
        let stage = RecordedWave {
            name: GATEWAYS.to_owned(),
            namespaces: of_gateways.into_iter().collect(),
        };
        match spec.gateways.order {
            GatewayOrder::First => waves.insert(0, stage),
            GatewayOrder::Last | GatewayOrder::None => waves.push(stage),
        }
    }
    waves
}

/// Namespaces in which nothing but gateways has a sidecar.
fn only_gateways(gateways: &[&Workload], workloads: &[Workload]) -> BTreeSet<String> {
    let others: BTreeSet<&str> = workloads
        .iter()
        .filter(|workload| !workload.is_gateway())
        .map(|workload| workload.key.namespace.as_str())
        .collect();
    let theirs = gateways.iter().map(|gateway| &gateway.key.namespace);
    theirs
        .filter(|name| !others.contains(name.as_str()))
        .cloned()
        .collect()
}

fn chosen(
    selector: &NamespaceSelector,
    namespaces: &[&Namespace],
    taken: &BTreeSet<String>,
) -> Vec<String> {
    let labels = selector.labels();
    let by_anything = labels.is_some() || !selector.names.is_empty();
    let fits = |ns: &&&Namespace| {
        let named = selector.names.contains(&ns.name);
        let labelled = labels
            .as_ref()
            .is_some_and(|labels| selector::matches(labels, &ns.labels));
        named || labelled || (!by_anything && selector.percent.is_some())
    };
    let mut names: Vec<String> = namespaces
        .iter()
        .filter(fits)
        .map(|ns| ns.name.clone())
        .filter(|name| !taken.contains(name))
        .collect();
    names.sort();
    if let Some(percent) = selector.percent {
        names.truncate((namespaces.len() * percent as usize).div_ceil(100));
    }
    names
}
