//! What a Mesh says of itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ClusterRole, ClusterVerdict, tolerant};

/// Status of a Mesh: what runs, and what it could be upgraded to.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The value of the refresh annotation that was last acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_refresh: Option<String>,
    /// Version of the control plane that serves the default revision, or of the newest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Who installed it: `Helm`, `istioctl`, `Sail` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installer: Option<String>,
    /// The newest version of this flavour in the chart repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<String>,
    /// The newest version it can be upgraded to in one step on every cluster, or `no`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgradable: Option<String>,
    /// The day upstream ends (or is expected to end) support of the running minor, `2027-02-28`;
    /// with a leading `~` where it is expected only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supported_until: Option<String>,
    /// Every control plane of the mesh.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<RevisionStatus>,
    /// Its sidecars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_plane: Option<DataPlaneStatus>,
    /// Every cluster of the mesh, the one the operator runs in first.
    #[serde(
        deserialize_with = "tolerant::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub clusters: Vec<ClusterStatus>,
    /// Versions it could be upgraded to: the newest patch of each minor, at most 10.
    #[serde(
        deserialize_with = "tolerant::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub available: Vec<AvailableVersion>,
    /// What was last learnt from the chart repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charts: Option<ChartsStatus>,
    /// For a mesh that is upgraded by hand: the commands that print the steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub manual: Vec<ManualReference>,
    /// Conditions after the kstatus rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One control plane of a mesh.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Revision; `default` for one without.
    pub name: String,
    /// Version, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Ready replicas of those wanted (`2/2`).
    pub ready: String,
    /// Revision tags that point at it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Namespaces that are injected by it.
    pub namespaces: u32,
    /// Sidecars that it injected.
    pub proxies: u32,
}

/// The sidecars of a mesh.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DataPlaneStatus {
    /// All of them.
    pub total: u32,
    /// Of the version of the mesh.
    pub current: u32,
    /// Of another version.
    pub outdated: u32,
    /// Whose version cannot be told.
    pub unknown: u32,
    /// How many there are of each version, newest first, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<ProxyVersion>,
}

/// Sidecars of one version.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct ProxyVersion {
    /// Version.
    pub version: String,
    /// How many.
    pub proxies: u32,
}

/// One cluster of a mesh.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Name; `local` for the one the operator runs in.
    pub name: String,
    /// What of the mesh is in it.
    pub role: ClusterRole,
    /// Version of its API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Whether it could be asked.
    pub reachable: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A version that a mesh could be upgraded to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AvailableVersion {
    /// Version.
    pub version: String,
    /// The versions on the way, this one last: one is a single step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<String>,
    /// Whether every cluster's Kubernetes fits it and there is a way.
    pub fits: bool,
    /// Verdict for each cluster that does not fit or could not be asked.
    #[serde(
        default,
        deserialize_with = "tolerant::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub clusters: Vec<ClusterFit>,
    /// Codes of the risks on the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<String>,
    /// Why not, or what to know.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How a cluster fits a version.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct ClusterFit {
    /// Name of the cluster.
    pub name: String,
    /// Verdict.
    pub verdict: ClusterVerdict,
}

/// What was last learnt from a chart repository.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ChartsStatus {
    /// When its versions last changed for this mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Time>,
    /// Why it could not be read at the last try; the versions are those of the last good one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Where the steps of an upgrade by hand are.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct ManualReference {
    /// Which way: `canary`, `in-place` or `helm`.
    pub way: String,
    /// The command that prints them, for this mesh as it is found.
    pub command: String,
}
