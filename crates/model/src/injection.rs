//! Which control plane would inject a new pod.
//!
//! The rules are the selectors of the injection webhooks: istio chart
//! `istio-discovery/templates/mutatingwebhook.yaml` and `revision-tags-mwc.yaml`.

use std::collections::BTreeMap;

use meshlift_api::labels::{DEFAULT_REVISION, ISTIO_INJECTION, ISTIO_REV, SIDECAR_INJECT};

use crate::upgrade::Upgrade;
use crate::view::{ControlPlane, MeshView, Tag};

/// Who would inject a new pod, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injector {
    /// This revision, by labels of the namespace.
    Namespace(String),
    /// This tag, by labels of the namespace.
    Tag(String),
    /// By labels of the pod itself; the revision, where one is named.
    Pod(Option<String>),
    /// Nobody.
    Nobody,
}

/// Control planes and tags, as far as injection asks for them.
#[derive(Clone, Copy)]
pub struct Revisions<'a> {
    /// Every control plane of the cluster.
    pub control_planes: &'a [ControlPlane],
    /// Revision tags.
    pub tags: &'a [Tag],
    /// Revisions of the upgrade under way, whose control planes count as if they were there: uninstalled in the middle,
    /// a control plane leaves its labels behind, and what has them is of this mesh all the same.
    pub recorded: [Option<&'a str>; 2],
}

impl<'a> Revisions<'a> {
    /// What an upgrade sees: while it runs, labels are read by its record too.
    pub fn of(upgrade: &Upgrade, view: &'a MeshView) -> Self {
        let record = view.record.present();
        let recorded = record.filter(|_| upgrade.phase().is_locked());
        let recorded = recorded.map(|record| {
            let both = [&record.source_revision, &record.target_revision];
            both.map(|revision| Some(revision.as_str()))
        });
        Self {
            recorded: recorded.unwrap_or_default(),
            ..Self::seen(view)
        }
    }

    /// What is there.
    pub fn seen(view: &'a MeshView) -> Self {
        Self {
            control_planes: view.control_planes.present().map_or(&[], Vec::as_slice),
            tags: view.tags(),
            recorded: [None; 2],
        }
    }

    /// Who injects a pod with these labels in a namespace with those.
    pub fn injector(
        &self,
        namespace: &BTreeMap<String, String>,
        pod: &BTreeMap<String, String>,
    ) -> Injector {
        injector_among(self, namespace, pod)
    }
}

impl Revisions<'_> {
    fn named(&self, name: &str) -> Injector {
        if self.control_planes.iter().any(|cp| cp.revision == name) {
            return Injector::Namespace(name.to_owned());
        }
        if self.tags.iter().any(|tag| tag.name == name) {
            Injector::Tag(name.to_owned())
        } else if self.recorded.contains(&Some(name)) {
            Injector::Namespace(name.to_owned())
        } else {
            // A label that names nothing matches no webhook.
            Injector::Nobody
        }
    }
}

/// Who injects a pod with these labels in a namespace with those.
pub fn injector_of(
    namespace: &BTreeMap<String, String>,
    pod: &BTreeMap<String, String>,
    control_planes: &[ControlPlane],
    tags: &[Tag],
) -> Injector {
    let revisions = Revisions {
        control_planes,
        tags,
        recorded: [None; 2],
    };
    injector_among(&revisions, namespace, pod)
}

fn injector_among(
    revisions: &Revisions<'_>,
    namespace: &BTreeMap<String, String>,
    pod: &BTreeMap<String, String>,
) -> Injector {
    if pod
        .get(SIDECAR_INJECT)
        .is_some_and(|value| value == "false")
    {
        return Injector::Nobody;
    }
    // `istio-injection` wins over every revision label, whatever its value.
    if let Some(value) = namespace.get(ISTIO_INJECTION) {
        return match value.as_str() {
            "enabled" => revisions.named(DEFAULT_REVISION),
            _ => Injector::Nobody,
        };
    }
    if let Some(revision) = namespace.get(ISTIO_REV) {
        return revisions.named(revision);
    }
    if let Some(revision) = pod.get(ISTIO_REV) {
        return Injector::Pod(Some(revision.clone()));
    }
    if pod.get(SIDECAR_INJECT).is_some_and(|value| value == "true") {
        Injector::Pod(None)
    } else {
        Injector::Nobody
    }
}

/// The revision or tag that a pod template asks for, where its namespace leaves that to it.
pub fn asked_by_template(
    namespace: &BTreeMap<String, String>,
    template: &BTreeMap<String, String>,
    control_planes: &[ControlPlane],
    tags: &[Tag],
) -> Option<String> {
    match injector_of(namespace, template, control_planes, tags) {
        Injector::Pod(name) => Some(name.unwrap_or_else(|| DEFAULT_REVISION.to_owned())),
        Injector::Namespace(_) | Injector::Tag(_) | Injector::Nobody => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::labels;

    fn istiod(revision: &str) -> ControlPlane {
        ControlPlane {
            namespace: "istio-system".into(),
            name: "istiod".into(),
            revision: revision.into(),
            ..ControlPlane::default()
        }
    }

    fn who(namespace: &[(&str, &str)], pod: &[(&str, &str)]) -> Injector {
        let tags = [Tag {
            name: "prod".into(),
            revision: "1-30-2".into(),
            ..Tag::default()
        }];
        let planes = [istiod("default"), istiod("1-31-0")];
        injector_of(&labels(namespace), &labels(pod), &planes, &tags)
    }

    #[test]
    fn the_injection_label_wins_over_the_revision_label() {
        let both = [("istio-injection", "enabled"), ("istio.io/rev", "1-31-0")];
        assert_eq!(who(&both, &[]), Injector::Namespace("default".into()));
        let off = [("istio-injection", "disabled"), ("istio.io/rev", "1-31-0")];
        assert_eq!(who(&off, &[]), Injector::Nobody);
    }

    #[test]
    fn the_namespace_wins_over_the_pod() {
        let pod = [("istio.io/rev", "default")];
        assert_eq!(
            who(&[("istio.io/rev", "1-31-0")], &pod),
            Injector::Namespace("1-31-0".into())
        );
        assert_eq!(who(&[], &pod), Injector::Pod(Some("default".into())));
    }

    #[test]
    fn a_pod_can_always_opt_out_and_only_alone_opt_in() {
        let enabled = [("istio-injection", "enabled")];
        assert_eq!(
            who(&enabled, &[("sidecar.istio.io/inject", "false")]),
            Injector::Nobody
        );
        assert_eq!(
            who(&[], &[("sidecar.istio.io/inject", "true")]),
            Injector::Pod(None)
        );
        assert_eq!(who(&[], &[]), Injector::Nobody);
    }

    #[test]
    fn tags_are_told_from_revisions_and_unknown_names_inject_nothing() {
        assert_eq!(
            who(&[("istio.io/rev", "prod")], &[]),
            Injector::Tag("prod".into())
        );
        assert_eq!(who(&[("istio.io/rev", "gone")], &[]), Injector::Nobody);
    }
}
