//! Which namespaces each wave takes, pinned when the upgrade begins: a label that changes later moves no
//! namespace to another wave, and one that appears later moves with the rest.

use std::collections::{BTreeMap, BTreeSet};

use meshlift_api::{GatewayOrder, NamespaceSelector};

use super::{GATEWAYS, REST};
use crate::data_plane::{excluded, of_another_mesh};
use crate::injection::{Injector, injector_of};
use crate::record::RecordedWave;
use crate::selector;
use crate::upgrade::Upgrade;
use crate::view::{ControlPlane, MeshView, Namespace, Pod, Workload};

/// What waves choose from.
pub struct Candidates<'a> {
    /// Namespaces that waves may take, in the order of their names.
    namespaces: Vec<&'a Namespace>,
    /// Namespaces in which nothing but gateways has a sidecar; they move with the gateways, or not at all.
    only_gateways: BTreeSet<&'a str>,
    /// Whether there are gateways that move by themselves.
    gateways: bool,
}

impl<'a> Candidates<'a> {
    /// The namespaces of the mesh that injects for them or has sidecars in them, without those that are left alone or
    /// are being deleted.
    pub fn of(upgrade: &Upgrade, view: &'a MeshView) -> Self {
        let workloads = ours(view);
        let apart = upgrade.spec.gateways.order != GatewayOrder::None;
        let (gateways, others): (Vec<&Workload>, Vec<&Workload>) =
            workloads.iter().partition(|workload| workload.is_gateway());
        let names = |of: &[&'a Workload]| -> BTreeSet<&'a str> {
            of.iter().map(|w| w.key.namespace.as_str()).collect()
        };
        let (with_gateways, with_others) = (names(&gateways), names(&others));
        let only_gateways: BTreeSet<&str> =
            with_gateways.difference(&with_others).copied().collect();
        let exclude = upgrade.spec.data_plane.exclude.as_ref();
        let mut namespaces: Vec<&Namespace> = view
            .namespaces
            .present()
            .into_iter()
            .flatten()
            .filter(|ns| !ns.terminating && !excluded(exclude, &ns.labels))
            .filter(|ns| !only_gateways.contains(ns.name.as_str()))
            .filter(|ns| injects(view, ns) || with_others.contains(ns.name.as_str()))
            .collect();
        namespaces.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            namespaces,
            only_gateways,
            gateways: apart && !gateways.is_empty(),
        }
    }

    /// Whether a wave may take this namespace.
    pub fn has(&self, name: &str) -> bool {
        self.namespaces.iter().any(|ns| ns.name == name)
    }
}

/// Workloads with a sidecar of this mesh.
fn ours(view: &MeshView) -> Vec<&Workload> {
    let planes = planes(view);
    let foreign = |pod: &Pod| of_another_mesh(planes, view.home(), pod);
    let all = view.workloads.present().into_iter().flatten();
    all.filter(|w| w.pods.iter().any(|pod| !foreign(pod)))
        .collect()
}

fn planes(view: &MeshView) -> &[ControlPlane] {
    view.control_planes.present().map_or(&[], Vec::as_slice)
}

/// Whether this mesh injects new pods of a namespace.
fn injects(view: &MeshView, namespace: &Namespace) -> bool {
    let none = BTreeMap::new();
    let revision = match injector_of(&namespace.labels, &none, planes(view), view.tags()) {
        Injector::Namespace(revision) => Some(revision),
        Injector::Tag(name) => {
            let tag = view.tags().iter().find(|tag| tag.name == name);
            tag.map(|tag| tag.revision.clone())
        }
        Injector::Pod(_) | Injector::Nobody => None,
    };
    // A revision of another mesh is named by control planes elsewhere only.
    revision.is_some_and(|revision| {
        let pod = Pod {
            revision: Some(revision),
            ..Pod::default()
        };
        !of_another_mesh(planes(view), view.home(), &pod)
    })
}

/// The stages of an upgrade over these namespaces. Empty where everything moves at once.
pub fn pinned(upgrade: &Upgrade, candidates: &Candidates<'_>) -> Vec<RecordedWave> {
    let spec = &upgrade.spec;
    if spec.data_plane.waves.is_empty() && !candidates.gateways {
        return Vec::new();
    }
    let mut stages = chosen(upgrade, candidates);
    stages.push(RecordedWave {
        name: REST.to_owned(),
        namespaces: Vec::new(),
    });
    if candidates.gateways {
        let only = candidates.only_gateways.iter().copied();
        let stage = RecordedWave {
            name: GATEWAYS.to_owned(),
            namespaces: only.map(str::to_owned).collect(),
        };
        match spec.gateways.order {
            GatewayOrder::First => stages.insert(0, stage),
            GatewayOrder::Last | GatewayOrder::None => stages.push(stage),
        }
    }
    stages
}

/// What each wave of the spec takes, in their order.
pub fn chosen(upgrade: &Upgrade, candidates: &Candidates<'_>) -> Vec<RecordedWave> {
    let mut left = candidates.namespaces.clone();
    let all = left.len();
    let mut waves = Vec::new();
    for wave in &upgrade.spec.data_plane.waves {
        let taken = take(&wave.namespaces, &mut left, all);
        waves.push(RecordedWave {
            name: wave.name.clone(),
            namespaces: taken,
        });
    }
    waves
}

/// Takes what a selector fits from those that are left, of `all` that there were.
fn take(selector: &NamespaceSelector, left: &mut Vec<&Namespace>, all: usize) -> Vec<String> {
    let most = selector
        .percent
        .map_or(all, |percent| (all * percent as usize).div_ceil(100));
    let mut taken = Vec::new();
    left.retain(|namespace| {
        let takes = taken.len() < most && fits(selector, namespace);
        if takes {
            taken.push(namespace.name.clone());
        }
        !takes
    });
    taken
}

/// Whether a selector names a namespace, or fits its labels, or asks for a part of all and nothing else.
fn fits(selector: &NamespaceSelector, namespace: &Namespace) -> bool {
    let labels = selector.labels();
    let named = selector.names.contains(&namespace.name);
    let labelled = labels
        .as_ref()
        .is_some_and(|labels| selector::matches(labels, &namespace.labels));
    let anything = selector.percent.is_some() && selector.names.is_empty() && labels.is_none();
    named || labelled || anything
}
