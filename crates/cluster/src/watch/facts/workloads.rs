//! Deployments, StatefulSets, DaemonSets: whether a rollout has ended, and what would start one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use meshlift_api::labels as l;
use meshlift_planner::view::{Requests, UpdateStrategy, Workload, WorkloadKey, WorkloadKind};
use serde::{Deserialize, Serialize};

use super::agents::{NodeAgentFact, agent};
use super::containers::{Amounts, Container, Resources, requests};
use super::istiod_revision;
use crate::slim::{slim_meta, slim_resource};
use crate::watch::table::Fact;

slim_resource!(
    /// A Deployment.
    pub DeploymentObject, "Deployment", "deployments", "apps", NamespaceResourceScope,
    meta = "crate::slim::slim_meta", { spec: Spec, status: Status }
);
slim_resource!(
    /// A StatefulSet.
    pub StatefulSetObject, "StatefulSet", "statefulsets", "apps", NamespaceResourceScope,
    meta = "crate::slim::slim_meta", { spec: Spec, status: Status }
);
slim_resource!(
    /// A DaemonSet.
    pub DaemonSetObject, "DaemonSet", "daemonsets", "apps", NamespaceResourceScope,
    meta = "crate::slim::slim_meta", { spec: Spec, status: Status }
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
#[serde(rename_all = "camelCase", default)]
struct TemplateSpec {
    containers: Vec<Container<Variables>>,
    init_containers: Vec<Container<Variables>>,
    overhead: Amounts,
    resources: Resources,
    tolerations: Vec<Toleration>,
    node_selector: BTreeMap<String, String>,
}

/// What matters of the environment of a container.
#[derive(Clone, Copy, Debug, Default)]
struct Variables {
    /// `EXTERNAL_ISTIOD` is true. Source: istio `pilot/pkg/features/pilot.go`.
    external: bool,
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(default)]
        #[derive(Default)]
        struct Variable {
            name: String,
            value: String,
        }
        let all = Vec::<Variable>::deserialize(from)?;
        // As Go reads a boolean.
        let is_true = |value: &str| ["1", "t", "T", "true", "TRUE", "True"].contains(&value);
        Ok(Self {
            external: all
                .iter()
                .any(|variable| variable.name == "EXTERNAL_ISTIOD" && is_true(&variable.value)),
        })
    }
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
    number_ready: u32,
}

/// A Deployment, StatefulSet or DaemonSet.
#[derive(Clone, Debug)]
pub struct WorkloadFact {
    /// What decisions need of it; without its pods, which are watched by themselves.
    pub workload: Workload,
    /// What is known of it as a control plane, if it is one.
    pub istiod: Option<IstiodFact>,
    /// What is known of it as an agent of Istio on every node, if it is one.
    pub agent: Option<NodeAgentFact>,
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
    /// Taints of nodes that its pods bear.
    pub tolerations: Vec<Toleration>,
    /// Labels of the only nodes that its pods go to.
    pub node_selector: BTreeMap<String, String>,
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
            fn of(object: &$object) -> Option<Self> {
                Some(workload(object))
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
    let pod = &spec.template.spec;
    let istiod = istiod_revision(&labels).map(|revision| IstiodFact {
        revision,
        image: discovery(pod).map(|c| c.image.clone()).unwrap_or_default(),
        release: read(l::HELM_RELEASE_NAME).cloned(),
        desired: spec.replicas.unwrap_or(1),
        ready: status.available_replicas.min(status.updated_replicas),
        requests: requests(
            &pod.containers,
            &pod.init_containers,
            pod.overhead,
            &pod.resources,
        ),
        external: discovery(pod).is_some_and(|c| c.env.external),
        tolerations: pod.tolerations.clone(),
        node_selector: pod.node_selector.clone(),
        labels: labels.clone(),
    });
    let agent = (W::KIND == WorkloadKind::DaemonSet)
        .then(|| {
            let images = pod.containers.iter().map(|c| c.image.as_str());
            let (desired, ready) = (status.desired_number_scheduled, status.number_ready);
            agent(&labels, images, desired, ready)
        })
        .flatten();
    let workload = Workload {
        key: WorkloadKey {
            namespace: meta.namespace.clone().unwrap_or_default(),
            kind: W::KIND,
            name: meta.name.clone().unwrap_or_default(),
        },
        uid: meta.uid.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        template_labels: template.labels.clone().unwrap_or_default(),
        mark: template
            .annotations
            .as_ref()
            .and_then(|a| a.get(l::RESTARTED_FOR).cloned()),
        restarted_at: read(l::RESTARTED_AT).and_then(|at| at.parse().ok()),
        strategy: strategy(W::KIND, &spec.update_strategy),
        paused: spec.paused,
        managed_gateway: labels.contains_key(l::GATEWAY_MANAGED),
        injected_gateway: template
            .annotations
            .as_ref()
            .and_then(|a| a.get(l::INJECT_TEMPLATES))
            .is_some_and(|templates| templates.split(',').any(|name| name.trim() == "gateway")),
        settled: meta.generation.unwrap_or_default() <= status.observed_generation
            && rolled_out(W::KIND, spec, status),
        pods: Vec::new(),
        labels,
    };
    WorkloadFact {
        workload,
        istiod,
        agent,
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

/// The container that is istiod.
fn discovery(pod: &TemplateSpec) -> Option<&Container<Variables>> {
    let named = pod.containers.iter().find(|c| c.name == "discovery");
    named.or(pod.containers.first())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// An istiod of the chart, as the API server gives it, without what nobody reads.
    fn istiod(env: serde_json::Value) -> IstiodFact {
        let object: DeploymentObject = serde_json::from_value(json!({
            "metadata": { "name": "istiod", "namespace": "istio-system",
                "labels": { "app": "istiod", "istio.io/rev": "default" } },
            "spec": { "replicas": 2, "template": {
                "metadata": { "labels": { "app": "istiod", "istio": "pilot", "istio.io/dataplane-mode": "none" } },
                "spec": {
                    "containers": [{ "name": "discovery", "image": "docker.io/istio/pilot:1.30.2", "env": env,
                        "resources": { "requests": { "cpu": "500m", "memory": "2Gi" } } }],
                    "tolerations": [{ "key": "cni.istio.io/not-ready", "operator": "Exists" }],
                    "nodeSelector": { "kubernetes.io/os": "linux" },
                },
            } },
        }))
        .expect("a Deployment");
        let fact = WorkloadFact::of(&object).expect("a workload");
        assert_eq!(
            fact.workload.template_labels["istio"], "pilot",
            "all labels of the template"
        );
        assert!(fact.agent.is_none());
        fact.istiod.expect("an istiod")
    }

    #[test]
    fn what_istiod_asks_of_nodes_is_read_from_its_template() {
        let fact = istiod(json!([]));
        assert_eq!(
            fact.requests,
            Requests {
                cpu: 500,
                memory: 2 << 30
            }
        );
        assert_eq!(
            fact.tolerations[0].key.as_deref(),
            Some("cni.istio.io/not-ready")
        );
        assert_eq!(fact.node_selector["kubernetes.io/os"], "linux");
    }

    #[test]
    fn an_istiod_of_other_clusters_says_so_in_its_environment() {
        for (env, external) in [
            (json!([]), false),
            (json!([{ "name": "REVISION", "value": "default" }]), false),
            (
                json!([{ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                    { "name": "EXTERNAL_ISTIOD", "value": "true" }]),
                true,
            ),
            (
                json!([{ "name": "EXTERNAL_ISTIOD", "value": "false" }]),
                false,
            ),
            (json!([{ "name": "EXTERNAL_ISTIOD" }]), false),
        ] {
            assert_eq!(istiod(env.clone()).external, external, "{env}");
        }
    }
}
