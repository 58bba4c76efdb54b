//! The observed world, with its gaps.

mod dependents;
mod environment;
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use meshlift_api::{MeshSpec, Phase, PlanSummary};
use serde_json::{Map, Value};

pub use self::dependents::{Dependents, Labelled, PodTemplate};
pub use self::environment::{
    Autoscaler, Budget, BudgetRule, Cluster, Crd, Drift, Environment, EnvoyFilter, HelmRelease,
    InjectionRule, Node, NodeAgent, NodeAgentKind, Quota, RefusedTrial, Requests, RiskMatch,
    Selection, Trial, gitops_tool, version_of_crds,
};
pub use self::workloads::{
    Pod, Replicas, UpdateStrategy, Workload, WorkloadKey, WorkloadKind, asks_itself,
};
use meshlift_istio::knowledge::Knowledge;
use meshlift_istio::version::{KubernetesVersion, Version};

use crate::diff::ReleaseDiff;
use crate::record::{ChartDigests, Record};
use crate::refusals::Refusal;

/// A plan in the form in which it is stored and reported.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftedPlan {
    /// All of it, as it fits into a Secret.
    pub text: String,
    /// The part that goes to status; the name of the Secret is missing.
    pub summary: PlanSummary,
    /// How long the upgrade may take: `1h 6m to 1h 17m`.
    pub takes: String,
}

/// What a look found. `Unreadable` never permits a destructive step.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Seen<T> {
    /// Looked, and it is not there.
    #[default]
    Absent,
    /// Looked, and here it is.
    Present(T),
    /// Could not look, and why.
    Unreadable(String),
}

impl<T> Seen<T> {
    /// The value, if it was seen.
    pub fn present(&self) -> Option<&T> {
        match self {
            Seen::Present(value) => Some(value),
            Seen::Absent | Seen::Unreadable(_) => None,
        }
    }

    /// The same look at something made of the value.
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Seen::Absent => Seen::Absent,
            Seen::Present(value) => Seen::Present(of(value)),
            Seen::Unreadable(why) => Seen::Unreadable(why),
        }
    }

    /// Why it could not be read.
    pub fn unreadable(&self) -> Option<&str> {
        match self {
            Seen::Unreadable(why) => Some(why),
            Seen::Absent | Seen::Present(_) => None,
        }
    }
}

/// Everything one look brings back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshView {
    /// The Mesh object that the upgrade names.
    pub mesh: Seen<MeshSpec>,
    /// Version of the API server.
    pub kubernetes: Seen<KubernetesVersion>,
    /// Every istiod Deployment of the cluster.
    pub control_planes: Seen<Vec<ControlPlane>>,
    /// Helm releases of the Istio charts.
    pub releases: Seen<Vec<Release>>,
    /// Versions in the chart repository.
    pub catalog: Seen<Vec<Version>>,
    /// The validating webhook of the default revision.
    pub validator: Seen<Validator>,
    /// Revision tags.
    pub tags: Seen<Vec<Tag>>,
    /// Gateways of the Gateway API that istiod renders; none where that API is not installed.
    pub gateways: Seen<Vec<Gateway>>,
    /// All namespaces.
    pub namespaces: Seen<Vec<Namespace>>,
    /// Workloads that have pods with a sidecar or a restart mark, or whose template asks for injection itself.
    pub workloads: Seen<Vec<Workload>>,
    /// Pods with a sidecar that belong to none of `workloads`.
    pub loose_pods: Vec<Arc<Pod>>,
    /// Objects of the mesh that could not be decoded. Each may use any control plane.
    pub undecoded: Vec<UndecodedObject>,
    /// Writes that the API server refused since the upgrade heads where it does, by UID of the object.
    pub refusals: BTreeMap<String, Refusal>,
    /// What the operator may not do, of all that it will have to.
    pub missing_permissions: Seen<Vec<String>>,
    /// Dry-run pods by namespace: who injected them.
    pub probes: BTreeMap<String, Probe>,
    /// Other MeshUpgrades of the same mesh.
    pub rivals: Vec<Rival>,
    /// What was written down before the first mutation.
    pub record: Seen<Record>,
    /// The archives of the charts that the first step installs; only looked at when wanted.
    pub archives: Seen<ChartDigests>,
    /// Name of the backup of this run, if it is there as a whole; only looked at when wanted.
    pub backup: Seen<String>,
    /// Disruption budgets in the namespace of the control planes; only looked at when wanted.
    pub budgets: Seen<Vec<Budget>>,
    /// What the upgrade would change in Helm releases.
    pub diffs: Seen<Vec<ReleaseDiff>>,
    /// What the upgrade would do, drawn up once everything else has been observed; for a preflight, where there is a way.
    pub plan: Option<DraftedPlan>,
    /// Who depends on a control plane without running; only looked at when wanted.
    pub dependents: Dependents,
    /// What only a detection looks at.
    pub environment: Environment,
    /// What is known of Istio releases.
    pub knowledge: Arc<Knowledge>,
}

impl MeshView {
    /// Every pod with a sidecar that is seen, of a workload or of none.
    pub fn sidecars(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let workloads = self.workloads.present().into_iter().flatten();
        let of_workloads = workloads.flat_map(|workload| &workload.pods);
        of_workloads.chain(&self.loose_pods)
    }

    /// The control plane of the mesh that the default validator calls.
    pub fn default_plane(&self) -> Option<&ControlPlane> {
        let validator = self.validator.present()?;
        let home = self.home();
        let mut planes = self.control_planes.present()?.iter();
        planes.find(|plane| {
            plane.name == validator.service && home.is_none_or(|home| home == plane.namespace)
        })
    }

    /// The Service that the default validator calls, and the revision behind it.
    pub fn live_default(&self) -> Option<(&str, &str)> {
        let plane = self.default_plane()?;
        Some((&plane.name, &plane.revision))
    }

    /// Namespace of the mesh's control planes, as far as it is known.
    pub fn home(&self) -> Option<&str> {
        let recorded = self.record.present().map(|r| r.source.namespace.as_str());
        let mesh = self.mesh.present();
        recorded.or(mesh.map(|mesh| mesh.control_plane_namespace.as_str()))
    }

    /// The revision tags that were seen. Whoever removes something asks first whether they could be read at all:
    /// a tag that nobody saw may point at what is removed.
    pub fn tags(&self) -> &[Tag] {
        self.tags.present().map_or(&[], Vec::as_slice)
    }

    /// One control plane of the cluster.
    pub fn plane(&self, id: PlaneId<'_>) -> Option<&ControlPlane> {
        self.planes().iter().find(|plane| plane.id() == id)
    }

    /// Whether the default validator may be moved by a mesh with this home; that of another mesh stays where it is.
    pub fn may_move_validator(&self, home: &str) -> bool {
        match &self.validator {
            // Without a default validator there is nothing to move (`defaultRevision: ""`).
            Seen::Absent => false,
            Seen::Present(validator) => validator.namespace == home,
            Seen::Unreadable(_) => true,
        }
    }

    /// Every control plane that is seen.
    pub fn planes(&self) -> &[ControlPlane] {
        self.control_planes.present().map_or(&[], Vec::as_slice)
    }
}

/// What identifies a control plane. A revision alone does not: each mesh of a cluster may have one of the same name,
/// and what is true of the one (ready, injecting, used by nobody) says nothing of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneId<'a> {
    /// Namespace of istiod.
    pub namespace: &'a str,
    /// Revision; `default` for one without.
    pub revision: &'a str,
}

/// An object that could not be decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UndecodedObject {
    /// `Rollout shop/cart`.
    pub reference: String,
    /// Where and why.
    pub why: String,
}

/// One istiod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlPlane {
    /// Namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub name: String,
    /// UID of the Deployment.
    pub uid: String,
    /// Revision; `default` for one without.
    pub revision: String,
    /// Version, from the image tag or the version label.
    pub version: Option<Version>,
    /// Image of container `discovery`.
    pub image: String,
    /// Who installed it.
    pub installer: Installer,
    /// Replicas wanted.
    pub desired: u32,
    /// Replicas ready and of the newest template.
    pub ready: u32,
    /// How many ready replicas are enough to serve: what its Deployment may be short of is not counted, nor what its
    /// autoscaler has added. None where that is not known, and all are needed.
    pub enough: Option<u32>,
    /// Whether replicas of an older template still run beside those of the newest.
    pub rolling: bool,
    /// What keeps a pod from being ready, e.g. `ImagePullBackOff: ...`.
    pub trouble: Option<String>,
    /// Its injection webhook.
    pub injector: Seen<InjectorWebhook>,
    /// Live counters, summed over its pods; only looked at when wanted.
    pub live: Seen<LiveCounters>,
    /// What one of its pods asks a node for.
    pub requests: Requests,
    /// Whether it is the control plane of other clusters (`EXTERNAL_ISTIOD`).
    pub external: bool,
    /// Its labels and annotations by which a GitOps tool knows it as its own.
    pub marks: BTreeMap<String, String>,
}

impl ControlPlane {
    /// What identifies it.
    pub fn id(&self) -> PlaneId<'_> {
        PlaneId {
            namespace: &self.namespace,
            revision: &self.revision,
        }
    }

    /// Whether it serves: at least one replica is ready, and as many as are enough. An autoscaler may want more than
    /// the nodes have room for, and a rolling update takes one away: neither is a reason to move a mesh.
    pub fn is_ready(&self) -> bool {
        self.desired > 0 && self.ready >= self.needed()
    }

    /// How many of its replicas must be ready.
    pub fn needed(&self) -> u32 {
        self.enough
            .unwrap_or(self.desired)
            .clamp(1, self.desired.max(1))
    }
}

/// The injection webhook of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectorWebhook {
    /// Name of the MutatingWebhookConfiguration.
    pub name: String,
    /// Whether every webhook in it has a CA bundle.
    pub has_ca_bundle: bool,
}

impl LiveCounters {
    /// The newest proxy that is connected, if it is newer than this version.
    pub fn ahead_of(&self, version: &Version) -> Option<String> {
        let (major, minor, patch) = self.newest.filter(|newest| *newest > version.numbers())?;
        Some(format!("{major}.{minor}.{patch}"))
    }
}

/// Counters of a control plane's own metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveCounters {
    /// Proxies connected now (`pilot_xds`).
    pub connected: u64,
    /// Major, minor and patch of the newest proxy that is connected (label `version` of `pilot_xds`).
    pub newest: Option<(u32, u32, u32)>,
    /// Injections that failed since start (`sidecar_injection_failure_total`).
    pub injection_failures: u64,
    /// Major, minor and patch of the version that it reports (`istio_build`); of several pods the lowest, none where
    /// the report is no version.
    pub build: Option<(u32, u32, u32)>,
    /// New proxies that it admits in a second ([`crate::admitted_by`] for each of its pods); 0 where that is not
    /// known.
    pub admits: u32,
    /// How it coped between the look before and this one, where there was one not long ago.
    pub recent: Option<Recent>,
}

/// What a control plane did between two looks at its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recent {
    /// When the later look was taken.
    pub at: Timestamp,
    /// Proxies that were brought up to date (`pilot_proxy_convergence_time`).
    pub converged: u64,
    /// Those of them that took more than ten seconds, or waited as long in the queue (`pilot_proxy_queue_time`).
    pub slow: u64,
    /// How long all of them took, in milliseconds.
    pub took: u64,
    /// Configurations that it could not make or send (`pilot_xds_pushes`, `builderr` and `senderr`).
    pub push_errors: u64,
    /// Configurations that proxies refused (`pilot_total_xds_rejects`).
    pub rejects: u64,
}

/// Who installed a control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Installer {
    /// Helm, as this release.
    Helm {
        /// Release name.
        release: String,
    },
    /// `istioctl` or the in-cluster IstioOperator.
    Istioctl,
    /// The Sail operator.
    Sail,
    /// Nobody who left a trace.
    #[default]
    Unknown,
}

/// A Helm release of an Istio chart, at its newest revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// Release name.
    pub name: String,
    /// Release namespace.
    pub namespace: String,
    /// Chart name: `base`, `istiod`.
    pub chart: String,
    /// Chart version, which is the Istio version.
    pub version: Option<Version>,
    /// State of the newest revision.
    pub state: ReleaseState,
    /// Values the user gave.
    pub values: Map<String, Value>,
    /// Who wrote its newest revision, from managedFields of the Secret.
    pub manager: Option<String>,
    /// The storage Secret of the newest revision.
    pub storage: StorageRef,
}

impl Release {
    /// The release of this name and namespace, if it is among them.
    pub fn find<'a>(all: &'a [Self], name: &str, namespace: &str) -> Option<&'a Self> {
        all.iter()
            .find(|release| release.name == name && release.namespace == namespace)
    }
}

/// State of a Helm release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseState {
    /// In place.
    Deployed,
    /// An operation on it has begun and not ended.
    Pending {
        /// When it began.
        since: Timestamp,
        /// Who began it.
        by: HelmRunner,
    },
    /// The last operation failed.
    Failed,
    /// Any other state, as Helm names it.
    Other(String),
}

/// Who began a Helm operation, and so: whether it can still be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelmRunner {
    /// This process, for this upgrade. It runs nothing of it while it looks, so it was cut off.
    Here,
    /// An earlier process in the same pod, for this upgrade. What that started ended with it, or is about to.
    Before,
    /// Another process of this operator, for this upgrade. That may be stopped, cut off from the cluster or not yet aware
    /// that it leads no longer, and its Helm may still be at work.
    Elsewhere,
    /// Someone else.
    Foreign,
}

/// A Helm storage Secret, exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageRef {
    /// Name of the Secret.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its resource version.
    pub resource_version: String,
}

/// `istiod-default-validator`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// Namespace of the Service it calls: a cluster has one such webhook, which belongs to one of its meshes.
    pub namespace: String,
    /// Service it calls.
    pub service: String,
    /// Whether it has a CA bundle.
    pub has_ca_bundle: bool,
}

impl Validator {
    /// Whether it calls this control plane.
    pub fn calls(&self, plane: &ControlPlane) -> bool {
        self.namespace == plane.namespace && self.service == plane.name
    }
}

/// A revision tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// Tag name.
    pub name: String,
    /// Revision it points at.
    pub revision: String,
    /// Namespace of the control planes whose tag it is, from its webhooks.
    pub namespace: String,
    /// Name of its MutatingWebhookConfiguration.
    pub configuration: String,
    /// UID of that.
    pub uid: String,
    /// Resource version of that, so that a change between look and act is noticed.
    pub resource_version: String,
    /// The revision this operator pointed it at, from its annotation.
    pub moved_to: Option<String>,
    /// Who last wrote the label with its revision, from managedFields.
    pub owner: Option<String>,
    /// The Helm release that it is part of, as `namespace/name`.
    pub helm_release: Option<String>,
    /// Whether Helm leaves it alone when it is in the release no more (`helm.sh/resource-policy: keep`).
    pub kept: bool,
    /// Whether its webhooks call an address instead of a Service: nobody knows that of another revision.
    pub by_url: bool,
}

/// A Gateway of the Gateway API that istiod renders as a Deployment, waypoints among them. istiod rolls that
/// by itself as soon as another revision owns the Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Resource version, so that a change between look and act is noticed.
    pub resource_version: String,
    /// Its class: `istio`, `istio-waypoint`.
    pub class: String,
    /// Its own label `istio.io/rev`.
    pub label: Option<String>,
    /// The revision this operator asked for in its label, from its annotation.
    pub moved_to: Option<String>,
    /// When it asked for it.
    pub asked_at: Option<Timestamp>,
    /// Who last wrote that label, from managedFields.
    pub owner: Option<String>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Resource version, so that a change between look and act is noticed.
    pub resource_version: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The revision this operator moved it to, from its annotation.
    pub moved_to: Option<String>,
    /// Who last wrote the injection label, from managedFields.
    pub label_owner: Option<String>,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// What became of a dry-run pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It was injected.
    Injected {
        /// By this revision.
        revision: String,
        /// With this proxy image.
        image: String,
    },
    /// It came back without a sidecar.
    NotInjected,
    /// Somebody refused it: which says nothing of the injection.
    Refused(PodRefusal),
    /// The request failed, and why.
    Failed(String),
}

/// Who refused a dry-run pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRefusal {
    /// Who.
    pub by: Refuser,
    /// In whose words, without what differs from one try to the next.
    pub why: String,
}

/// What refuses pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// Pod Security admission.
    PodSecurity,
    /// A ResourceQuota that is used up.
    Quota,
    /// An admission webhook, by its name.
    Webhook(String),
    /// An admission webhook that cannot be asked in a dry run, by its name: real pods it may admit.
    NoDryRun(String),
    /// A ValidatingAdmissionPolicy, by its name.
    Policy(String),
    /// Something else: a LimitRange, a ServiceAccount that is missing.
    Other,
}

/// Another MeshUpgrade of the same control planes, under whatever name of a Mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Name.
    pub name: String,
    /// The Mesh that it names.
    pub mesh: String,
    /// UID.
    pub uid: String,
    /// Creation time.
    pub created_at: Timestamp,
    /// Phase.
    pub phase: Phase,
}

#[cfg(test)]
mod tests;
