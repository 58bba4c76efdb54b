//! Workloads whose pods are evicted one after the other: no mark is written for that, because a pod
//! is evicted by its UID, which never comes back.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::place::trouble;
use super::{Placement, Question, Turn};
use crate::message;
use crate::view::{Pod, Workload, WorkloadKind};

impl Question<'_> {
    /// The next pod to evict. The one before has to have been replaced by a ready one.
    pub(super) fn evict(&self, workload: &Workload) -> Placement {
        // A Rollout may stand in the middle of its own steps for days; its pods are replaced all the same.
        let rolls = workload.replaces_pods() && workload.key.kind != WorkloadKind::Rollout;
        if !workload.whole || (rolls && !workload.settled) {
            return Placement::Busy;
        }
        let mut left = workload
            .pods
            .iter()
            .filter(|pod| self.leaves(workload, pod));
        let came_back = |pod: &Arc<Pod>| {
            let evicted = self.evicted_at(workload);
            evicted.is_some() && pod.created_at > evicted
        };
        if !self.is_remembered(workload) && left.clone().any(came_back) {
            return Placement::Failed(message::evictions_do_not_move(&self.heading.name()));
        }
        let refused = left
            .clone()
            .find_map(|pod| Some((pod, self.refused.get(&pod.uid)?)));
        match (refused, left.next()) {
            (Some((pod, refused)), _) => self.held(refused, Turn::Evict(Arc::clone(pod))),
            (None, Some(pod)) => Placement::Stale(Turn::Evict(Arc::clone(pod))),
            (None, None) => Placement::Moved,
        }
    }

    /// Where a workload stands of which a pod was evicted and is not replaced yet. A new pod that is not
    /// ready in its time is evicted too, as often as a restart is repeated.
    pub(super) fn coming_back(&self, workload: &Workload) -> Option<Placement> {
        let evicted = self.evicted_at(workload).filter(|_| !workload.whole)?;
        let since = last_step(workload, evicted, self.timeout).max(self.resumed.unwrap_or(evicted));
        let waited = self.now.duration_since(since);
        if waited <= self.timeout {
            return Some(Placement::Restarting);
        }
        let tries = self.retries.saturating_add(1);
        let begun = |n: u32| {
            since
                .saturating_add(self.timeout.saturating_mul(to_i32(n)))
                .ok()
        };
        let this = (1..tries)
            .rev()
            .find_map(|n| begun(n).filter(|at| *at < self.now));
        let over = begun(tries).is_some_and(|end| end < self.now);
        let from_before =
            |pod: &&Arc<Pod>| !pod.ready && !self.leaves(workload, pod) && pod.created_at < this;
        Some(match workload.pods.iter().find(from_before) {
            _ if over => {
                let late = message::not_ready_in_time(self.timeout);
                Placement::Failed(trouble(workload).unwrap_or(late))
            }
            Some(pod) if !self.refused.contains_key(&pod.uid) => {
                Placement::Stale(Turn::Evict(Arc::clone(pod)))
            }
            Some(_) | None => Placement::Restarting,
        })
    }

    /// When one of its pods was last evicted, if that was in this run.
    pub(super) fn evicted_at(&self, workload: &Workload) -> Option<Timestamp> {
        workload.evicted_at.filter(|at| Some(*at) >= self.began)
    }
}

/// When it last came nearer to being whole since a pod of it was evicted. Its owner may roll it out meanwhile, which
/// takes the time of every pod and is no failure of the one that was evicted. So that everything ends, also what is
/// ready now and then, the whole has its limit: the time of one step for each pod.
fn last_step(workload: &Workload, evicted: Timestamp, timeout: SignedDuration) -> Timestamp {
    let pods = workload.pods.iter();
    let became_ready = pods.filter(|pod| pod.ready && pod.restarts == 0);
    let last = became_ready.filter_map(|pod| pod.ready_changed_at);
    let limit = timeout.saturating_mul(to_i32(workload.replicas.desired));
    let limit = evicted.checked_add(limit).unwrap_or(Timestamp::MAX);
    last.fold(evicted, Timestamp::max).min(limit)
}

fn to_i32(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
