//! Which manifests a plan compares, and what came of it.

use meshlift_istio::values;
use meshlift_model::decision::{Chart, ChartTarget};
use meshlift_model::diff::{ManifestError, ReleaseChange, ReleaseDiff, Revisions, diff};
use meshlift_model::record::{Record, RecordedRelease};

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

/// What to compare for an upgrade that this record describes.
pub fn comparisons(record: &Record) -> Vec<Comparison> {
    let stored = |release: &RecordedRelease| Manifest::Stored {
        release: release.name.clone(),
        namespace: release.namespace.clone(),
    };
    let (base, default, istiod) = targets(record);
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
    vec![
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
        plain(
            ReleaseChange::Retire,
            stored(&record.source),
            Manifest::Nothing,
        ),
    ]
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
        values: record.target_values.clone(),
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
