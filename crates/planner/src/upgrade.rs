//! The MeshUpgrade as the planner sees it.

use jiff::Timestamp;
use meshlift_api::{MeshUpgradeSpec, MeshUpgradeStatus, Phase};

/// The object being reconciled.
#[derive(Clone, Debug, PartialEq)]
pub struct Upgrade {
    /// Name.
    pub name: String,
    /// UID; names the record, so a re-created object starts with a record of its own.
    pub uid: String,
    /// Generation of the spec.
    pub generation: i64,
    /// Creation time; the older of two upgrades of one mesh goes first.
    pub created_at: Timestamp,
    /// Whether deletion was asked for.
    pub deleting: bool,
    /// Whether our finalizer is on it.
    pub held: bool,
    /// Value of the retry annotation.
    pub retry: Option<String>,
    /// Spec.
    pub spec: MeshUpgradeSpec,
    /// Status as last written.
    pub status: MeshUpgradeStatus,
}

impl Upgrade {
    /// The phase; an object without status is Pending.
    pub fn phase(&self) -> Phase {
        self.status.phase.unwrap_or(Phase::Pending)
    }

    /// Whether the spec or the retry annotation changed since the status was written.
    pub fn asked_again(&self) -> bool {
        let spec_changed = self.status.observed_generation != Some(self.generation);
        let retried = self.retry.is_some() && self.retry != self.status.observed_retry;
        spec_changed || retried
    }

    /// Name of the Secret that keeps this upgrade's record.
    pub fn record_name(&self) -> String {
        let room = 253_usize.saturating_sub("upgrade--".len() + self.uid.len());
        let name: String = self.name.chars().take(room).collect();
        format!("upgrade-{}-{}", name.trim_end_matches(['.', '-']), self.uid)
    }
}
