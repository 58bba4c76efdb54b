//! Labels of namespaces.

use std::collections::BTreeMap;

use meshlift_api::labels::{ISTIO_INJECTION, ISTIO_REV};

use crate::data_plane;
use crate::decision::{Batch, Effect, InjectionLabels};
use crate::injection::{Injector, injector_of};
use crate::phase::data_plane::Drive;
use crate::record::Record;
use crate::upgrade::Upgrade;
use crate::view::{MeshView, Namespace};

impl Drive<'_> {
    /// The namespaces whose labels are not yet as they should be.
    pub(super) fn namespaces(&self) -> Batch {
        let all = self.view.namespaces.present();
        let moved = all.into_iter().flatten().filter_map(|namespace| {
            let (labels, mark) = self.wanted(namespace)?;
            Some(Effect::MoveNamespace {
                name: namespace.name.clone(),
                uid: namespace.uid.clone(),
                resource_version: namespace.resource_version.clone(),
                revision: self.heading.to.to_owned(),
                labels,
                mark,
            })
        });
        moved.collect()
    }

    /// The labels that a namespace shall get, and whether that is remembered on it.
    fn wanted(&self, namespace: &Namespace) -> Option<(InjectionLabels, bool)> {
        if namespace.terminating {
            return None;
        }
        if let Some(from) = self.heading.from {
            let ours = namespace.moved_to.as_deref() == Some(from);
            return ours.then(|| (recorded(self.record, namespace), false));
        }
        let open = self
            .stages
            .is_open(self.stages.of_namespace(&namespace.name));
        let moves = open && to_move(self.upgrade, self.view, self.record, namespace);
        moves.then(|| (InjectionLabels::bound_to(self.heading.to), true))
    }
}

/// The labels that a namespace had before; one that is not in the record came later, and is bound to the old
/// control plane by its revision.
fn recorded(record: &Record, namespace: &Namespace) -> InjectionLabels {
    let found = record
        .namespaces
        .iter()
        .find(|ns| ns.name == namespace.name);
    match found {
        Some(before) => InjectionLabels {
            injection: before.labels.get(ISTIO_INJECTION).cloned(),
            revision: before.labels.get(ISTIO_REV).cloned(),
        },
        None => InjectionLabels::bound_to(&record.source_revision),
    }
}

/// Whether a namespace is moved: injected by the old control plane, and nothing speaks against it.
pub(crate) fn to_move(
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
    namespace: &Namespace,
) -> bool {
    let planes = view.control_planes.present().map_or(&[][..], Vec::as_slice);
    let by_source = match injector_of(&namespace.labels, &BTreeMap::new(), planes, &view.tags) {
        Injector::Namespace(revision) => revision == record.source_revision,
        Injector::Tag(_) | Injector::Pod(_) | Injector::Nobody => false,
    };
    by_source
        && !namespace.terminating
        && !data_plane::put_back(namespace, &record.target_revision)
        && !data_plane::excluded(upgrade.spec.data_plane.exclude.as_ref(), &namespace.labels)
}
