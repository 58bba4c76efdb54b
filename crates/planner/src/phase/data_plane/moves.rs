//! What decides which control plane injects and renders: labels of namespaces, revision tags, labels of Gateways.
//!
//! Each look computes what all of them should be, from the record, the heading and the stages that are open. Gateways
//! that a move would roll by accident come before it, then tags, then namespaces, then the Gateways whose turn it is.

mod gateways;
mod git;
mod namespaces;
mod refused;
mod tags;

use meshlift_api::{Move, Step};
use meshlift_model::decision::{Batch, Decision, Effect, Next, Report};
use meshlift_model::message;
use meshlift_model::owners::Owners;
use meshlift_model::view::{ControlPlane, Seen, Tag, gitops_tool};

use self::git::{Change, Theirs};
pub use self::namespaces::to_move;
pub use self::tags::tags_to_move;
use super::Drive;
use crate::phase::blind;

/// What is to be written, and what somebody else has to commit.
#[derive(Default)]
pub(super) struct Moves {
    act: Batch,
    git: Vec<Change>,
    /// What the API server refused and is not tried now.
    refused: Batch,
}

impl Moves {
    fn push(
        &mut self,
        theirs: Option<Theirs>,
        effect: Effect,
        change: impl FnOnce(Theirs) -> Change,
    ) {
        match theirs {
            None => self.act.push(effect),
            Some(theirs) => self.git.push(change(theirs)),
        }
    }
}

impl Drive<'_> {
    /// Moves what may move now; `None` when nothing is left for us to move in the stages that are open.
    pub(in crate::phase) fn moves(&self, report: &Report) -> Option<Decision> {
        if !self.relabels() || self.destination_ill().is_some() {
            return None;
        }
        // Also with nothing else left to move: a Gateway that nobody sees may still have to, and passed over, it would
        // be taken for moved.
        if let Seen::Unreadable(why) = &self.view.gateways {
            return Some(blind(self.now, report.clone(), "the Gateways", why));
        }
        let tags = self.sparing_gateways(self.tags().act);
        let namespaces = self.sparing_gateways(self.namespaces().act);
        self.gateways_before(&tags, &namespaces, report)
            .or_else(|| self.act("tags", tags, report))
            .or_else(|| self.act("namespaces", namespaces, report))
            .or_else(|| self.gateways_in_turn(report))
    }

    /// All that is moved by us if every stage is open, also where the control plane that is moved to is yet to come.
    pub(in crate::phase::data_plane) fn moves_in_the_end(&self) -> Batch {
        let plane = ControlPlane {
            namespace: self.record.source.namespace.clone(),
            name: format!("istiod-{}", self.heading.to),
            revision: self.heading.to.to_owned(),
            ..ControlPlane::default()
        };
        let mut writes = self.tags_to(&plane).act;
        writes.extend(self.namespaces().act);
        let owners = Owners::now(self.view);
        let gateways = self.gateways_to_label(&owners).into_iter();
        writes.extend(gateways.map(|wanted| self.label(&wanted)));
        writes
    }

    fn act(&self, what: &str, batch: Batch, report: &Report) -> Option<Decision> {
        if batch.is_empty() {
            return None;
        }
        let names: Vec<String> = batch.iter().filter_map(moved).collect();
        let message = format!(
            "{}moving {what} {}to {}: {}",
            self.wave(),
            if self.heading.is_back() { "back " } else { "" },
            self.heading.to,
            message::first_few(&names)
        );
        let report = self.as_before_if_again(&batch, self.says(report, message));
        Some(Decision::new(Next::Act(batch), report))
    }

    fn says(&self, report: &Report, message: String) -> Report {
        let step = if self.heading.is_back() {
            Step::MovingBack
        } else {
            Step::MovingNamespaces
        };
        self.moving(Report {
            step: Some(step),
            message,
            ..report.clone()
        })
    }

    /// Why a write would not be ours to make, if so. `moved_to` is what we remembered on the object when we wrote
    /// it last; it is not as it should be now.
    fn theirs(&self, owner: Option<&str>, moved_to: Option<&str>) -> Option<Theirs> {
        if self.upgrade.spec.data_plane.by == Move::None {
            return Some(Theirs::Owned("spec.dataPlane.move is None".to_owned()));
        }
        if let Some(tool) = owner.and_then(gitops_tool) {
            return Some(Theirs::Owned(format!("{tool} owns it")));
        }
        let by = owner.filter(|owner| *owner != meshlift_api::labels::FIELD_MANAGER);
        let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
        let why = match self.heading.from {
            None if moved_to == Some(self.heading.to) => format!("it was put back{by}"),
            Some(_) if moved_to.is_none() => format!("it was moved{by}, not by Meshlift"),
            _ => return None,
        };
        Some(Theirs::PutBack(why))
    }

    /// Whether a tag belongs to the control planes of this upgrade.
    fn of_mesh(&self, tag: &Tag) -> bool {
        tag.namespace.is_empty() || tag.namespace == self.record.source.namespace
    }

    /// Whether anything leads elsewhere. In place labels, tags and Gateways lead where they always did: nobody writes them,
    /// and nobody is asked to.
    fn relabels(&self) -> bool {
        !self.heading.is_in_place()
    }

    /// The revision that is left behind.
    fn leaving(&self) -> &str {
        self.heading.from.unwrap_or(&self.record.source_revision)
    }
}

#[cfg(test)]
mod tests;

fn moved(effect: &Effect) -> Option<String> {
    match effect {
        Effect::MoveNamespace { name, .. } => Some(name.clone()),
        Effect::PointTag { tag, .. } => Some(tag.clone()),
        Effect::LabelGateway {
            namespace, name, ..
        } => Some(format!("{namespace}/{name}")),
        _ => None,
    }
}
