//! Revision tags. A tag moves once all its namespaces may; until then those of open waves ask for the new revision
//! themselves, and get the label of the tag back when it has moved: the same istiod injects them, so nothing restarts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use meshlift_api::Move;
use meshlift_api::labels::{DEFAULT_REVISION, ISTIO_REV};
use meshlift_model::data_plane::excluded;
use meshlift_model::decision::Effect;
use meshlift_model::injection::{Injector, Revisions, injector_of};
use meshlift_model::record::Record;
use meshlift_model::reference;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{ControlPlane, MeshView, Namespace, Tag, Workload};

use super::Moves;
use super::git::{Change, Theirs};
use crate::phase::data_plane::Drive;

/// Names of the tags that an upgrade points at its target.
pub fn tags_to_move(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
) -> Vec<String> {
    let Some(drive) = Drive::look(now, upgrade, view, record) else {
        return Vec::new();
    };
    let moves = |tag: &&Tag| drive.is_left(tag) && drive.follows(tag);
    let tags = view.tags().iter().filter(moves);
    tags.map(|tag| tag.name.clone()).collect()
}

impl Drive<'_> {
    /// The tags that do not yet point where they should.
    pub(super) fn tags(&self) -> Moves {
        let Some(plane) = self.destination() else {
            return Moves::default();
        };
        self.tags_to(plane)
    }

    /// The same, where the control plane that is moved to may be yet to come.
    pub(super) fn tags_to(&self, plane: &ControlPlane) -> Moves {
        let mut moves = Moves::default();
        for tag in self.view.tags().iter().filter(|tag| self.is_due(tag)) {
            let theirs = self.theirs(tag.owner.as_deref(), tag.moved_to.as_deref());
            let effect = Effect::PointTag {
                tag: tag.name.clone(),
                configuration: tag.configuration.clone(),
                uid: tag.uid.clone(),
                resource_version: tag.resource_version.clone(),
                revision: self.heading.to.to_owned(),
                namespace: plane.namespace.clone(),
                istiod: plane.name.clone(),
                mark: !self.heading.is_back(),
            };
            moves.push(theirs, effect, |theirs| change(tag, plane, theirs));
        }
        self.without_refused(moves)
    }

    /// Whether a tag of this mesh points at the control plane that is left behind.
    fn is_left(&self, tag: &Tag) -> bool {
        self.relabels() && self.of_mesh(tag) && tag.revision == self.leaving()
    }

    /// Whether a tag should point at where this leads, and does not.
    fn is_due(&self, tag: &Tag) -> bool {
        if !self.is_left(tag) {
            return false;
        }
        if self.heading.is_back() {
            let came_from = |t: &&meshlift_model::record::RecordedTag| t.name == tag.name;
            let recorded = self.record.tags.iter().find(came_from);
            let ours = tag.moved_to.as_deref() == self.heading.from;
            recorded.map_or(ours, |recorded| recorded.revision == self.heading.to)
        } else {
            self.follows(tag) && self.is_open(tag)
        }
    }

    /// Whether this upgrade moves a tag at all: not where it is to leave tags alone, or one of the namespaces.
    pub(super) fn follows(&self, tag: &Tag) -> bool {
        let by_tag = self.upgrade.spec.data_plane.by != Move::Labels && !tag.by_url;
        // A name that is a revision too is no tag that anyone could move.
        let planes = self.view.control_planes.present();
        let is_revision = planes.into_iter().flatten().any(|p| p.revision == tag.name);
        let exclude = self.upgrade.spec.data_plane.exclude.as_ref();
        let left_out = |ns: &&Namespace| excluded(exclude, &ns.labels);
        by_tag && !is_revision && !self.members(tag).iter().any(left_out)
    }

    /// Whether all that would move with a tag may move. One that nobody uses moves with the rest.
    pub(super) fn is_open(&self, tag: &Tag) -> bool {
        let of_namespaces = self
            .members(tag)
            .into_iter()
            .map(|ns| self.stages.of_namespace(&ns.name));
        let workloads = self.view.workloads.present().into_iter().flatten();
        // A Gateway that istiod renders has the label copied; it is kept where it is by its own.
        let by_pod = workloads
            .filter(|workload| !workload.managed_gateway)
            .filter(|workload| self.asks_for_tag(workload, tag))
            .map(|workload| self.stages.of_workload(workload));
        let stages: BTreeSet<usize> = of_namespaces.chain(by_pod).collect();
        if stages.is_empty() {
            let rest = self.stages.of_namespace(&self.record.source.namespace);
            self.stages.is_open(rest)
        } else {
            stages.into_iter().all(|stage| self.stages.is_open(stage))
        }
    }

    /// Whether pods of a workload follow a tag by their own labels. Those that only ask for a sidecar follow the tag
    /// `default`: moved without them, they would change sides with the next pod that is replaced, in no wave at all.
    fn asks_for_tag(&self, workload: &Workload, tag: &Tag) -> bool {
        let asked = workload.template_labels.get(ISTIO_REV);
        if tag.name != DEFAULT_REVISION || asked.is_some() {
            return asked == Some(&tag.name);
        }
        let mut namespaces = self.view.namespaces.present().into_iter().flatten();
        let namespace = namespaces.find(|ns| ns.name == workload.key.namespace);
        let revisions = Revisions::of(self.upgrade, self.view);
        let injector =
            namespace.map(|ns| revisions.injector(&ns.labels, &workload.template_labels));
        injector == Some(Injector::Pod(None))
    }

    /// The namespaces bound to a tag, or bound to it before we moved them by label.
    fn members(&self, tag: &Tag) -> Vec<&Namespace> {
        let namespaces = self.view.namespaces.present().into_iter().flatten();
        namespaces
            .filter(|ns| !ns.terminating)
            .filter(|ns| self.bound_by(ns) == Some(tag) || self.was_bound_by(ns) == Some(tag))
            .collect()
    }

    /// The tag that injects in a namespace.
    pub(super) fn bound_by(&self, namespace: &Namespace) -> Option<&Tag> {
        match self.injector(namespace) {
            Injector::Tag(name) => self.view.tags().iter().find(|tag| tag.name == name),
            _ => None,
        }
    }

    /// The tag that a namespace followed before we moved it by label.
    pub(super) fn was_bound_by(&self, namespace: &Namespace) -> Option<&Tag> {
        namespace.moved_to.as_ref()?;
        let mut recorded = self.record.namespaces.iter();
        let before = recorded.find(|ns| ns.name == namespace.name)?;
        let planes = self.view.control_planes.present()?;
        let none = BTreeMap::new();
        match injector_of(&before.labels, &none, planes, self.view.tags()) {
            Injector::Tag(name) => self.view.tags().iter().find(|tag| tag.name == name),
            _ => None,
        }
    }
}

fn change(tag: &Tag, plane: &ControlPlane, theirs: Theirs) -> Change {
    let (revision, istiod) = (&plane.revision, &plane.name);
    Change {
        reference: reference::tag(&tag.configuration),
        change: format!(
            "revision tag {} at {revision}: label {ISTIO_REV}: {revision}, clientConfig.service.name: {istiod} in every webhook; in Service istiod-revision-tag-{}, if it is there, the same label and selector",
            tag.name, tag.name
        ),
        theirs,
    }
}
