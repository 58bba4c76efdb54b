//! Who depends on a control plane without running now: nobody sees them among the pods.

use std::collections::BTreeMap;

use super::Seen;

/// What would miss a control plane that is gone, besides pods, namespaces, tags, Gateways and webhooks. Looked at in
/// a detection, and again right before a control plane is removed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dependents {
    /// Templates of CronJobs, and of Jobs that have not ended, whose pods ask for injection themselves.
    pub templates: Seen<Vec<PodTemplate>>,
    /// Istio configuration with the label `istio.io/rev`.
    pub configuration: Seen<Vec<Labelled>>,
}

/// A template of pods that are not there yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodTemplate {
    /// Kind of its object: `CronJob`, `Job`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name of its object.
    pub name: String,
    /// Labels of the pods.
    pub labels: BTreeMap<String, String>,
}

impl PodTemplate {
    /// `CronJob night/sweep`: for sentences.
    pub fn short(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// An object that only one revision reads. Source: istio `pkg/config/model.go` (`LabelsInRevision`): tags do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// Kind: `AuthorizationPolicy`.
    pub kind: String,
    /// Resource as kubectl takes it: `authorizationpolicies.security.istio.io`.
    pub resource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Value of its label `istio.io/rev`.
    pub revision: String,
    /// Helm release that it is part of, as `namespace/name`: what comes with a control plane goes with it.
    pub helm_release: Option<String>,
}

impl Labelled {
    /// Whether it is part of this Helm release. Charts of old render filters for their own revision.
    pub fn is_of(&self, namespace: &str, release: &str) -> bool {
        let of = self
            .helm_release
            .as_deref()
            .and_then(|of| of.split_once('/'));
        of == Some((namespace, release))
    }

    /// `AuthorizationPolicy vault/own-namespace-only`: for sentences.
    pub fn short(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}
