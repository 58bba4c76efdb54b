//! The waves of a plan: who moves with whom, after whom, and who lets it.

use jiff::SignedDuration;
use meshlift_api::Approval;
use meshlift_model::data_plane::DataPlaneView;
use meshlift_model::stages::Stages;
use meshlift_model::time::signed;
use meshlift_model::view::{MeshView, WorkloadKey};
use serde::Serialize;

use super::{PlanInputs, Restart};

/// A wave, the rest, or the gateways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedWave {
    /// Its name.
    pub name: String,
    /// Its namespaces.
    pub namespaces: Vec<String>,
    /// How many of its workloads are restarted.
    pub restarts: usize,
    /// Gateways of it that istiod rolls by itself.
    pub gateways: usize,
    /// Who lets it begin.
    pub approval: PlannedApproval,
    /// How long everything must stay healthy before the next begins.
    pub soak: SignedDuration,
}

/// Who lets a wave begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PlannedApproval {
    /// Nobody has to.
    NotNeeded,
    /// A person, who has not yet.
    Awaited,
    /// A person, who has.
    Given,
}

/// The waves in their order; none where everything moves at once.
pub(super) fn waves(
    inputs: &PlanInputs<'_>,
    stages: &Stages<'_>,
    judged: &DataPlaneView<'_>,
    restarts: &[Restart],
) -> Vec<PlannedWave> {
    let workloads = judged.placements.iter().map(|(workload, _)| *workload);
    let namespaces = stages.namespaces(inputs.record, workloads.clone());
    let of_stage = stages.all().iter().zip(namespaces).enumerate();
    of_stage
        .map(|(at, (stage, namespaces))| {
            let mine = |key: &WorkloadKey| stages.of_key(inputs.view, key) == at;
            let rendered = workloads.clone().filter(|w| w.managed_gateway);
            PlannedWave {
                name: stage.name.to_owned(),
                namespaces: namespaces.into_iter().map(str::to_owned).collect(),
                restarts: restarts.iter().filter(|r| mine(&r.workload)).count(),
                gateways: rendered.filter(|w| mine(&w.key)).count(),
                approval: approval(inputs, stage.name),
                soak: stage
                    .wave
                    .and_then(|wave| wave.soak)
                    .map(signed)
                    .unwrap_or_default(),
            }
        })
        .collect()
}

fn approval(inputs: &PlanInputs<'_>, name: &str) -> PlannedApproval {
    let spec = &inputs.upgrade.spec;
    let wave = spec.data_plane.waves.iter().find(|wave| wave.name == name);
    let given = spec.approvals.iter().any(|approved| approved == name);
    match wave.map(|wave| wave.approval) {
        Some(Approval::Required) if given => PlannedApproval::Given,
        Some(Approval::Required) => PlannedApproval::Awaited,
        Some(Approval::Automatic) | None => PlannedApproval::NotNeeded,
    }
}

/// The restarts of each wave, in the order in which they come; all in one where there are no waves.
pub(super) fn by_wave<'a>(
    stages: &Stages<'_>,
    view: &MeshView,
    restarts: &'a [Restart],
) -> Vec<&'a [Restart]> {
    restarts
        .chunk_by(|a, b| stages.of_key(view, &a.workload) == stages.of_key(view, &b.workload))
        .collect()
}
