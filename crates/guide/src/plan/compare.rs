//! Which manifests a plan compares, and what came of it.

use meshlift_api::Strategy;
use meshlift_istio::values;
use meshlift_model::decision::ChartTarget;
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
    // What others render is theirs to compare.
    if !record.by_helm() {
        return Vec::new();
    }
    let base = Manifest::Rendered(record.target_base(record.base_values.clone()));
    let mut all = vec![plain(ReleaseChange::Base, stored(&record.base), base)];
    match record.strategy {
        Strategy::Canary => all.extend(beside(record)),
        Strategy::InPlace => {
            let istiod = Manifest::Rendered(record.target_istiod());
            all.push(plain(
                ReleaseChange::InPlace,
                stored(&record.source),
                istiod,
            ));
        }
    }
    all
}

/// The new control plane, what is handed over to it, and the end of the old one.
fn beside(record: &Record) -> Vec<Comparison> {
    let base = record.target_base(record.base_values.clone());
    let default = ChartTarget {
        values: values::base_with_default(&record.base_values, &record.target_revision),
        ..base.clone()
    };
    let istiod = record.target_istiod();
    let restored = record.raised_minimum.map(|_| {
        let owned = ChartTarget {
            values: record.target_values.clone(),
            ..istiod.clone()
        };
        let raised = Manifest::Rendered(istiod.clone());
        plain(
            ReleaseChange::RestoreMinimum,
            raised,
            Manifest::Rendered(owned),
        )
    });
    let revisions = Revisions {
        old: record.source_revision.clone(),
        new: record.target_revision.clone(),
    };
    let installed = Comparison {
        revisions: Some(revisions),
        ..plain(
            ReleaseChange::Install,
            stored(&record.source),
            Manifest::Rendered(istiod),
        )
    };
    let (base, default) = (Manifest::Rendered(base), Manifest::Rendered(default));
    let moved = plain(ReleaseChange::DefaultRevision, base, default);
    let retired = plain(
        ReleaseChange::Retire,
        stored(&record.source),
        Manifest::Nothing,
    );
    let handed_over = [installed, moved].into_iter().chain(restored);
    handed_over.chain([retired]).collect()
}

fn plain(change: ReleaseChange, old: Manifest, new: Manifest) -> Comparison {
    Comparison {
        change,
        old,
        new,
        revisions: None,
    }
}

fn stored(release: &RecordedRelease) -> Manifest {
    Manifest::Stored {
        release: release.name.clone(),
        namespace: release.namespace.clone(),
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
