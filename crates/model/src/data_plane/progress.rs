//! Whether a restart makes progress. It has its time for each step and not for the whole: a DaemonSet on forty nodes
//! takes longer than any single pod may (Kubernetes judges rollouts in the same way, by `progressDeadlineSeconds`).

use jiff::{SignedDuration, Timestamp};

use crate::heading::Heading;
use crate::view::Workload;

/// When a restart that began then has failed, unless it makes progress until then.
///
/// Progress is a new pod, and a pod that becomes ready. A pod whose containers have restarted is progress only when it
/// is new: one that crashes is ready for a moment after each crash, for ever. That an old pod ended is not seen by
/// itself; a new one follows it, or it was the last.
///
/// So that everything ends, also what is ready now and then, the whole has its limit too: the time of one step for
/// each pod, and one more.
pub fn stalls_at(workload: &Workload, began: Timestamp, timeout: SignedDuration) -> Timestamp {
    let steps = workload.pods.iter().flat_map(|pod| {
        let became_ready = pod
            .ready_changed_at
            .filter(|_| pod.ready && pod.restarts == 0);
        [pod.created_at, became_ready]
    });
    let last = steps.flatten().fold(began, Timestamp::max);
    let pods = i32::try_from(workload.replicas.desired).unwrap_or(i32::MAX);
    let whole = timeout.saturating_mul(pods.saturating_add(1));
    let until = |from: Timestamp, time| from.checked_add(time).unwrap_or(Timestamp::MAX);
    until(last, timeout).min(until(began, whole))
}

/// Whether a restart waits for pods that are not even made, and has for half the time that it may take: nothing of the
/// new side came up and failed, so what keeps them away (a quota, a policy) has to be asked for.
pub fn waits_for_pods(
    workload: &Workload,
    heading: Heading<'_>,
    now: Timestamp,
    timeout: SignedDuration,
) -> bool {
    let comes_up = |pod: &&std::sync::Arc<crate::view::Pod>| heading.arrived(pod) && !pod.ready;
    let Some(began) = workload.restarted_at.filter(|_| !workload.settled) else {
        return false;
    };
    let coming = workload.pods.iter().filter(comes_up).count();
    coming == 0 && now > stalls_at(workload, began, timeout / 2)
}
