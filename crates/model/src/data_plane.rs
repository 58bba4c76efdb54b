//! Where every workload stands: moved, restarting, waiting for its turn, failed, or not ours to
//! move and why. Judged by the revision of the running sidecars, not by the rollout alone.

mod asleep;
mod ended;
mod evict;
mod moved;
mod obstacle;
mod place;
mod progress;
mod refused;
mod summary;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use meshlift_api::{
    BlockedWorkload, EndedRestarts, Move, Phase, Predicate, ProxyCounts, Step, WaveState,
    WaveStatus,
};

use crate::decision::TemplateRevision;
use crate::heading::Heading;
use crate::injection::Revisions;
use crate::refusals::Refusal;
use crate::stages::Stages;
use crate::view::{ControlPlane, Gateway, Namespace, Pod, Tag, Workload};

pub use self::ended::after;
pub use self::moved::{Moved, unsteady};
pub use self::obstacle::excluded;
pub use self::place::mark_attempt;
pub use self::progress::{stalls_at, waits_for_pods};

/// The question: which workloads still run sidecars that are left behind, and may they move now?
pub struct Question<'a> {
    /// Now.
    pub now: Timestamp,
    /// Which control plane workloads move to, and which they leave.
    pub heading: Heading<'a>,
    /// Waves; none where all may move at once.
    pub stages: Option<Stages<'a>>,
    /// How labels and tags are moved.
    pub by: Move,
    /// Whether pods are moved by eviction.
    pub evicts: bool,
    /// How often a workload that is not ready in time is restarted once more.
    pub retries: u32,
    /// How many workloads may fail before the others wait.
    pub max_failures: u32,
    /// Namespace of the mesh's control planes; other namespaces hold those of other meshes.
    pub home: Option<&'a str>,
    /// How long a restart may make no progress.
    pub timeout: SignedDuration,
    /// When this run began: what an earlier run restarted gets its time anew.
    pub began: Option<Timestamp>,
    /// When a pause ended last: no restart is overdue for what passed before.
    pub resumed: Option<Timestamp>,
    /// Which restarts have ended, as the status remembers it.
    pub ended: Option<&'a EndedRestarts>,
    /// Workloads that are not moved.
    pub exclude: Option<&'a LabelSelector>,
    /// Every control plane of the cluster.
    pub control_planes: &'a [ControlPlane],
    /// Revision tags.
    pub tags: &'a [Tag],
    /// Revisions of the upgrade under way, their control planes there or not.
    pub recorded: [Option<&'a str>; 2],
    /// Gateways that istiod renders.
    pub gateways: &'a [Gateway],
    /// Namespaces.
    pub namespaces: &'a [Namespace],
    /// Workloads with a sidecar, or with a mark of ours.
    pub workloads: &'a [Workload],
    /// Pods with a sidecar and without a workload.
    pub loose_pods: &'a [Arc<Pod>],
    /// Whether others may still be moving, so that what was given up may be tried again without holding anything up.
    pub others_move: bool,
    /// Writes that were refused, by UID of the object.
    pub refused: &'a BTreeMap<String, Refusal>,
    /// What status names as not moved.
    pub named: &'a [BlockedWorkload],
}

/// Where a workload stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// All pods run the target's sidecar, and were ready since it was restarted. What happens to them later is no
    /// matter of the restart.
    Moved,
    /// Restarted; its rollout goes on.
    Restarting,
    /// Its own rollout, which is not ours, goes on; it is left until that ends.
    Busy,
    /// Old sidecars run, and its wave has not come.
    Later,
    /// Old sidecars run, and this would move it on.
    Stale(Turn),
    /// Old sidecars run, and the API server refused what would move it on.
    Held(Held),
    /// A restart would not move it.
    Blocked(Predicate),
    /// Restarted, and without progress for the timeout.
    Failed(String),
}

/// What the API server refused to do for a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who refused, and why.
    pub why: String,
    /// `DisruptionBudget`, which passes by itself, or `Refused`.
    pub predicate: Predicate,
    /// What to try again, when that is due.
    pub again: Option<Turn>,
    /// Whether it is given up, and named as not moved.
    pub over: bool,
}

impl Placement {
    /// Whether it is named as not moved, and nothing is waited for.
    pub fn is_blocked(&self) -> bool {
        match self {
            Placement::Blocked(_) => true,
            Placement::Held(held) => held.over,
            _ => false,
        }
    }

    /// Whether it waits for the next try of what was refused.
    pub fn is_held(&self) -> bool {
        matches!(self, Placement::Held(held) if !held.over)
    }

    /// Whether it is given up, and tried now all the same: what refused it may have been fixed.
    pub fn is_tried_once_more(&self) -> bool {
        matches!(self, Placement::Held(held) if held.over && held.again.is_some())
    }
}

/// What moves a workload on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A restart with this mark.
    Restart {
        /// The mark to write.
        mark: String,
        /// What its template has to ask for, where the template itself decides.
        template: Option<TemplateRevision>,
    },
    /// The eviction of this pod.
    Evict(Arc<Pod>),
}

/// The data plane, judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataPlaneView<'a> {
    /// Every workload with a sidecar.
    pub placements: Vec<(&'a Workload, Placement)>,
    /// Pods and workloads that this upgrade does not move.
    pub blocked: Vec<BlockedWorkload>,
    /// Namespaces, tags and Gateways whose change was refused, and is given up.
    pub refused: Vec<BlockedWorkload>,
    /// Sidecars by revision.
    pub proxies: ProxyCounts,
    /// Which restarts have ended, to be remembered.
    pub ended: Option<EndedRestarts>,
}

impl Question<'_> {
    /// Whether a pod of a workload runs a sidecar that is left behind. In place, an image that its template names itself
    /// stays what it is, whatever restarts it.
    fn leaves(&self, workload: &Workload, pod: &Pod) -> bool {
        let stays = self.heading.is_in_place() && workload.own_proxy_image;
        !stays && self.heading.leaves(pod)
    }
}

/// Judges the data plane.
pub fn judge<'a>(q: &Question<'a>) -> DataPlaneView<'a> {
    let namespaces: BTreeMap<&str, &Namespace> = q
        .namespaces
        .iter()
        .map(|ns| (ns.name.as_str(), ns))
        .collect();
    let foreign = |pod: &Pod| of_another_mesh(q.control_planes, q.home, pod);
    let mut view = DataPlaneView::default();
    for workload in q.workloads {
        if !workload.pods.is_empty() && workload.pods.iter().all(|pod| foreign(pod)) {
            continue;
        }
        let namespace = namespaces.get(workload.key.namespace.as_str()).copied();
        for pod in &workload.pods {
            count(&mut view, pod, &q.heading);
        }
        // What goes with its namespace is not restarted any more.
        let Some(namespace) = namespace.filter(|ns| !ns.terminating) else {
            continue;
        };
        let placement = q.place(workload, namespace);
        let placement = q.unless_refused(workload, namespace, placement);
        view.name(q, workload, &placement);
        view.placements.push((workload, placement));
    }
    for pod in q.loose_pods {
        if foreign(pod) {
            continue;
        }
        count(&mut view, pod, &q.heading);
        let namespace = namespaces.get(pod.namespace.as_str());
        if q.heading.leaves(pod) && namespace.is_some_and(|ns| !ns.terminating) {
            view.blocked.push(summary::loose_pod(pod));
        }
    }
    view.ended = q.ended();
    view.naming_failed(q)
}

/// Judges the data plane of an upgrade as if it had no waves; public for tests and benchmarks.
pub fn assess<'a>(
    now: Timestamp,
    target: &'a str,
    upgrade: &'a crate::Upgrade,
    view: &'a crate::view::MeshView,
) -> Option<DataPlaneView<'a>> {
    assess_toward(now, Heading::forward(target), None, upgrade, view)
}

/// Judges the data plane of an upgrade on its way.
pub fn assess_toward<'a>(
    now: Timestamp,
    heading: Heading<'a>,
    stages: Option<&Stages<'a>>,
    upgrade: &'a crate::Upgrade,
    view: &'a crate::view::MeshView,
) -> Option<DataPlaneView<'a>> {
    // Who injects a namespace is known only with the tags.
    if view.tags.unreadable().is_some() {
        return None;
    }
    let restart = &upgrade.spec.data_plane.restart;
    let began = match crate::heading::rollback(upgrade) {
        Some(rollback) => Some(rollback.since.0),
        None => upgrade.status.started_at.as_ref().map(|at| at.0),
    };
    let question = Question {
        now,
        heading,
        stages: stages.cloned(),
        by: upgrade.spec.data_plane.by,
        evicts: restart.evicts(),
        retries: restart.retries,
        // On the way back nothing stops the others.
        max_failures: if heading.is_back() || upgrade.phase() == Phase::HealthChecking {
            // Nor does what appears once all has moved: it is somebody's new workload, and is named.
            u32::MAX
        } else {
            restart.max_failures
        },
        timeout: crate::time::signed(restart.timeout),
        home: view.home(),
        began,
        resumed: upgrade.status.resumed_at.as_ref().map(|at| at.0),
        ended: upgrade.status.ended_restarts.as_ref(),
        exclude: upgrade.spec.data_plane.exclude.as_ref(),
        control_planes: view.control_planes.present()?,
        tags: view.tags(),
        recorded: Revisions::of(upgrade, view).recorded,
        gateways: view.gateways.present().map_or(&[], Vec::as_slice),
        namespaces: view.namespaces.present()?,
        workloads: view.workloads.present()?,
        loose_pods: &view.loose_pods,
        others_move: others_move(upgrade),
        refused: &view.refusals,
        named: &upgrade.status.blocked,
    };
    let judged = judge(&question);
    Some(crate::proof::naming_unproved(
        judged, now, heading, upgrade, view,
    ))
}

/// Whether an upgrade moves things, and does not watch the health of what it has moved: a try then would begin that anew.
pub fn others_move(upgrade: &crate::Upgrade) -> bool {
    let status = &upgrade.status;
    let verifying = |wave: &WaveStatus| wave.state == WaveState::Verifying;
    let proving = [Step::ProvingBack, Step::RemovingNewControlPlane];
    upgrade.phase() == Phase::Upgrading
        && !status.waves.iter().any(verifying)
        && !status.step.is_some_and(|step| proving.contains(&step))
}

/// Whether a pod's sidecar belongs to a control plane in another namespace than the mesh's.
pub fn of_another_mesh(planes: &[ControlPlane], home: Option<&str>, pod: &Pod) -> bool {
    let (Some(home), Some(revision)) = (home, pod.revision.as_deref()) else {
        return false;
    };
    is_elsewhere(planes, home, revision)
}

/// Whether a revision is one of other meshes only.
pub fn is_elsewhere(planes: &[ControlPlane], home: &str, revision: &str) -> bool {
    let mut owners = planes.iter().filter(|p| p.revision == revision).peekable();
    owners.peek().is_some() && owners.all(|p| p.namespace != home)
}

fn count(view: &mut DataPlaneView<'_>, pod: &Pod, heading: &Heading<'_>) {
    view.proxies.total += 1;
    match pod.revision.as_deref() {
        Some(_) if heading.arrived(pod) => view.proxies.current += 1,
        Some(_) => view.proxies.outdated += 1,
        None => view.proxies.unknown += 1,
    }
}

#[cfg(test)]
mod tests;
