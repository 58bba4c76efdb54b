//! Deployments and what is like them: whether a rollout has ended, and what would start one.

mod spec;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use meshlift_api::labels as l;
use meshlift_model::view::{Requests, Workload, WorkloadKey, WorkloadKind};
use serde::{Deserialize, Serialize};

use self::spec::{
    Spec, Status, TemplateSpec, Variables, desired, paused, replicas, rolled_out, strategy, whole,
};
use super::agents::{NodeAgentFact, agent};
use super::containers::{Container, requests};
use super::istiod_revision;
use crate::slim::slim_resource;
use crate::watch::table::Fact;

macro_rules! workload_object {
    ($(#[$doc:meta])* $object:ident, $known:expr, $kind:literal, $plural:literal, $group:literal, $version:literal) => {
        slim_resource!(
            $(#[$doc])*
            pub $object, $kind, $plural, $group, NamespaceResourceScope, version = $version,
            meta = "crate::slim::workload_meta", { spec: Spec, status: Status }
        );

        impl WorkloadObject for $object {
            const KIND: WorkloadKind = $known;
            fn parts(&self) -> WorkloadSource<'_> {
                WorkloadSource(&self.spec, &self.status)
            }
        }

        impl Fact<$object> for WorkloadFact {
            fn of(object: &$object) -> Option<Self> {
                workload(object)
            }
        }
    };
}
workload_object!(
    /// A Deployment.
    DeploymentObject, WorkloadKind::Deployment, "Deployment", "deployments", "apps", "v1"
);
workload_object!(
    /// A StatefulSet.
    StatefulSetObject, WorkloadKind::StatefulSet, "StatefulSet", "statefulsets", "apps", "v1"
);
workload_object!(
    /// A DaemonSet.
    DaemonSetObject, WorkloadKind::DaemonSet, "DaemonSet", "daemonsets", "apps", "v1"
);
workload_object!(
    /// A ReplicaSet.
    ReplicaSetObject, WorkloadKind::ReplicaSet, "ReplicaSet", "replicasets", "apps", "v1"
);
workload_object!(
    /// A Rollout of Argo Rollouts.
    RolloutObject, WorkloadKind::Rollout, "Rollout", "rollouts", "argoproj.io", "v1alpha1"
);
workload_object!(
    /// A CloneSet of OpenKruise.
    CloneSetObject, WorkloadKind::CloneSet, "CloneSet", "clonesets", "apps.kruise.io", "v1alpha1"
);
workload_object!(
    /// An Advanced StatefulSet of OpenKruise.
    AdvancedStatefulSetObject, WorkloadKind::AdvancedStatefulSet, "StatefulSet", "statefulsets", "apps.kruise.io", "v1beta1"
);
workload_object!(
    /// An Advanced DaemonSet of OpenKruise.
    AdvancedDaemonSetObject, WorkloadKind::AdvancedDaemonSet, "DaemonSet", "daemonsets", "apps.kruise.io", "v1alpha1"
);

/// A workload.
#[derive(Clone, Debug)]
pub struct WorkloadFact {
    /// What decisions need of it; without its pods, which are watched by themselves.
    pub workload: Workload,
    /// How many pods it wants.
    pub desired: u32,
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
    /// Replicas that must be available for its Deployment to be.
    pub enough: u32,
    /// Whether replicas of an older template still run beside those of the newest, or its controller has not seen that yet.
    pub rolling: bool,
    /// What one pod asks a node for.
    pub requests: Requests,
    /// Whether it is the control plane of other clusters.
    pub external: bool,
    /// Labels and annotations by which a GitOps tool knows it as its own.
    pub marks: BTreeMap<String, String>,
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

fn workload<W: WorkloadObject>(object: &W) -> Option<WorkloadFact> {
    let WorkloadSource(spec, status) = object.parts();
    let meta = object.meta();
    let mut owners = meta.owner_references.iter().flatten();
    // Its pods belong to what owns it.
    if W::KIND == WorkloadKind::ReplicaSet && owners.any(|o| o.controller == Some(true)) {
        return None;
    }
    let labels = meta.labels.clone().unwrap_or_default();
    let template = &spec.template.metadata;
    let annotations = meta.annotations.as_ref();
    let read = |key: &str| annotations.and_then(|a| a.get(key));
    let time = |key: &str| read(key).and_then(|at| at.parse().ok());
    let of_template = |key: &str| template.annotations.as_ref().and_then(|a| a.get(key));
    let pod = &spec.template.spec;
    let istiod = istiod_revision(&labels).map(|revision| IstiodFact {
        revision,
        image: discovery(pod).map(|c| c.image.clone()).unwrap_or_default(),
        release: read(l::HELM_RELEASE_NAME).cloned(),
        desired: spec.replicas.unwrap_or(1),
        ready: status.available_replicas.min(status.updated_replicas),
        enough: spec.enough(),
        rolling: meta.generation > Some(status.observed_generation)
            || status.replicas > status.updated_replicas,
        requests: requests(
            &pod.containers,
            &pod.init_containers,
            pod.overhead,
            &pod.resources,
        ),
        external: discovery(pod).is_some_and(|c| c.env.external),
        marks: marks(meta),
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
        template_revision_before: read(l::TEMPLATE_REVISION).cloned(),
        template_revision_owner: template_revision_owner(meta),
        own_proxy_image: of_template(l::PROXY_IMAGE).is_some(),
        sidecar_in_template: of_template(l::SIDECAR_STATUS).map(|status| sidecar_in(status)),
        host_network: pod.host_network,
        mark: match W::KIND {
            WorkloadKind::Rollout => read(l::RESTARTED_FOR).cloned(),
            _ => of_template(l::RESTARTED_FOR).cloned(),
        },
        restarted_at: time(l::RESTARTED_AT),
        evicted_at: time(l::EVICTED_AT),
        strategy: strategy(W::KIND, spec),
        paused: paused(spec),
        managed_gateway: labels.contains_key(l::GATEWAY_MANAGED),
        injected_gateway: of_template(l::INJECT_TEMPLATES)
            .is_some_and(|templates| templates.split(',').any(|name| name.trim() == "gateway")),
        asleep: meta.generation.unwrap_or_default() <= status.observed_generation
            && desired(W::KIND, spec, status) == 0,
        settled: meta.generation.unwrap_or_default() <= status.observed_generation
            && rolled_out(W::KIND, spec, status),
        whole: whole(W::KIND, spec, status),
        replicas: replicas(W::KIND, spec, status),
        pods: Vec::new(),
        labels,
    };
    Some(WorkloadFact {
        desired: desired(W::KIND, spec, status),
        workload,
        istiod,
        agent,
    })
}

/// What tools write on objects that they keep as they know them.
fn marks(meta: &ObjectMeta) -> BTreeMap<String, String> {
    let labels = meta.labels.iter().flatten();
    let all = labels.chain(meta.annotations.iter().flatten());
    let of_tool = |key: &str| {
        key.starts_with("helm.toolkit.fluxcd.io/") || key == "argocd.argoproj.io/tracking-id"
    };
    all.filter(|(key, _)| of_tool(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The revision of the sidecar that a pod template itself holds; empty where its status cannot be read.
fn sidecar_in(status: &str) -> String {
    let status = serde_json::from_str::<serde_json::Value>(status).unwrap_or_default();
    let revision = status.get("revision").and_then(|of| of.as_str());
    revision.unwrap_or_default().to_owned()
}

/// Who last wrote the label `istio.io/rev` of its template.
fn template_revision_owner(meta: &ObjectMeta) -> Option<String> {
    let entries = meta.managed_fields.iter().flatten();
    let last = entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    last.manager.clone()
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
