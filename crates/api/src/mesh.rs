//! `Mesh`: one Istio installation and where its charts come from.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DEFAULT_CHARTS_REPOSITORY, schema};

/// One Istio mesh. A mesh found in the cluster with no `Mesh` object gets one named `default`.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(
    group = "meshlift.io",
    version = "v1alpha1",
    kind = "Mesh",
    plural = "meshes",
    category = "meshlift",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Type","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"Namespace","type":"string","jsonPath":".spec.controlPlaneNamespace"}"#,
    printcolumn = r#"{"name":"Charts","type":"string","jsonPath":".spec.charts.repository","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MeshSpec {
    /// Who runs the control plane. `External` meshes are never touched.
    #[serde(default, rename = "type")]
    pub mesh_type: MeshType,
    /// Namespace of istiod.
    #[serde(default = "istio_system")]
    #[schemars(length(min = 1, max = 63))]
    pub control_plane_namespace: String,
    /// Where the Istio charts come from.
    #[serde(default)]
    pub charts: ChartSource,
    /// Image hub to set (`global.hub`). Empty: what the running release has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Helm values laid over those of the running releases.
    #[serde(default)]
    pub values: MeshValues,
}

/// Who runs the control plane of a mesh.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum MeshType {
    /// Installed with Helm in the cluster it serves; upgraded by this operator.
    #[default]
    Dedicated,
    /// Installed and owned by someone else; never touched.
    External,
}

/// A Helm chart repository.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ChartSource {
    /// Address of the repository: the folder that holds `index.yaml`.
    #[serde(default = "default_repository")]
    #[schemars(regex(pattern = r"^https?://[^\s]+$"))]
    pub repository: String,
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
        }
    }
}

impl Default for MeshSpec {
    fn default() -> Self {
        Self {
            mesh_type: MeshType::default(),
            control_plane_namespace: istio_system(),
            charts: ChartSource::default(),
            hub: None,
            values: MeshValues::default(),
        }
    }
}

fn default_repository() -> String {
    DEFAULT_CHARTS_REPOSITORY.to_owned()
}

fn istio_system() -> String {
    "istio-system".to_owned()
}
