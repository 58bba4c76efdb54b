//! How workloads and gateways move: waves, restarts, windows, and the way back.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::GoDuration as Duration;
use crate::schema;

/// How workloads move to the new control plane.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DataPlane {
    /// How a namespace is moved.
    #[serde(default, rename = "move")]
    pub by: Move,
    /// Namespaces in the order in which they move; those of no wave move last, also those that appear meanwhile.
    /// Without waves all move at once.
    #[serde(default)]
    #[schemars(length(max = 50))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub waves: Vec<Wave>,
    /// How workloads are restarted.
    #[serde(default)]
    pub restart: Restart,
    /// Namespaces and workloads with these labels are left alone. They keep the old control
    /// plane in use, so it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<LabelSelector>,
}

/// How a namespace is moved.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Move {
    /// By moving the tag where a namespace uses a tag, else by its label.
    #[default]
    Auto,
    /// By its label only: namespaces that use a tag are named and not moved.
    Labels,
    /// By tags only: namespaces that name a revision are named and not moved.
    Tags,
    /// Not at all: someone else moves labels and tags (a GitOps tool), and this waits for it.
    None,
}

/// Namespaces that move together.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// Its name, for status and approvals.
    #[schemars(schema_with = "schema::wave_name")]
    pub name: String,
    /// Which namespaces; one that fits several waves moves with the first.
    #[serde(default)]
    pub namespaces: NamespaceSelector,
    /// How long everything that has moved must stay healthy before the next wave begins.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration")]
    pub soak: Option<Duration>,
    /// Whether a person lets it begin.
    #[serde(default)]
    pub approval: Approval,
}

/// Whether a person lets a wave begin.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Approval {
    /// It begins by itself.
    #[default]
    Automatic,
    /// Nothing of it is touched until its name is in `spec.approvals`.
    Required,
}

/// Chooses namespaces of the mesh, when the upgrade begins: by name, by labels (with both: what fits either), or a
/// part of them. An empty one chooses none.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// These.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(max = 63)))]
    pub names: Vec<String>,
    /// Those with all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Those whose labels fit all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
    /// At most this part of all namespaces of the mesh, in percent, rounded up: of those that fit and that no wave
    /// before has taken, in the order of their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub percent: Option<u32>,
}

impl NamespaceSelector {
    /// Its labels as a selector; none if it has none.
    pub fn labels(&self) -> Option<LabelSelector> {
        if self.match_labels.is_empty() && self.match_expressions.is_empty() {
            return None;
        }
        Some(LabelSelector {
            match_labels: Some(self.match_labels.clone()),
            match_expressions: Some(self.match_expressions.clone()),
        })
    }
}

/// How workloads are restarted.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// How pods are replaced.
    #[serde(default)]
    pub method: RestartMethod,
    /// Workloads restarting at the same time, in the whole mesh. Fewer while the control plane is slow or the API
    /// server pushes back (`status.pace`), and never more new proxies a second than half of what istiod admits.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent: u32,
    /// Workloads restarting at the same time in one namespace.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent_per_namespace: u32,
    /// How long the restart of a workload may make no progress before it counts as failed. A new pod and a pod that
    /// becomes ready are progress, so a large workload may take longer as a whole.
    #[serde(default = "ten_minutes")]
    #[schemars(schema_with = "schema::duration")]
    pub timeout: Duration,
    /// How often a workload that is not ready in time is restarted once more; where pods are evicted, how often
    /// a new pod that is not ready in time is evicted too.
    #[serde(default)]
    #[schemars(range(max = 5))]
    pub retries: u32,
    /// How many workloads may fail before a wave stops. Within it they are named, and the rest goes on.
    #[serde(default)]
    #[schemars(range(max = 10000))]
    pub max_failures: u32,
}

impl Restart {
    /// Whether pods are evicted, and workloads not rolled.
    pub fn evicts(&self) -> bool {
        self.method == RestartMethod::Evict
    }
}

/// How pods are replaced.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum RestartMethod {
    /// By a rolling update of the workload, as `kubectl rollout restart` does.
    #[default]
    Rollout,
    /// By evicting old pods one after the other, within disruption budgets. Moves also what no
    /// rolling update moves.
    Evict,
}

/// When gateways move.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Gateways {
    /// Before or after all waves.
    #[serde(default)]
    pub order: GatewayOrder,
}

/// When gateways move.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum GatewayOrder {
    /// After all waves.
    #[default]
    Last,
    /// Before all waves.
    First,
    /// Not at all: they keep the old control plane in use, so it stays.
    None,
}

/// What is done when a verification fails.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Rollback {
    /// Everything that was moved goes back.
    #[default]
    Automatic,
    /// It holds and says so, until a person sets `requestRollback` or mends what is wrong.
    Manual,
    /// It stops and says so.
    Never,
}

/// A time of the week in which the mesh may be changed: while clocks in its time zone show a time from `start`
/// until `end`. What clocks skip when summer time begins is not open; what they show twice when it ends is open twice.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.start != self.end",
    "message": "begins and ends at the same time, so it is never open: for a whole day write two windows, or leave windows out",
}]))]
pub struct Window {
    /// Days on which it begins; every day if there is none.
    #[serde(default)]
    #[schemars(length(max = 7))]
    pub days: Vec<Day>,
    /// When it begins: `22:00`.
    #[schemars(schema_with = "schema::time_of_day")]
    pub start: String,
    /// When it ends: `04:00`; on the next day if that is before its start.
    #[schemars(schema_with = "schema::time_of_day")]
    pub end: String,
    /// Name of the time zone in the IANA database: `Europe/Berlin`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            method: RestartMethod::default(),
            max_concurrent: five(),
            max_concurrent_per_namespace: one(),
            timeout: ten_minutes(),
            retries: 0,
            max_failures: 0,
        }
    }
}

fn five() -> u32 {
    5
}

fn one() -> u32 {
    1
}

fn ten_minutes() -> Duration {
    Duration::from(std::time::Duration::from_secs(600))
}

fn utc() -> String {
    "UTC".to_owned()
}
