//! Workloads and their pods.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use meshlift_api::labels::{ISTIO_REV, SIDECAR_INJECT};
use meshlift_istio::version::Version;
use serde::{Deserialize, Serialize};

use super::Gateway;

/// Kinds of workloads that this operator knows how to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// Deployment of Kubernetes.
    Deployment,
    /// StatefulSet of Kubernetes.
    StatefulSet,
    /// DaemonSet of Kubernetes.
    DaemonSet,
    /// ReplicaSet of Kubernetes that no Deployment owns.
    ReplicaSet,
    /// Rollout of Argo Rollouts.
    Rollout,
    /// CloneSet of OpenKruise.
    CloneSet,
    /// Advanced StatefulSet of OpenKruise.
    AdvancedStatefulSet,
    /// Advanced DaemonSet of OpenKruise.
    AdvancedDaemonSet,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicaSet,
        Self::Rollout,
        Self::CloneSet,
        Self::AdvancedStatefulSet,
        Self::AdvancedDaemonSet,
    ];

    /// API group and version: `apps/v1`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => "apps/v1",
            Self::Rollout => "argoproj.io/v1alpha1",
            Self::CloneSet | Self::AdvancedDaemonSet => "apps.kruise.io/v1alpha1",
            Self::AdvancedStatefulSet => "apps.kruise.io/v1beta1",
        }
    }

    /// API group: `apps`.
    pub fn group(self) -> &'static str {
        let version = self.api_version();
        version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Kind as the API has it, which OpenKruise shares with Kubernetes.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet | Self::AdvancedStatefulSet => "StatefulSet",
            Self::DaemonSet | Self::AdvancedDaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::Rollout => "Rollout",
            Self::CloneSet => "CloneSet",
        }
    }

    /// Resource as kubectl takes it: `deployment`, `statefulset.apps.kruise.io`.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::ReplicaSet => "replicaset",
            Self::Rollout => "rollout.argoproj.io",
            Self::CloneSet => "cloneset.apps.kruise.io",
            Self::AdvancedStatefulSet => "statefulset.apps.kruise.io",
            Self::AdvancedDaemonSet => "daemonset.apps.kruise.io",
        }
    }

    /// The kind of an object by API group and kind.
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        let same = |known: &Self| known.group() == group && known.kind() == kind;
        Self::ALL.into_iter().find(same)
    }

    /// Its name, by which it is told from kinds of other APIs: `AdvancedStatefulSet`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AdvancedStatefulSet => "AdvancedStatefulSet",
            Self::AdvancedDaemonSet => "AdvancedDaemonSet",
            other => other.kind(),
        }
    }

    /// The kind of this name, as [`fmt::Display`] writes it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a change of the pod template makes its controller replace pods, as its strategy says.
    pub fn rolls(self) -> bool {
        self != Self::ReplicaSet
    }

    /// Whether its controller replaces pods by their number, from the last to the first.
    pub fn rolls_by_ordinal(self) -> bool {
        matches!(self, Self::StatefulSet | Self::AdvancedStatefulSet)
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A workload by kind and name. Ordered by namespace first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadKey {
    /// Namespace.
    pub namespace: String,
    /// Kind.
    pub kind: WorkloadKind,
    /// Name.
    pub name: String,
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, kind) = (self.kind.api_version(), self.kind.kind());
        write!(f, "{version} {kind} {}/{}", self.namespace, self.name)
    }
}

impl WorkloadKey {
    /// `Deployment shop/cart`: for sentences.
    pub fn short(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// How a workload replaces its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStrategy {
    /// By itself, all of them.
    Rolling,
    /// All at once: a Deployment that starts no new pod before the old ones have ended.
    Recreate,
    /// Only pods that someone deletes.
    OnDelete,
    /// All but so many, or so many percent, of its pods.
    Partition(u32),
    /// Changes of metadata are made in the running pods, which keep their sidecars.
    InPlace,
}

/// The pods of a workload as its controller counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// How many it wants.
    pub desired: u32,
    /// How many are ready, of whatever template.
    pub ready: u32,
    /// Whether there are pods of an older template beside those of the newest.
    pub rolling: bool,
}

/// A workload with pods that have a sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Which.
    pub key: WorkloadKey,
    /// UID.
    pub uid: String,
    /// Resource version, so that a change between look and act is noticed.
    pub resource_version: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Labels of its pod template.
    pub template_labels: BTreeMap<String, String>,
    /// The label `istio.io/rev` that its pod template had before this operator wrote it, from an annotation;
    /// empty where it had none.
    pub template_revision_before: Option<String>,
    /// Who last wrote the label `istio.io/rev` of its pod template, from managedFields.
    pub template_revision_owner: Option<String>,
    /// Whether its pod template names a proxy image of its own.
    pub own_proxy_image: bool,
    /// The revision whose sidecar its pod template itself holds (`istioctl kube-inject`); empty where it does not say.
    pub sidecar_in_template: Option<String>,
    /// Whether new pods use the network of their host. Istio passes those over.
    /// Source: istio `pkg/kube/inject/inject.go` (`injectRequired`).
    pub host_network: bool,
    /// The restart mark: on its pod template, or on a Rollout itself.
    pub mark: Option<String>,
    /// When this operator restarted it.
    pub restarted_at: Option<Timestamp>,
    /// When this operator last evicted one of its old pods.
    pub evicted_at: Option<Timestamp>,
    /// How it replaces pods.
    pub strategy: UpdateStrategy,
    /// Whether it is paused: a change of its template waits.
    pub paused: bool,
    /// Whether istiod itself renders and rolls it.
    pub managed_gateway: bool,
    /// Whether it is a gateway that istiod injects (`inject.istio.io/templates: gateway`).
    pub injected_gateway: bool,
    /// Whether it wants no pod: scaled to zero, or no node for it.
    pub asleep: bool,
    /// Whether its controller has seen the newest template and replaced and readied every pod.
    pub settled: bool,
    /// Whether it has every pod that it wants, each ready and none ending, of whatever template.
    pub whole: bool,
    /// Its pods as its controller counts them, those without a sidecar among them.
    pub replicas: Replicas,
    /// Its live pods that have a sidecar.
    pub pods: Vec<Arc<Pod>>,
}

impl Workload {
    /// Whether istiod made it of this Gateway.
    pub fn is_of(&self, gateway: &Gateway) -> bool {
        let name = self.labels.get(meshlift_api::labels::GATEWAY_NAME);
        self.managed_gateway
            && self.key.namespace == gateway.namespace
            && name == Some(&gateway.name)
    }

    /// Whether its pod template asks for injection itself.
    pub fn asks_itself(&self) -> bool {
        asks_itself(&self.template_labels)
    }

    /// Whether it is a gateway, rendered or injected.
    pub fn is_gateway(&self) -> bool {
        self.managed_gateway || self.injected_gateway
    }

    /// Whether its controller replaces its pods by itself once its template changes.
    pub fn replaces_pods(&self) -> bool {
        let by_itself = matches!(
            self.strategy,
            UpdateStrategy::Rolling | UpdateStrategy::Recreate | UpdateStrategy::Partition(0)
        );
        self.key.kind.rolls() && by_itself && !self.paused
    }

    /// Whether a pod was made after it was last restarted: by the mark of the template, or, where
    /// a restart does not change that, by its age.
    pub fn made_by_restart(&self, pod: &Pod) -> bool {
        match self.key.kind {
            WorkloadKind::Rollout => pod.created_at > self.restarted_at,
            _ => pod.mark == self.mark,
        }
    }
}

/// Whether pods with these labels ask for injection, whatever their namespace says.
pub fn asks_itself(labels: &BTreeMap<String, String>) -> bool {
    let wish = labels.get(SIDECAR_INJECT).map(String::as_str);
    wish != Some("false") && (wish == Some("true") || labels.contains_key(ISTIO_REV))
}

/// A live pod (neither ended nor being deleted) with a sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// Kind of its controller, if it has one: a [`WorkloadKind`], or a kind as its API has it.
    pub owner_kind: Option<String>,
    /// Name of its controller.
    pub owner_name: Option<String>,
    /// Revision of its sidecar; none when the annotation cannot be read.
    pub revision: Option<String>,
    /// The restart mark of the template it was made from.
    pub mark: Option<String>,
    /// Whether it is ready.
    pub ready: bool,
    /// Since when it is ready, or is not.
    pub ready_changed_at: Option<Timestamp>,
    /// Image of its sidecar.
    pub proxy_image: Option<Arc<str>>,
    /// Restarts of all its containers.
    pub restarts: u32,
    /// When one of its containers last restarted.
    pub restarted_at: Option<Timestamp>,
    /// What keeps it from being ready, e.g. `container app: CrashLoopBackOff`.
    pub trouble: Option<String>,
    /// Labels that decide injection.
    pub labels: BTreeMap<String, String>,
}

impl Pod {
    /// Version of its sidecar, as its image tells it; none for an image by digest alone, or with a tag of somebody's own.
    pub fn version(&self) -> Option<Version> {
        Version::from_image(self.proxy_image.as_deref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_group() {
        for kind in WorkloadKind::ALL {
            assert_eq!(WorkloadKind::of(kind.group(), kind.kind()), Some(kind));
        }
        assert_eq!(WorkloadKind::of("batch", "Job"), None);
        assert_eq!(WorkloadKind::of("", "ReplicationController"), None);
    }

    #[test]
    fn a_workload_is_named_as_its_api_has_it_and_in_sentences_so_that_it_is_told_apart() {
        let key = WorkloadKey {
            namespace: "shop".into(),
            kind: WorkloadKind::AdvancedStatefulSet,
            name: "db".into(),
        };
        assert_eq!(
            key.to_string(),
            "apps.kruise.io/v1beta1 StatefulSet shop/db"
        );
        assert_eq!(key.short(), "AdvancedStatefulSet shop/db");
    }
}
