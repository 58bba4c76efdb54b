//! What is known of Istio releases: built in, and corrected by the ReleaseCatalog object.

mod read;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use jiff::civil::Date;
use meshlift_api::ReleaseCatalogSpec;

pub use self::table::HEADER;
use crate::risk::Risk;
use crate::version::{KubernetesRange, KubernetesVersion, Minor, Version};

/// The built-in data. Sources: the support status table of istio.io, its upgrade notes, the charts'
/// compatibility profiles, and `istioctl` for what it refuses; as of October 2026.
const EMBEDDED: &str = include_str!("knowledge/releases.yaml");

static EMBEDDED_CATALOG: LazyLock<ReleaseCatalogSpec> =
    LazyLock::new(|| serde_yaml_ng::from_str(EMBEDDED).expect("a test parses the embedded data"));

static EMBEDDED_KNOWLEDGE: LazyLock<Knowledge> =
    LazyLock::new(|| read::read(&EMBEDDED_CATALOG).expect("a test reads the embedded data"));

/// What is known of Istio releases. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Knowledge {
    releases: Arc<BTreeMap<Minor, MinorRelease>>,
    /// Why the ReleaseCatalog object is not heeded, if there is one that cannot be.
    pub problem: Option<String>,
}

/// What is known of a minor release.
#[derive(Clone, Debug, PartialEq)]
pub struct MinorRelease {
    /// Which.
    pub minor: Minor,
    /// The day its first version came out.
    pub released: Option<Date>,
    /// When its support ends.
    pub end_of_life: Option<EndOfLife>,
    /// Kubernetes versions that are officially supported.
    pub kubernetes: KubernetesRange,
    /// Older ones that upstream tests but does not support.
    pub tested: Option<KubernetesRange>,
    /// Below it, `istioctl` refuses to install the release.
    pub minimum_kubernetes: Option<KubernetesVersion>,
    /// Lowest patches of earlier minors to come from.
    pub minimum_from: Vec<Version>,
    /// Values of `compatibilityVersion` that its charts have; none when that is not known.
    pub compatibility_versions: Option<Vec<Minor>>,
    /// Oldest CRDs of the Gateway API that it works with.
    pub gateway_api: Vec<GatewayApiMinimum>,
    /// Default image hub of its charts.
    pub hub: Option<String>,
    /// What may change or break for a mesh that steps up to it.
    pub risks: Vec<Risk>,
}

/// When the support of a release ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOfLife {
    /// The day.
    pub date: Date,
    /// Whether it is only expected and not announced.
    pub expected: bool,
}

impl fmt::Display for EndOfLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.expected { "~" } else { "" };
        write!(f, "{about}{}", self.date)
    }
}

/// The oldest CRD of the Gateway API that a release works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayApiMinimum {
    /// Name of the CRD.
    pub crd: String,
    /// Lowest version of the bundle it comes from.
    pub minimum: semver::Version,
}

/// A catalog that contradicts itself or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct CatalogError {
    /// The field: `spec.releases[1.31].endOfLife`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self::embedded()
    }
}

impl Knowledge {
    /// What is built in.
    pub fn embedded() -> Self {
        EMBEDDED_KNOWLEDGE.clone()
    }

    /// What is built in, as the catalog it could be given by.
    pub fn embedded_catalog() -> &'static ReleaseCatalogSpec {
        &EMBEDDED_CATALOG
    }

    /// What is built in, with a catalog over it or in its place.
    pub fn with(catalog: &ReleaseCatalogSpec) -> Result<Self, CatalogError> {
        read::read(&read::over(&EMBEDDED_CATALOG, catalog))
    }

    /// What is built in, because the catalog cannot be heeded; and why.
    pub fn despite(problem: impl Into<String>) -> Self {
        Self {
            problem: Some(problem.into()),
            ..Self::embedded()
        }
    }

    /// Every known release, oldest first.
    pub fn releases(&self) -> impl DoubleEndedIterator<Item = &MinorRelease> {
        self.releases.values()
    }

    /// What is known of the minor of a version.
    pub fn release(&self, istio: &Version) -> Option<&MinorRelease> {
        self.releases.get(&Minor::of(istio))
    }

    /// Kubernetes versions that a version supports officially; none when it is not known.
    pub fn kubernetes_range(&self, istio: &Version) -> Option<KubernetesRange> {
        self.release(istio).map(|release| release.kubernetes)
    }

    /// The oldest minor that supports a Kubernetes version.
    pub fn first_supporting(&self, kubernetes: KubernetesVersion) -> Option<Minor> {
        self.fitting(&[kubernetes]).first().copied()
    }

    /// The minors that support the Kubernetes versions of all these clusters, oldest first.
    pub fn fitting(&self, clusters: &[KubernetesVersion]) -> Vec<Minor> {
        self.releases()
            .filter(|release| clusters.iter().all(|c| release.kubernetes.contains(*c)))
            .map(|release| release.minor)
            .collect()
    }

    /// When the support of a version ends.
    pub fn end_of_life(&self, istio: &Version) -> Option<EndOfLife> {
        self.release(istio)?.end_of_life
    }

    /// Values of `compatibilityVersion` that the charts of a version have; none when that is not
    /// known. A chart refuses to be rendered with any other.
    pub fn compatibility_versions(&self, istio: &Version) -> Option<&[Minor]> {
        self.release(istio)?.compatibility_versions.as_deref()
    }

    /// Oldest CRDs of the Gateway API that a version works with: of an older one it ignores every
    /// object.
    pub fn gateway_api_minimums(&self, istio: &Version) -> &[GatewayApiMinimum] {
        self.release(istio)
            .map_or(&[], |release| &release.gateway_api)
    }

    /// Lowest patches of earlier minors from which a step to this minor may be taken; a minor that is
    /// not among them may be left at any patch.
    pub fn minimum_from(&self, to: Minor) -> &[Version] {
        self.releases
            .get(&to)
            .map_or(&[], |release| &release.minimum_from)
    }

    /// Default image hub of the charts of a version, where it is known.
    pub fn hub(&self, istio: &Version) -> Option<&str> {
        self.release(istio)?.hub.as_deref()
    }

    /// The risks of a step, oldest release first: also those of the minors that it passes over.
    pub fn risks(&self, from: &Version, to: &Version) -> Vec<&Risk> {
        let (from, to) = (Minor::of(from), Minor::of(to));
        self.releases()
            .filter(|release| from < release.minor && release.minor <= to)
            .flat_map(|release| &release.risks)
            .collect()
    }

    /// A risk by its code.
    pub fn risk(&self, code: &str) -> Option<&Risk> {
        self.releases()
            .flat_map(|release| &release.risks)
            .find(|risk| risk.code == code)
    }
}

#[cfg(test)]
mod tests;
