//! The sentences people read in status, events and logs.

use jiff::{SignedDuration, Timestamp};
use meshlift_api::{BlockedWorkload, Predicate, ProxyCounts, WorkloadCounts};

use crate::version::Version;
use crate::view::{Pod, WorkloadKey, WorkloadKind};

/// `1h 30m`, without what is smaller than a second.
pub(crate) fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let parts = [
        (seconds / 3600, "h"),
        (seconds % 3600 / 60, "m"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if shown.is_empty() {
        "0s".to_owned()
    } else {
        shown.join(" ")
    }
}

pub(crate) fn remaining(now: Timestamp, until: Timestamp) -> String {
    // Whole tens of seconds: a message that changed every second would be a write every second.
    let left = until.duration_since(now).as_secs().max(0);
    let rounded = if left > 60 {
        (left + 59) / 60 * 60
    } else {
        (left + 9) / 10 * 10
    };
    span(SignedDuration::from_secs(rounded))
}

/// The first few of a list, and how many more.
pub(crate) fn first_few<T: AsRef<str>>(items: &[T]) -> String {
    const SHOWN: usize = 3;
    let first: Vec<&str> = items.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match items.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

pub(crate) fn paused(next: &str) -> String {
    format!("paused before the next step ({next}): set spec.paused to false to go on")
}

pub(crate) fn waits_for_rival(name: &str) -> String {
    format!("waits for MeshUpgrade {name}, which upgrades the same mesh, to end")
}

pub(crate) fn already_there(version: &Version, outdated: u32) -> String {
    match outdated {
        0 => format!("the mesh runs {version}; nothing was to do"),
        n => format!(
            "the control plane runs {version}; {n} running sidecars are of another revision: restart their pods to renew them"
        ),
    }
}

pub(crate) fn done(version: &Version, blocked: &[BlockedWorkload]) -> String {
    match blocked.len() {
        0 => format!(
            "the mesh is at {version}; every workload runs its sidecar and the old control plane is gone"
        ),
        n => format!(
            "the mesh is at {version} and the old control plane is gone; {n} not moved, see status.blocked"
        ),
    }
}

pub(crate) fn done_old_stays(version: &Version, users: &[String]) -> String {
    format!(
        "the mesh is at {version}; the old control plane stays because it is used by {}: see status.blocked, move them, then annotate meshlift.io/retry with a new value to retire it",
        first_few(users)
    )
}

pub(crate) fn stopped(what: &str, state: &str) -> String {
    format!(
        "stopped: {what}. {state} Mend it, then annotate meshlift.io/retry with a new value to go on from here"
    )
}

pub(crate) fn both_planes_run(from: &Version, to: &str, moved: u32, total: u32) -> String {
    format!("Both control planes run ({from} and {to}), {moved} of {total} workloads moved.")
}

pub(crate) fn restarting(counts: WorkloadCounts, revision: &str, waits: &[String]) -> String {
    let mut text = format!("{}/{} workloads on {revision}", counts.moved, counts.total);
    if counts.restarting > 0 {
        text.push_str(&format!(", {} restarting", counts.restarting));
    }
    if counts.blocked > 0 {
        text.push_str(&format!(", {} not movable", counts.blocked));
    }
    if !waits.is_empty() {
        text.push_str(&format!("; waits for {}", first_few(waits)));
    }
    text
}

pub(crate) fn moved(proxies: ProxyCounts, revision: &str) -> String {
    format!(
        "{}/{} sidecars on {revision}",
        proxies.current, proxies.total
    )
}

pub(crate) fn not_ready_in_time(timeout: SignedDuration) -> String {
    format!("not all pods were ready within {}", span(timeout))
}

pub(crate) fn restarts_do_not_move(times: u32, target: &str) -> String {
    format!(
        "restarted {times} times, and its pods still come up without the sidecar of {target}: check who writes the namespace's labels"
    )
}

/// Why a workload is not moved, with the command that would do it.
pub(crate) fn blocked_workload(key: &WorkloadKey, predicate: Predicate, target: &str) -> String {
    let WorkloadKey {
        namespace,
        kind,
        name,
    } = key;
    let resource = match kind {
        WorkloadKind::Deployment => "deployment",
        WorkloadKind::StatefulSet => "statefulset",
        WorkloadKind::DaemonSet => "daemonset",
    };
    let restart = format!("kubectl -n {namespace} rollout restart {resource}/{name}");
    match predicate {
        Predicate::OnDelete => format!(
            "its update strategy is OnDelete: delete its pods one by one (kubectl -n {namespace} delete pod <name>), each comes back on {target}"
        ),
        Predicate::Partition => format!(
            "its rolling update keeps pods back by partition: set the partition to 0, then {restart}"
        ),
        Predicate::Paused => {
            format!("the Deployment is paused: kubectl -n {namespace} rollout resume {resource}/{name}, then {restart}")
        }
        Predicate::Excluded => {
            format!("excluded by spec.dataPlane.exclude: to move it, remove the label, then {restart}")
        }
        Predicate::Tag => format!(
            "its namespace follows a revision tag: point the tag at {target} (istioctl tag set <tag> --revision {target} --overwrite), then {restart}"
        ),
        Predicate::PodLabel => format!(
            "its pod template asks for injection itself: set label istio.io/rev={target} on the template of {resource} {namespace}/{name}, which also restarts it"
        ),
        Predicate::LabelPutBack => format!(
            "the injection label of namespace {namespace} was put back after it was moved: set istio.io/rev={target} and remove istio-injection where the label comes from (Git?), then {restart}"
        ),
        Predicate::InjectionOff => format!(
            "new pods in namespace {namespace} get no sidecar: restarting would take it out of the mesh; if that is meant, {restart}"
        ),
        Predicate::ManagedGateway => {
            "istiod rolls this gateway by itself when its Gateway or namespace moves to the new revision".to_owned()
        }
        Predicate::RolloutIncomplete => format!(
            "its own rollout has not ended: mend it (kubectl -n {namespace} rollout status {resource}/{name}), then {restart}"
        ),
        Predicate::BarePod | Predicate::Job | Predicate::UnknownController => {
            format!("to move it, {restart}")
        }
    }
}

/// Why a pod is not moved, with the command that would do it.
pub(crate) fn blocked_pod(pod: &Pod, predicate: Predicate) -> String {
    let Pod {
        namespace, name, ..
    } = pod;
    let owner_kind = pod.owner_kind.as_deref().unwrap_or_default();
    let owner_name = pod.owner_name.as_deref().unwrap_or_default();
    match predicate {
        Predicate::Job => format!(
            "it belongs to Job {owner_name}: let the Job end, or replace it (kubectl -n {namespace} get job {owner_name} -o yaml, delete it, create it again)"
        ),
        Predicate::BarePod => format!(
            "no controller would bring it back: kubectl -n {namespace} get pod {name} -o yaml > pod.yaml, delete it, create it again from the file without its sidecar"
        ),
        _ => format!(
            "its controller is {owner_kind} {owner_name}, which is not restarted by this operator: if that controller brings pods back, kubectl -n {namespace} delete pod {name}"
        ),
    }
}
