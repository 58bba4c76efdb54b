//! Deployments, StatefulSets, DaemonSets: whether a rollout has ended, and what would start one.

use std::collections::BTreeMap;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use meshlift_api::labels as l;
use meshlift_planner::view::{Requests, UpdateStrategy, Workload, WorkloadKey, WorkloadKind};
use serde::{Deserialize, Serialize};

use super::slim::{slim_meta, slim_resource};
use super::{istiod_revision, pick};
use crate::watch::table::Fact;

slim_resource!(
    /// A Deployment.
    DeploymentObject, "Deployment", "deployments", "apps", NamespaceResourceScope,
    meta = "super::slim::slim_meta", { spec: Spec, status: Status }
);
slim_resource!(
    /// A StatefulSet.
    StatefulSetObject, "StatefulSet", "statefulsets", "apps", NamespaceResourceScope,
    meta = "super::slim::slim_meta", { spec: Spec, status: Status }
);
slim_resource!(
    /// A DaemonSet.
    DaemonSetObject, "DaemonSet", "daemonsets", "apps", NamespaceResourceScope,
    meta = "super::slim::slim_meta", { spec: Spec, status: Status }
);

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

/// A Deployment, StatefulSet or DaemonSet.
#[derive(Clone, Debug)]
pub struct WorkloadFact {
    /// What decisions need of it; without its pods, which are watched by themselves.
    pub workload: Workload,
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
    /// What one pod asks a node for.
    pub requests: Requests,
    /// Whether it is the control plane of other clusters.
    pub external: bool,
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
    let istiod = istiod_revision(&labels).map(|revision| IstiodFact {
        revision,
        image: discovery_image(spec),
        release: read(l::HELM_RELEASE_NAME).cloned(),
        desired: spec.replicas.unwrap_or(1),
        ready: status.available_replicas.min(status.updated_replicas),
        requests: Requests::default(),
        external: false,
        labels: labels.clone(),
    });
    let workload = Workload {
        key: WorkloadKey {
            namespace: meta.namespace.clone().unwrap_or_default(),
            kind: W::KIND,
            name: meta.name.clone().unwrap_or_default(),
        },
        uid: meta.uid.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
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
        managed_gateway: labels.contains_key(l::GATEWAY_MANAGED),
        settled: meta.generation.unwrap_or_default() <= status.observed_generation
            && rolled_out(W::KIND, spec, status),
        pods: Vec::new(),
        labels,
    };
    WorkloadFact { workload, istiod }
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
