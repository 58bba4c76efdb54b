//! Workloads without a pod whose template asks for injection itself: at their next scale-up nobody would inject them.

use meshlift_api::Predicate;

use super::{Placement, Question, Turn};
use crate::injection::asked_by_template;
use crate::view::{Namespace, Workload};

impl Question<'_> {
    /// Where a workload stands of which no pod runs, and whose template asks for a control plane that is left; `None`
    /// for every other one.
    pub(super) fn asleep(
        &self,
        workload: &Workload,
        namespace: &Namespace,
        attempt: Option<u32>,
    ) -> Option<Placement> {
        let asks =
            |w: &Workload| self.holds_what_is_left(w) || self.asks_for_what_is_left(w, namespace);
        if !workload.pods.is_empty() || !asks(workload) {
            return None;
        }
        let template = match self.obstacle(workload, namespace) {
            Ok(template) => template,
            Err(predicate) => return Some(Placement::Blocked(predicate)),
        };
        let stages = self.stages.as_ref();
        let closed = stages.is_some_and(|s| !s.is_open(s.of_workload(workload)));
        Some(match (workload.asleep, workload.settled) {
            _ if closed => Placement::Later,
            // Its pods have no sidecar, and a restart would bring them into the mesh: that is not ours to do.
            (false, true) => Placement::Blocked(Predicate::PodLabel),
            (false, false) => Placement::Busy,
            // It was labelled before, and somebody wrote another label since.
            (true, _) if attempt.is_some() => Placement::Blocked(Predicate::RestartPutBack),
            (true, _) => Placement::Stale(Turn::Restart {
                mark: self.heading.mark(),
                template,
            }),
        })
    }

    /// Whether its template itself holds a sidecar of a control plane that is left behind.
    fn holds_what_is_left(&self, workload: &Workload) -> bool {
        let held = workload.sidecar_in_template.as_deref();
        held.is_some_and(|held| {
            self.heading
                .from
                .map_or(held != self.heading.to, |from| held == from)
        })
    }

    /// Whether its own template names a control plane of this mesh that is left behind.
    fn asks_for_what_is_left(&self, workload: &Workload, namespace: &Namespace) -> bool {
        let template = &workload.template_labels;
        let (planes, tags) = (self.control_planes, self.tags);
        let Some(name) = asked_by_template(&namespace.labels, template, planes, tags) else {
            return false;
        };
        let ours = |home: &str| self.home.is_none_or(|of_mesh| of_mesh == home);
        let mut named = planes.iter().filter(|plane| plane.revision == name);
        let left = self
            .heading
            .from
            .map_or(name != self.heading.to, |from| name == from);
        left && !workload.host_network && named.any(|plane| ours(&plane.namespace))
    }
}
