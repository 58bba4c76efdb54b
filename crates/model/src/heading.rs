//! Which way the data plane moves: to the new control plane, or back to the old one.

use meshlift_api::RollbackStatus;

use crate::record::Record;
use crate::upgrade::Upgrade;
use crate::view::Pod;

/// A direction between the two control planes of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading<'a> {
    /// Revision that workloads shall run.
    pub to: &'a str,
    /// The only revision that is left behind; on the way forward every other one is.
    pub from: Option<&'a str>,
}

impl<'a> Heading<'a> {
    /// Forward, to a revision.
    pub fn forward(to: &'a str) -> Self {
        Self { to, from: None }
    }

    /// Where an upgrade is heading now.
    pub fn of(upgrade: &Upgrade, record: &'a Record) -> Self {
        match rollback(upgrade) {
            None => Self::forward(&record.target_revision),
            Some(_) => Self {
                to: &record.source_revision,
                from: Some(&record.target_revision),
            },
        }
    }

    /// Whether it leads back.
    pub fn is_back(&self) -> bool {
        self.from.is_some()
    }

    /// `forward` or `back`.
    pub fn word(&self) -> &'static str {
        match self.is_back() {
            true => "back",
            false => "forward",
        }
    }

    /// Whether a pod still runs a sidecar that is left behind.
    pub fn leaves(&self, pod: &Pod) -> bool {
        match self.from {
            Some(from) => pod.revision.as_deref() == Some(from),
            None => pod.revision.as_deref() != Some(self.to),
        }
    }
}

/// The rollback that is under way.
pub fn rollback(upgrade: &Upgrade) -> Option<&RollbackStatus> {
    upgrade.status.rollback.as_ref()
}
