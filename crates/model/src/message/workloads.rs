//! What is said of workloads: why one is not moved, and the command that would move it.

use jiff::SignedDuration;
use meshlift_api::Predicate;

use super::span;
use crate::view::{Labelled, Pod, PodTemplate, WorkloadKey, WorkloadKind};

pub fn not_ready_in_time(timeout: SignedDuration) -> String {
    format!("not all pods were ready within {}", span(timeout))
}

pub fn no_progress(timeout: SignedDuration) -> String {
    format!("its restart made no progress for {}", span(timeout))
}

pub fn comes_up_without_sidecar(target: &str) -> String {
    format!(
        "its pods came up without a sidecar, and not with that of {target}: check the labels of its namespace and of its pod template, and neverInjectSelector in the values of istiod"
    )
}

pub fn keeps_crashing(key: &WorkloadKey, pod: &Pod) -> String {
    let why = pod.trouble.as_ref().map(|why| format!(" ({why})"));
    let (key, name, why) = (key.short(), &pod.name, why.unwrap_or_default());
    format!("pod {name} of {key} keeps crashing since it moved{why}")
}

pub fn no_pod_ready(key: &WorkloadKey) -> String {
    format!("no pod of {} is ready", key.short())
}

/// `names` are the pods from before its restart.
pub fn pods_do_not_end(names: &[&str]) -> String {
    format!(
        "its rollout is over, and pods from before it do not end: {}",
        super::first_few(names)
    )
}

pub fn paused_rollout(key: &WorkloadKey) -> String {
    format!(
        "it was paused in the middle of its restart: {}",
        resume(key)
    )
}

pub fn restarts_do_not_move(times: u32, target: &str) -> String {
    format!(
        "restarted {times} times, and its pods still come up without the sidecar of {target}: check who writes the namespace's labels"
    )
}

pub fn evictions_do_not_move(target: &str) -> String {
    format!(
        "a pod was evicted, and the one that replaced it came up without the sidecar of {target}: check who writes the namespace's labels"
    )
}

/// The commands that restart these workloads, those of the first few.
pub fn restart_all(keys: &[&WorkloadKey]) -> String {
    const SHOWN: usize = 3;
    let shown = keys.iter().take(SHOWN);
    let commands: Vec<String> = shown.map(|key| restart(key)).collect();
    let more = match keys.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    format!("{}{more}", commands.join("; "))
}

pub(super) fn restart(key: &WorkloadKey) -> String {
    let (namespace, name) = (&key.namespace, &key.name);
    let resource = key.kind.resource();
    let now = "$(date -u +%Y-%m-%dT%H:%M:%SZ)";
    match key.kind {
        WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => {
            format!("kubectl -n {namespace} rollout restart {resource}/{name}")
        }
        WorkloadKind::Rollout => format!(
            "kubectl -n {namespace} patch {resource} {name} --type merge -p '{{\"spec\":{{\"restartAt\":\"'{now}'\"}}}}'"
        ),
        WorkloadKind::ReplicaSet => delete_pods(key),
        WorkloadKind::CloneSet
        | WorkloadKind::AdvancedStatefulSet
        | WorkloadKind::AdvancedDaemonSet => format!(
            "kubectl -n {namespace} patch {resource} {name} --type merge -p '{{\"spec\":{{\"template\":{{\"metadata\":{{\"annotations\":{{\"kubectl.kubernetes.io/restartedAt\":\"'{now}'\"}}}}}}}}}}'"
        ),
    }
}

/// The command that lets a paused workload roll on.
fn resume(key: &WorkloadKey) -> String {
    let (namespace, name) = (&key.namespace, &key.name);
    let resource = key.kind.resource();
    let unpaused = match key.kind {
        WorkloadKind::CloneSet => "{\"spec\":{\"updateStrategy\":{\"paused\":false}}}",
        WorkloadKind::AdvancedStatefulSet | WorkloadKind::AdvancedDaemonSet => {
            "{\"spec\":{\"updateStrategy\":{\"rollingUpdate\":{\"paused\":false}}}}"
        }
        _ => return format!("kubectl -n {namespace} rollout resume {resource}/{name}"),
    };
    format!("kubectl -n {namespace} patch {resource} {name} --type merge -p '{unpaused}'")
}

/// The command that shows how far a rollout is.
fn status(key: &WorkloadKey) -> String {
    let (namespace, name) = (&key.namespace, &key.name);
    let resource = key.kind.resource();
    match key.kind {
        WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => {
            format!("kubectl -n {namespace} rollout status {resource}/{name}")
        }
        _ => format!("kubectl -n {namespace} describe {resource}/{name}"),
    }
}

fn delete_pods(key: &WorkloadKey) -> String {
    format!(
        "delete its pods one by one (kubectl -n {} delete pod <name>)",
        key.namespace
    )
}

/// Why a workload stays on the new control plane, with the command that would move it back.
pub fn not_moved_back(key: &WorkloadKey, predicate: Predicate, to: &str) -> String {
    let (namespace, restart) = (&key.namespace, restart(key));
    match predicate {
        Predicate::NotOurs => format!(
            "its namespace was bound to the new control plane by somebody else: bind {namespace} to {to}, then {restart}"
        ),
        Predicate::ManagedGateway => gateway_not_up(key, to),
        _ => format!(
            "it was not restarted, because new pods in namespace {namespace} would not be injected by {to}: fix that, then {restart}"
        ),
    }
}

/// Why a gateway that istiod renders is not where it goes, with the command that shows more.
fn gateway_not_up(key: &WorkloadKey, to: &str) -> String {
    let WorkloadKey {
        namespace, name, ..
    } = key;
    let resource = key.kind.resource();
    format!(
        "its pods did not come up on {to}: fix that (kubectl -n {namespace} describe {resource}/{name}), and istiod continues its rollout"
    )
}

/// Why a workload is still where it was when everything else has moved, with the command that moves it.
pub fn not_moved(key: &WorkloadKey, predicate: Predicate, to: &str) -> String {
    let (namespace, restart) = (&key.namespace, restart(key));
    match predicate {
        Predicate::ManagedGateway => gateway_not_up(key, to),
        Predicate::RestartFailed => format!(
            "it was not restarted, because new pods in namespace {namespace} would not be injected by {to}: fix that, then {restart}"
        ),
        Predicate::NotOurs => format!(
            "the label of namespace {namespace} is not ours to change: set istio.io/rev={to} where it comes from (Git?), then {restart}"
        ),
        other => blocked_workload(key, other, to),
    }
}

/// Why a workload is not moved whose pods could not be evicted.
pub fn no_eviction(key: &WorkloadKey, why: &str) -> String {
    format!(
        "its pods could not be evicted: {why}; add a replica or let the budget allow one, or {}",
        restart(key)
    )
}

/// Who refused the restart of a workload, and why.
pub fn restart_refused(why: &str) -> String {
    format!("its restart was refused by {why}")
}

/// Who refused the eviction of its pod, and why.
pub fn eviction_refused(pod: &str, why: &str) -> String {
    format!("the eviction of pod {pod} was refused by {why}")
}

/// What its restart waits for, and who refused that.
pub fn comes_after(object: &str, why: &str) -> String {
    format!("{object} has to move before it, which was refused by {why}; move that first")
}

/// What its restart waits for, which somebody put back.
pub fn comes_after_put_back(object: &str) -> String {
    format!("{object}, which somebody put back, has to move before it")
}

/// Why a workload is not moved whose namespace, tag or Gateway somebody put back.
pub fn after_put_back(key: &WorkloadKey, why: &str) -> String {
    format!("{why}: once it has, {}", restart(key))
}

/// Why an object is not moved that somebody put back, and what would move it.
pub fn put_back(why: &str, change: &str) -> String {
    format!("{why}, and nobody made this change where it comes from (Git?): {change}")
}

/// Why a workload is not moved that the API server keeps as it is.
pub fn refused(key: &WorkloadKey, why: &str) -> String {
    format!("{why}; once that is allowed, {}", restart(key))
}

/// Why an object is not moved that the API server keeps as it is.
pub fn object_refused(why: &str, by_hand: &str) -> String {
    format!("its change was refused by {why}; once that is allowed, {by_hand}")
}

/// Why a workload is not moved, with the command that would do it.
pub fn blocked_workload(key: &WorkloadKey, predicate: Predicate, target: &str) -> String {
    let WorkloadKey {
        namespace,
        kind,
        name,
    } = key;
    let resource = kind.resource();
    let restart = restart(key);
    match predicate {
        Predicate::OnDelete => format!(
            "its update strategy is OnDelete: spec.dataPlane.restart.method: Evict moves it; by hand, {}, each comes back on {target}",
            delete_pods(key)
        ),
        Predicate::BareReplicaSet => format!(
            "no Deployment owns this ReplicaSet, which replaces only pods that go: spec.dataPlane.restart.method: Evict moves it; by hand, {}, each comes back on {target}",
            delete_pods(key)
        ),
        Predicate::InPlace => format!(
            "its controller changes running pods in place (updateStrategy), and they keep their sidecars: spec.dataPlane.restart.method: Evict moves it; by hand, {}, each comes back on {target}",
            delete_pods(key)
        ),
        Predicate::Partition => format!(
            "its rolling update keeps pods back by partition: spec.dataPlane.restart.method: Evict moves it; by hand, set the partition to 0, then {restart}"
        ),
        Predicate::Paused => {
            let resume = resume(key);
            format!(
                "the {kind} is paused: spec.dataPlane.restart.method: Evict moves it; by hand, {resume}, then {restart}"
            )
        }
        Predicate::Excluded => {
            format!(
                "excluded by spec.dataPlane.exclude: to move it, remove the label, then {restart}"
            )
        }
        Predicate::Tag => format!(
            "its namespace follows a revision tag: point the tag at {target} (istioctl tag set <tag> --revision {target} --overwrite), then {restart}"
        ),
        Predicate::PodLabel => format!(
            "its pod template asks for injection itself: set label istio.io/rev={target} on the template of {resource} {namespace}/{name} where that comes from (Git?), which also restarts it"
        ),
        Predicate::InjectionOff => format!(
            "new pods in namespace {namespace} get no sidecar: restarting would take it out of the mesh; if that is meant, {restart}"
        ),
        Predicate::SidecarInTemplate => format!(
            "its pod template itself holds the sidecar (istioctl kube-inject), which no restart renews: where the template comes from, run istioctl kube-inject --revision {target} again, or take the sidecar out and label namespace {namespace} istio.io/rev={target}, then {restart}"
        ),
        Predicate::HostNetwork => format!(
            "its pod template asks for hostNetwork, and such pods get no sidecar: restarting would take it out of the mesh; to keep it there, take hostNetwork away, which also restarts it; else {restart}"
        ),
        Predicate::ManagedGateway => format!(
            "istiod rolls this gateway by itself once its Gateway asks for the new revision: kubectl -n {namespace} label gateway <its name> istio.io/rev={target} --overwrite"
        ),
        Predicate::RolloutIncomplete => format!(
            "its own rollout has not ended: fix it ({}), then {restart}",
            status(key)
        ),
        Predicate::NotOurs => format!(
            "spec.dataPlane.move leaves its namespace to others: bind that to {target}, then {restart}"
        ),
        Predicate::GatewaysExcluded => {
            format!("gateways are left alone (spec.gateways.order: None): to move it, {restart}")
        }
        Predicate::ProxyImage => format!(
            "it moves, but keeps the proxy image that its pod template names (annotation sidecar.istio.io/proxyImage): take the annotation away or set the image of {target}, then {restart}"
        ),
        Predicate::RestartPutBack => format!(
            "its restart was taken back by whoever writes its pod template (Git, a controller): spec.dataPlane.restart.method: Evict moves it; by hand, {}, or set annotation meshlift.io/revision={target} where the template comes from, and label istio.io/rev={target} if it has that label",
            delete_pods(key)
        ),
        Predicate::SidecarGone => format!(
            "it had moved, and its pods run without a sidecar now: if that is not meant, check the labels of namespace {namespace} and of its pod template, then {restart}"
        ),
        Predicate::DisruptionBudget
        | Predicate::RevisionLabel
        | Predicate::Refused
        | Predicate::PodRefused
        | Predicate::RestartFailed
        | Predicate::BarePod
        | Predicate::Job
        | Predicate::UnknownController => format!("to move it, {restart}"),
    }
}

/// The command that lets the next pods of a template come up on another revision.
pub fn wakes_elsewhere(template: &PodTemplate, to: &str) -> String {
    let PodTemplate {
        namespace, name, ..
    } = template;
    match template.kind.as_str() {
        "CronJob" => format!(
            "kubectl -n {namespace} patch cronjob {name} --type merge -p '{{\"spec\":{{\"jobTemplate\":{{\"spec\":{{\"template\":{{\"metadata\":{{\"labels\":{{\"istio.io/rev\":\"{to}\"}}}}}}}}}}}}}}'"
        ),
        _ => format!("kubectl -n {namespace} wait --for=condition=Complete job/{name}"),
    }
}

/// Why a template without pods keeps a control plane, with the command that lets it go.
pub fn asleep(template: &PodTemplate, to: &str) -> String {
    format!(
        "its next pods ask for the control plane that would go, and would get no sidecar: {}",
        wakes_elsewhere(template, to)
    )
}

/// Why configuration keeps a control plane, with the command that lets every revision read it.
pub fn read_by_one(object: &Labelled) -> String {
    let Labelled {
        resource,
        namespace,
        name,
        revision,
        ..
    } = object;
    format!(
        "its label istio.io/rev={revision} lets only that revision read it: kubectl -n {namespace} label {resource}/{name} istio.io/rev-"
    )
}

/// Why a workload that was restarted is given up, with the command that shows more.
pub fn restart_failed(key: &WorkloadKey, why: &str) -> String {
    let WorkloadKey {
        namespace, name, ..
    } = key;
    let resource = key.kind.resource();
    format!(
        "restarted, and not ready: {why}; fix it (kubectl -n {namespace} describe {resource}/{name})"
    )
}

/// Why a pod is not moved, with the command that would do it.
pub fn blocked_pod(pod: &Pod, predicate: Predicate) -> String {
    let Pod {
        namespace, name, ..
    } = pod;
    let owner_kind = pod.owner_kind.as_deref().unwrap_or_default();
    let owner_name = pod.owner_name.as_deref().unwrap_or_default();
    match predicate {
        Predicate::Job if of_cron_job(owner_name) => format!(
            "it belongs to Job {owner_name} of a CronJob: let this run end. The next one gets the sidecar that its namespace or its own template then requests"
        ),
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

/// Whether a Job is named as a CronJob names its runs: with the minute of the run at the end.
/// Source: istio `pkg/kube/inject` tells them apart in the same way.
fn of_cron_job(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, run)| {
        (8..=10).contains(&run.len()) && run.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_next_run_of_a_cron_job_gets_is_not_promised() {
        // Its template may request the control plane that is left, and then the CronJob is named beside its pod.
        let pod = Pod {
            namespace: "night".into(),
            name: "report-29931750-2zzjz".into(),
            owner_kind: Some("Job".into()),
            owner_name: Some("report-29931750".into()),
            ..Pod::default()
        };
        let message = blocked_pod(&pod, Predicate::Job);
        assert!(
            message.contains("its own template then requests"),
            "{message}"
        );
    }

    #[test]
    fn runs_of_a_cron_job_are_known_by_their_names() {
        for (name, of_cron_job_) in [
            ("backup-29384756", true),
            ("backup-1615440000", true),
            ("backup-2938475", false),
            ("backup-2938475a", false),
            ("29384756", false),
            ("migrate", false),
        ] {
            assert_eq!(of_cron_job(name), of_cron_job_, "{name}");
        }
    }

    #[test]
    fn every_kind_has_the_commands_that_work_on_it() {
        for kind in WorkloadKind::ALL {
            let key = WorkloadKey {
                namespace: "shop".into(),
                kind,
                name: "cart".into(),
            };
            for command in [restart(&key), resume(&key), status(&key)] {
                assert!(command.contains("kubectl -n shop "), "{command}");
                let whole = matches!(kind, WorkloadKind::ReplicaSet);
                assert!(whole || command.contains(kind.resource()), "{command}");
            }
        }
    }
}
