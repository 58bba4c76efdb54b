//! What is left where nothing more is waited for: every workload has moved or is named.

use meshlift_api::{BlockedWorkload, Phase, Predicate};
use meshlift_model::data_plane::{DataPlaneView, Placement};
use meshlift_model::injection::{Injector, Revisions};
use meshlift_model::message;
use meshlift_model::time::later;
use meshlift_model::view::Workload;

use super::{Drive, restarts};
use crate::phase::upgrading::timeout;

impl<'a> Drive<'a> {
    /// Whether what does not come up is named and holds nobody: on the way back, and once everything has moved. What
    /// appears then is somebody's new namespace or deploy, which is no reason to restart a healthy mesh.
    pub(super) fn names_failures(&self) -> bool {
        self.heading.is_back() || self.upgrade.phase() == Phase::HealthChecking
    }

    /// Whether a workload moves before long: only the proof of its restart is missing, its restart was refused and is tried
    /// again, its pods are just starting, as those of a namespace that has appeared, or somebody put its template back, which
    /// is a rollout of its own: those pods get the new sidecar too.
    pub(in crate::phase) fn may_still_move(&self) -> bool {
        let timeout = timeout(self.upgrade);
        let starts = |workload: &Workload| {
            let mut created = workload.pods.iter().filter_map(|pod| pod.created_at);
            created.any(|at| self.now < later(at, timeout))
        };
        let mut placed = self.judged.placements.iter();
        placed.any(|(workload, placement)| match placement {
            Placement::Stale(_) => true,
            Placement::Busy => starts(workload),
            Placement::Blocked(Predicate::RestartPutBack) => !workload.settled,
            other => restarts::refused(other).is_some(),
        })
    }

    /// The data plane with everything named that has not moved.
    pub(in crate::phase) fn naming_rest(mut self) -> DataPlaneView<'a> {
        let to = &self.heading.name();
        let judged = std::mem::take(&mut self.judged);
        let mut judged = judged.naming_busy(to);
        for (workload, placement) in &mut judged.placements {
            let predicate = match placement {
                Placement::Stale(_) => Predicate::RestartFailed,
                Placement::Later => self.left_by(workload),
                _ => continue,
            };
            *placement = Placement::Blocked(predicate);
            judged.blocked.push(BlockedWorkload {
                reference: workload.key.to_string(),
                predicate,
                message: message::not_moved(&workload.key, predicate, to),
            });
        }
        judged
    }

    /// What a workload still waits for that nobody here does.
    fn left_by(&self, workload: &Workload) -> Predicate {
        if workload.managed_gateway {
            return Predicate::ManagedGateway;
        }
        let mut namespaces = self.view.namespaces.present().into_iter().flatten();
        let namespace = namespaces.find(|ns| ns.name == workload.key.namespace);
        let none = Default::default();
        let labels = namespace.map_or(&none, |ns| &ns.labels);
        let revisions = Revisions::of(self.upgrade, self.view);
        match revisions.injector(labels, &workload.template_labels) {
            Injector::Tag(_) | Injector::Pod(_) => Predicate::Tag,
            Injector::Namespace(_) | Injector::Nobody => Predicate::NotOurs,
        }
    }
}
