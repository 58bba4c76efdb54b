//! What [`meshlift_planner::decide`] answers.

mod effects;

use jiff::{SignedDuration, Timestamp};
use meshlift_api::{
    BlockedWorkload, ControlPlaneRef, EndedRestarts, LegStatus, MeshSpec, Outcome, PaceStatus,
    Phase, PlanSummary, ProxyCounts, RollbackStatus, Soak, Step, WaveStatus, WorkloadCounts,
};
use meshlift_istio::version::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::detection::Detection;
use crate::record::Record;
use crate::view::{BudgetRule, Release, StorageRef, WorkloadKey};

/// Helm's own limit for one operation. Who begins one gives it this; who finds one that another process began waits for
/// longer.
pub const HELM_TIMEOUT: SignedDuration = SignedDuration::from_secs(90);

/// What to do next, and what to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What to do.
    pub next: Next,
    /// What to say.
    pub report: Report,
}

/// The next move. Exactly one.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Pin facts; no other effect.
    Record(Box<Record>),
    /// Mutate: like effects, order-free, each idempotent.
    Act(Batch),
    /// Do nothing until something changes or the time comes.
    Wait(Waiting),
    /// Change phase, nothing else.
    Enter(Phase),
}

/// Effects that may be executed in any order.
pub type Batch = Vec<Effect>;

/// A mutation of the cluster with every parameter in it: its executor has nothing left to choose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Make a Mesh object for the control plane that was found.
    RegisterMesh {
        /// Name of the Mesh.
        name: String,
        /// What was found.
        spec: Box<MeshSpec>,
    },
    /// Put our finalizer on the MeshUpgrade.
    HoldDeletion,
    /// Take our finalizer off the MeshUpgrade.
    LetGo,
    /// Delete the storage Secret of a Helm operation that died halfway.
    ClearPendingRelease {
        /// Release name.
        release: String,
        /// Release namespace.
        namespace: String,
        /// The Secret, exactly as it was seen.
        #[serde(skip)]
        storage: StorageRef,
    },
    /// Write the plan where a person can read it: a Secret in the operator's namespace.
    WritePlan {
        /// The plan.
        #[serde(skip)]
        text: String,
    },
    /// Write down what the mesh looks like, so that it can be brought back: whole or not at all.
    BackUp(Box<BackupScope>),
    /// Bring the `base` chart, with the CRDs, to the target version.
    UpgradeBase(ChartTarget),
    /// Install istiod of the target version under its revision.
    InstallRevision(ChartTarget),
    /// Bring the istiod that runs to another version or to other values, where it is.
    UpgradeIstiod(ChartTarget),
    /// Give the autoscaler of the new control plane the minimum that its owner chose.
    RestoreMinimum(ChartTarget),
    /// Make a disruption budget for the new control plane like the one that a person made for the old one.
    CopyBudget {
        /// Namespace of both.
        namespace: String,
        /// Name of the copy.
        name: String,
        /// Name of the budget that it is a copy of.
        of: String,
        /// Revision of the pods that it selects.
        revision: String,
        /// Deployment that owns the copy, so that it is removed with it.
        owner: String,
        /// UID of that.
        owner_uid: String,
        /// What it demands.
        rule: BudgetRule,
    },
    /// Point the default revision, with its validating webhook, at the new control plane.
    PointDefaultRevision(ChartTarget),
    /// Write the injection labels of a namespace, in one patch.
    MoveNamespace {
        /// Namespace.
        name: String,
        /// Its UID.
        uid: String,
        /// Its resource version when it was looked at.
        resource_version: String,
        /// Revision that its new pods get from these labels.
        revision: String,
        /// The labels as they shall be.
        labels: InjectionLabels,
        /// Whether it is remembered on the namespace that this operator moved it to this revision.
        mark: bool,
    },
    /// Point a revision tag at a revision: its label and every webhook in one write, its Service too.
    PointTag {
        /// Tag.
        tag: String,
        /// Its MutatingWebhookConfiguration.
        configuration: String,
        /// UID of that.
        uid: String,
        /// Resource version of that when it was looked at.
        resource_version: String,
        /// Revision to point at.
        revision: String,
        /// Namespace of istiod.
        namespace: String,
        /// Name of istiod's Service.
        istiod: String,
        /// Whether it is remembered on the tag that this operator moved it to this revision.
        mark: bool,
    },
    /// Tell Helm to leave a revision tag alone, with its Service, when its release no longer has it.
    KeepTag {
        /// Tag.
        tag: String,
        /// Its MutatingWebhookConfiguration.
        configuration: String,
        /// UID of that.
        uid: String,
        /// Resource version of that when it was looked at.
        resource_version: String,
        /// Namespace of istiod.
        namespace: String,
    },
    /// Take revision tags that are kept out of the release of the old control plane, which else changes in nothing.
    ReleaseTags(ChartTarget),
    /// Ask for a revision in the label of a Gateway that istiod renders.
    LabelGateway {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Its UID.
        uid: String,
        /// Its resource version when it was looked at.
        resource_version: String,
        /// Revision that shall own it.
        revision: String,
        /// The label as it shall be; none to take it away.
        label: Option<String>,
        /// Whether it is remembered on the Gateway that this operator asked for this revision.
        mark: bool,
        /// When.
        at: Timestamp,
    },
    /// Restart a workload by marking its pod template, in one patch.
    RestartWorkload {
        /// Workload.
        key: WorkloadKey,
        /// Its UID.
        uid: String,
        /// Its resource version when it was looked at.
        resource_version: String,
        /// Restart mark.
        mark: String,
        /// What its pod template shall ask for, where the template itself decides.
        template_revision: Option<TemplateRevision>,
        /// When.
        at: Timestamp,
    },
    /// Evict a pod, within its disruption budget. A refusal for the budget's sake is no failure.
    EvictPod {
        /// Namespace.
        namespace: String,
        /// Name of the pod.
        name: String,
        /// UID of the pod.
        uid: String,
        /// Workload that replaces it.
        workload: WorkloadKey,
        /// UID of that.
        workload_uid: String,
        /// When, to be remembered on the workload. The eviction of a new pod that had its time is not, and
        /// is done only while that pod is not ready.
        at: Option<Timestamp>,
    },
    /// Remove the old control plane.
    RetireRevision {
        /// Helm release.
        release: String,
        /// Release namespace.
        namespace: String,
        /// Revision it serves.
        revision: String,
    },
}

/// The labels of a namespace that decide injection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InjectionLabels {
    /// `istio-injection`; none takes it away.
    pub injection: Option<String>,
    /// `istio.io/rev`; none takes it away.
    pub revision: Option<String>,
}

impl InjectionLabels {
    /// Bound to a revision or a tag.
    pub fn bound_to(name: &str) -> Self {
        Self {
            injection: None,
            revision: Some(name.to_owned()),
        }
    }
}

/// The label `istio.io/rev` of a pod template that asks for injection itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TemplateRevision {
    /// The label as it shall be; none takes it away.
    pub label: Option<String>,
    /// What is remembered on the workload of the label as it was: empty if there was none. None forgets it.
    pub before: Option<String>,
}

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackupScope {
    /// Name of the backup, which the names of its Secrets begin with.
    pub name: String,
    /// The mesh.
    pub mesh: String,
    /// The control plane that the upgrade comes from.
    pub from: ControlPlaneRef,
    /// The control plane that the upgrade goes to.
    pub to: ControlPlaneRef,
    /// Helm releases as they were seen; their values may hold secrets.
    #[serde(skip)]
    pub releases: Vec<Release>,
}

/// A Helm release as it shall be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChartTarget {
    /// Release name.
    pub release: String,
    /// Release namespace.
    pub namespace: String,
    /// Chart.
    pub chart: Chart,
    /// Chart repository.
    pub repository: String,
    /// Chart version.
    pub version: Version,
    /// SHA-256 of the chart's archive in hexadecimal: another one is not installed. None where it was never seen before,
    /// as in a release that is only rendered again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// User values.
    pub values: Map<String, Value>,
}

impl ChartTarget {
    /// Why an archive with this digest is not installed; none if it is the one that was detected.
    pub fn refuses(&self, digest: &str) -> Option<String> {
        let pinned = self.digest.as_deref().filter(|pinned| *pinned != digest)?;
        Some(format!(
            "chart {} {} in {} is another archive now than when it was detected (sha256 {pinned} then, {digest} now), so it was not installed: find out who replaced it, and put the first one back. If the new one is meant, roll this upgrade back (spec.requestRollback: true) and create a new MeshUpgrade, whose detection takes what there is then",
            self.chart.name(),
            self.version,
            self.repository
        ))
    }
}

/// The charts that this operator installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chart {
    /// CRDs and the validator of the default revision.
    Base,
    /// The control plane.
    Istiod,
}

impl Chart {
    /// Its name in the chart repository.
    pub fn name(self) -> &'static str {
        match self {
            Chart::Base => "base",
            Chart::Istiod => "istiod",
        }
    }
}

/// A wait, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// For what.
    pub on: WaitingOn,
    /// When to look again even if nothing changes.
    pub until: Timestamp,
}

/// What an upgrade can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum WaitingOn {
    /// An older upgrade of the same mesh.
    Rival,
    /// A person who must mend what the detection found.
    Environment,
    /// `spec.paused`.
    Paused,
    /// Nothing: a pause is over, and all clocks begin again.
    Resumed,
    /// The next maintenance window.
    Window,
    /// A person who lets the next wave begin.
    Approval,
    /// A change that someone else has to commit, because a GitOps tool owns what has to change.
    Git,
    /// A person who mends what is wrong, or asks to move back.
    Person,
    /// Health of what has moved, before the next wave begins.
    Wave,
    /// Gateways that istiod rolls.
    Gateways,
    /// The next try of an effect that failed.
    Backoff,
    /// Something that cannot be read just now.
    Unreadable,
    /// A Helm operation that someone else runs.
    ForeignHelm,
    /// The new control plane.
    ControlPlane,
    /// A dry-run pod that is not yet injected as it should be.
    Injection,
    /// Workloads that are restarting.
    Workloads,
    /// Health, through the soak.
    Soak,
    /// `retire.after`.
    RetireDelay,
    /// The default validator to point at the new control plane.
    Validator,
    /// The old control plane to be gone.
    Retirement,
    /// Nothing: it has ended.
    Nothing,
}

/// What to say. Fields that are `None` stay as they were in status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Step inside the phase.
    pub step: Option<Step>,
    /// One sentence.
    pub message: String,
    /// Source control plane.
    pub from: Option<ControlPlaneRef>,
    /// Target control plane.
    pub target: Option<ControlPlaneRef>,
    /// Workloads by state.
    pub workloads: Option<WorkloadCounts>,
    /// Proxies by revision.
    pub proxies: Option<ProxyCounts>,
    /// What is not moved; the whole list.
    pub blocked: Option<Vec<BlockedWorkload>>,
    /// The waves.
    pub waves: Option<Vec<WaveStatus>>,
    /// The route, when it begins.
    pub legs: Option<Vec<LegStatus>>,
    /// The rollback under way.
    pub rollback: Option<RollbackStatus>,
    /// Name of the backup, where it is not one of this run.
    pub backup: Option<String>,
    /// Which restarts have ended.
    pub ended_restarts: Option<EndedRestarts>,
    /// The pace of restarts; `Some(None)` is full pace.
    pub pace: Option<Option<PaceStatus>>,
    /// The health check under way; `Some(None)` clears it.
    pub soak: Option<Option<Soak>>,
    /// What the detection found.
    pub detection: Option<Detection>,
    /// What would be done, once it is written down.
    pub plan: Option<PlanSummary>,
    /// Conditions.
    pub findings: Findings,
    /// Whether it goes on only when a person does what the message says.
    pub needs_person: bool,
    /// How it ends, with `Enter` of a terminal phase.
    pub outcome: Option<Outcome>,
    /// A new run begins: the one before goes to history.
    pub new_run: bool,
    /// One step of several is done: it goes to history as such, and the next one begins.
    pub hop_done: bool,
}

/// Conditions that this decision speaks of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// `Detected`.
    pub detected: Option<Verdict>,
    /// `ControlPlaneReady`.
    pub control_plane_ready: Option<Verdict>,
    /// `DataPlaneUpgraded`.
    pub data_plane_upgraded: Option<Verdict>,
    /// `Healthy`.
    pub healthy: Option<Verdict>,
    /// `OldRevisionRetired`.
    pub old_revision_retired: Option<Verdict>,
}

/// A condition: holds or not, why, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// Fixed reason.
    pub reason: &'static str,
    /// Sentence.
    pub message: String,
}

impl Verdict {
    /// It holds.
    pub fn yes(reason: &'static str, message: impl Into<String>) -> Option<Self> {
        Some(Self {
            holds: true,
            reason,
            message: message.into(),
        })
    }

    /// It does not hold.
    pub fn no(reason: &'static str, message: impl Into<String>) -> Option<Self> {
        Some(Self {
            holds: false,
            reason,
            message: message.into(),
        })
    }
}

impl Decision {
    /// What to do, and what to report of it.
    pub fn new(next: Next, report: Report) -> Self {
        Self { next, report }
    }

    /// Whether it goes on only when a person does something, which the message names.
    pub fn waits_for_person(&self) -> bool {
        let Next::Wait(waiting) = &self.next else {
            return false;
        };
        let person = matches!(
            waiting.on,
            WaitingOn::Environment
                | WaitingOn::Paused
                | WaitingOn::Approval
                | WaitingOn::Git
                | WaitingOn::Person
        );
        person || self.report.needs_person
    }

    /// Whether executing it changes the cluster (the status aside).
    pub fn mutates(&self) -> bool {
        matches!(self.next, Next::Act(_) | Next::Record(_))
    }
}
