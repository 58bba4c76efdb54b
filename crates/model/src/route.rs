//! The route of an upgrade: its legs in their order, forward. It is pinned in the record before the first mutation; the plan
//! is printed from it, lint lets Helm change nothing that is not on it, and status reports how far it is travelled.

use meshlift_api::{LegState, LegStatus, Strategy};
use meshlift_istio::version::Version;
use serde::{Deserialize, Serialize};

use crate::decision::Chart;
use crate::diff::ReleaseChange;
use crate::record::{Record, RecordedRelease};

/// One leg of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leg {
    /// Name in status, plan and log. It stays the same as long as the upgrade runs.
    pub id: String,
    /// What happens on it.
    pub kind: LegKind,
}

/// What happens on a leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegKind {
    /// A Helm release changes; or where others render it, what they render.
    Release(ReleaseLeg),
    /// The namespaces and workloads of a wave move; without waves all of them.
    Workloads,
    /// The health of what has moved is watched.
    Soak,
    /// The old control plane stays, so that everything could still move back.
    Keep,
}

/// A change of one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseLeg {
    /// What changes.
    pub change: ReleaseChange,
    /// Chart.
    pub chart: Chart,
    /// Release name.
    pub release: String,
    /// Release namespace.
    pub namespace: String,
    /// Version of the chart before; none where nothing is installed.
    pub from: Option<Version>,
    /// Version of the chart after; none where it is uninstalled.
    pub to: Option<Version>,
}

/// More replicas, before an upgrade in place.
pub const REPLICAS: &str = "replicas";
/// CRDs.
pub const BASE: &str = "base";
/// The control plane of the target.
pub const CONTROL_PLANE: &str = "control-plane";
/// All workloads, where there are no waves.
pub const WORKLOADS: &str = "workloads";
/// The watch of their health.
pub const SOAK: &str = "soak";
/// The time that the old control plane stays.
pub const KEEP: &str = "keep";
/// The default revision.
pub const DEFAULT_REVISION: &str = "default-revision";
/// The minimum of the autoscaler as its owner has it.
pub const AUTOSCALER: &str = "autoscaler";
/// The end of the old control plane.
pub const RETIREMENT: &str = "retirement";

/// Reason of the condition `ControlPlaneReady` after a rollback that leaves the new control plane.
pub const NO_LONGER_MOVED_TO: &str = "RolledBack";

/// Name of the leg of a wave.
pub fn of_wave(name: &str) -> String {
    format!("wave/{name}")
}

/// The route that a record describes: the only place that knows in which order each strategy goes.
pub fn route(record: &Record) -> Vec<Leg> {
    let restored = || record.raised_minimum.map(|_| restored(record));
    let base = (&record.base, Some(record.target_version.clone()));
    let base = release(BASE, ReleaseChange::Base, Chart::Base, base);
    let legs: Vec<Leg> = match record.strategy {
        // Source: istio.io, "Canary Upgrades". The default revision moves before the old control plane is removed: its
        // validating webhook would call nobody in between.
        Strategy::Canary => [base, beside(record)]
            .into_iter()
            .chain(waves(record))
            .chain([plain(SOAK, LegKind::Soak), plain(KEEP, LegKind::Keep)])
            .chain([default_revision(record)])
            .chain(restored())
            .chain([retirement(record)])
            .collect(),
        // Source: istio.io, "In-place Upgrades". Somebody has to serve while a replica is replaced.
        Strategy::InPlace => raised(record)
            .into_iter()
            .chain([base, in_place(record)])
            .chain(waves(record))
            .chain([plain(SOAK, LegKind::Soak)])
            .chain(restored())
            .collect(),
    };
    legs
}

/// The legs of a route that nobody has travelled yet.
pub fn pending(legs: &[Leg]) -> Vec<LegStatus> {
    let pending = |leg: &Leg| LegStatus {
        id: leg.id.clone(),
        state: LegState::Pending,
        started_at: None,
        finished_at: None,
    };
    legs.iter().map(pending).collect()
}

fn plain(id: &str, kind: LegKind) -> Leg {
    Leg {
        id: id.to_owned(),
        kind,
    }
}

fn waves(record: &Record) -> Vec<Leg> {
    let waves = record.waves.iter();
    let waves: Vec<Leg> = waves
        .map(|wave| plain(&of_wave(&wave.name), LegKind::Workloads))
        .collect();
    if waves.is_empty() {
        return vec![plain(WORKLOADS, LegKind::Workloads)];
    }
    waves
}

fn release(
    id: &str,
    change: ReleaseChange,
    chart: Chart,
    (of, to): (&RecordedRelease, Option<Version>),
) -> Leg {
    let leg = ReleaseLeg {
        change,
        chart,
        release: of.name.clone(),
        namespace: of.namespace.clone(),
        from: Some(of.version.clone()),
        to,
    };
    plain(id, LegKind::Release(leg))
}

/// A leg of the release of the control plane to reach.
fn of_target(record: &Record, id: &str, change: ReleaseChange, from: Option<Version>) -> Leg {
    let leg = ReleaseLeg {
        change,
        chart: Chart::Istiod,
        release: record.target_release(),
        namespace: record.source.namespace.clone(),
        from,
        to: Some(record.target_version.clone()),
    };
    plain(id, LegKind::Release(leg))
}

fn beside(record: &Record) -> Leg {
    of_target(record, CONTROL_PLANE, ReleaseChange::Install, None)
}

fn in_place(record: &Record) -> Leg {
    let from = Some(record.source.version.clone());
    of_target(record, CONTROL_PLANE, ReleaseChange::InPlace, from)
}

fn restored(record: &Record) -> Leg {
    let from = Some(record.target_version.clone());
    of_target(record, AUTOSCALER, ReleaseChange::RestoreMinimum, from)
}

fn raised(record: &Record) -> Option<Leg> {
    record.raised_minimum?;
    let (source, version) = (&record.source, record.source.version.clone());
    let of = (source, Some(version));
    Some(release(
        REPLICAS,
        ReleaseChange::RaiseMinimum,
        Chart::Istiod,
        of,
    ))
}

fn default_revision(record: &Record) -> Leg {
    let target = RecordedRelease {
        version: record.target_version.clone(),
        ..record.base.clone()
    };
    let of = (&target, Some(record.target_version.clone()));
    release(
        DEFAULT_REVISION,
        ReleaseChange::DefaultRevision,
        Chart::Base,
        of,
    )
}

fn retirement(record: &Record) -> Leg {
    let of = (&record.source, None);
    release(RETIREMENT, ReleaseChange::Retire, Chart::Istiod, of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::record;
    use crate::record::RecordedWave;

    fn ids(record: &Record) -> Vec<String> {
        route(record).into_iter().map(|leg| leg.id).collect()
    }

    #[test]
    fn beside_the_old_control_plane() {
        let mut record = record();
        let all = [
            "base",
            "control-plane",
            "workloads",
            "soak",
            "keep",
            "default-revision",
            "retirement",
        ];
        assert_eq!(ids(&record), all);
        record.raised_minimum = Some(3);
        let wave = |name: &str| RecordedWave {
            name: name.into(),
            namespaces: Vec::new(),
        };
        record.waves = vec![wave("canary"), wave("rest")];
        let all = [
            "base",
            "control-plane",
            "wave/canary",
            "wave/rest",
            "soak",
            "keep",
            "default-revision",
            "autoscaler",
            "retirement",
        ];
        assert_eq!(ids(&record), all);
    }

    #[test]
    fn in_place_replicas_come_first_and_nothing_is_removed() {
        let mut record = record();
        record.strategy = Strategy::InPlace;
        assert_eq!(ids(&record), ["base", "control-plane", "workloads", "soak"]);
        record.raised_minimum = Some(2);
        let all = [
            "replicas",
            "base",
            "control-plane",
            "workloads",
            "soak",
            "autoscaler",
        ];
        assert_eq!(ids(&record), all);
    }
}
