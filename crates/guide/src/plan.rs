//! The plan of an upgrade: everything it would do, in its order, before anything is touched.
//!
//! It asks the same functions that decide later: a plan that says something else than what then
//! happens would be worse than none.

mod compare;
mod estimate;
mod releases;
mod render;
#[cfg(test)]
mod tests;
mod waves;

use jiff::Timestamp;
use meshlift_api::labels::{ISTIO_INJECTION, ISTIO_REV};
use meshlift_api::{
    BlockedWorkload, PlanSummary, PlannedRelease, ProxyCounts, ReleaseAction, Strategy,
};
use serde::Serialize;

pub use self::compare::{Comparison, Manifest, compare, comparisons};
pub use self::estimate::{Estimate, EstimatedPart};
pub use self::render::DiffStyle;
pub use self::waves::{PlannedApproval, PlannedWave};
use meshlift_istio::version::Version;
use meshlift_model::data_plane::{DataPlaneView, Placement, assess_toward};
use meshlift_model::diff::{ReleaseChange, ReleaseDiff};
use meshlift_model::heading::Heading;
use meshlift_model::record::Record;
use meshlift_model::stages::Stages;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{DraftedPlan, MeshView, Namespace, WorkloadKey};
use meshlift_model::{message, pace, windows};
use meshlift_planner::{drafted, tags_to_move, to_move};

/// What an upgrade would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Name of the Mesh.
    pub mesh: String,
    /// How the control plane is replaced.
    pub strategy: Strategy,
    /// Version that runs.
    pub from: Version,
    /// Its revision.
    pub from_revision: String,
    /// Version of the first hop, which the rest of the plan speaks of.
    pub to: Version,
    /// Its revision.
    pub to_revision: String,
    /// Versions of the hops after it; each is planned when it is next.
    pub later: Vec<Version>,
    /// The route: its legs by the names that `status.legs` has, in order.
    pub legs: Vec<String>,
    /// What happens to Helm releases, in order.
    pub releases: Vec<ReleaseStep>,
    /// What somebody has to commit, in order, where others render the control plane.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commits: Vec<String>,
    /// Replicas that the new control plane starts with, where its values ask for fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_with: Option<u32>,
    /// Disruption budget that is copied for the new control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_budget: Option<String>,
    /// Why releases were not compared, where they were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
    /// Revision tags that are pointed at the new control plane.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Namespaces that change their label.
    pub namespaces: Vec<NamespaceMove>,
    /// The waves in their order; none where everything moves at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<PlannedWave>,
    /// Workloads that are restarted, in order.
    pub restarts: Vec<Restart>,
    /// Workloads that restart at the same time: in the mesh, and in one namespace.
    pub limits: Limits,
    /// What is not moved, why, and the command that would do it.
    pub blocked: Vec<BlockedWorkload>,
    /// What will keep the old control plane in use, as far as it is seen now.
    pub old_used_by: Vec<String>,
    /// Sidecars by revision; current are those of the target.
    pub proxies: ProxyCounts,
    /// When it may begin, where no maintenance window is open now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begins: Option<Opening>,
    /// How long it may take.
    pub estimate: Estimate,
}

/// The next maintenance window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Opening {
    /// When it opens.
    pub at: Timestamp,
    /// The same as clocks in its time zone show it.
    pub told: String,
}

/// What happens to one Helm release.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStep {
    /// The step.
    pub change: ReleaseChange,
    /// What Helm does.
    pub action: ReleaseAction,
    /// Release name.
    pub release: String,
    /// Release namespace.
    pub namespace: String,
    /// Chart.
    pub chart: String,
    /// Chart version before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// Chart version after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// What becomes of its objects; none where it was not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<ReleaseDiff>,
}

/// A namespace that changes its label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceMove {
    /// Namespace.
    pub name: String,
    /// Injection labels it has.
    pub before: Vec<String>,
    /// Injection label it gets.
    pub after: String,
    /// Who last wrote the label, if that is known: a GitOps tool puts it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_by: Option<String>,
}

/// A workload that is restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// Which.
    pub workload: WorkloadKey,
    /// Its pods that have a sidecar.
    pub pods: usize,
    /// Whether it first has to end a rollout of its own.
    pub waits: bool,
}

/// How many workloads restart at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// In the whole mesh.
    pub mesh: u32,
    /// In one namespace.
    pub namespace: u32,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct PlanInputs<'a> {
    /// Now.
    pub now: Timestamp,
    /// The upgrade.
    pub upgrade: &'a Upgrade,
    /// The mesh as it was seen; `view.diffs` is taken from it where it is there.
    pub view: &'a MeshView,
    /// The record of the first hop, as it is or would be written.
    pub record: &'a Record,
    /// Every version on the way, the record's target first.
    pub hops: &'a [Version],
}

/// Plans the next hop of an upgrade; `None` where a detection finds no way to plan.
pub fn planned(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Option<Result<Plan, String>> {
    let (record, hops) = drafted(now, upgrade, view)?;
    Some(plan(&PlanInputs {
        now,
        upgrade,
        view,
        record: &record,
        hops: &hops,
    }))
}

/// The same as a preflight stores and reports it; nothing where there is no way to plan, or not all of it can be seen.
pub fn draft(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Option<DraftedPlan> {
    let plan = planned(now, upgrade, view)?.ok()?;
    Some(DraftedPlan {
        text: plan.stored(),
        summary: plan.summary(),
        takes: plan.estimate.range(),
    })
}

/// What to compare for that plan; nothing where there is none.
pub fn wanted_comparisons(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Vec<Comparison> {
    drafted(now, upgrade, view).map_or_else(Vec::new, |(record, _)| comparisons(&record))
}

/// Plans an upgrade; the error says what could not be seen.
pub fn plan(inputs: &PlanInputs<'_>) -> Result<Plan, String> {
    let PlanInputs {
        now,
        upgrade,
        view,
        record,
        hops,
    } = *inputs;
    let heading = Heading::ahead(record);
    let stages = Stages::of(upgrade, record).opened();
    let judged = assess_toward(now, heading, Some(&stages), upgrade, view).ok_or_else(|| {
        "the plan needs the namespaces, workloads and control planes, and not all of them could be seen"
            .to_owned()
    })?;
    let blocked = blocked(&judged);
    let restarts = restarts(&judged, &stages, view);
    let tags = tags_to_move(now, upgrade, view, record);
    let restart = &upgrade.spec.data_plane.restart;
    Ok(Plan {
        mesh: upgrade.spec.mesh.clone(),
        strategy: upgrade.spec.strategy,
        from: record.source.version.clone(),
        from_revision: record.source_revision.clone(),
        to: record.target_version.clone(),
        to_revision: record.target_revision.clone(),
        later: hops
            .iter()
            .filter(|hop| **hop != record.target_version)
            .cloned()
            .collect(),
        legs: record.legs().into_iter().map(|leg| leg.id).collect(),
        releases: releases::steps(record, view),
        commits: commits(record, view),
        starts_with: record.raised_minimum,
        copied_budget: record
            .budget
            .as_ref()
            .map(|budget| format!("{}/{}", record.source.namespace, budget.name)),
        not_compared: view.diffs.unreadable().map(str::to_owned),
        limits: Limits {
            mesh: restart.max_concurrent,
            namespace: restart.max_concurrent_per_namespace,
        },
        waves: waves::waves(inputs, &stages, &judged, &restarts),
        begins: begins(now, upgrade),
        estimate: estimate::estimate(
            &upgrade.spec,
            &waves::by_wave(&stages, view, &restarts),
            admitted(record, view),
        ),
        old_used_by: match record.strategy {
            Strategy::Canary => old_used_by(record, view, &tags, &blocked),
            Strategy::InPlace => Vec::new(),
        },
        namespaces: namespaces(inputs),
        tags,
        restarts,
        blocked,
        proxies: judged.proxies,
    })
}

/// What is left to commit of a mesh that others render.
fn commits(record: &Record, view: &MeshView) -> Vec<String> {
    if record.by_helm() {
        return Vec::new();
    }
    let points_default = view.may_move_validator(&record.source.namespace);
    message::Commits::of(record).all(points_default)
}

/// What is not moved, in the order of its names.
fn blocked(judged: &DataPlaneView<'_>) -> Vec<BlockedWorkload> {
    let mut blocked = judged.blocked.clone();
    blocked.retain(|blocked| !blocked.predicate.moves());
    blocked.sort_by(|a, b| a.reference.cmp(&b.reference));
    blocked
}

/// What is restarted, wave by wave.
fn restarts(judged: &DataPlaneView<'_>, stages: &Stages<'_>, view: &MeshView) -> Vec<Restart> {
    let moves = judged.in_order(|placement| {
        matches!(
            placement,
            Placement::Stale(_) | Placement::Held(_) | Placement::Busy | Placement::Later
        )
    });
    let mut restarts: Vec<Restart> = moves
        .into_iter()
        // istiod rolls those that it renders.
        .filter(|(workload, _)| !workload.managed_gateway)
        .map(|(workload, _)| Restart {
            workload: workload.key.clone(),
            pods: workload.pods.len(),
            waits: !workload.settled,
        })
        .collect();
    restarts.sort_by_key(|restart| stages.of_key(view, &restart.workload));
    restarts
}

fn namespaces(inputs: &PlanInputs<'_>) -> Vec<NamespaceMove> {
    let PlanInputs {
        upgrade,
        view,
        record,
        ..
    } = *inputs;
    let all = view.namespaces.present().into_iter().flatten();
    all.filter(|namespace| to_move(upgrade, view, record, namespace))
        .map(|namespace| namespace_move(namespace, &record.target_revision))
        .collect()
}

fn begins(now: Timestamp, upgrade: &Upgrade) -> Option<Opening> {
    let windows = &upgrade.spec.windows;
    match windows::open(now, windows) {
        windows::Opening::ClosedUntil(at) => Some(Opening {
            at,
            told: windows::told(at, windows),
        }),
        windows::Opening::Open | windows::Opening::Never => None,
    }
}

/// New proxies a second that the new control plane gets at most: it will have as many replicas as the old one.
fn admitted(record: &Record, view: &MeshView) -> u32 {
    let old = view.plane(record.source_plane());
    let replicas = old.map_or(1, |plane| plane.desired.max(1));
    pace::admitted_by(1).saturating_mul(replicas) / 2
}

fn namespace_move(namespace: &Namespace, revision: &str) -> NamespaceMove {
    let label = |key: &str| {
        let value = namespace.labels.get(key)?;
        Some(format!("{key}={value}"))
    };
    let owner = namespace.label_owner.as_deref();
    NamespaceMove {
        name: namespace.name.clone(),
        before: [ISTIO_INJECTION, ISTIO_REV]
            .into_iter()
            .filter_map(label)
            .collect(),
        after: format!("{ISTIO_REV}={revision}"),
        written_by: owner.map(str::to_owned),
    }
}

/// Who will still use the old control plane when all else has moved.
fn old_used_by(
    record: &Record,
    view: &MeshView,
    moved: &[String],
    blocked: &[BlockedWorkload],
) -> Vec<String> {
    let tags = view.tags().iter().filter(|tag| !moved.contains(&tag.name));
    let tags = tags.filter(|tag| tag.revision == record.source_revision);
    let tags = tags.map(|tag| format!("revision tag {}", tag.name));
    tags.chain(blocked.iter().map(|b| b.reference.clone()))
        .collect()
}

impl Plan {
    /// What status says of it. The name of the Secret is the caller's to add.
    pub fn summary(&self) -> PlanSummary {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        PlanSummary {
            secret: None,
            releases: self
                .releases
                .iter()
                .map(|step| self.planned(step))
                .collect(),
            namespaces: count(self.namespaces.len()),
            restarts: count(self.restarts.len()),
            blocked: count(self.blocked.len()),
            estimate: self.estimated(),
        }
    }

    fn planned(&self, step: &ReleaseStep) -> PlannedRelease {
        let version = |version: &Option<Version>| version.as_ref().map(ToString::to_string);
        PlannedRelease {
            release: format!("{}/{}", step.namespace, step.release),
            chart: step.chart.clone(),
            action: step.action,
            from: version(&step.from),
            to: version(&step.to),
            changes: self.changes(step),
        }
    }

    /// What sidecars are told by: the revision, in place the version.
    pub(crate) fn to_name(&self) -> String {
        match self.strategy {
            Strategy::Canary => self.to_revision.clone(),
            Strategy::InPlace => self.to.to_string(),
        }
    }

    /// Objects of a release that come, change and go, in words.
    pub(crate) fn changes(&self, step: &ReleaseStep) -> String {
        let counted = step.diff.as_ref().map(|diff| diff.summary().to_string());
        match (step.change, counted) {
            (ReleaseChange::Install, Some(counted)) => {
                format!("compared with revision {}: {counted}", self.from_revision)
            }
            (ReleaseChange::Retire, counted) if !self.old_used_by.is_empty() => {
                let counted = counted.map(|c| format!("{c}; ")).unwrap_or_default();
                let users = message::first_few(&self.old_used_by);
                format!("{counted}stays as long as it is used, now by {users}")
            }
            (_, counted) => counted.unwrap_or_default(),
        }
    }

    /// `1h 6m to 1h 17m, an estimate: ...`.
    fn estimated(&self) -> String {
        let hops = match self.later.len() {
            0 => String::new(),
            _ => format!(" for the step to {}", self.to),
        };
        format!(
            "{}{hops}, an estimate: {} restarts, {} at a time and {} in a namespace, with the soak{}",
            self.estimate.range(),
            self.restarts.len(),
            self.limits.mesh,
            self.limits.namespace,
            match self.strategy {
                Strategy::Canary => " and the time the old control plane stays",
                Strategy::InPlace => "",
            }
        )
    }
}
