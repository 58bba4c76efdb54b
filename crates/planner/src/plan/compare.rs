//! Which manifests a plan compares, and what came of it.

use serde::Serialize;

use super::diff::{DiffSummary, ManifestError, ObjectDiff, Revisions, diff, summary};
use crate::decision::{Chart, ChartTarget};
use crate::record::{Record, RecordedRelease};
use crate::values;

/// A step of an upgrade that changes a Helm release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ReleaseChange {
    /// CRDs and what else the `base` chart has come to the target version.
    Base,
    /// The new control plane is installed beside the old one.
    Install,
    /// The default revision moves to the new control plane.
    DefaultRevision,
    /// The autoscaler of the new control plane has its own minimum again.
    RestoreMinimum,
    /// The old control plane is removed.
    Retire,
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// What Helm's storage says of a release that is there.
    Stored {
        /// Release name.
        release: String,
        /// Release namespace.
        namespace: String,
    },
    /// What Helm would make of a chart.
    Rendered(ChartTarget),
    /// Nothing: the release goes.
    Nothing,
}

/// Two manifests to compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The step it speaks of.
    pub change: ReleaseChange,
    /// What is there.
    pub old: Manifest,
    /// What will be there.
    pub new: Manifest,
    /// Revisions to take out of both.
    pub revisions: Option<Revisions>,
}

/// What a step does to the objects of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseDiff {
    /// The step.
    pub change: ReleaseChange,
    /// Revisions that were taken out of names and labels first, so that the new control plane is
    /// compared with the one it will replace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revisions: Option<Revisions>,
    /// Every object that comes, changes or goes.
    pub objects: Vec<ObjectDiff>,
}

impl ReleaseDiff {
    /// How many objects come, change and go.
    pub fn summary(&self) -> DiffSummary {
        summary(&self.objects)
    }
}

/// What to compare for an upgrade that this record describes.
pub fn comparisons(record: &Record) -> Vec<Comparison> {
    let stored = |release: &RecordedRelease| Manifest::Stored {
        release: release.name.clone(),
        namespace: release.namespace.clone(),
    };
    let (base, default, istiod) = targets(record);
    let restored = record.raised_minimum.map(|_| {
        let owned = ChartTarget {
            values: record.target_values.clone(),
            ..istiod.clone()
        };
        let raised = Manifest::Rendered(istiod.clone());
        (raised, Manifest::Rendered(owned))
    });
    let revisions = Revisions {
        old: record.source_revision.clone(),
        new: record.target_revision.clone(),
    };
    let plain = |change, old, new| Comparison {
        change,
        old,
        new,
        revisions: None,
    };
    let restored =
        restored.map(|(raised, owned)| plain(ReleaseChange::RestoreMinimum, raised, owned));
    [
        plain(
            ReleaseChange::Base,
            stored(&record.base),
            Manifest::Rendered(base.clone()),
        ),
        Comparison {
            change: ReleaseChange::Install,
            old: stored(&record.source),
            new: Manifest::Rendered(istiod),
            revisions: Some(revisions),
        },
        plain(
            ReleaseChange::DefaultRevision,
            Manifest::Rendered(base),
            Manifest::Rendered(default),
        ),
    ]
    .into_iter()
    .chain(restored)
    .chain([plain(
        ReleaseChange::Retire,
        stored(&record.source),
        Manifest::Nothing,
    )])
    .collect()
}

/// The `base` release, the same with the default revision moved, and the new istiod release.
fn targets(record: &Record) -> (ChartTarget, ChartTarget, ChartTarget) {
    let base = ChartTarget {
        release: record.base.name.clone(),
        namespace: record.base.namespace.clone(),
        chart: Chart::Base,
        repository: record.repository.clone(),
        version: record.target_version.clone(),
        digest: record.digest(Chart::Base),
        values: record.base_values.clone(),
    };
    let default = ChartTarget {
        values: values::base_with_default(&record.base_values, &record.target_revision),
        ..base.clone()
    };
    let istiod = ChartTarget {
        release: record.target_release(),
        namespace: record.source.namespace.clone(),
        chart: Chart::Istiod,
        digest: record.digest(Chart::Istiod),
        values: record.values_beside_old(),
        ..base.clone()
    };
    (base, default, istiod)
}

/// Compares, once both manifests are there.
pub fn compare(
    comparison: &Comparison,
    old: &str,
    new: &str,
) -> Result<ReleaseDiff, ManifestError> {
    Ok(ReleaseDiff {
        change: comparison.change,
        revisions: comparison.revisions.clone(),
        objects: diff(old, new, comparison.revisions.as_ref())?,
    })
}
