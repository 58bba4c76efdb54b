//! Which Kubernetes versions an Istio minor supports.
//!
//! Source: the support status table of istio.io (`data/compatibility/supportStatus.yml`,
//! `k8sVersions`), read in October 2026. Upstream edits it after a release: 1.31 got 1.37.

use super::{KubernetesVersion, Version};

/// The Kubernetes minors that an Istio minor supports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KubernetesRange {
    /// Lowest.
    pub low: KubernetesVersion,
    /// Highest.
    pub high: KubernetesVersion,
}

/// (Istio 1.x, lowest Kubernetes 1.x, highest Kubernetes 1.x)
const TABLE: &[(u32, u32, u32)] = &[
    (31, 32, 37),
    (30, 32, 36),
    (29, 31, 35),
    (28, 30, 34),
    (27, 29, 33),
    (26, 29, 33),
    (25, 29, 32),
    (24, 28, 31),
    (23, 27, 30),
    (22, 27, 30),
    (21, 26, 29),
    (20, 25, 29),
];

/// The range of an Istio version, if it is known.
pub fn kubernetes_range(istio: &Version) -> Option<KubernetesRange> {
    let (_, low, high) = TABLE
        .iter()
        .find(|(minor, ..)| istio.major == 1 && *minor == istio.minor)?;
    let version = |minor: u32| KubernetesVersion { major: 1, minor };
    Some(KubernetesRange {
        low: version(*low),
        high: version(*high),
    })
}

/// The oldest Istio minor that supports a Kubernetes version, as `1.31`.
pub fn first_supporting(kubernetes: KubernetesVersion) -> Option<String> {
    let minor = kubernetes.minor;
    let mut fitting = TABLE
        .iter()
        .rev()
        .filter(|(_, low, high)| kubernetes.major == 1 && *low <= minor && minor <= *high);
    fitting.next().map(|(istio, ..)| format!("1.{istio}"))
}

impl KubernetesRange {
    /// Whether a cluster is inside.
    pub fn contains(&self, version: KubernetesVersion) -> bool {
        self.low <= version && version <= self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubernetes(minor: u32) -> KubernetesVersion {
        KubernetesVersion { major: 1, minor }
    }

    #[test]
    fn both_ends_of_a_range_are_inside() {
        let range = kubernetes_range(&"1.31.0".parse().expect("a version")).expect("known");
        let inside: Vec<u32> = (0..50).filter(|m| range.contains(kubernetes(*m))).collect();
        assert_eq!(inside, [32, 33, 34, 35, 36, 37]);
        for unknown in ["1.19.0", "1.32.0", "2.31.0"] {
            assert_eq!(kubernetes_range(&unknown.parse().expect("a version")), None);
        }
    }

    #[test]
    fn the_oldest_istio_for_a_kubernetes() {
        assert_eq!(first_supporting(kubernetes(37)), Some("1.31".to_owned()));
        assert_eq!(first_supporting(kubernetes(36)), Some("1.30".to_owned()));
        assert_eq!(first_supporting(kubernetes(38)), None);
    }
}
