//! `MeshUpgrade`: a mesh brought to a version; inert once it is there.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::GoDuration as Duration;
use crate::{DEFAULT_MESH, DataPlane, Gateways, MeshUpgradeStatus, Rollback, Window, schema};

/// Brings a mesh to an Istio version and keeps saying what it does and waits for.
///
/// From the first mutation until it ends, only `paused`, `approvals` and `requestRollback` may change.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(
    group = "meshlift.io",
    version = "v1alpha1",
    kind = "MeshUpgrade",
    plural = "meshupgrades",
    shortname = "mup",
    category = "meshlift",
    status = "MeshUpgradeStatus",
    derive = "PartialEq",
    validation = Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.phase) \
         || !(oldSelf.status.phase in ['Upgrading', 'HealthChecking']) \
         || (self.spec.mesh == oldSelf.spec.mesh \
         && self.spec.targetVersion == oldSelf.spec.targetVersion \
         && self.spec.mode == oldSelf.spec.mode \
         && self.spec.strategy == oldSelf.spec.strategy \
         && self.spec.path == oldSelf.spec.path \
         && has(self.spec.inPlace) == has(oldSelf.spec.inPlace) \
         && (!has(self.spec.inPlace) || self.spec.inPlace == oldSelf.spec.inPlace) \
         && has(self.spec.revision) == has(oldSelf.spec.revision) \
         && (!has(self.spec.revision) || self.spec.revision == oldSelf.spec.revision) \
         && self.spec.acceptRisks == oldSelf.spec.acceptRisks \
         && self.spec.dataPlane == oldSelf.spec.dataPlane \
         && self.spec.gateways == oldSelf.spec.gateways \
         && self.spec.rollback == oldSelf.spec.rollback \
         && self.spec.windows == oldSelf.spec.windows \
         && self.spec.healthCheck == oldSelf.spec.healthCheck \
         && self.spec.retire == oldSelf.spec.retire)"
    ).message("the upgrade runs: until it ends only spec.paused, spec.approvals and spec.requestRollback may change (set spec.paused: true to hold it before its next step, spec.requestRollback: true to move back)"),
    validation = Rule::new(
        "!self.spec.requestRollback || self.spec.rollback != 'Never'"
    ).message("spec.requestRollback cannot be true with spec.rollback: Never"),
    validation = Rule::new(
        "self.spec.strategy != 'InPlace' || !has(self.spec.revision)"
    ).message("spec.revision names the second control plane of strategy Canary: with InPlace the revision stays, so remove it"),
    validation = Rule::new(
        "self.spec.strategy == 'InPlace' || !has(self.spec.inPlace)"
    ).message("spec.inPlace belongs to strategy InPlace: set spec.strategy, or remove it"),
    validation = Rule::new(
        "self.spec.strategy != 'InPlace' || self.spec.path != 'FewestRestarts'"
    ).message("strategy InPlace goes one minor at a time: remove spec.path, or use strategy Canary"),
    printcolumn = r#"{"name":"Mesh","type":"string","jsonPath":".spec.mesh"}"#,
    printcolumn = r#"{"name":"From","type":"string","jsonPath":".status.from.version"}"#,
    printcolumn = r#"{"name":"To","type":"string","jsonPath":".status.target.version"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Progress","type":"string","jsonPath":".status.progress"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    // Of several results a column shows the first: the wave whose turn it is.
    printcolumn = r#"{"name":"Wave","type":"string","jsonPath":".status.waves[?(@.state!=\"Verified\")].name","priority":1}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MeshUpgradeSpec {
    /// Name of the Mesh.
    #[serde(default = "default_mesh")]
    #[schemars(length(min = 1, max = 253))]
    pub mesh: String,
    /// The Istio version to reach: exact (`1.31.0`), or a minor (`1.31`) for its newest patch in
    /// the chart repository, resolved once and pinned in status.
    #[schemars(schema_with = "schema::target_version")]
    pub target_version: String,
    /// Whether to upgrade, or only to look and to say what would be done.
    #[serde(default)]
    pub mode: Mode,
    /// How the control plane is replaced.
    #[serde(default)]
    pub strategy: Strategy,
    /// Options of strategy `InPlace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<InPlace>,
    /// Which versions an upgrade across several minors stops at. Defaults to EachMinor.
    #[serde(default)]
    pub path: UpgradePath,
    /// Name of the new revision, which workloads select with the label `istio.io/rev`. Defaults to the version (`1-31-0`),
    /// prefixed with the name of the Mesh if there are several. Only for an upgrade of one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::revision")]
    pub revision: Option<String>,
    /// How workloads move.
    #[serde(default)]
    pub data_plane: DataPlane,
    /// When gateways move.
    #[serde(default)]
    pub gateways: Gateways,
    /// What is done when a verification fails, until the old control plane goes.
    #[serde(default)]
    pub rollback: Rollback,
    /// When the mesh may be changed; at any time if there is none. Outside of them nothing new begins: what is
    /// under way goes on to its end, health is watched, and moving back does not wait for a window.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub windows: Vec<Window>,
    /// How health is judged after the move.
    #[serde(default)]
    pub health_check: HealthCheck,
    /// When the old control plane goes.
    #[serde(default)]
    pub retire: Retire,
    /// Codes of checks whose finding the person accepts; only those that may be accepted count
    /// (`meshlift explain CODE` says which).
    #[serde(default)]
    #[schemars(length(max = 50), inner(length(max = 63)))]
    pub accept_risks: Vec<String>,
    /// Holds the upgrade before its next mutation, on the way back too. What is under way goes on to its end.
    #[serde(default)]
    pub paused: bool,
    /// Names of waves that a person lets begin; only those with `approval: Required` wait for it. Taken back, an
    /// approval stops no wave that has begun. In an upgrade of several steps it counts for each of them.
    #[serde(default)]
    #[schemars(length(max = 50), inner(length(max = 63)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub approvals: Vec<String>,
    /// Moves everything back to the old control plane, as long as that is there.
    #[serde(default)]
    pub request_rollback: bool,
}

/// How far an upgrade goes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Mode {
    /// To the end.
    #[default]
    Apply,
    /// Only detection and the plan: the mesh is not touched.
    Preflight,
}

/// How the control plane is replaced.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Strategy {
    /// A second control plane under a revision of its own, beside the old one.
    #[default]
    Canary,
    /// The same control plane is upgraded where it is: no second one, no label changes. It needs two ready replicas of
    /// istiod, and goes one minor at a time.
    InPlace,
}

/// Which versions an upgrade across several minors stops at.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum UpgradePath {
    /// Upgrades to every minor in turn. Each workload restarts once per minor.
    #[default]
    EachMinor,
    /// Skips a minor where Istio supports it: up to two minors per step, so workloads restart less often. In a
    /// mesh with the Istio CNI agent or ztunnel, every minor is taken, as with EachMinor.
    FewestRestarts,
}

/// How health is judged after the move.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// How long everything must stay healthy.
    #[serde(default = "five_minutes")]
    #[schemars(schema_with = "schema::duration")]
    pub soak: Duration,
}

/// Options of strategy `InPlace`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct InPlace {
    /// Fewest replicas of istiod during the upgrade: while one is replaced, another must serve. The minimum of its autoscaler is
    /// raised to this number first, and restored when the upgrade ends. Without an autoscaler, set `replicaCount` yourself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 10))]
    pub ensure_replicas: Option<u32>,
}

/// When the old control plane goes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Retire {
    /// How long the old control plane stays after the health check passed.
    #[serde(default = "one_hour")]
    #[schemars(schema_with = "schema::duration")]
    pub after: Duration,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            soak: five_minutes(),
        }
    }
}

impl Default for Retire {
    fn default() -> Self {
        Self { after: one_hour() }
    }
}

fn default_mesh() -> String {
    DEFAULT_MESH.to_owned()
}

fn minutes(n: u64) -> Duration {
    Duration::from(std::time::Duration::from_secs(60 * n))
}

fn five_minutes() -> Duration {
    minutes(5)
}

fn one_hour() -> Duration {
    minutes(60)
}
