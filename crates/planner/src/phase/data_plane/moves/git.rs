//! What someone else has to commit: a GitOps tool owns it, or someone put it back. It is not fought over. A tool's owner is
//! waited for; whoever put something back may never look at it again, and is waited for only as long as a restart may take.

use meshlift_api::{BlockedWorkload, Phase, Predicate};
use meshlift_model::decision::{Decision, Report, WaitingOn};
use meshlift_model::{message, reference};

use crate::phase::data_plane::Drive;
use crate::phase::patience::is_late;
use crate::phase::{BACKSTOP, wait};

/// Why a write is not ours to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Theirs {
    /// A GitOps tool owns the object, or the spec leaves it to others: whoever that is makes the change.
    Owned(String),
    /// Somebody undid it, or did something else with it.
    PutBack(String),
}

impl Theirs {
    fn why(&self) -> &str {
        match self {
            Theirs::Owned(why) | Theirs::PutBack(why) => why,
        }
    }
}

/// A change that someone else has to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The object as status refers to it: `v1 Namespace shop`.
    pub(super) reference: String,
    /// What to write there.
    pub(super) change: String,
    /// Why we do not.
    pub(super) theirs: Theirs,
}

impl Change {
    /// The object as people are told of it: `Namespace shop`.
    fn object(&self) -> &str {
        let parts = self.reference.split_once(' ');
        parts.map_or(&self.reference, |(_, object)| object)
    }
}

/// How many changes are spelled out.
const SPELLED_OUT: usize = 3;

impl Drive<'_> {
    /// Waits for the changes that others have to make in the stages that are open; `None` when there are none.
    /// Not for workloads whose restart was put back: whoever writes their templates may be a controller that nobody can
    /// commit anything to. They are named, and the others go on.
    pub(in crate::phase) fn git(&self, report: &Report) -> Option<Decision> {
        // Once all has moved, what somebody else has to move is named: nobody waits for a new namespace of Git.
        if self.destination_ill().is_some() || self.upgrade.phase() == Phase::HealthChecking {
            return None;
        }
        let mut changes = self.changes();
        changes.retain(|change| !self.is_given_up(change));
        if changes.is_empty() {
            return None;
        }
        let message = format!("{}{}", self.wave(), say(&changes));
        let report = self.says(report, message);
        Some(Decision::new(
            wait(self.now, WaitingOn::Git, BACKSTOP),
            report,
        ))
    }

    /// What somebody put back and nobody put right in time, named as not moved.
    pub(in crate::phase::data_plane) fn named_as_put_back(&self) -> Vec<BlockedWorkload> {
        let mut changes = self.changes();
        changes.retain(|change| self.is_given_up(change));
        let named = changes.iter().map(|change| BlockedWorkload {
            reference: change.reference.clone(),
            predicate: Predicate::NotOurs,
            message: message::put_back(change.theirs.why(), &change.change),
        });
        named.collect()
    }

    fn changes(&self) -> Vec<Change> {
        let mut changes = self.tags().git;
        changes.extend(self.namespaces().git);
        changes.extend(self.gateway_changes());
        changes
    }

    /// Whether a change is waited for no more. Once it is, it stays so: status remembers it by name.
    fn is_given_up(&self, change: &Change) -> bool {
        matches!(change.theirs, Theirs::PutBack(_))
            && (reference::is_put_back(&self.upgrade.status.blocked, &change.reference)
                || is_late(self.now, self.upgrade, WaitingOn::Git))
    }
}

fn say(changes: &[Change]) -> String {
    let told = |change: &Change| {
        let (object, why) = (change.object(), change.theirs.why());
        format!("{object} ({why}): {}", change.change)
    };
    let first: Vec<String> = changes.iter().take(SPELLED_OUT).map(told).collect();
    let more = match changes.len().saturating_sub(SPELLED_OUT) {
        0 => String::new(),
        more => {
            let names: Vec<&str> = changes[SPELLED_OUT..].iter().map(Change::object).collect();
            format!("; the same for {more} more: {}", message::first_few(&names))
        }
    };
    format!(
        "waiting until these changes are made where the objects come from (Git?); the upgrade then continues by itself: {}{more}",
        first.join("; ")
    )
}
