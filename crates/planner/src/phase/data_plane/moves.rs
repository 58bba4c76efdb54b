//! What decides which control plane injects: labels of namespaces.

use meshlift_api::Step;

use super::Drive;
use crate::data_plane;
use crate::decision::{Decision, Effect, InjectionLabels, Next, Report};
use crate::injection::{Injector, injector_of};
use crate::message;
use crate::record::Record;
use crate::upgrade::Upgrade;
use crate::view::{MeshView, Namespace};

impl Drive<'_> {
    /// Moves what may move now; `None` when nothing is left to move in the stages that are open.
    pub(in crate::phase) fn moves(&self, report: &Report) -> Option<Decision> {
        if self.destination_ill().is_some() {
            return None;
        }
        let batch: Vec<Effect> = self
            .view
            .namespaces
            .present()?
            .iter()
            .filter(|ns| self.stages.is_open(self.stages.of_namespace(&ns.name)))
            .filter(|namespace| to_move(self.upgrade, self.view, self.record, namespace))
            .map(|namespace| Effect::MoveNamespace {
                name: namespace.name.clone(),
                uid: namespace.uid.clone(),
                resource_version: namespace.resource_version.clone(),
                revision: self.heading.to.to_owned(),
                labels: InjectionLabels::bound_to(self.heading.to),
                mark: true,
            })
            .collect();
        if batch.is_empty() {
            return None;
        }
        let names: Vec<&str> = batch
            .iter()
            .filter_map(|effect| match effect {
                Effect::MoveNamespace { name, .. } => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let message = format!(
            "{}moves namespaces to {}: {}",
            self.wave(),
            self.heading.to,
            message::first_few(&names)
        );
        let report = Report {
            step: Some(Step::MovingNamespaces),
            message,
            ..report.clone()
        };
        Some(Decision::new(Next::Act(batch), report))
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
    let none = std::collections::BTreeMap::new();
    let by_source = match injector_of(&namespace.labels, &none, planes, &view.tags) {
        Injector::Namespace(revision) => revision == record.source_revision,
        Injector::Tag(_) | Injector::Pod(_) | Injector::Nobody => false,
    };
    by_source
        && !namespace.terminating
        && !data_plane::put_back(namespace, &record.target_revision)
        && !data_plane::excluded(upgrade.spec.data_plane.exclude.as_ref(), &namespace.labels)
}
