//! What is said of dry-run pods.

use meshlift_istio::version::Version;

use super::restart;
use crate::view::{PodRefusal, Refuser, WorkloadKey};

pub fn no_dry_run(namespace: &str) -> String {
    format!("no dry-run pod was tried in namespace {namespace} yet")
}

pub fn other_proxy(namespace: &str, image: &str, found: &Version, wanted: &Version) -> String {
    format!(
        "a dry-run pod in namespace {namespace} got proxy image {image}, which is {found} and not {wanted}"
    )
}

pub fn other_injector(namespace: &str, found: &str, wanted: &str) -> String {
    format!(
        "a dry-run pod in namespace {namespace} was injected by revision {found} and not by {wanted}"
    )
}

pub fn not_injected(namespace: &str) -> String {
    format!("a dry-run pod in namespace {namespace} came back without a sidecar")
}

pub fn dry_run_failed(namespace: &str, why: &str) -> String {
    format!("a dry-run pod in namespace {namespace} could not be tried: {why}")
}

pub fn pod_refused(namespace: &str, refusal: &PodRefusal) -> String {
    let why = &refusal.why;
    let by = match &refusal.by {
        Refuser::PodSecurity => " by Pod Security".to_owned(),
        Refuser::Quota => " by a ResourceQuota".to_owned(),
        Refuser::Webhook(name) => format!(" by webhook {name}"),
        Refuser::NoDryRun(name) => format!(" by webhook {name}, which does not support dry run"),
        Refuser::Policy(name) => format!(" by policy {name}"),
        Refuser::Other => String::new(),
    };
    if why.is_empty() {
        format!("a dry-run pod in namespace {namespace} was refused{by}")
    } else {
        format!("a dry-run pod in namespace {namespace} was refused{by}: {why}")
    }
}

pub fn not_proved_yet(revision: &str) -> String {
    format!(
        "istiod {revision} is ready and has its webhook; that it injects is shown in each namespace before its first restart"
    )
}

/// Why a workload is not moved whose new pods could not be had.
pub fn no_new_pods(key: &WorkloadKey, why: &str) -> String {
    format!(
        "{why}; once that is fixed it is moved, and after the end of the upgrade by {}",
        restart(key)
    )
}
