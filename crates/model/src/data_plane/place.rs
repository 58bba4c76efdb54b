//! Where one workload stands.

use std::sync::Arc;

use meshlift_api::Predicate;

use super::{Placement, Question, Turn, stalls_at};
use crate::decision::TemplateRevision;
use crate::message;
use crate::view::{Namespace, Pod, Workload, WorkloadKind};

/// Restarting one workload more often than this for one revision means that something undoes it.
const RESTARTS_PER_REVISION: u32 = 3;

impl Question<'_> {
    pub(super) fn place(&self, workload: &Workload, namespace: &Namespace) -> Placement {
        let attempt = self.attempt(&workload.mark);
        if self.lost_sidecars(workload) {
            return self.without_sidecars(workload);
        }
        let ended = self.has_ended(workload);
        // A change of the template rolls nothing that waits for evictions.
        if let Some(attempt) = attempt
            && !workload.settled
            && !ended
            && (!self.evicts || workload.replaces_pods())
        {
            if let Some(pod) = self.in_the_way(workload) {
                return Placement::Stale(Turn::Evict(Arc::clone(pod)));
            }
            return self.in_rollout(workload, attempt, None);
        }
        if self.evicts
            && !ended
            && let Some(placement) = self.coming_back(workload)
        {
            return placement;
        }
        if let Some(placement) = self.asleep(workload, namespace, attempt) {
            return placement;
        }
        let cut_short = !workload.settled && self.was_moved_forward(workload);
        let left = workload.pods.iter().any(|pod| self.leaves(workload, pod));
        if !left && !self.lost_sidecars_before(workload) {
            return if cut_short {
                // The rollout of the way forward ends on the way back.
                self.in_rollout(workload, u32::MAX, None)
            } else {
                Placement::Moved
            };
        }
        let template = match self.obstacle(workload, namespace) {
            Ok(template) => template,
            Err(predicate) => return Placement::Blocked(predicate),
        };
        let stages = self.stages.as_ref();
        if stages.is_some_and(|stages| !stages.is_open(stages.of_workload(workload))) {
            return Placement::Later;
        }
        // Its label or tag, or that of its Gateway, comes first.
        let waits = workload.managed_gateway || !self.is_injected(workload, namespace);
        if stages.is_some() && waits {
            return Placement::Later;
        }
        if self.evicts && template.is_none() {
            self.evict(workload)
        } else {
            self.restart(workload, attempt, template)
        }
    }

    fn restart(
        &self,
        workload: &Workload,
        attempt: Option<u32>,
        template: Option<TemplateRevision>,
    ) -> Placement {
        if !workload.settled && !self.was_moved_forward(workload) {
            return Placement::Busy;
        }
        if self.loses_a_pod_more(workload) {
            return Placement::Restarting;
        }
        // Watches are separate: the one of workloads may say that the rollout is over while the one of
        // pods still shows what was there before. Only a pod that was made by our restart, and is old
        // all the same, is a reason for another.
        let made_by_it =
            |pod: &Arc<Pod>| self.leaves(workload, pod) && workload.made_by_restart(pod);
        match attempt {
            Some(_) if !workload.pods.iter().any(made_by_it) => self.left_over(workload),
            None => Placement::Stale(Turn::Restart {
                mark: self.heading.mark(),
                template,
            }),
            Some(attempt) if attempt < RESTARTS_PER_REVISION => self.again(attempt, template),
            Some(attempt) => {
                Placement::Failed(message::restarts_do_not_move(attempt, &self.heading.name()))
            }
        }
    }

    /// None of its pods has a sidecar. After a restart of ours that is a failure once it had its time: the watch of
    /// pods may lag behind. Had it moved before, its owner may have meant it, and it is named.
    fn without_sidecars(&self, workload: &Workload) -> Placement {
        if self.is_remembered(workload) {
            Placement::Blocked(Predicate::SidecarGone)
        } else if self.is_overdue(workload) {
            Placement::Failed(message::comes_up_without_sidecar(&self.heading.name()))
        } else {
            Placement::Restarting
        }
    }

    /// Its rollout is over, and pods from before are still seen: they take their time to end, or are not
    /// seen to be gone yet. Another restart would not hasten them.
    fn left_over(&self, workload: &Workload) -> Placement {
        if self.is_remembered(workload) {
            return Placement::Busy;
        }
        if !self.is_overdue(workload) {
            return Placement::Restarting;
        }
        let left = workload
            .pods
            .iter()
            .filter(|pod| self.leaves(workload, pod));
        let names = left.map(|pod| pod.name.as_str()).collect::<Vec<_>>();
        Placement::Failed(message::pods_do_not_end(&names))
    }

    /// Whether its restart makes no progress any more.
    fn is_overdue(&self, workload: &Workload) -> bool {
        let began = workload.restarted_at.max(self.began).max(self.resumed);
        let began = began.unwrap_or(self.now);
        self.now > stalls_at(workload, began, self.timeout)
    }

    /// A pod of the way forward that is not going to be ready. A StatefulSet that goes back in order waits for it, for
    /// ever (Kubernetes issue 67250): it has to go before its controller makes any pod of the template of before.
    fn in_the_way<'w>(&self, workload: &'w Workload) -> Option<&'w Arc<Pod>> {
        let waits = self.heading.is_back() && workload.key.kind.rolls_by_ordinal();
        let mut pods = workload
            .pods
            .iter()
            .filter(|pod| self.leaves(workload, pod));
        let stuck = |pod: &&Arc<Pod>| {
            !pod.ready && pod.trouble.is_some() && !self.refused.contains_key(&pod.uid)
        };
        pods.find(stuck)
            .filter(|_| waits && !self.is_overdue(workload))
    }

    /// Whether a new template now would take away a pod that serves while another is still coming up: a StatefulSet
    /// whose pods are managed in parallel begins anew with its last pod, whatever became of the first ones. Its
    /// rollout of the way forward gets to its end first, if it can.
    fn loses_a_pod_more(&self, workload: &Workload) -> bool {
        let began = workload.restarted_at;
        let in_time = began.is_some_and(|at| self.now <= stalls_at(workload, at, self.timeout));
        let trouble = workload.pods.iter().any(|pod| pod.trouble.is_some());
        workload.key.kind.rolls_by_ordinal() && !workload.settled && in_time && !trouble
    }

    /// Whether its restart was ours, on the way that is now gone back: but for StatefulSets that is not waited for.
    pub(super) fn was_moved_forward(&self, workload: &Workload) -> bool {
        let mark = workload.mark.as_deref();
        let from = self.heading.mark_before();
        from.is_some_and(|from| mark_attempt(mark, &from).is_some())
    }

    /// How often this upgrade restarted what has this mark, on the way that is headed.
    pub(super) fn attempt(&self, mark: &Option<String>) -> Option<u32> {
        mark_attempt(mark.as_deref(), &self.heading.mark())
    }

    fn again(&self, attempt: u32, template: Option<TemplateRevision>) -> Placement {
        Placement::Stale(Turn::Restart {
            mark: format!("{}.{}", self.heading.mark(), attempt + 1),
            template,
        })
    }

    fn in_rollout(
        &self,
        workload: &Workload,
        attempt: u32,
        template: Option<TemplateRevision>,
    ) -> Placement {
        if !self.is_overdue(workload) {
            return Placement::Restarting;
        }
        if workload.paused && workload.key.kind == WorkloadKind::Deployment {
            return Placement::Failed(message::paused_rollout(&workload.key));
        }
        if attempt <= self.retries {
            return self.again(attempt, template);
        }
        let stalled = message::no_progress(self.timeout);
        Placement::Failed(trouble(workload).unwrap_or(stalled))
    }
}

/// What keeps a pod of it from being ready.
pub(super) fn trouble(workload: &Workload) -> Option<String> {
    workload.pods.iter().find_map(|pod| {
        let why = pod.trouble.as_ref()?;
        Some(format!("pod {}: {why}", pod.name))
    })
}

/// How often a workload was restarted for this revision: the mark is the revision, from the
/// second time on with a number behind it.
pub fn mark_attempt(mark: Option<&str>, target: &str) -> Option<u32> {
    match mark?.strip_prefix(target)? {
        "" => Some(1),
        rest => rest.strip_prefix('.')?.parse().ok(),
    }
}
