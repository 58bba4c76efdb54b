//! Which of the costlier looks a decision will ask for, so that nothing is read that nobody needs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meshlift_api::{Phase, Step};

use crate::data_plane::assess;
use crate::upgrade::Upgrade;
use crate::view::MeshView;

/// Looks beyond the watched objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The versions in the chart repository.
    pub catalog: bool,
    /// Our own permissions.
    pub permissions: bool,
    /// Helm releases; fresh, not from a cache.
    pub fresh_releases: bool,
    /// Metrics of the control planes.
    pub live_counters: bool,
    /// Dry-run pods: the revision to ask for, and the namespaces.
    pub probes: Option<(String, BTreeSet<String>)>,
}

/// What to look at, from what is watched anyway (`view` without the costlier parts).
pub fn wanted(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Wanted {
    match upgrade.phase() {
        Phase::Detecting => Wanted {
            catalog: true,
            permissions: true,
            fresh_releases: true,
            ..Wanted::default()
        },
        Phase::Upgrading => Wanted {
            probes: probes(now, upgrade, view),
            ..Wanted::default()
        },
        Phase::HealthChecking => Wanted {
            live_counters: true,
            fresh_releases: upgrade.status.step >= Some(Step::MovingDefaultRevision),
            probes: probes(now, upgrade, view),
            ..Wanted::default()
        },
        Phase::Pending | Phase::Done | Phase::Failed => Wanted::default(),
    }
}

fn probes(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
) -> Option<(String, BTreeSet<String>)> {
    let record = view.record.present()?;
    let planes = view.control_planes.present()?;
    let target = planes
        .iter()
        .find(|p| p.revision == record.target_revision)?;
    if !target.is_ready() {
        return None;
    }
    let judged = assess(now, &record.target_revision, upgrade, view)?;
    let mut namespaces: BTreeSet<String> = judged
        .stale_namespaces()
        .into_iter()
        .map(str::to_owned)
        .collect();
    namespaces.insert(target.namespace.clone());
    Some((record.target_revision.clone(), namespaces))
}
