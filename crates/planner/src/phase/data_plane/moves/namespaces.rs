//! Labels of namespaces.

use std::collections::BTreeMap;

use meshlift_api::labels::{ISTIO_INJECTION, ISTIO_REV};
use meshlift_api::{GatewayOrder, Move, Strategy};
use meshlift_model::decision::{Effect, InjectionLabels};
use meshlift_model::injection::{Injector, Revisions};
use meshlift_model::record::{Record, RecordedNamespace};
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{MeshView, Namespace, Workload};
use meshlift_model::{data_plane, reference};

use super::Moves;
use super::git::{Change, Theirs};
use crate::phase::data_plane::Drive;

impl Drive<'_> {
    /// The namespaces whose labels are not yet as they should be.
    pub(super) fn namespaces(&self) -> Moves {
        let mut moves = Moves::default();
        for namespace in self.view.namespaces.present().into_iter().flatten() {
            let Some((labels, mark)) = self.wanted(namespace) else {
                continue;
            };
            // What is right already only loses our mark.
            let theirs = if has(namespace, &labels) {
                None
            } else {
                self.namespace_theirs(namespace)
            };
            let effect = Effect::MoveNamespace {
                name: namespace.name.clone(),
                uid: namespace.uid.clone(),
                resource_version: namespace.resource_version.clone(),
                revision: self.heading.to.to_owned(),
                labels: labels.clone(),
                mark,
            };
            moves.push(theirs, effect, |theirs| change(namespace, &labels, theirs));
        }
        self.without_refused(moves)
    }

    fn namespace_theirs(&self, namespace: &Namespace) -> Option<Theirs> {
        let bound_by_us = namespace.labels.get(ISTIO_REV) == namespace.moved_to.as_ref();
        // What still has our label is ours to take back.
        let moved_to = namespace
            .moved_to
            .as_deref()
            .filter(|_| !bound_by_us || self.heading.is_back());
        self.theirs(namespace.label_owner.as_deref(), moved_to)
    }

    /// The labels that a namespace shall get, and whether that is remembered on it; none where it has them.
    fn wanted(&self, namespace: &Namespace) -> Option<(InjectionLabels, bool)> {
        let exclude = self.upgrade.spec.data_plane.exclude.as_ref();
        let left_out = namespace.terminating || data_plane::excluded(exclude, &namespace.labels);
        if left_out || !self.relabels() {
            return None;
        }
        if self.heading.is_back() {
            return self.wanted_back(namespace).map(|labels| (labels, false));
        }
        let open = self
            .stages
            .is_open(self.stages.of_namespace(&namespace.name));
        if !open || left_with_its_gateways(self.upgrade, self.view, namespace) {
            return None;
        }
        let by = self.upgrade.spec.data_plane.by;
        let moved = || Some((InjectionLabels::bound_to(self.heading.to), true));
        match self.injector(namespace) {
            Injector::Namespace(at) if at == self.record.source_revision && by != Move::Tags => {
                moved()
            }
            Injector::Namespace(at) if at == self.heading.to => self.tag_again(namespace),
            Injector::Tag(_) if self.moves_before_its_tag(namespace) => moved(),
            _ => None,
        }
    }

    /// Whether a namespace may move and its tag may not yet. One whose labels are not ours to write waits for its tag:
    /// that is what a tag is for. Where its tag never moves, somebody else is asked to write them.
    fn moves_before_its_tag(&self, namespace: &Namespace) -> bool {
        let Some(tag) = self.bound_by(namespace) else {
            return false;
        };
        let left_alone = !self.of_mesh(tag) || self.upgrade.spec.data_plane.by == Move::Labels;
        !left_alone
            && tag.revision == self.leaving()
            && !(self.follows(tag) && self.is_open(tag))
            && (self.namespace_theirs(namespace).is_none() || !self.follows(tag))
    }

    /// The label of its tag, for a namespace that moved before it.
    fn tag_again(&self, namespace: &Namespace) -> Option<(InjectionLabels, bool)> {
        let tag = self.was_bound_by(namespace)?;
        (tag.revision == self.heading.to).then(|| (recorded(self.record, namespace), false))
    }

    /// The labels from before: for what we moved, and for what came from the old control plane and was moved by
    /// somebody else.
    fn wanted_back(&self, namespace: &Namespace) -> Option<InjectionLabels> {
        let from = self.heading.from?;
        let labels = recorded(self.record, namespace);
        let bound = self.injector(namespace) == Injector::Namespace(from.to_owned());
        let known = before(self.record, namespace).is_some();
        // Two meshes at one version may write the same mark: what this upgrade did not find is not known to be its own.
        if !known && self.is_shared(from) {
            return None;
        }
        if namespace.moved_to.as_deref() == Some(from) {
            // Whoever has bound it elsewhere since then meant it: it only loses our mark.
            return Some(if bound { labels } else { present(namespace) });
        }
        (bound && known && !has(namespace, &labels)).then_some(labels)
    }

    /// Whether another mesh has a control plane of this revision too.
    fn is_shared(&self, revision: &str) -> bool {
        let home = &self.record.source.namespace;
        let mut planes = self.view.planes().iter();
        planes.any(|plane| plane.revision == revision && plane.namespace != *home)
    }

    pub(super) fn injector(&self, namespace: &Namespace) -> Injector {
        let revisions = Revisions::of(self.upgrade, self.view);
        revisions.injector(&namespace.labels, &BTreeMap::new())
    }
}

fn before<'a>(record: &'a Record, namespace: &Namespace) -> Option<&'a RecordedNamespace> {
    let mut recorded = record.namespaces.iter();
    recorded.find(|ns| ns.name == namespace.name)
}

/// The labels that a namespace had before; one that is not in the record came later, and is bound to the old
/// control plane by its revision.
fn recorded(record: &Record, namespace: &Namespace) -> InjectionLabels {
    match before(record, namespace) {
        Some(before) => InjectionLabels {
            injection: before.labels.get(ISTIO_INJECTION).cloned(),
            revision: before.labels.get(ISTIO_REV).cloned(),
        },
        None => InjectionLabels::bound_to(&record.source_revision),
    }
}

fn present(namespace: &Namespace) -> InjectionLabels {
    InjectionLabels {
        injection: namespace.labels.get(ISTIO_INJECTION).cloned(),
        revision: namespace.labels.get(ISTIO_REV).cloned(),
    }
}

fn has(namespace: &Namespace, labels: &InjectionLabels) -> bool {
    namespace.labels.get(ISTIO_INJECTION) == labels.injection.as_ref()
        && namespace.labels.get(ISTIO_REV) == labels.revision.as_ref()
}

fn change(namespace: &Namespace, labels: &InjectionLabels, theirs: Theirs) -> Change {
    let set = |key: &str, value: Option<&String>| match value {
        Some(value) => Some(format!("set label {key}: {value}")),
        None if namespace.labels.contains_key(key) => Some(format!("remove label {key}")),
        None => None,
    };
    let changes = [
        set(ISTIO_REV, labels.revision.as_ref()),
        set(ISTIO_INJECTION, labels.injection.as_ref()),
    ];
    let changes: Vec<String> = changes.into_iter().flatten().collect();
    Change {
        reference: reference::namespace(&namespace.name),
        change: changes.join(", "),
        theirs,
    }
}

/// Whether a namespace has sidecars in gateways only, and those are left alone: relabelled, they would move the next
/// time that one of their pods is replaced.
fn left_with_its_gateways(upgrade: &Upgrade, view: &MeshView, namespace: &Namespace) -> bool {
    if upgrade.spec.gateways.order != GatewayOrder::None {
        return false;
    }
    let workloads = view.workloads.present().into_iter().flatten();
    let mut here = workloads.filter(|w| w.key.namespace == namespace.name);
    here.next().is_some_and(Workload::is_gateway) && here.all(Workload::is_gateway)
}

/// Whether a namespace is relabelled: injected by the old control plane, and nothing speaks against it.
pub fn to_move(upgrade: &Upgrade, view: &MeshView, record: &Record, namespace: &Namespace) -> bool {
    // In place labels lead where they always did.
    if record.strategy == Strategy::InPlace {
        return false;
    }
    let revisions = Revisions::of(upgrade, view);
    let by_source = match revisions.injector(&namespace.labels, &BTreeMap::new()) {
        Injector::Namespace(revision) => revision == record.source_revision,
        Injector::Tag(_) | Injector::Pod(_) | Injector::Nobody => false,
    };
    by_source
        && upgrade.spec.data_plane.by != Move::Tags
        && !namespace.terminating
        && !data_plane::excluded(upgrade.spec.data_plane.exclude.as_ref(), &namespace.labels)
        && !left_with_its_gateways(upgrade, view, namespace)
}
