//! Kubernetes versions and ranges of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::plain_number;

/// Version of a Kubernetes API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KubernetesVersion {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
}

/// A Kubernetes version that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no Kubernetes version: write a minor (1.32)")]
pub struct KubernetesVersionError(pub String);

impl FromStr for KubernetesVersion {
    type Err = KubernetesVersionError;

    fn from_str(text: &str) -> Result<Self, KubernetesVersionError> {
        let refuse = || KubernetesVersionError(text.to_owned());
        let (major, minor) = text.split_once('.').ok_or_else(refuse)?;
        Ok(Self {
            major: plain_number(major).ok_or_else(refuse)?,
            minor: plain_number(minor).ok_or_else(refuse)?,
        })
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The Kubernetes minors that an Istio minor supports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KubernetesRange {
    /// Lowest.
    pub low: KubernetesVersion,
    /// Highest.
    pub high: KubernetesVersion,
}

impl KubernetesRange {
    /// Whether a cluster is inside.
    pub fn contains(&self, version: KubernetesVersion) -> bool {
        self.low <= version && version <= self.high
    }
}

impl fmt::Display for KubernetesRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_range_are_inside() {
        let version = |text: &str| text.parse::<KubernetesVersion>().expect("a version");
        let range = KubernetesRange {
            low: version("1.9"),
            high: version("1.11"),
        };
        let inside =
            ["1.8", "1.9", "1.10", "1.11", "1.12", "2.10"].map(|v| range.contains(version(v)));
        assert_eq!(inside, [false, true, true, true, false, false]);
        for rubbish in ["", "1", "v1.32", "1.32+", "1.32.0"] {
            assert!(rubbish.parse::<KubernetesVersion>().is_err(), "{rubbish:?}");
        }
    }
}
