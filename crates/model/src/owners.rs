//! Which revision owns a Gateway, now and after a move.
//!
//! Source: istio `pkg/revisions/tag_watcher.go` (`IsMine`): the label of the Gateway, else that of its namespace, else
//! the default revision. An istiod without a revision always claims the default, whatever the default points at.

use std::collections::BTreeMap;

use meshlift_api::labels::{DEFAULT_REVISION, ISTIO_REV};

use crate::decision::Effect;
use crate::view::MeshView;

/// What the label of a Gateway comes to.
#[derive(Clone)]
pub struct Owners<'a> {
    revisions: Vec<&'a str>,
    tags: BTreeMap<&'a str, &'a str>,
    namespaces: BTreeMap<&'a str, Option<&'a str>>,
    /// What the default validator calls.
    validator: Option<&'a str>,
}

impl<'a> Owners<'a> {
    /// As things are.
    pub fn now(view: &'a MeshView) -> Self {
        let planes = view.control_planes.present().map_or(&[][..], Vec::as_slice);
        let validator = view.validator.present();
        let called = planes
            .iter()
            .find(|p| validator.is_some_and(|v| v.calls(p)));
        let namespaces = view.namespaces.present().into_iter().flatten();
        Self {
            revisions: planes.iter().map(|p| p.revision.as_str()).collect(),
            tags: view
                .tags()
                .iter()
                .map(|tag| (tag.name.as_str(), tag.revision.as_str()))
                .collect(),
            namespaces: namespaces
                .map(|ns| {
                    (
                        ns.name.as_str(),
                        ns.labels.get(ISTIO_REV).map(String::as_str),
                    )
                })
                .collect(),
            validator: called.map(|plane| plane.revision.as_str()),
        }
    }

    /// The same after these moves.
    pub fn after(mut self, moves: impl IntoIterator<Item = &'a Effect>) -> Self {
        for effect in moves {
            match effect {
                Effect::MoveNamespace { name, labels, .. } => {
                    self.namespaces.insert(name, labels.revision.as_deref());
                }
                Effect::PointTag { tag, revision, .. } => {
                    self.tags.insert(tag, revision);
                }
                _ => {}
            }
        }
        self
    }

    /// The revision that owns a Gateway with this label in this namespace; none where nobody or more than one does.
    pub fn owner(&self, label: Option<&str>, namespace: &str) -> Option<&str> {
        let of_namespace = || self.namespaces.get(namespace).copied().flatten();
        match label.or_else(of_namespace) {
            None => self.default_owner(false),
            Some(DEFAULT_REVISION) => self.default_owner(true),
            Some(name) => self.named(name),
        }
    }

    /// Whether a name is a tag and no revision.
    pub fn is_tag(&self, name: &str) -> bool {
        self.tags.contains_key(name) && !self.revisions.contains(&name)
    }

    fn named(&self, name: &str) -> Option<&str> {
        let revision = self.revisions.iter().find(|r| **r == name).copied();
        revision.or_else(|| self.tags.get(name).copied())
    }

    /// Whether it is the default revision that decides on a Gateway.
    pub fn by_default(&self, label: Option<&str>, namespace: &str) -> bool {
        let of_namespace = || self.namespaces.get(namespace).copied().flatten();
        matches!(label.or_else(of_namespace), None | Some(DEFAULT_REVISION))
    }

    /// Two istiods that both claim the default render in turns, without end: then nobody owns it.
    fn default_owner(&self, by_name: bool) -> Option<&str> {
        let plain = self.revisions.contains(&DEFAULT_REVISION);
        let tag = self.tags.get(DEFAULT_REVISION).copied();
        let pointed = tag.or(self.validator.filter(|_| !by_name));
        match (plain, pointed) {
            (true, None | Some(DEFAULT_REVISION)) => Some(DEFAULT_REVISION),
            (true, Some(_)) => None,
            (false, pointed) => pointed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::InjectionLabels;
    use crate::example::{istiod, labels, moved, namespace};
    use crate::view::{Seen, Tag, Validator};

    fn view(plain: bool, default: &str, tags: &[(&str, &str)], rev: Option<&str>) -> MeshView {
        let mut view = moved();
        let mut planes = vec![istiod("1-30-2", "1.30.2"), istiod("1-31-0", "1.31.0")];
        if plain {
            planes.push(istiod("default", "1.30.2"));
        }
        view.control_planes = Seen::Present(planes);
        view.validator = Seen::Present(Validator {
            namespace: "istio-system".into(),
            service: default.into(),
            has_ca_bundle: true,
        });
        let tag = |(name, revision): &(&str, &str)| Tag {
            name: (*name).into(),
            revision: (*revision).into(),
            ..Tag::default()
        };
        *view.tags_mut() = tags.iter().map(tag).collect();
        namespace(&mut view).name = "shop".into();
        let rev = rev.map(|rev| ("istio.io/rev", rev));
        namespace(&mut view).labels = labels(rev.as_slice());
        view
    }

    #[test]
    fn the_label_of_the_gateway_then_of_the_namespace_then_the_default() {
        let (old, new) = (Some("1-30-2"), Some("1-31-0"));
        let prod: &[(&str, &str)] = &[("prod", "1-30-2")];
        let default: &[(&str, &str)] = &[("default", "1-30-2")];
        for (plain, service, tags, rev, label, owner) in [
            (false, "istiod-1-30-2", prod, None, None, old),
            (false, "istiod-1-31-0", prod, None, None, new),
            (false, "istiod-1-31-0", prod, Some("prod"), None, old),
            (
                false,
                "istiod-1-31-0",
                prod,
                Some("1-31-0"),
                Some("prod"),
                old,
            ),
            (false, "istiod-1-31-0", prod, Some("gone"), None, None),
            // The tag wins over the validator.
            (false, "istiod-1-31-0", default, None, None, old),
            (false, "istiod-1-31-0", default, None, Some("default"), old),
            // An istiod without revision claims the default; with another one it is claimed twice.
            (true, "istiod", &[], None, None, Some("default")),
            (true, "istiod-1-31-0", &[], None, None, None),
            (
                true,
                "istiod-1-31-0",
                &[],
                None,
                Some("default"),
                Some("default"),
            ),
            (true, "istiod", default, None, Some("default"), None),
            (true, "istiod-1-31-0", &[], Some("1-31-0"), None, new),
        ] {
            let view = view(plain, service, tags, rev);
            let found = Owners::now(&view);
            assert_eq!(
                found.owner(label, "shop"),
                owner,
                "{service} {tags:?} {rev:?} {label:?}"
            );
        }
    }

    #[test]
    fn a_move_changes_the_owner_of_what_follows_it() {
        let view = view(false, "istiod-1-30-2", &[("prod", "1-30-2")], Some("prod"));
        let owners = Owners::now(&view);
        let moves = [Effect::MoveNamespace {
            name: "shop".into(),
            uid: String::new(),
            resource_version: String::new(),
            revision: "1-31-0".into(),
            labels: InjectionLabels::bound_to("1-31-0"),
            mark: true,
        }];
        let after = owners.clone().after(&moves);
        assert_eq!(after.owner(None, "shop"), Some("1-31-0"));
        assert_eq!(after.owner(Some("prod"), "shop"), Some("1-30-2"));
        assert!(owners.is_tag("prod") && !owners.is_tag("1-30-2"));
    }
}
