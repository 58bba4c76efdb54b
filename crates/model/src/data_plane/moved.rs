//! The health of what has moved, and of nothing else. A mesh of thousands of pods is never without a container that
//! restarts, and to restart all of it for that would do the harm that the soak is there to prevent.
//!
//! What counts against the control plane that was moved to:
//!
//! | it counts | because |
//! |---|---|
//! | only in workloads that have moved, and are judged as such | excluded, blocked, waiting and loose pods run as before |
//! | not in workloads that were in trouble before the first mutation | the record has them; they may go on as they were |
//! | only in pods that were there when the watch began | what is scaled, drained or deployed meanwhile is its owner's |
//! | not while a workload has pods of two templates | its owner rolls it out, and may have broken it |
//! | a pod that keeps crashing, not one that crashed | each crash of a moved pod is one too many only when it goes on |
//! | a workload of which no pod is ready | one pod may sit on a node that was lost |
//!
//! Each pod is compared with its own past, by its own times. There are no sums over pods: those fall when pods are
//! replaced, which would hide the crashes of others.

use jiff::{SignedDuration, Timestamp};

use super::{DataPlaneView, Placement};
use crate::heading::Heading;
use crate::message;
use crate::view::{Pod, Workload, WorkloadKey};

/// How many restarts make it more than bad luck: an application that starts before its sidecar crashes once or twice.
const CRASHES: u32 = 3;
/// How often a pod restarts at least that keeps crashing. The kubelet waits five minutes at most between two tries,
/// and a container that ran for ten begins again without waiting.
const EVERY: SignedDuration = SignedDuration::from_mins(15);
/// How long no pod of a workload may be ready.
const UNREADY: SignedDuration = SignedDuration::from_mins(1);
/// How recent a restart is that counts as trouble before the upgrade.
const LATELY: SignedDuration = SignedDuration::from_hours(1);

/// What has moved.
#[derive(Clone, Copy)]
pub struct Moved<'a> {
    /// The data plane as it was judged.
    pub data_plane: &'a DataPlaneView<'a>,
    /// Which control plane workloads move to.
    pub heading: Heading<'a>,
    /// Workloads that were in trouble before.
    pub unsteady: &'a [WorkloadKey],
    /// When the way back began: what is older has not moved back. None on the way forward.
    pub back_since: Option<Timestamp>,
}

impl Moved<'_> {
    /// What is wrong with it, in a watch that began then.
    pub fn problems(&self, now: Timestamp, since: Timestamp) -> Vec<String> {
        let moved = |(workload, placement): &&(&Workload, Placement)| {
            let steady = !self.unsteady.contains(&workload.key);
            *placement == Placement::Moved && steady && !workload.replicas.rolling
        };
        let judged = self.data_plane.placements.iter().filter(moved);
        judged
            .filter_map(|(workload, _)| self.problem(workload, now, since))
            .collect()
    }

    fn problem(&self, workload: &Workload, now: Timestamp, since: Timestamp) -> Option<String> {
        let pods: Vec<&Pod> = self.judged(workload, since).collect();
        let crashing = pods.iter().find(|pod| keeps_crashing(pod, now, since));
        if let Some(pod) = crashing {
            return Some(message::keeps_crashing(&workload.key, pod));
        }
        let long_ago = now.checked_sub(UNREADY).unwrap_or(Timestamp::MIN);
        let unready =
            |pod: &&Pod| !pod.ready && pod.ready_changed_at.is_some_and(|at| at <= long_ago);
        let none_is_ready = !pods.is_empty() && pods.iter().all(unready);
        none_is_ready.then(|| message::no_pod_ready(&workload.key))
    }

    /// The pods that are judged: those that were moved, and were there when the watch began.
    fn judged<'w>(
        &self,
        workload: &'w Workload,
        since: Timestamp,
    ) -> impl Iterator<Item = &'w Pod> {
        let Self {
            heading,
            back_since,
            ..
        } = *self;
        let pods = workload.pods.iter().map(AsRef::as_ref);
        pods.filter(move |pod: &&Pod| {
            let new = pod.created_at > Some(since);
            let moved = back_since.is_none() || pod.created_at >= back_since;
            heading.arrived(pod) && moved && !new
        })
    }
}

/// Whether a pod crashes, and not for the first time: often since it was made, and still.
fn keeps_crashing(pod: &Pod, now: Timestamp, since: Timestamp) -> bool {
    let age = pod
        .created_at
        .map_or(SignedDuration::ZERO, |at| now.duration_since(at));
    let often = EVERY.saturating_mul(i32::try_from(pod.restarts).unwrap_or(i32::MAX)) >= age;
    let waits = !pod.ready && pod.trouble.is_some();
    let lately = pod.restarted_at.is_some_and(|at| at > since);
    pod.restarts >= CRASHES && often && (waits || lately)
}

/// Workloads that are in trouble before anything is moved: with a pod that is not ready, or that crashed lately.
pub fn unsteady(now: Timestamp, ahead: Heading<'_>, workloads: &[Workload]) -> Vec<WorkloadKey> {
    let lately = now.checked_sub(LATELY).unwrap_or(Timestamp::MIN);
    let in_trouble = |pod: &Pod| !pod.ready || pod.restarted_at.is_some_and(|at| at > lately);
    // What an earlier run moved may have come to harm by that.
    let before = |pod: &Pod| !ahead.arrived(pod);
    let of = |workload: &&Workload| {
        let mut pods = workload.pods.iter();
        pods.any(|pod| before(pod) && in_trouble(pod))
    };
    workloads.iter().filter(of).map(|w| w.key.clone()).collect()
}
