//! Where every workload stands: moved, restarting, waiting for its turn, failed, or not ours to
//! move and why. Judged by the revision of the running sidecars, not by the rollout alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use meshlift_api::{BlockedWorkload, Move, Predicate, ProxyCounts, WorkloadCounts};

use crate::heading::Heading;
use crate::injection::{Injector, injector_of};
use crate::message;
use crate::selector;
use crate::stages::Stages;
use crate::view::{ControlPlane, Namespace, Pod, Tag, UpdateStrategy, Workload};

/// The question: which workloads still run sidecars that are left behind, and may they move now?
pub(crate) struct Question<'a> {
    pub(crate) now: Timestamp,
    pub(crate) heading: Heading<'a>,
    /// Waves; none where all may move at once.
    pub(crate) stages: Option<Stages<'a>>,
    /// How labels and tags are moved.
    pub(crate) by: Move,
    /// How often a workload that is not ready in time is restarted once more.
    pub(crate) retries: u32,
    /// How many workloads may fail before the others wait.
    pub(crate) max_failures: u32,
    /// Namespace of the mesh's control planes; other namespaces hold those of other meshes.
    pub(crate) home: Option<&'a str>,
    pub(crate) timeout: SignedDuration,
    /// When this run began: what an earlier run restarted gets its time anew.
    pub(crate) began: Option<Timestamp>,
    pub(crate) exclude: Option<&'a LabelSelector>,
    pub(crate) control_planes: &'a [ControlPlane],
    pub(crate) tags: &'a [Tag],
    pub(crate) namespaces: &'a [Namespace],
    pub(crate) workloads: &'a [Workload],
    pub(crate) loose_pods: &'a [std::sync::Arc<Pod>],
}

/// Where a workload stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// All pods run the target's sidecar and are ready.
    Moved,
    /// Restarted; its rollout goes on.
    Restarting,
    /// Its own rollout, which is not ours, goes on; it is left until that ends.
    Busy,
    /// Old sidecars run, and its wave has not come.
    Later,
    /// Old sidecars run; a restart with this mark would move it.
    Stale {
        /// The mark to write.
        mark: String,
    },
    /// A restart would not move it.
    Blocked(Predicate),
    /// Restarted, and not ready within the timeout.
    Failed(String),
}

/// The data plane, judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataPlaneView<'a> {
    /// Every workload with a sidecar.
    pub placements: Vec<(&'a Workload, Placement)>,
    /// Pods and workloads that this upgrade does not move.
    pub blocked: Vec<BlockedWorkload>,
    /// Sidecars by revision.
    pub proxies: ProxyCounts,
    /// Container restarts of all pods with a sidecar.
    pub restarts: u64,
}

/// Restarting one workload more often than this for one revision means that something undoes it.
const RESTARTS_PER_REVISION: u32 = 3;

/// Judges the data plane.
pub(crate) fn judge<'a>(q: &Question<'a>) -> DataPlaneView<'a> {
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
        let placement = place(q, workload, namespace);
        if let Placement::Blocked(predicate) = placement {
            let mut blocked = blocked_workload(workload, predicate, q.heading.to);
            if predicate == Predicate::LabelPutBack {
                blocked.message = message::label_put_back(&workload.key, namespace, q.heading.to);
            }
            view.blocked.push(blocked);
        }
        view.placements.push((workload, placement));
    }
    for pod in q.loose_pods {
        if foreign(pod) {
            continue;
        }
        count(&mut view, pod, &q.heading);
        let namespace = namespaces.get(pod.namespace.as_str());
        if q.heading.leaves(pod) && namespace.is_some_and(|ns| !ns.terminating) {
            view.blocked.push(loose_pod(pod));
        }
    }
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
pub(crate) fn assess_toward<'a>(
    now: Timestamp,
    heading: Heading<'a>,
    stages: Option<&Stages<'a>>,
    upgrade: &'a crate::Upgrade,
    view: &'a crate::view::MeshView,
) -> Option<DataPlaneView<'a>> {
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
        retries: restart.retries,
        // On the way back nothing stops the others.
        max_failures: match heading.is_back() {
            true => u32::MAX,
            false => restart.max_failures,
        },
        timeout: crate::phase::signed(restart.timeout),
        home: view.home(),
        began,
        exclude: upgrade.spec.data_plane.exclude.as_ref(),
        control_planes: view.control_planes.present()?,
        tags: &view.tags,
        namespaces: view.namespaces.present()?,
        workloads: view.workloads.present()?,
        loose_pods: &view.loose_pods,
    };
    Some(judge(&question))
}

/// Whether a pod's sidecar belongs to a control plane in another namespace than the mesh's.
pub(crate) fn of_another_mesh(planes: &[ControlPlane], home: Option<&str>, pod: &Pod) -> bool {
    let (Some(home), Some(revision)) = (home, pod.revision.as_deref()) else {
        return false;
    };
    let mut owners = planes.iter().filter(|p| p.revision == revision).peekable();
    owners.peek().is_some() && owners.all(|p| p.namespace != home)
}

fn count(view: &mut DataPlaneView<'_>, pod: &Pod, heading: &Heading<'_>) {
    view.restarts += u64::from(pod.restarts);
    view.proxies.total += 1;
    match pod.revision.as_deref() {
        Some(revision) if revision == heading.to => view.proxies.current += 1,
        Some(_) => view.proxies.outdated += 1,
        None => view.proxies.unknown += 1,
    }
}

fn place(q: &Question<'_>, workload: &Workload, namespace: &Namespace) -> Placement {
    let to = q.heading.to;
    let outdated = workload.pods.iter().any(|pod| q.heading.leaves(pod));
    let marked = mark_attempt(workload.mark.as_deref(), to);
    if let Some(attempt) = marked
        && !workload.settled
    {
        return in_rollout(q, workload, attempt);
    }
    if !outdated {
        return Placement::Moved;
    }
    if let Some(predicate) = obstacle(q, workload, namespace) {
        return Placement::Blocked(predicate);
    }
    if q.stages
        .as_ref()
        .is_some_and(|stages| !stages.is_open(stages.of_workload(workload)))
    {
        return Placement::Later;
    }
    if !workload.settled {
        return Placement::Busy;
    }
    // Watches are separate: the one of workloads may say that the rollout is over while the one of
    // pods still shows what was there before. Only a pod that was made by our restart, and is old
    // all the same, is a reason for another.
    let made_by_it = |pod: &std::sync::Arc<Pod>| q.heading.leaves(pod) && pod.mark == workload.mark;
    match marked {
        Some(attempt) if !workload.pods.iter().any(made_by_it) => in_rollout(q, workload, attempt),
        None => Placement::Stale {
            mark: to.to_owned(),
        },
        Some(attempt) if attempt < RESTARTS_PER_REVISION => again(to, attempt),
        Some(attempt) => Placement::Failed(message::restarts_do_not_move(attempt, to)),
    }
}

fn again(to: &str, attempt: u32) -> Placement {
    Placement::Stale {
        mark: format!("{to}.{}", attempt + 1),
    }
}

fn in_rollout(q: &Question<'_>, workload: &Workload, attempt: u32) -> Placement {
    let since = workload.restarted_at.max(q.began).unwrap_or(q.now);
    if q.now.duration_since(since) <= q.timeout {
        return Placement::Restarting;
    }
    if workload.paused {
        return Placement::Failed(message::paused_rollout(&workload.key));
    }
    if attempt <= q.retries {
        return again(q.heading.to, attempt);
    }
    let trouble = workload.pods.iter().find_map(|pod| {
        pod.trouble
            .as_ref()
            .map(|why| format!("pod {}: {why}", pod.name))
    });
    Placement::Failed(trouble.unwrap_or_else(|| message::not_ready_in_time(q.timeout)))
}

/// How often a workload was restarted for this revision: the mark is the revision, from the
/// second time on with a number behind it.
pub(crate) fn mark_attempt(mark: Option<&str>, target: &str) -> Option<u32> {
    match mark?.strip_prefix(target)? {
        "" => Some(1),
        rest => rest.strip_prefix('.')?.parse().ok(),
    }
}

/// Why a restart would not move a workload, if so.
fn obstacle(q: &Question<'_>, workload: &Workload, namespace: &Namespace) -> Option<Predicate> {
    if excluded(q.exclude, &namespace.labels) || excluded(q.exclude, &workload.labels) {
        return Some(Predicate::Excluded);
    }
    if q.stages
        .as_ref()
        .is_some_and(|stages| stages.leaves_alone(workload))
    {
        return Some(Predicate::GatewaysExcluded);
    }
    if workload.managed_gateway {
        return Some(Predicate::ManagedGateway);
    }
    if let Some(predicate) = injection_obstacle(q, workload, namespace) {
        return Some(predicate);
    }
    match workload.strategy {
        UpdateStrategy::OnDelete => Some(Predicate::OnDelete),
        UpdateStrategy::Partition(1..) => Some(Predicate::Partition),
        UpdateStrategy::Partition(0) | UpdateStrategy::Rolling => {
            workload.paused.then_some(Predicate::Paused)
        }
    }
}

fn injection_obstacle(
    q: &Question<'_>,
    workload: &Workload,
    namespace: &Namespace,
) -> Option<Predicate> {
    match injector_of(
        &namespace.labels,
        &workload.template_labels,
        q.control_planes,
        q.tags,
    ) {
        Injector::Namespace(revision) if revision == q.heading.to => None,
        // Not yet moved, or put back after we moved it.
        Injector::Namespace(_) => {
            put_back(namespace, q.heading.to).then_some(Predicate::LabelPutBack)
        }
        Injector::Tag(_) => Some(Predicate::Tag),
        Injector::Pod(Some(revision)) if revision == q.heading.to => None,
        Injector::Pod(_) => Some(Predicate::PodLabel),
        Injector::Nobody => Some(Predicate::InjectionOff),
    }
}

/// Whether someone took a namespace back after this operator moved it.
pub(crate) fn put_back(namespace: &Namespace, target: &str) -> bool {
    namespace.moved_to.as_deref() == Some(target)
}

/// Whether the selector matches these labels. An empty selector matches nothing here: to exclude
/// everything is to ask for no upgrade.
pub(crate) fn excluded(
    selector: Option<&LabelSelector>,
    labels: &BTreeMap<String, String>,
) -> bool {
    let Some(selector) = selector else {
        return false;
    };
    !selector::is_empty(selector) && selector::matches(selector, labels)
}

fn blocked_workload(workload: &Workload, predicate: Predicate, target: &str) -> BlockedWorkload {
    BlockedWorkload {
        reference: workload.key.to_string(),
        predicate,
        message: message::blocked_workload(&workload.key, predicate, target),
    }
}

fn loose_pod(pod: &Pod) -> BlockedWorkload {
    let predicate = match pod.owner_kind.as_deref() {
        None => Predicate::BarePod,
        Some("Job") => Predicate::Job,
        Some(_) => Predicate::UnknownController,
    };
    BlockedWorkload {
        reference: format!("v1 Pod {}/{}", pod.namespace, pod.name),
        predicate,
        message: message::blocked_pod(pod, predicate),
    }
}

impl<'a> DataPlaneView<'a> {
    /// Workloads by state.
    pub fn counts(&self) -> WorkloadCounts {
        let mut counts = WorkloadCounts::default();
        for (_, placement) in &self.placements {
            counts.total += 1;
            *match placement {
                Placement::Moved => &mut counts.moved,
                Placement::Restarting => &mut counts.restarting,
                Placement::Later | Placement::Busy | Placement::Stale { .. } => &mut counts.pending,
                Placement::Blocked(_) => &mut counts.blocked,
                Placement::Failed(_) => &mut counts.failed,
            } += 1;
        }
        let loose = self.blocked.len() - counts.blocked as usize;
        counts.blocked += u32::try_from(loose).unwrap_or(u32::MAX);
        counts
    }

    /// The same with those that failed named as not moved, as long as they are no more than may fail.
    fn naming_failed(mut self, q: &Question<'_>) -> Self {
        let failed = self.failed().count();
        if failed == 0 || failed > q.max_failures as usize {
            return self;
        }
        let predicate = Predicate::RestartFailed;
        for (workload, placement) in &mut self.placements {
            if let Placement::Failed(why) = placement {
                self.blocked.push(BlockedWorkload {
                    reference: workload.key.to_string(),
                    predicate,
                    message: message::restart_failed(&workload.key, why),
                });
                *placement = Placement::Blocked(predicate);
            }
        }
        self
    }

    /// The same with every workload in a rollout of its own named as not moved.
    pub(crate) fn naming_busy(mut self, target: &str) -> Self {
        let predicate = Predicate::RolloutIncomplete;
        for (workload, placement) in &mut self.placements {
            if *placement == Placement::Busy {
                *placement = Placement::Blocked(predicate);
                self.blocked
                    .push(blocked_workload(workload, predicate, target));
            }
        }
        self
    }

    /// Restarted workloads that did not come up, with the reason.
    pub(crate) fn failed(&self) -> impl Iterator<Item = (&'a Workload, &str)> {
        self.placements
            .iter()
            .filter_map(|(workload, placement)| match placement {
                Placement::Failed(why) => Some((*workload, why.as_str())),
                _ => None,
            })
    }

    /// Workloads in a placement that `which` accepts, in the order of their names.
    pub(crate) fn in_order(
        &self,
        which: impl Fn(&Placement) -> bool,
    ) -> Vec<(&'a Workload, &Placement)> {
        let mut found: Vec<_> = self
            .placements
            .iter()
            .filter(|(_, placement)| which(placement))
            .map(|(workload, placement)| (*workload, placement))
            .collect();
        found.sort_by(|a, b| a.0.key.cmp(&b.0.key));
        found
    }

    /// Namespaces that have stale workloads.
    pub(crate) fn stale_namespaces(&self) -> BTreeSet<&'a str> {
        self.in_order(|p| matches!(p, Placement::Stale { .. }))
            .into_iter()
            .map(|(workload, _)| workload.key.namespace.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests;
