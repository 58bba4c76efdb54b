//! The few facts kept of each watched object, and slim forms of pods and workloads that skip
//! everything else while decoding.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference, Time};
use kube::api::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Resource, ResourceExt};
use meshlift_api::labels as l;
use meshlift_api::{Mesh, MeshUpgrade};
use meshlift_planner::view::{Namespace, Pod, UpdateStrategy, WorkloadKey, WorkloadKind};
use serde::{Deserialize, Serialize};

use super::table::Fact;

/// Metadata without managed fields, which are most of its size.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SlimMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    deletion_timestamp: Option<Time>,
}

fn slim_meta<'de, D: serde::Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    let slim = SlimMeta::deserialize(from)?;
    Ok(ObjectMeta {
        name: slim.name,
        namespace: slim.namespace,
        uid: slim.uid,
        resource_version: slim.resource_version,
        generation: slim.generation,
        labels: slim.labels,
        annotations: slim.annotations,
        owner_references: slim.owner_references,
        deletion_timestamp: slim.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

macro_rules! slim_resource {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $plural:literal, $group:literal, $scope:ty,
     $(meta = $meta:literal,)? { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $(#[serde(deserialize_with = $meta)])?
            metadata: ObjectMeta,
            $(#[serde(skip_serializing)] $field: $type,)*
        }

        impl Resource for $name {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                "v1".into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

slim_resource!(
    /// A Pod.
    PodObject, "Pod", "pods", "", NamespaceResourceScope, meta = "slim_meta", { status: PodStatus }
);
slim_resource!(
    /// A Deployment.
    DeploymentObject, "Deployment", "deployments", "apps", NamespaceResourceScope,
    meta = "slim_meta", { spec: Spec, status: Status }
);
slim_resource!(
    /// A StatefulSet.
    StatefulSetObject, "StatefulSet", "statefulsets", "apps", NamespaceResourceScope,
    meta = "slim_meta", { spec: Spec, status: Status }
);
slim_resource!(
    /// A DaemonSet.
    DaemonSetObject, "DaemonSet", "daemonsets", "apps", NamespaceResourceScope,
    meta = "slim_meta", { spec: Spec, status: Status }
);
slim_resource!(
    /// A Namespace; with its managed fields, which tell who writes its labels.
    NamespaceObject, "Namespace", "namespaces", "", ClusterResourceScope, {}
);

// --- pods ------------------------------------------------------------------------------------

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    conditions: Vec<PodCondition>,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    restart_count: u32,
    state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Waiting>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

/// A live pod with a sidecar, or one of istiod.
#[derive(Clone, Debug)]
pub struct PodFact {
    /// What decisions need of it.
    pub pod: Arc<Pod>,
    /// Whether it has a sidecar.
    pub sidecar: bool,
    /// Revision of the istiod it runs, if it is one.
    pub istiod: Option<String>,
}

impl Fact<PodObject> for PodFact {
    fn of(object: PodObject) -> Option<Self> {
        let ended = matches!(object.status.phase.as_str(), "Succeeded" | "Failed");
        if ended || object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let sidecar = object.annotations().get(l::SIDECAR_STATUS);
        let istiod = istiod_revision(object.labels());
        if sidecar.is_none() && istiod.is_none() {
            return None;
        }
        let (owner_kind, owner_name) = owner(&object).unzip();
        let status = &object.status;
        let containers = || {
            status
                .init_container_statuses
                .iter()
                .chain(&status.container_statuses)
        };
        let ready = status
            .conditions
            .iter()
            .any(|c| c.kind == "Ready" && c.status == "True");
        let pod = Pod {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            owner_kind,
            owner_name,
            revision: sidecar.and_then(|status| revision_of(status, object.annotations())),
            mark: object.annotations().get(l::RESTARTED_FOR).cloned(),
            ready,
            restarts: containers().map(|container| container.restart_count).sum(),
            trouble: if ready { None } else { trouble(status) },
            labels: pick(object.labels(), &[l::SIDECAR_INJECT, l::ISTIO_REV]),
        };
        Some(Self {
            sidecar: sidecar.is_some(),
            istiod,
            pod: Arc::new(pod),
        })
    }
}

fn revision_of(status: &str, annotations: &BTreeMap<String, String>) -> Option<String> {
    #[derive(Deserialize)]
    struct Injected {
        revision: Option<String>,
    }
    let injected = serde_json::from_str::<Injected>(status).ok();
    injected
        .and_then(|i| i.revision)
        .or_else(|| annotations.get(l::ISTIO_REV).cloned())
}

/// Kind and name of the controller. A ReplicaSet made by a Deployment carries its name and the
/// hash that the pod has as a label, as istiod itself tells it (`pkg/kube/inject`).
fn owner(pod: &PodObject) -> Option<(String, String)> {
    let reference = pod
        .owner_references()
        .iter()
        .find(|o| o.controller == Some(true))?;
    let hash = pod.labels().get("pod-template-hash");
    let deployment = hash
        .filter(|_| reference.kind == "ReplicaSet")
        .and_then(|hash| {
            reference
                .name
                .strip_suffix(hash.as_str())?
                .strip_suffix('-')
        });
    Some(match deployment {
        Some(name) => ("Deployment".to_owned(), name.to_owned()),
        None => (reference.kind.clone(), reference.name.clone()),
    })
}

/// What keeps a pod from being ready, if it is more than taking its time.
fn trouble(status: &PodStatus) -> Option<String> {
    const IN_GOOD_TIME: &[&str] = &["", "ContainerCreating", "PodInitializing"];
    let unscheduled = status
        .conditions
        .iter()
        .find(|c| c.kind == "PodScheduled" && c.status == "False")
        .map(|c| with_message(&c.reason, &c.message));
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses);
    let waiting = containers.filter_map(|container| {
        let waiting = container.state.waiting.as_ref()?;
        let expected = IN_GOOD_TIME.contains(&waiting.reason.as_str());
        (!expected).then(|| {
            format!(
                "container {}: {}",
                container.name,
                with_message(&waiting.reason, &waiting.message)
            )
        })
    });
    waiting.chain(unscheduled).next()
}

fn with_message(reason: &str, message: &str) -> String {
    let message: String = message.chars().take(200).collect();
    if message.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason} ({message})")
    }
}

fn pick(labels: &BTreeMap<String, String>, keys: &[&str]) -> BTreeMap<String, String> {
    keys.iter()
        .filter_map(|key| {
            labels
                .get(*key)
                .map(|value| ((*key).to_owned(), value.clone()))
        })
        .collect()
}

/// Revision of an istiod Deployment or pod, from its labels.
fn istiod_revision(labels: &BTreeMap<String, String>) -> Option<String> {
    let istiod = labels.get("app").is_some_and(|app| app == "istiod");
    istiod.then(|| {
        labels
            .get(l::ISTIO_REV)
            .cloned()
            .unwrap_or_else(|| l::DEFAULT_REVISION.to_owned())
    })
}

// --- workloads -------------------------------------------------------------------------------

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    replicas: Option<u32>,
    paused: bool,
    template: Template,
    update_strategy: Strategy,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    #[serde(deserialize_with = "slim_meta")]
    metadata: ObjectMeta,
    spec: TemplateSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateSpec {
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Strategy {
    #[serde(rename = "type")]
    kind: String,
    rolling_update: Rolling,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Rolling {
    partition: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: i64,
    replicas: u32,
    updated_replicas: u32,
    ready_replicas: u32,
    available_replicas: u32,
    current_revision: String,
    update_revision: String,
    desired_number_scheduled: u32,
    updated_number_scheduled: u32,
    number_available: u32,
}

/// A workload, without its pods.
#[derive(Clone, Debug)]
pub struct WorkloadFact {
    /// Which.
    pub key: WorkloadKey,
    /// UID.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Labels of the template.
    pub template_labels: BTreeMap<String, String>,
    /// Restart mark on the template.
    pub mark: Option<String>,
    /// When this operator restarted it.
    pub restarted_at: Option<Timestamp>,
    /// How it replaces pods.
    pub strategy: UpdateStrategy,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether every pod is of the newest template and ready.
    pub settled: bool,
    /// What is known of it as a control plane, if it is one.
    pub istiod: Option<IstiodFact>,
}

/// A Deployment of istiod.
#[derive(Clone, Debug)]
pub struct IstiodFact {
    /// Revision.
    pub revision: String,
    /// Image of container `discovery`.
    pub image: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Helm release, from its annotation.
    pub release: Option<String>,
    /// Replicas wanted.
    pub desired: u32,
    /// Replicas available, of the newest template.
    pub ready: u32,
}

/// A kind of workload object.
pub trait WorkloadObject: Resource<DynamicType = ()> {
    /// Which kind.
    const KIND: WorkloadKind;
    /// Its parts.
    fn parts(&self) -> WorkloadSource<'_>;
}

/// The parts of a workload object.
pub struct WorkloadSource<'a>(&'a Spec, &'a Status);

macro_rules! workload_object {
    ($object:ty, $kind:expr) => {
        impl WorkloadObject for $object {
            const KIND: WorkloadKind = $kind;
            fn parts(&self) -> WorkloadSource<'_> {
                WorkloadSource(&self.spec, &self.status)
            }
        }

        impl Fact<$object> for WorkloadFact {
            fn of(object: $object) -> Option<Self> {
                Some(workload(&object))
            }
        }
    };
}
workload_object!(DeploymentObject, WorkloadKind::Deployment);
workload_object!(StatefulSetObject, WorkloadKind::StatefulSet);
workload_object!(DaemonSetObject, WorkloadKind::DaemonSet);

fn workload<W: WorkloadObject>(object: &W) -> WorkloadFact {
    let WorkloadSource(spec, status) = object.parts();
    let meta = object.meta();
    let labels = meta.labels.clone().unwrap_or_default();
    let template = &spec.template.metadata;
    let annotations = meta.annotations.as_ref();
    let read = |key: &str| annotations.and_then(|a| a.get(key));
    let settled = meta.generation.unwrap_or_default() <= status.observed_generation
        && rolled_out(W::KIND, spec, status);
    WorkloadFact {
        key: WorkloadKey {
            namespace: meta.namespace.clone().unwrap_or_default(),
            kind: W::KIND,
            name: meta.name.clone().unwrap_or_default(),
        },
        uid: meta.uid.clone().unwrap_or_default(),
        template_labels: pick(
            template.labels.as_ref().unwrap_or(&BTreeMap::new()),
            &[l::SIDECAR_INJECT, l::ISTIO_REV],
        ),
        mark: template
            .annotations
            .as_ref()
            .and_then(|a| a.get(l::RESTARTED_FOR).cloned()),
        restarted_at: read(l::RESTARTED_AT).and_then(|at| at.parse().ok()),
        strategy: strategy(W::KIND, &spec.update_strategy),
        paused: spec.paused,
        settled,
        istiod: istiod_revision(&labels).map(|revision| IstiodFact {
            revision,
            image: discovery_image(spec),
            release: read(l::HELM_RELEASE_NAME).cloned(),
            desired: spec.replicas.unwrap_or(1),
            ready: status.available_replicas.min(status.updated_replicas),
            labels: labels.clone(),
        }),
        labels,
    }
}

fn strategy(kind: WorkloadKind, strategy: &Strategy) -> UpdateStrategy {
    match (
        kind,
        strategy.kind.as_str(),
        strategy.rolling_update.partition,
    ) {
        (WorkloadKind::Deployment, ..) => UpdateStrategy::Rolling,
        (_, "OnDelete", _) => UpdateStrategy::OnDelete,
        (WorkloadKind::StatefulSet, _, Some(partition)) if partition > 0 => {
            UpdateStrategy::Partition(partition)
        }
        _ => UpdateStrategy::Rolling,
    }
}

/// The conditions of `kubectl rollout status` (kubectl `pkg/polymorphichelpers/rollout_status.go`),
/// and all replicas available.
fn rolled_out(kind: WorkloadKind, spec: &Spec, status: &Status) -> bool {
    let desired = spec.replicas.unwrap_or(1);
    match kind {
        WorkloadKind::Deployment => {
            status.updated_replicas >= desired
                && status.replicas == status.updated_replicas
                && status.available_replicas >= desired
        }
        WorkloadKind::StatefulSet => {
            status.ready_replicas >= desired
                && (status.current_revision == status.update_revision
                    || status.updated_replicas >= desired)
        }
        WorkloadKind::DaemonSet => {
            status.updated_number_scheduled >= status.desired_number_scheduled
                && status.number_available >= status.desired_number_scheduled
        }
    }
}

fn discovery_image(spec: &Spec) -> String {
    let containers = &spec.template.spec.containers;
    let named = containers.iter().find(|c| c.name == "discovery");
    named
        .or(containers.first())
        .map(|c| c.image.clone())
        .unwrap_or_default()
}

// --- namespaces, webhooks, our own kinds -----------------------------------------------------

impl Fact<NamespaceObject> for Namespace {
    fn of(object: NamespaceObject) -> Option<Self> {
        let meta = &object.metadata;
        Some(Self {
            name: object.name_any(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            moved_to: object.annotations().get(l::MOVED_TO).cloned(),
            label_owner: label_owner(object.managed_fields()),
            terminating: meta.deletion_timestamp.is_some(),
            labels: object.labels().clone(),
        })
    }
}

fn label_owner(entries: &[ManagedFieldsEntry]) -> Option<String> {
    entries
        .iter()
        .filter(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            let labels = fields.and_then(|f| f.get("f:metadata")?.get("f:labels"));
            [l::ISTIO_INJECTION, l::ISTIO_REV]
                .iter()
                .any(|label| labels.is_some_and(|l| l.get(format!("f:{label}")).is_some()))
        })
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
        .and_then(|entry| entry.manager.clone())
}

/// A webhook configuration of Istio.
#[derive(Clone, Debug)]
pub struct WebhookFact {
    /// Name.
    pub name: String,
    /// Revision it serves.
    pub revision: Option<String>,
    /// Tag it represents, if it does.
    pub tag: Option<String>,
    /// Service it calls, and its namespace.
    pub service: Option<(String, String)>,
    /// Whether every webhook has a CA bundle.
    pub has_ca_bundle: bool,
}

impl Fact<MutatingWebhookConfiguration> for WebhookFact {
    fn of(object: MutatingWebhookConfiguration) -> Option<Self> {
        let configs = object
            .webhooks
            .iter()
            .flatten()
            .map(|webhook| &webhook.client_config);
        Some(webhook(&object, configs.collect()))
    }
}

impl Fact<ValidatingWebhookConfiguration> for WebhookFact {
    fn of(object: ValidatingWebhookConfiguration) -> Option<Self> {
        let configs = object
            .webhooks
            .iter()
            .flatten()
            .map(|webhook| &webhook.client_config);
        Some(webhook(&object, configs.collect()))
    }
}

fn webhook<K: ResourceExt>(object: &K, configs: Vec<&WebhookClientConfig>) -> WebhookFact {
    let service = configs.iter().find_map(|config| config.service.as_ref());
    WebhookFact {
        name: object.name_any(),
        revision: object.labels().get(l::ISTIO_REV).cloned(),
        tag: object.labels().get(l::ISTIO_TAG).cloned(),
        service: service.map(|service| (service.name.clone(), service.namespace.clone())),
        has_ca_bundle: !configs.is_empty()
            && configs
                .iter()
                .all(|c| c.ca_bundle.as_ref().is_some_and(|ca| !ca.0.is_empty())),
    }
}

impl Fact<Mesh> for Mesh {
    fn of(object: Mesh) -> Option<Self> {
        Some(object)
    }
}

impl Fact<MeshUpgrade> for MeshUpgrade {
    fn of(mut object: MeshUpgrade) -> Option<Self> {
        object.metadata.managed_fields = None;
        Some(object)
    }
}
