//! `Mesh`: one Istio installation and where its charts come from.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DEFAULT_CHARTS_REPOSITORY, MeshStatus, schema};

/// One Istio mesh: what it is, and in its status what runs, what it could be upgraded to and how
/// long it is supported. A mesh found in the cluster with no `Mesh` object gets one.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(
    group = "meshlift.io",
    version = "v1alpha1",
    kind = "Mesh",
    plural = "meshes",
    category = "meshlift",
    status = "MeshStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Type","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".status.version"}"#,
    printcolumn = r#"{"name":"Latest","type":"string","jsonPath":".status.latest"}"#,
    printcolumn = r#"{"name":"Upgradable","type":"string","jsonPath":".status.upgradable"}"#,
    printcolumn = r#"{"name":"Proxies","type":"integer","jsonPath":".status.dataPlane.total"}"#,
    printcolumn = r#"{"name":"Outdated","type":"integer","jsonPath":".status.dataPlane.outdated"}"#,
    printcolumn = r#"{"name":"Supported-Until","type":"string","jsonPath":".status.supportedUntil"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Namespace","type":"string","jsonPath":".spec.controlPlaneNamespace","priority":1}"#,
    printcolumn = r#"{"name":"Charts","type":"string","jsonPath":".spec.charts.repository","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MeshSpec {
    /// Who runs the control plane, and where. `External` meshes are never touched.
    #[serde(default, rename = "type")]
    pub mesh_type: MeshType,
    /// Suffix of the builds of this mesh (`mspider` for `1.30.2-mspider`); empty for upstream
    /// builds. Only versions of this flavour are offered, and it cannot be changed.
    #[serde(default)]
    #[schemars(schema_with = "schema::flavour")]
    pub flavour: String,
    /// Namespace of istiod. It cannot be changed.
    #[serde(default = "istio_system")]
    #[schemars(schema_with = "schema::control_plane_namespace")]
    pub control_plane_namespace: String,
    /// What installs istiod and the CRDs, and so who changes them in an upgrade.
    #[serde(default)]
    pub installer: MeshInstaller,
    /// Where the Istio charts come from.
    #[serde(default)]
    pub charts: ChartSource,
    /// Image hub to set (`global.hub`). Empty: what the running release has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Helm values laid over those of the running releases.
    #[serde(default)]
    pub values: MeshValues,
    /// Clusters of the mesh besides the one the operator runs in and those of Istio's own remote
    /// secrets (`istio/multiCluster`), which are found without being named here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub clusters: Vec<MeshCluster>,
}

/// Who runs the control plane of a mesh, and where.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum MeshType {
    /// Installed with Helm in the cluster it serves; upgraded by this operator.
    #[default]
    Dedicated,
    /// The control plane runs in this cluster and serves workloads of others. Listed and checked;
    /// its workloads are in clusters that this operator does not change.
    Hosted,
    /// Installed and owned by someone else; checked and never touched.
    External,
}

/// What installs the control plane of a mesh.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum MeshInstaller {
    /// Helm releases of the charts `base` and `istiod`, which this operator installs, upgrades and uninstalls.
    #[default]
    Helm,
    /// Somebody else renders and applies the charts, for example Argo CD or Flux from Git. This operator changes neither
    /// istiod nor the CRDs: an upgrade reports what to commit, waits for it, and moves the workloads.
    None,
}

/// A Helm chart repository.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ChartSource {
    /// Address of the repository: the folder that holds `index.yaml`, or an OCI registry and the
    /// path under which the charts are (`oci://ghcr.io/istio/release/charts`). It has no
    /// credentials in it. A registry on the operator's own machine without a CA bundle is spoken to
    /// in plain HTTP; every other registry with TLS.
    #[serde(default = "default_repository")]
    #[schemars(regex(pattern = r"^(https?|oci)://[^\s@]+$"))]
    pub repository: String,
    /// Secret with the credentials for it: keys `username` and `password` with the host of the repository
    /// in the annotation `meshlift.io/registry`, or `.dockerconfigjson`, which names the host itself. They
    /// are sent to this host only, and not without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Certificates, in PEM, that the repository's certificate is checked with, besides the
    /// well-known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
}

/// A Secret in the operator's namespace: the only one where it may read them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One more cluster of a mesh.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct MeshCluster {
    /// Name of the cluster, as istiod knows it (`global.multiCluster.clusterName`).
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What of the mesh is in it.
    #[serde(default)]
    pub role: ClusterRole,
    /// How it is reached.
    pub kubeconfig: KubeconfigSource,
}

/// What of a mesh is in a cluster.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum ClusterRole {
    /// A control plane.
    Primary,
    /// Workloads only; they are served by a control plane in another cluster.
    #[default]
    Remote,
}

/// Where a kubeconfig comes from: a Secret and nothing else.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KubeconfigSource {
    /// The Secret; its key `kubeconfig`, `value` or `config` is read, or the only key it has.
    pub secret_ref: SecretRef,
}

/// Helm values by chart.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
pub struct MeshValues {
    /// Values of the `base` chart.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schemars(schema_with = "schema::helm_values")]
    pub base: serde_json::Map<String, serde_json::Value>,
    /// Values of the `istiod` chart.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schemars(schema_with = "schema::helm_values")]
    pub istiod: serde_json::Map<String, serde_json::Value>,
}

impl Default for ChartSource {
    fn default() -> Self {
        Self {
            repository: default_repository(),
            secret_ref: None,
            ca_bundle: None,
        }
    }
}

impl MeshSpec {
    /// Whether Helm installs istiod and the CRDs, and so this operator. Otherwise somebody else renders them.
    pub fn by_helm(&self) -> bool {
        self.installer == MeshInstaller::Helm
    }
}

impl Default for MeshSpec {
    fn default() -> Self {
        Self {
            mesh_type: MeshType::default(),
            flavour: String::new(),
            control_plane_namespace: istio_system(),
            installer: MeshInstaller::default(),
            charts: ChartSource::default(),
            hub: None,
            values: MeshValues::default(),
            clusters: Vec::new(),
        }
    }
}

fn default_repository() -> String {
    DEFAULT_CHARTS_REPOSITORY.to_owned()
}

fn istio_system() -> String {
    "istio-system".to_owned()
}
