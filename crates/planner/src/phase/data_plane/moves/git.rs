//! What someone else has to commit: a GitOps tool owns it, or someone put it back. It is not fought over.

use meshlift_api::Phase;

use crate::decision::{Decision, Report, WaitingOn};
use crate::message;
use crate::phase::data_plane::Drive;
use crate::phase::{BACKSTOP, wait};

/// A change that someone else has to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// The object: `Namespace shop`.
    pub(super) object: String,
    /// What to write there.
    pub(super) change: String,
    /// Why we do not.
    pub(super) why: String,
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
        let mut changes = self.tags().git;
        changes.extend(self.namespaces().git);
        changes.extend(self.gateway_changes());
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
}

fn say(changes: &[Change]) -> String {
    let told = |change: &Change| {
        let Change {
            object,
            change,
            why,
        } = change;
        format!("{object} ({why}): {change}")
    };
    let first: Vec<String> = changes.iter().take(SPELLED_OUT).map(told).collect();
    let more = match changes.len().saturating_sub(SPELLED_OUT) {
        0 => String::new(),
        more => {
            let names: Vec<&str> = changes[SPELLED_OUT..]
                .iter()
                .map(|change| change.object.as_str())
                .collect();
            format!("; the same for {more} more: {}", message::first_few(&names))
        }
    };
    format!(
        "waits until someone makes these changes where they come from (Git?), and goes on by itself: {}{more}",
        first.join("; ")
    )
}
