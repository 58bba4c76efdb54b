//! Writes that the API server refused: remembered for as long as the process lives, so that each is tried again by its
//! own clock, and named.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use meshlift_model::{Executed, Refusal, Refusals, Tried, Upgrade};

/// Refusals of all upgrades.
#[derive(Debug, Default)]
pub struct RefusedWrites {
    rows: Mutex<Refusals>,
}

impl RefusedWrites {
    /// Those of an upgrade on its present way, by UID of the object.
    pub fn of(&self, upgrade: &Upgrade) -> BTreeMap<String, Refusal> {
        self.rows().of(upgrade)
    }

    /// Sums up what became of a batch.
    pub(crate) fn settle(&self, upgrade: &Upgrade, tried: Vec<Tried<'_>>) -> Executed {
        self.rows().settle(Timestamp::now(), upgrade, tried)
    }

    /// Notes that a disruption budget does not allow the eviction of a pod.
    pub(crate) fn note_budget(&self, upgrade: &Upgrade, uid: &str, why: String) {
        self.rows().note_budget(Timestamp::now(), upgrade, uid, why);
    }

    fn rows(&self) -> MutexGuard<'_, Refusals> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
