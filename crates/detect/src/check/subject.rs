//! What several checks ask of what they look at.

use std::collections::BTreeSet;

use meshlift_istio::values;
use meshlift_model::data_plane::{mark_attempt, of_another_mesh};
use meshlift_model::heading::Heading;
use meshlift_model::view::{ControlPlane, Namespace, PlaneId, Pod, Seen, Workload};
use serde_json::{Map, Value};

use super::{Finding, Subject};

/// Judges what was seen; what was not looked at is nobody's fault.
pub(super) fn judge<T>(
    seen: &Seen<T>,
    what: &str,
    judge: impl FnOnce(&T) -> Vec<Finding>,
) -> Vec<Finding> {
    match seen {
        Seen::Present(value) => judge(value),
        Seen::Absent => Vec::new(),
        Seen::Unreadable(why) => vec![Finding::unknown(what, why)],
    }
}

/// One finding about all objects, or none where there are none.
pub(super) fn about(
    objects: impl IntoIterator<Item = String>,
    finding: impl FnOnce(&[String]) -> Finding,
) -> Vec<Finding> {
    let objects: Vec<String> = objects.into_iter().collect();
    if objects.is_empty() {
        return Vec::new();
    }
    let finding = finding(&objects);
    vec![finding.about(objects)]
}

/// `3 namespaces`, `1 namespace`.
pub(super) fn count(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// A pod with a sidecar, and the workload it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    pub(super) workload: Option<&'a Workload>,
    pub(super) pod: &'a Pod,
}

impl Member<'_> {
    /// The pod: `Pod shop/cart-1`.
    pub(super) fn pod_name(&self) -> String {
        format!("Pod {}/{}", self.pod.namespace, self.pod.name)
    }

    /// The workload; the pod where it belongs to none.
    pub(super) fn name(&self) -> String {
        match self.workload {
            Some(workload) => workload.key.short(),
            None => self.pod_name(),
        }
    }
}

/// Names of members, each workload once.
pub(super) fn names<'a>(members: impl IntoIterator<Item = Member<'a>>) -> BTreeSet<String> {
    members.into_iter().map(|member| member.name()).collect()
}

impl<'a> Subject<'a> {
    /// Every control plane of the cluster; none where they cannot be read, which the survey says.
    pub(super) fn planes(&self) -> &'a [ControlPlane] {
        self.view
            .control_planes
            .present()
            .map_or(&[], Vec::as_slice)
    }

    /// Revision of the control plane to come.
    pub(super) fn revision(&self) -> String {
        self.course.revision(self.to)
    }

    /// The control plane of this mesh that has a revision.
    pub(super) fn plane(&self, revision: &str) -> Option<&'a ControlPlane> {
        let namespace = &self.course.source.namespace;
        self.view.plane(PlaneId {
            namespace,
            revision,
        })
    }

    /// Namespaces that stay. The list has to be read for the record, where it is missed if it
    /// cannot be.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &'a Namespace> + Clone {
        let all = self
            .view
            .namespaces
            .present()
            .map_or(&[][..], Vec::as_slice);
        all.iter().filter(|namespace| !namespace.terminating)
    }

    /// Workloads of this mesh.
    pub(super) fn workloads(&self) -> impl Iterator<Item = &'a Workload> {
        let all = self.view.workloads.present().map_or(&[][..], Vec::as_slice);
        let (planes, home) = (self.planes(), self.view.home());
        all.iter().filter(move |workload| {
            let mut pods = workload.pods.iter();
            workload.pods.is_empty() || pods.any(|pod| !of_another_mesh(planes, home, pod))
        })
    }

    /// The way to the control plane of this revision.
    pub(super) fn heading<'b>(&'b self, revision: &'b str) -> Heading<'b> {
        let strategy = self.course.upgrade.spec.strategy;
        Heading::planned(strategy, revision, self.from, self.to)
    }

    /// Whether an upgrade to this target restarts it at the moment: what it goes through is ours.
    pub(super) fn is_restarting(&self, workload: &Workload) -> bool {
        let mark = self.heading(&self.revision()).mark();
        !workload.settled && mark_attempt(workload.mark.as_deref(), &mark).is_some()
    }

    /// Every pod of this mesh that has a sidecar.
    pub(super) fn members(&self) -> impl Iterator<Item = Member<'a>> {
        let (planes, home) = (self.planes(), self.view.home());
        let of_workloads = self.workloads().flat_map(|workload| {
            workload.pods.iter().map(move |pod| Member {
                workload: Some(workload),
                pod: pod.as_ref(),
            })
        });
        let loose = self.view.loose_pods.iter().map(|pod| Member {
            workload: None,
            pod: pod.as_ref(),
        });
        of_workloads
            .chain(loose)
            .filter(move |member| !of_another_mesh(planes, home, member.pod))
    }

    /// Values of the istiod release to come, where they can be carried over.
    pub(super) fn istiod_values(&self) -> Option<Map<String, Value>> {
        self.course.source_release.as_ref().ok()?;
        // A hop starts from what the hop before it left: the same values, with other tags.
        self.course.target_values(self.to).ok()
    }

    /// Values of the `base` release to come.
    pub(super) fn base_values(&self) -> Option<Map<String, Value>> {
        let release = self.course.base_release.as_ref().ok()?;
        let found = values::base_as_live(&release.values, self.view.live_default());
        Some(values::base(&found, self.course.mesh))
    }
}

/// A value by its path, `global.hub`.
pub(super) fn value<'v>(values: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    let mut keys = path.split('.');
    let first = values.get(keys.next()?)?;
    keys.try_fold(first, |at, key| at.get(key))
}
