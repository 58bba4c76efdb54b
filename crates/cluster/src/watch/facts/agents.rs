//! The agents of Istio that run on every node.

use std::collections::BTreeMap;

use meshlift_model::view::NodeAgentKind;

/// A DaemonSet of Istio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAgentFact {
    /// Which.
    pub kind: NodeAgentKind,
    /// Its image.
    pub image: String,
    /// Pods wanted.
    pub desired: u32,
    /// Pods ready.
    pub ready: u32,
}

/// Labels of the charts `cni` and `ztunnel`, and the last part of the names of their images: vendors rename
/// the DaemonSets, and some their labels.
/// Source: istio `manifests/charts/{istio-cni,ztunnel}/templates/daemonset.yaml`.
const AGENTS: [(NodeAgentKind, &str, &str, &str); 2] = [
    (
        NodeAgentKind::Cni,
        "k8s-app",
        "istio-cni-node",
        "install-cni",
    ),
    (NodeAgentKind::Ztunnel, "app", "ztunnel", "ztunnel"),
];

/// What is known of a DaemonSet as an agent of Istio, if it is one.
pub(super) fn agent<'a>(
    labels: &BTreeMap<String, String>,
    images: impl Iterator<Item = &'a str> + Clone,
    desired: u32,
    ready: u32,
) -> Option<NodeAgentFact> {
    AGENTS.iter().find_map(|(kind, label, value, program)| {
        let own = images.clone().find(|image| name(image) == *program);
        let labelled = labels.get(*label).is_some_and(|found| found == value);
        // With the label alone it may be a mirror that renames images.
        let image = own.or(images.clone().next().filter(|_| labelled))?;
        Some(NodeAgentFact {
            kind: *kind,
            image: image.to_owned(),
            desired,
            ready,
        })
    })
}

/// The name of an image without registry, path, tag and digest.
fn name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_known_by_label_or_by_image() {
        let cni = Some(NodeAgentKind::Cni);
        let ztunnel = Some(NodeAgentKind::Ztunnel);
        for (label, images, kind) in [
            (
                ("k8s-app", "istio-cni-node"),
                vec!["docker.io/istio/install-cni:1.30.2"],
                cni,
            ),
            (
                ("app", "vendor-cni"),
                vec!["localhost:5000/istio/install-cni:1.30.2-distroless"],
                cni,
            ),
            (("app", "ztunnel"), vec!["hub/ztunnel@sha256:abc"], ztunnel),
            (
                ("app", "mesh-node"),
                vec!["side", "hub/ztunnel:1.30.2"],
                ztunnel,
            ),
            (("app", "ztunnel"), vec!["mirror/zt:1.30.2"], ztunnel),
            (("k8s-app", "calico-node"), vec!["calico/cni:v3"], None),
            (("k8s-app", "istio-cni-node"), vec![], None),
        ] {
            let labels = BTreeMap::from([(label.0.to_owned(), label.1.to_owned())]);
            let found = agent(&labels, images.iter().copied(), 3, 2);
            assert_eq!(
                found.as_ref().map(|agent| agent.kind),
                kind,
                "{label:?} {images:?}"
            );
            if let Some(found) = found {
                assert_eq!(found.image, *images.last().expect("an image"));
                assert_eq!((found.desired, found.ready), (3, 2));
            }
        }
    }
}
