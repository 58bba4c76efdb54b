//! What is decoded of a workload, and what follows from it: how it replaces pods, and how far it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Toleration;
use kube::api::ObjectMeta;
use meshlift_model::view::{Replicas, UpdateStrategy, WorkloadKind};
use serde::{Deserialize, Deserializer};

use super::super::containers::{Amounts, Container, Resources};
use crate::slim::slim_meta;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) replicas: Option<u32>,
    pub(super) paused: bool,
    pub(super) template: Template,
    pub(super) update_strategy: Strategy,
    /// Of a Deployment.
    strategy: Recreation,
    /// When a Rollout was last asked to restart its pods.
    pub(super) restart_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Template {
    #[serde(deserialize_with = "slim_meta")]
    pub(super) metadata: ObjectMeta,
    pub(super) spec: TemplateSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TemplateSpec {
    pub(super) containers: Vec<Container<Variables>>,
    pub(super) init_containers: Vec<Container<Variables>>,
    pub(super) overhead: Amounts,
    pub(super) resources: Resources,
    pub(super) tolerations: Vec<Toleration>,
    pub(super) node_selector: BTreeMap<String, String>,
    pub(super) host_network: bool,
}

/// What matters of the environment of a container.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Variables {
    /// `EXTERNAL_ISTIOD` is true. Source: istio `pilot/pkg/features/pilot.go`.
    pub(super) external: bool,
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(default)]
        #[derive(Default)]
        struct Variable {
            name: String,
            value: String,
        }
        let all = Vec::<Variable>::deserialize(from)?;
        // As Go reads a boolean.
        let is_true = |value: &str| ["1", "t", "T", "true", "TRUE", "True"].contains(&value);
        Ok(Self {
            external: all
                .iter()
                .any(|variable| variable.name == "EXTERNAL_ISTIOD" && is_true(&variable.value)),
        })
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Recreation {
    #[serde(rename = "type")]
    kind: String,
    rolling_update: RollingDeployment,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RollingDeployment {
    max_unavailable: Amount,
}

/// A number of pods, or so many percent of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(u32),
    Percent(String),
}

impl Default for Amount {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Amount {
    /// How many pods that is, rounded down.
    fn of(&self, replicas: u32) -> u32 {
        match self {
            Self::Number(pods) => *pods,
            Self::Percent(text) => {
                let percent: u32 = text.trim_end_matches('%').parse().unwrap_or(0);
                replicas.saturating_mul(percent) / 100
            }
        }
    }
}

impl Spec {
    /// How many pods of a Deployment must be available for it to be `Available`.
    /// Source: kubernetes `pkg/controller/deployment/progress.go` and `util/deployment_util.go` (`MaxUnavailable`).
    pub(super) fn enough(&self) -> u32 {
        let desired = self.replicas.unwrap_or(1);
        desired.saturating_sub(self.strategy.rolling_update.max_unavailable.of(desired))
    }
}

/// How it replaces pods; OpenKruise has more ways than Kubernetes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Strategy {
    #[serde(rename = "type")]
    kind: String,
    partition: Partition,
    paused: bool,
    rolling_update: Rolling,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rolling {
    partition: Partition,
    paused: bool,
    pod_update_policy: String,
    rolling_update_type: String,
}

/// A number of pods, or `20%` of them.
#[derive(Clone, Copy, Debug, Default)]
struct Partition(u32);

impl<'de> Deserialize<'de> for Partition {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match Option::<Amount>::deserialize(from)? {
            Some(Amount::Number(pods)) => pods,
            // What cannot be read keeps some pods back.
            Some(Amount::Percent(text)) => text.trim_end_matches('%').parse().unwrap_or(1),
            None => 0,
        }))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    #[serde(deserialize_with = "generation")]
    pub(super) observed_generation: i64,
    pub(super) replicas: u32,
    pub(super) updated_replicas: u32,
    ready_replicas: u32,
    pub(super) available_replicas: u32,
    current_revision: String,
    update_revision: String,
    pub(super) desired_number_scheduled: u32,
    updated_number_scheduled: u32,
    number_available: u32,
    pub(super) number_ready: u32,
    /// Of a Rollout.
    phase: String,
    /// The restart that a Rollout has finished.
    restarted_at: Option<Timestamp>,
}

/// A number, which a Rollout writes as text; before Argo Rollouts 1.0 it was a hash, which says nothing.
fn generation<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Observed {
        Number(i64),
        Text(String),
    }
    Ok(match Option::<Observed>::deserialize(from)? {
        Some(Observed::Number(generation)) => generation,
        Some(Observed::Text(text)) => text.parse().unwrap_or(i64::MAX),
        None => 0,
    })
}

/// How it replaces pods. Source of the kinds of OpenKruise: openkruise/kruise `apis/apps` of v1.8.
pub(super) fn strategy(kind: WorkloadKind, spec: &Spec) -> UpdateStrategy {
    const IN_PLACE: [&str; 2] = ["InPlaceIfPossible", "InPlaceOnly"];
    let strategy = &spec.update_strategy;
    let rolling = &strategy.rolling_update;
    let (in_place, partition) = match kind {
        WorkloadKind::Deployment if spec.strategy.kind == "Recreate" => {
            return UpdateStrategy::Recreate;
        }
        WorkloadKind::Deployment | WorkloadKind::ReplicaSet | WorkloadKind::Rollout => {
            return UpdateStrategy::Rolling;
        }
        WorkloadKind::CloneSet => (strategy.kind.as_str(), strategy.partition),
        WorkloadKind::AdvancedDaemonSet => {
            (rolling.rolling_update_type.as_str(), rolling.partition)
        }
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet | WorkloadKind::AdvancedStatefulSet => {
            (rolling.pod_update_policy.as_str(), rolling.partition)
        }
    };
    match strategy.kind.as_str() {
        "OnDelete" => UpdateStrategy::OnDelete,
        _ if IN_PLACE.contains(&in_place) => UpdateStrategy::InPlace,
        _ if partition.0 > 0 => UpdateStrategy::Partition(partition.0),
        _ => UpdateStrategy::Rolling,
    }
}

/// Whether a change of its template waits.
pub(super) fn paused(spec: &Spec) -> bool {
    let strategy = &spec.update_strategy;
    spec.paused || strategy.paused || strategy.rolling_update.paused
}

/// How many pods it wants.
pub(super) fn desired(kind: WorkloadKind, spec: &Spec, status: &Status) -> u32 {
    match kind {
        WorkloadKind::DaemonSet | WorkloadKind::AdvancedDaemonSet => {
            status.desired_number_scheduled
        }
        _ => spec.replicas.unwrap_or(1),
    }
}

/// Whether as many pods are ready as it wants, of whatever template.
pub(super) fn whole(kind: WorkloadKind, spec: &Spec, status: &Status) -> bool {
    let ready = match kind {
        WorkloadKind::DaemonSet | WorkloadKind::AdvancedDaemonSet => status.number_available,
        WorkloadKind::StatefulSet | WorkloadKind::AdvancedStatefulSet => status.ready_replicas,
        _ => status.available_replicas,
    };
    ready >= desired(kind, spec, status)
}

/// Its pods as its controller counts them.
pub(super) fn replicas(kind: WorkloadKind, spec: &Spec, status: &Status) -> Replicas {
    Replicas {
        desired: desired(kind, spec, status),
        ready: match kind {
            WorkloadKind::DaemonSet | WorkloadKind::AdvancedDaemonSet => status.number_ready,
            _ => status.ready_replicas,
        },
        rolling: rolling(kind, spec, status),
    }
}

/// Whether there are pods of an older template beside those of the newest, whether they are ready or not.
fn rolling(kind: WorkloadKind, spec: &Spec, status: &Status) -> bool {
    match kind {
        WorkloadKind::ReplicaSet => false,
        WorkloadKind::Deployment | WorkloadKind::CloneSet | WorkloadKind::Rollout => {
            status.updated_replicas > 0 && status.updated_replicas < status.replicas
        }
        WorkloadKind::StatefulSet | WorkloadKind::AdvancedStatefulSet => {
            status.current_revision != status.update_revision
                && status.updated_replicas < desired(kind, spec, status)
        }
        WorkloadKind::DaemonSet | WorkloadKind::AdvancedDaemonSet => {
            status.updated_number_scheduled < status.desired_number_scheduled
        }
    }
}

/// The conditions of `kubectl rollout status` (kubectl `pkg/polymorphichelpers/rollout_status.go`),
/// and all replicas available. A Rollout is through its steps and the restart it was asked for.
pub(super) fn rolled_out(kind: WorkloadKind, spec: &Spec, status: &Status) -> bool {
    let desired = desired(kind, spec, status);
    match kind {
        WorkloadKind::Deployment | WorkloadKind::CloneSet => {
            status.updated_replicas >= desired
                && status.replicas == status.updated_replicas
                && status.available_replicas >= desired
        }
        WorkloadKind::StatefulSet | WorkloadKind::AdvancedStatefulSet => {
            status.ready_replicas >= desired
                && (status.current_revision == status.update_revision
                    || status.updated_replicas >= desired)
        }
        WorkloadKind::DaemonSet | WorkloadKind::AdvancedDaemonSet => {
            status.updated_number_scheduled >= desired && status.number_available >= desired
        }
        WorkloadKind::ReplicaSet => status.available_replicas >= desired,
        WorkloadKind::Rollout => {
            let through = status.phase.is_empty() || status.phase == "Healthy";
            through
                && status.updated_replicas >= desired
                && status.available_replicas >= desired
                && status.restarted_at >= spec.restart_at
        }
    }
}

#[cfg(test)]
mod tests;
