//! What a MeshUpgrade says of itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CheckStatus, ClusterCheck, Hop, PlanSummary, tolerant};

/// Status of a MeshUpgrade. Large lists stay out of it: counts and the first few entries are
/// here, the whole is in the record.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshUpgradeStatus {
    /// Where the upgrade is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What is done inside the phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// One sentence: what is being done, what is waited for, or what to do next.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Digest of the spec without `paused`, `approvals` and `requestRollback`. When an upgrade has ended, a change
    /// of only those three does not start it again, except for `requestRollback` that becomes true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_spec: Option<String>,
    /// The value of `requestRollback` that was last acted upon.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub observed_request_rollback: bool,
    /// The value of the retry annotation that was last acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_retry: Option<String>,
    /// The control plane the upgrade comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<ControlPlaneRef>,
    /// The control plane the upgrade goes to; the version is pinned here once resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ControlPlaneRef>,
    /// The way to the target, its last hop being the target itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<Hop>,
    /// Every cluster of the mesh, and how its Kubernetes fits the target.
    #[serde(
        deserialize_with = "tolerant::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub clusters: Vec<ClusterCheck>,
    /// What the detection found: everything that is not as it should be, at most 50 entries.
    #[serde(
        deserialize_with = "tolerant::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub checks: Vec<CheckStatus>,
    /// How many checks passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks_passed: Option<u32>,
    /// What would be done; only with `mode: Preflight`.
    #[serde(
        deserialize_with = "tolerant::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub plan: Option<PlanSummary>,
    /// The value of the redetect annotation that was last acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_redetect: Option<String>,
    /// Workloads moved of all that have a sidecar, as text (`41/60`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// Workloads by state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadCounts>,
    /// Running sidecars by revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<ProxyCounts>,
    /// Workloads and pods that this upgrade does not move, with the reason and the way out.
    /// At most 50; the total is in `workloads.blocked`.
    #[serde(
        deserialize_with = "tolerant::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub blocked: Vec<BlockedWorkload>,
    /// Name of the Secret, in the operator's namespace, that holds what was found before the first
    /// mutation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Name of the backup, in the operator's namespace, that was taken before the first mutation:
    /// `meshlift backup show` and `meshlift restore` read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// The health check under way, and what it compares with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
    /// The waves, in their order; that of the gateways among them. A rollback leaves them as they were when it
    /// began: how far it had come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<WaveStatus>,
    /// The route of this run: every leg of it, in order, and how far it is travelled.
    #[serde(
        deserialize_with = "tolerant::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub legs: Vec<LegStatus>,
    /// That everything is moved back, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackStatus>,
    /// Which restarts have ended: what a workload of these does later is its owner's rollout, and no failed restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_restarts: Option<EndedRestarts>,
    /// That fewer workloads restart at once than the spec allows, and why; none at full pace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<PaceStatus>,
    /// Effects that failed and will be tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Attempts>,
    /// How it ended.
    #[serde(
        deserialize_with = "tolerant::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub outcome: Option<Outcome>,
    /// When this run left Pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the present step was entered; deadlines count from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_started_at: Option<Time>,
    /// Since when it waits for what it waits for now, which is the reason of condition `Reconciling`. Deadlines of
    /// such a wait count from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Time>,
    /// When it was last resumed after a pause: no deadline counts the time before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<Time>,
    /// When this run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Conditions after the kstatus rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Earlier runs of this object, newest first, at most 10.
    #[serde(
        deserialize_with = "tolerant::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub history: Vec<RunSummary>,
}

/// The phases, in their order.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum Phase {
    /// Accepted; waits for its turn.
    Pending,
    /// Finds out what runs and whether it can be upgraded. Touches nothing.
    Detecting,
    /// Control plane and workloads move.
    Upgrading,
    /// Everything moved; health is watched, then the old control plane goes.
    HealthChecking,
    /// The mesh is at the target.
    Done,
    /// It stopped and will do no more by itself.
    Failed,
}

/// The steps inside the phases, in their order.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum Step {
    /// Finds the mesh and checks that it can be upgraded.
    CheckingEnvironment,
    /// Writes down what is needed later, before the first mutation.
    Recording,
    /// Scaling istiod to `spec.inPlace.ensureReplicas` before it is upgraded in place.
    EnsuringReplicas,
    /// Upgrades the `base` chart, with the CRDs.
    UpgradingBase,
    /// Installs the new revision of istiod.
    InstallingControlPlane,
    /// Waits until the new control plane is ready and injects.
    ProvingControlPlane,
    /// Waits until a person lets the next wave begin.
    WaitingForApproval,
    /// Moves namespaces, tags and gateways to the new revision.
    MovingNamespaces,
    /// Restarts workloads whose sidecars are old.
    RestartingWorkloads,
    /// Watches the health of what has moved before the next wave begins.
    VerifyingWave,
    /// Watches health for the soak time.
    Soaking,
    /// Waits `retire.after` with both control planes up.
    KeepingOldControlPlane,
    /// Points the default revision and its validating webhook at the new control plane.
    MovingDefaultRevision,
    /// Restoring the minimum of the autoscaler, which was raised for the upgrade.
    RestoringAutoscaler,
    /// Removes the old control plane.
    RetiringControlPlane,
    /// Moves the default revision, tags, labels and gateways back to the old control plane.
    MovingBack,
    /// Restarts workloads that had moved.
    RestartingBack,
    /// Watches the health of what was moved back.
    ProvingBack,
    /// Removes the new control plane.
    RemovingNewControlPlane,
    /// Restoring the version and values of istiod, after an upgrade in place was rolled back.
    RestoringControlPlane,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Outcome {
    /// The mesh is at the target.
    Upgraded,
    /// It stopped; the message says in which state the mesh is.
    Stopped,
    /// A verification failed, or a person asked for it: everything is back on the old control plane.
    RolledBack,
    /// A preflight: nothing stands in the way.
    PlanReady,
    /// A preflight: something stands in the way.
    PlanBlocked,
}

/// A control plane by version and revision.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneRef {
    /// Istio version.
    pub version: String,
    /// Revision; `default` for an installation without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// Workloads (Deployments, StatefulSets, DaemonSets) with a sidecar, by state.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadCounts {
    /// All of them.
    pub total: u32,
    /// All pods on the new revision and ready.
    pub moved: u32,
    /// Restarted, not yet ready.
    pub restarting: u32,
    /// Waiting for their turn.
    pub pending: u32,
    /// Not movable by this upgrade; see `blocked`.
    pub blocked: u32,
    /// Restarted and not ready within the timeout.
    pub failed: u32,
}

/// Running sidecars, by revision.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyCounts {
    /// All of them.
    pub total: u32,
    /// On the target revision.
    pub current: u32,
    /// On another revision.
    pub outdated: u32,
    /// With no readable revision.
    pub unknown: u32,
}

/// Why something is not moved.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum Predicate {
    /// A pod without a controller.
    BarePod,
    /// A pod of a Job or CronJob.
    Job,
    /// A pod of a controller this operator does not know.
    UnknownController,
    /// A workload whose update strategy replaces no pods by itself.
    OnDelete,
    /// A StatefulSet whose partition keeps some pods back.
    Partition,
    /// A paused Deployment.
    Paused,
    /// Excluded by `dataPlane.exclude`.
    Excluded,
    /// The namespace is bound to a revision tag.
    Tag,
    /// The pod template itself names the revision or asks for injection.
    PodLabel,
    /// A gateway that istiod itself renders and rolls.
    ManagedGateway,
    /// Its own rollout had not ended when all others had moved.
    RolloutIncomplete,
    /// The namespace switches injection off, but old sidecars still run in it.
    InjectionOff,
    /// The namespace, tag or workload is moved by someone else (`dataPlane.move`).
    NotOurs,
    /// A ReplicaSet without an owner, which replaces no pods by itself.
    BareReplicaSet,
    /// Its disruption budget allows no eviction.
    DisruptionBudget,
    /// Restarted as often as allowed, and not ready.
    RestartFailed,
    /// Someone takes back the restart mark, or the revision that its pod template asks for.
    RestartPutBack,
    /// Its controller changes running pods in place, so that they keep their sidecars.
    InPlace,
    /// Moved, but it names a proxy image of its own.
    ProxyImage,
    /// Gateways are left alone (`gateways.order: None`).
    GatewaysExcluded,
    /// Its pods use the network of their host, where nothing is injected.
    HostNetwork,
    /// Its pod template itself holds the sidecar (`istioctl kube-inject`).
    SidecarInTemplate,
    /// Istio configuration with the label of one revision, which no other revision reads.
    RevisionLabel,
    /// It had moved, and its new pods have no sidecar.
    SidecarGone,
    /// The API server refused to have it changed until `dataPlane.restart.timeout` had passed: a policy, a webhook, a
    /// quota, a right.
    Refused,
    /// A new pod of its namespace is refused by somebody, or comes up without the new sidecar.
    PodRefused,
}

/// Something that this upgrade does not move.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BlockedWorkload {
    /// What it is: `apps/v1 Deployment shop/cart`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Why.
    pub predicate: Predicate,
    /// Why and how to move it, as a sentence with the command.
    pub message: String,
}

/// A leg of the route.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LegStatus {
    /// Name of the leg, for example `base`, `control-plane`, `wave/canary`, `retirement`.
    pub id: String,
    /// How far it is.
    pub state: LegState,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended, or was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

/// How far a leg is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum LegState {
    /// Its turn has not come.
    Pending,
    /// The upgrade is there.
    Active,
    /// Finished.
    Done,
    /// The upgrade stopped there.
    Failed,
    /// It is being rolled back.
    RollingBack,
    /// It was rolled back: nothing of it is in effect.
    RolledBack,
    /// It stays as it is: CRDs do not roll back, and an old control plane in use is not removed.
    Stays,
}

/// A wave.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WaveStatus {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub state: WaveState,
    /// How many namespaces it has.
    #[serde(default)]
    pub namespaces: u32,
    /// Workloads moved of all that it has, as text (`4/10`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// When it began; none if there was nothing to move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// The watch of its health under way, and what it compares with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
    /// When it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

impl WaveStatus {
    /// A wave whose turn has not come.
    pub fn pending(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: WaveState::Pending,
            namespaces: 0,
            progress: String::new(),
            started_at: None,
            soak: None,
            finished_at: None,
        }
    }
}

/// Where a wave is.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum WaveState {
    /// Its turn has not come.
    Pending,
    /// It waits until a person lets it begin.
    WaitingForApproval,
    /// Its namespaces and workloads move.
    Moving,
    /// All that can be moved has moved; health is watched.
    Verifying,
    /// Moved and healthy, or there was nothing to move.
    Verified,
    /// A rollback: what had moved of it goes back. What cannot is in `blocked`, and then it stays so.
    MovingBack,
    /// A rollback: nothing of it is on the new control plane any more.
    MovedBack,
}

/// A rollback.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RollbackStatus {
    /// Why, as a sentence.
    pub reason: String,
    /// Since when.
    pub since: Time,
    /// The watch of health after everything is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
}

/// Restarts that have ended. Restarts are numbered by their time, which is on the workload itself, so that a time and
/// the few that are still under way describe all of them, however large the mesh is.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EndedRestarts {
    /// Revision that the workloads were restarted for.
    pub revision: String,
    /// Restarts and evictions up to this time have ended.
    pub until: Time,
    /// UIDs of the workloads whose restart has not ended, although it is not later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// The health check under way: since when all is well, and the counter it started from.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Soak {
    /// When the health check (re)started.
    pub since: Time,
    /// Failed injections that the new control plane had counted at that time.
    pub injection_failures: u64,
    /// When the soak passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_at: Option<Time>,
}

/// A slower pace than the spec allows, because the control plane or the API server cannot keep up.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PaceStatus {
    /// Workloads that may restart at the same time. It grows by one with each look that finds all well.
    pub limit: u32,
    /// When it was last changed, by a look that was taken then.
    pub since: Time,
    /// Why it became slower, as a sentence.
    pub reason: String,
}

/// Failures of the present step that are tried again.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Attempts {
    /// Failures in a row.
    pub count: u32,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Time>,
    /// The last error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_error: String,
}

/// One ended run.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ControlPlaneRef>,
    /// Where it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ControlPlaneRef>,
    /// How it ended.
    #[serde(
        default,
        deserialize_with = "tolerant::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub outcome: Option<Outcome>,
    /// Its last message.
    pub message: String,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

impl Predicate {
    /// Whether it moves all the same, and is named for another reason.
    pub fn moves(self) -> bool {
        self == Self::ProxyImage
    }
}

impl Phase {
    /// Whether an upgrade in this phase does no more by itself.
    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Done | Phase::Failed)
    }

    /// Whether the mesh may be between two versions: deletion and spec changes are refused.
    pub fn is_locked(self) -> bool {
        matches!(self, Phase::Upgrading | Phase::HealthChecking)
    }
}

macro_rules! display_as_serialized {
    ($($kind:ty),*) => {$(
        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(self, f)
            }
        }
    )*};
}
display_as_serialized!(Phase, Step, Outcome, Predicate, WaveState, LegState);
