//! Objects that are no workloads, as `status.blocked` refers to them: API version, kind and name. What is written there
//! is looked for again by the same words, so there is one place for them.

use meshlift_api::{BlockedWorkload, Predicate};

/// A namespace.
pub fn namespace(name: &str) -> String {
    format!("v1 Namespace {name}")
}

/// The webhook configuration of a revision tag.
pub fn tag(configuration: &str) -> String {
    format!("admissionregistration.k8s.io/v1 MutatingWebhookConfiguration {configuration}")
}

/// A Gateway of the Gateway API.
pub fn gateway(namespace: &str, name: &str) -> String {
    format!("gateway.networking.k8s.io/v1 Gateway {namespace}/{name}")
}

/// Whether an object is named as one that somebody put back and nobody put right in time.
pub fn is_put_back(named: &[BlockedWorkload], reference: &str) -> bool {
    let put_back =
        |b: &BlockedWorkload| b.predicate == Predicate::NotOurs && b.reference == reference;
    named.iter().any(put_back)
}
