//! Which of the costlier looks a decision will ask for, so that nothing is read that nobody needs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meshlift_api::{Mode, Phase, Step};

use crate::data_plane::assess;
use crate::phase::retirement_due;
use crate::upgrade::Upgrade;
use crate::view::MeshView;

/// Looks beyond the watched objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The versions in the chart repository.
    pub catalog: bool,
    /// The surroundings of the mesh.
    pub environment: bool,
    /// Our own permissions.
    pub permissions: bool,
    /// Whether the backup of this run is there.
    pub backup: bool,
    /// Helm releases.
    pub releases: ReleasesWanted,
    /// Metrics of the control planes.
    pub live_counters: bool,
    /// What Helm would make of the charts, compared with what it made of them.
    pub diffs: bool,
    /// Dry-run pods: the revision to ask for, and the namespaces.
    pub probes: Option<(String, BTreeSet<String>)>,
}

/// How Helm releases are looked at: each look is a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReleasesWanted {
    /// Not at all.
    #[default]
    No,
    /// As known, if not for too long: only somebody else could have changed them.
    Known,
    /// As they are now.
    Fresh,
}

/// What to look at, from what is watched anyway (`view` without the costlier parts).
pub fn wanted(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Wanted {
    match upgrade.phase() {
        Phase::Detecting => Wanted {
            catalog: true,
            environment: true,
            permissions: true,
            // What is not held has no backup yet: that is taken last.
            backup: upgrade.held,
            releases: ReleasesWanted::Fresh,
            diffs: upgrade.spec.mode == Mode::Preflight,
            ..Wanted::default()
        },
        Phase::Upgrading => Wanted {
            releases: match upgrade.status.step {
                Some(Step::RestartingWorkloads) => ReleasesWanted::Known,
                _ => ReleasesWanted::Fresh,
            },
            probes: probes(now, upgrade, view),
            ..Wanted::default()
        },
        Phase::HealthChecking => Wanted {
            live_counters: true,
            releases: match retirement_due(now, upgrade) {
                true => ReleasesWanted::Fresh,
                false => ReleasesWanted::No,
            },
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
