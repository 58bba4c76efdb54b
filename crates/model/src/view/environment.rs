//! What only a detection looks at: everything around the mesh that can make an upgrade fail.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use meshlift_api::ClusterRole;
use meshlift_istio::version::{KubernetesVersion, Version};
use serde::{Deserialize, Serialize};

use super::Seen;

/// The surroundings of a mesh. `Absent` where it was not looked at, or where its kind is not installed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment {
    /// Clusters of the mesh besides the one the operator runs in.
    pub clusters: Seen<Vec<Cluster>>,
    /// CRDs of Istio and of the Gateway API.
    pub crds: Seen<Vec<Crd>>,
    /// Nodes, with the room that is left on each.
    pub nodes: Seen<Vec<Node>>,
    /// Disruption budgets of the whole cluster.
    pub budgets: Seen<Vec<Budget>>,
    /// Autoscalers in the namespace of istiod.
    pub autoscalers: Seen<Vec<Autoscaler>>,
    /// Resource quotas in the namespace of istiod.
    pub quotas: Seen<Vec<Quota>>,
    /// Every webhook that injects sidecars, with its selectors, tags included.
    pub injectors: Seen<Vec<InjectionRule>>,
    /// The CNI agent and ztunnel.
    pub node_agents: Seen<Vec<NodeAgent>>,
    /// EnvoyFilters that name a proxy version.
    pub envoy_filters: Seen<Vec<EnvoyFilter>>,
    /// Objects of other installers of Istio: `Istio shop (sailoperator.io)`.
    pub other_installers: Seen<Vec<String>>,
    /// HelmReleases of Flux.
    pub helm_releases: Seen<Vec<HelmRelease>>,
    /// What the control planes have that their Helm releases do not know.
    pub drift: Seen<Vec<Drift>>,
    /// Objects of others that select by the labels `istio-injection` and `istio.io/rev`.
    pub selections: Seen<Vec<Selection>>,
    /// Admission policies and bindings of the operator's fence that are not there, or not in force for its account.
    /// `Absent` where whoever looks is not the operator.
    pub unfenced: Seen<Vec<String>>,
    /// What the API server answers to the writes of the upgrade, tried as dry runs.
    pub trial: Seen<Trial>,
    /// Which risks of the catalog have something to do with this cluster, by code.
    pub risks: Seen<BTreeMap<String, RiskMatch>>,
}

/// Writes that were tried as dry runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// How many got an answer.
    pub tried: usize,
    /// Those that were refused.
    pub refused: Vec<RefusedTrial>,
    /// Why others are not known: whoever looks may not write them, or the API server did not answer.
    pub unknown: Option<String>,
}

/// A write that was refused as a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedTrial {
    /// The object: `Deployment shop/cart`.
    pub object: String,
    /// Who refused it, and why.
    pub why: String,
}

/// One more cluster of a mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Name.
    pub name: String,
    /// What of the mesh is in it.
    pub role: ClusterRole,
    /// Version of its API server; unreadable when it cannot be reached, with the reason.
    pub kubernetes: Seen<KubernetesVersion>,
}

/// A CustomResourceDefinition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Crd {
    /// Name: `gateways.networking.istio.io`.
    pub name: String,
    /// Versions that objects may still be stored as (`status.storedVersions`).
    pub stored_versions: Vec<String>,
    /// Versions that are served.
    pub served_versions: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Helm release that owns it, as `namespace/name`.
    pub helm_release: Option<String>,
    /// Version of the Gateway API bundle it comes from (`gateway.networking.k8s.io/bundle-version`).
    pub bundle_version: Option<String>,
}

/// Version of the chart that rendered the CRDs of Istio: the lowest that their labels name. None where there are none, or
/// one of them has no such label, as those of charts up to 1.23.
/// Source: istio manifests/charts/base/templates/crds.yaml, which replaces all labels by those of the chart.
pub fn version_of_crds(crds: &[Crd]) -> Option<Version> {
    let istio = crds.iter().filter(|crd| crd.is_of_base());
    let versions = istio.map(|crd| crd.labels.get("app.kubernetes.io/version")?.parse().ok());
    let versions: Option<Vec<Version>> = versions.collect();
    versions?.into_iter().min()
}

impl Crd {
    /// Whether chart `base` brings it.
    fn is_of_base(&self) -> bool {
        let groups = ["extensions", "networking", "security", "telemetry"];
        let group = self.name.split_once('.').map_or("", |(_, group)| group);
        let istio = group.strip_suffix(".istio.io");
        istio.is_some_and(|group| groups.contains(&group))
    }
}

/// A node and the room on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Whether it is ready, not cordoned, and has what an istiod of this cluster asks of it: a label that its
    /// `nodeSelector` names, and no taint that it does not tolerate. Other affinity is not looked at.
    pub schedulable: bool,
    /// Version of its kubelet.
    pub kubelet: Option<KubernetesVersion>,
    /// CPU that no pod has asked for, in thousandths of a core.
    pub free_cpu: i64,
    /// Memory that no pod has asked for, in bytes.
    pub free_memory: i64,
}

/// What a pod asks a node for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// CPU, in thousandths of a core.
    pub cpu: i64,
    /// Memory, in bytes.
    pub memory: i64,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Which pods.
    pub selector: LabelSelector,
    /// How many pods may be evicted now.
    pub allowed: i32,
    /// How many pods it counts.
    pub expected: i32,
    /// What it demands.
    pub rule: BudgetRule,
    /// Helm release that it is part of, as `namespace/name`.
    pub helm_release: Option<String>,
}

/// What a PodDisruptionBudget demands of the pods that it selects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetRule {
    /// `minAvailable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_available: Option<IntOrString>,
    /// `maxUnavailable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// `unhealthyPodEvictionPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_pod_eviction_policy: Option<String>,
}

/// A ResourceQuota that counts the pods of istiod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// How many more pods it allows; none where it does not count them.
    pub pods: Option<i64>,
    /// CPU that pods may still request, in thousandths of a core.
    pub cpu: Option<i64>,
    /// Memory that pods may still request, in bytes.
    pub memory: Option<i64>,
}

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Autoscaler {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Deployment that it scales.
    pub target: String,
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
}

/// One webhook of a MutatingWebhookConfiguration that injects sidecars.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InjectionRule {
    /// Name of the MutatingWebhookConfiguration.
    pub configuration: String,
    /// Name of the webhook in it.
    pub webhook: String,
    /// Revision it injects.
    pub revision: Option<String>,
    /// Tag it represents.
    pub tag: Option<String>,
    /// Service it calls, as `namespace/name`; none where it calls a URL.
    pub service: Option<String>,
    /// Whether that Service exists.
    pub service_exists: bool,
    /// Which namespaces.
    pub namespaces: LabelSelector,
    /// Which pods.
    pub pods: LabelSelector,
}

/// A DaemonSet of Istio.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeAgent {
    /// Which.
    pub kind: NodeAgentKind,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version, from the image tag.
    pub version: Option<Version>,
    /// Image.
    pub image: String,
    /// Pods wanted.
    pub desired: u32,
    /// Pods ready.
    pub ready: u32,
}

impl NodeAgent {
    /// Its version, if that is before this one.
    pub fn behind(&self, version: &Version) -> Option<&Version> {
        self.version.as_ref().filter(|own| *own < version)
    }
}

/// The DaemonSets of Istio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAgentKind {
    /// `istio-cni-node`.
    Cni,
    /// `ztunnel`: the mesh is (also) ambient.
    Ztunnel,
}

/// An EnvoyFilter that applies only to some proxy versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvoyFilter {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The regular expressions of `match.proxy.proxyVersion`.
    pub proxy_versions: Vec<String>,
}

/// A HelmRelease of Flux: its controller brings a Helm release back to what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelmRelease {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The Helm release, as `namespace/name`.
    pub release: String,
    /// Whether it is suspended: nothing is brought back until it is resumed.
    pub suspended: bool,
}

/// An object that selects namespaces or pods by the injection labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Kind: `NetworkPolicy`.
    pub kind: String,
    /// Namespace, where it has one.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Label and value; no value where any, or none, will do.
    pub labels: Vec<(String, String)>,
}

/// A place where a live object differs from what its Helm release rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// The Helm release, as `namespace/name`.
    pub release: String,
    /// The object: `ConfigMap istio-system/istio`.
    pub object: String,
    /// Where: `mesh.accessLogFile`, `environment variable PILOT_X`.
    pub what: String,
}

/// What a risk of the catalog has to do with this cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RiskMatch {
    /// The first objects it matches: `DestinationRule shop/cart`.
    pub objects: Vec<String>,
    /// How many there are.
    pub total: u32,
    /// Why it could not be looked at.
    pub unreadable: Option<String>,
}

/// The GitOps tool that writes as this field manager: it puts back what others change.
///
/// Sources: argo-cd `common/common.go` (`ArgoCDSSAManager`), flux2 and fleet: the names of their controllers,
/// which are their field managers where they name no other.
pub fn gitops_tool(manager: &str) -> Option<&'static str> {
    // The plug-in with its version: `terraform-provider-helm_v2.17.0_x5`.
    if manager.starts_with("terraform-provider-") {
        return Some("Terraform");
    }
    Some(match manager {
        "Terraform" => "Terraform",
        "argocd-controller" | "argocd-application-controller" => "Argo CD",
        "kustomize-controller" | "helm-controller" => "Flux",
        "fleetagent" | "fleet-agent" => "Fleet",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Crd, gitops_tool, version_of_crds};

    #[test]
    fn crds_are_of_the_lowest_version_that_they_name() {
        let crd = |name: &str, version: Option<&str>| Crd {
            name: name.into(),
            labels: version
                .map(|of| ("app.kubernetes.io/version".to_owned(), of.to_owned()))
                .into_iter()
                .collect(),
            ..Crd::default()
        };
        let gateways = |of| crd("gateways.networking.istio.io", of);
        let telemetries = |of| crd("telemetries.telemetry.istio.io", of);
        let version = |crds: &[Crd]| version_of_crds(crds).map(|of| of.to_string());
        let both = [gateways(Some("1.31.0")), telemetries(Some("1.30.2"))];
        assert_eq!(version(&both).as_deref(), Some("1.30.2"));
        // Those of others, and of the operators of Istio, say nothing of chart base.
        let others = [
            gateways(Some("1.31.0")),
            crd("istiooperators.install.istio.io", None),
            crd("gateways.gateway.networking.k8s.io", Some("1.6.0")),
        ];
        assert_eq!(version(&others).as_deref(), Some("1.31.0"));
        assert_eq!(
            version(&[gateways(Some("1.31.0")), telemetries(None)]),
            None
        );
        assert_eq!(version(&[]), None);
    }

    #[test]
    fn tools_that_put_labels_back_are_known_by_their_field_manager() {
        for (manager, tool) in [
            ("argocd-controller", Some("Argo CD")),
            ("argocd-application-controller", Some("Argo CD")),
            ("kustomize-controller", Some("Flux")),
            ("helm-controller", Some("Flux")),
            ("fleetagent", Some("Fleet")),
            ("fleet-agent", Some("Fleet")),
            ("terraform-provider-helm_v2.17.0_x5", Some("Terraform")),
            ("Terraform", Some("Terraform")),
            // People, and what a person runs.
            ("kubectl-label", None),
            ("kubectl-client-side-apply", None),
            ("helm", None),
            ("meshlift", None),
            ("", None),
        ] {
            assert_eq!(gitops_tool(manager), tool, "{manager}");
        }
    }
}
