//! The releases as rows of a table for people.

use super::{Knowledge, MinorRelease};

/// What stands above the columns of [`Knowledge::rows`].
pub const HEADER: [&str; 7] = [
    "ISTIO",
    "RELEASED",
    "END OF LIFE",
    "KUBERNETES",
    "TESTED",
    "COMPATIBILITY",
    "RISKS",
];

impl Knowledge {
    /// One row for each release, newest first, under [`HEADER`].
    pub fn rows(&self) -> Vec<[String; 7]> {
        self.releases().rev().map(row).collect()
    }
}

fn row(release: &MinorRelease) -> [String; 7] {
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let compatibility = release
        .compatibility_versions
        .as_ref()
        .and_then(|versions| {
            let (first, last) = (versions.first()?, versions.last()?);
            Some(if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            })
        });
    [
        release.minor.to_string(),
        dash(release.released.map(|day| day.to_string())),
        dash(release.end_of_life.map(|end| end.to_string())),
        release.kubernetes.to_string(),
        dash(release.tested.map(|range| range.to_string())),
        dash(compatibility),
        release.risks.len().to_string(),
    ]
}
