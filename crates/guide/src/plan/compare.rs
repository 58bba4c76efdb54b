//! Which manifests a plan compares, and what came of it.

use meshlift_api::Strategy;
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
    let base = base_target(record);
    let istiod = record.target_istiod();
    let default = ChartTarget {
        values: values::base_with_default(&record.base_values, &record.target_revision),
        ..base.clone()
    };
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
    let first = plain(
        ReleaseChange::Base,
        stored(&record.base),
        Manifest::Rendered(base.clone()),
    );
    if record.strategy == Strategy::InPlace {
        let upgraded = plain(
            ReleaseChange::InPlace,
            stored(&record.source),
            Manifest::Rendered(istiod),
        );
        return vec![first, upgraded];
    }
    let restored =
        restored.map(|(raised, owned)| plain(ReleaseChange::RestoreMinimum, raised, owned));
    [
        first,
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

/// The `base` release at the target.
fn base_target(record: &Record) -> ChartTarget {
    ChartTarget {
        release: record.base.name.clone(),
        namespace: record.base.namespace.clone(),
        chart: Chart::Base,
        repository: record.repository.clone(),
        version: record.target_version.clone(),
        digest: record.digest(Chart::Base),
        values: record.base_values.clone(),
    }
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
