//! What a detection found, as status tells it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a check weighs.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum Severity {
    /// An upgrade does not start.
    Blocking,
    /// An upgrade starts; someone should know.
    Warning,
    /// Good to know.
    Info,
}

/// What a check came to.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum CheckResult {
    /// Something is wrong.
    Failed,
    /// Something is wrong, and `spec.acceptRisks` names the check.
    Accepted,
    /// It could not be looked at.
    Unknown,
    /// All is well.
    Passed,
}

/// One check and what it came to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// Stable code: `meshlift explain CODE` says more.
    pub code: String,
    /// How much it weighs.
    pub severity: Severity,
    /// What it came to.
    pub result: CheckResult,
    /// The step of the way it speaks of, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<String>,
    /// What it is about, at most 5 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
    /// How many there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub objects_total: u32,
    /// What was found.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// How a cluster's Kubernetes fits an Istio version.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum ClusterVerdict {
    /// Inside the supported range.
    Supported,
    /// Below it.
    TooOld,
    /// Above it.
    TooNew,
    /// The cluster could not be asked.
    Unreachable,
    /// The range of that Istio version is not known.
    Unknown,
}

/// A cluster of the mesh and how it fits the target.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCheck {
    /// Name; `local` for the one the operator runs in.
    pub name: String,
    /// Version of its API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Verdict.
    pub verdict: ClusterVerdict,
}

/// One step of the way to the target.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct Hop {
    /// Version.
    pub version: String,
    /// Revision it is installed under.
    pub revision: String,
}

/// What an upgrade will do; the whole of it, with the Helm diffs, is in a Secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanSummary {
    /// The Secret, in the operator's namespace, that holds the whole plan as text (key `plan`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Helm releases, in their order.
    pub releases: Vec<PlannedRelease>,
    /// Namespaces that change their label.
    pub namespaces: u32,
    /// Workloads that are restarted.
    pub restarts: u32,
    /// Workloads and pods that are not moved.
    pub blocked: u32,
    /// How long it may take, as text.
    pub estimate: String,
}

/// What happens to a Helm release.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PlannedRelease {
    /// `namespace/name`.
    pub release: String,
    /// Chart.
    pub chart: String,
    /// What happens.
    pub action: ReleaseAction,
    /// Chart version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Chart version after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Objects added, changed and removed, as text; empty where it was not compared.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub changes: String,
}

/// What happens to a Helm release.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum ReleaseAction {
    /// It is made.
    Install,
    /// It is brought to another version or other values.
    Upgrade,
    /// It is removed.
    Uninstall,
}
