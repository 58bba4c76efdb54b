//! What a chart repository offers: which of its versions are releases, and where their charts are.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use meshlift_istio::version::Version;
use meshlift_model::Chart;

/// The releases in a chart repository, as of the last time that it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartVersions {
    /// The releases that have both charts, `base` and `istiod`, the lowest first.
    pub versions: Vec<Version>,
    /// When the repository last said so.
    pub read_at: Timestamp,
    /// Why it could not be read at the last try; what is said here is older then. Never has a
    /// secret in it.
    pub stale: Option<String>,
    charts: Arc<Charts>,
}

/// Where a chart of one version is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartEntry {
    /// Absolute addresses of the archive (`https`, or `oci` with the tag), to be tried in turn.
    pub urls: Vec<String>,
    /// SHA-256 of the archive in hexadecimal; an OCI repository tells it only with the archive.
    pub digest: Option<String>,
}

/// The charts of a repository by version.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Charts {
    pub(super) base: BTreeMap<Version, ChartEntry>,
    pub(super) istiod: BTreeMap<Version, ChartEntry>,
}

impl ChartVersions {
    pub(super) fn new(charts: Charts, read_at: Timestamp) -> Self {
        let both = charts.base.keys();
        let versions = both.filter(|version| charts.istiod.contains_key(version));
        Self {
            versions: versions.cloned().collect(),
            read_at,
            stale: None,
            charts: Arc::new(charts),
        }
    }

    /// Where a chart is; `None` if the repository does not have both charts in this version.
    pub fn entry(&self, chart: Chart, version: &Version) -> Option<&ChartEntry> {
        match chart {
            Chart::Base => self.charts.base.get(version),
            Chart::Istiod => self.charts.istiod.get(version),
        }
        .filter(|_| self.versions.binary_search(version).is_ok())
    }
}

/// The release that a version or a tag names; `None` for pre-releases, daily builds, signatures and
/// whatever else is in a repository. A vendor's suffix (`1.30.2-mspider`) is a flavour, no pre-release.
pub(super) fn release(text: &str) -> Option<Version> {
    let version: Version = text.parse().ok()?;
    let odd = |c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.';
    let parts = || version.flavour.split(['-', '.']);
    let release = version.to_string() == text
        && !version.flavour.contains(odd)
        && !parts().any(is_unfinished)
        && (version.flavour.is_empty() || parts().all(|part| !part.is_empty()));
    release.then_some(version)
}

/// Whether a part of a suffix says that this is no release, or no build of its own but a variant of
/// an image (`1.31.0-distroless`).
fn is_unfinished(part: &str) -> bool {
    const WORDS: &[&str] = &[
        "alpha",
        "beta",
        "rc",
        "dev",
        "pre",
        "preview",
        "snapshot",
        "nightly",
        "canary",
        "test",
        "latest",
        "main",
        "master",
        "ci",
        "distroless",
        "debug",
    ];
    let word = part
        .trim_end_matches(|c: char| c.is_ascii_digit())
        .to_ascii_lowercase();
    let commit = part.len() >= 32 && part.bytes().all(|b| b.is_ascii_hexdigit());
    commit || WORDS.contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavours_are_releases_and_everything_else_with_a_suffix_is_not() {
        for text in [
            "1.31.0",
            "1.30.2-mspider",
            "1.17.8-fix-20231226",
            "1.30.2-tetratefips-v0",
            "1.29.1-am1",
        ] {
            assert_eq!(release(text).map(|v| v.to_string()), Some(text.into()));
        }
        for text in [
            "1.31.0-rc.0",
            "1.31.0-rc1",
            "1.31.0-alpha.1",
            "1.31.0-Beta.2",
            "1.31.0-mspider-rc.1",
            "1.31.0-dev",
            "1.31.0-dev.20260101",
            "1.31-alpha.7f2c1e0aa0b1",
            "1.31.0-0123456789abcdef0123456789abcdef01234567",
            "sha256-4a5bd6f2.sig",
            "1.31",
            "v1.31.0",
            "01.31.0",
            "1.31.0+build",
            "1.31.0_build",
            "1.31.0-",
            "1.31.0--x",
            "1.31.0-distroless",
            "latest",
            "",
        ] {
            assert_eq!(release(text), None, "{text:?} is no release");
        }
    }

    #[test]
    fn only_versions_that_both_charts_have_count() {
        let entry = |text: &str| {
            let entry = ChartEntry {
                urls: vec![],
                digest: None,
            };
            (text.parse().expect("a version"), entry)
        };
        let charts = Charts {
            base: ["1.31.0", "1.29.1", "1.30.10", "1.30.2"].map(entry).into(),
            istiod: ["1.30.2", "1.30.10", "1.31.0", "1.31.1"].map(entry).into(),
        };
        let known = ChartVersions::new(charts, Timestamp::UNIX_EPOCH);
        let versions: Vec<String> = known.versions.iter().map(ToString::to_string).collect();
        assert_eq!(versions, ["1.30.2", "1.30.10", "1.31.0"]);
        let only_base = "1.29.1".parse().expect("a version");
        assert_eq!(known.entry(Chart::Base, &only_base), None);
    }
}
