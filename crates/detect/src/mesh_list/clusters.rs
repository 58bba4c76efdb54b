//! The clusters of a mesh, and how each fits an Istio version.

use meshlift_api::{ClusterFit, ClusterRole, ClusterStatus, ClusterVerdict};
use meshlift_istio::version::{KubernetesRange, KubernetesVersion};
use meshlift_model::message;
use meshlift_model::view::{MeshView, Seen};

/// The cluster that the operator runs in.
const LOCAL: &str = "local";

/// A cluster of the mesh, with its gaps.
pub(super) struct Cluster {
    name: String,
    role: ClusterRole,
    kubernetes: Seen<KubernetesVersion>,
}

/// Every cluster of a mesh, the local one first. Those that cannot be listed are told as they were.
pub(super) fn clusters(
    view: &MeshView,
    local: ClusterRole,
    before: &[ClusterStatus],
) -> Vec<Cluster> {
    let mut all = vec![Cluster {
        name: LOCAL.to_owned(),
        role: local,
        kubernetes: view.kubernetes.clone(),
    }];
    match &view.environment.clusters {
        Seen::Present(others) => all.extend(others.iter().map(|cluster| Cluster {
            name: cluster.name.clone(),
            role: cluster.role,
            kubernetes: cluster.kubernetes.clone(),
        })),
        Seen::Absent => {}
        Seen::Unreadable(why) => {
            let others = before.iter().filter(|cluster| cluster.name != LOCAL);
            all.extend(others.map(|cluster| Cluster {
                name: cluster.name.clone(),
                role: cluster.role,
                kubernetes: Seen::Unreadable(why.clone()),
            }));
        }
    }
    all
}

impl Cluster {
    pub(super) fn status(&self) -> ClusterStatus {
        let kubernetes = self.kubernetes.present();
        let unseen = || message::capped(self.kubernetes.unreadable().unwrap_or("not looked at"));
        ClusterStatus {
            name: self.name.clone(),
            role: self.role,
            kubernetes_version: kubernetes.map(KubernetesVersion::to_string),
            reachable: kubernetes.is_some(),
            message: kubernetes.map_or_else(unseen, |_| String::new()),
        }
    }

    pub(super) fn verdict(&self, range: Option<KubernetesRange>) -> ClusterVerdict {
        match (self.kubernetes.present(), range) {
            (None, _) => ClusterVerdict::Unreachable,
            (Some(_), None) => ClusterVerdict::Unknown,
            (Some(version), Some(range)) if *version < range.low => ClusterVerdict::TooOld,
            (Some(version), Some(range)) if *version > range.high => ClusterVerdict::TooNew,
            (Some(_), Some(_)) => ClusterVerdict::Supported,
        }
    }

    /// What is wrong with it, and what to do.
    fn obstacle(&self, istio: &str, range: Option<KubernetesRange>) -> Option<String> {
        let Self { name, .. } = self;
        let kubernetes = || {
            let version = self.kubernetes.present();
            version
                .map(KubernetesVersion::to_string)
                .unwrap_or_default()
        };
        let span = range.map(|r| format!("{} to {}", r.low, r.high));
        let span = span.unwrap_or_default();
        match self.verdict(range) {
            ClusterVerdict::Supported => None,
            ClusterVerdict::TooOld => Some(format!(
                "cluster {name} has Kubernetes {}, and Istio {istio} supports {span}: upgrade that cluster",
                kubernetes()
            )),
            ClusterVerdict::TooNew => Some(format!(
                "cluster {name} has Kubernetes {}, and Istio {istio} supports {span}: choose a newer Istio",
                kubernetes()
            )),
            ClusterVerdict::Unreachable => Some(format!(
                "the Kubernetes version of cluster {name} cannot be read: {}",
                self.status().message
            )),
            ClusterVerdict::Unknown => Some(format!(
                "it is not known which Kubernetes versions Istio {istio} supports: add them to the ReleaseCatalog"
            )),
        }
    }
}

/// Verdict for each cluster that does not fit a version.
pub(super) fn unfit(clusters: &[Cluster], range: Option<KubernetesRange>) -> Vec<ClusterFit> {
    let fits = clusters.iter().map(|cluster| ClusterFit {
        name: cluster.name.clone(),
        verdict: cluster.verdict(range),
    });
    fits.filter(|fit| fit.verdict != ClusterVerdict::Supported)
        .collect()
}

/// Why a version does not fit, a sentence for each cluster; the same one is said once.
pub(super) fn obstacles(
    clusters: &[Cluster],
    istio: &str,
    range: Option<KubernetesRange>,
) -> Vec<String> {
    let mut said: Vec<String> = clusters
        .iter()
        .filter_map(|cluster| cluster.obstacle(istio, range))
        .collect();
    said.dedup();
    said
}
