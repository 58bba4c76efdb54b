//! Evictions that the API server refused: remembered, so that they are not tried all the time, and told.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use meshlift_planner::view::RefusedEviction;

/// How long a refusal holds the next try back. Shorter than the time between two looks while one is waited for.
const HOLDS: Duration = Duration::from_secs(4);
/// How long it is told: longer than an upgrade takes, after which nobody asks for it.
const TOLD: Duration = Duration::from_secs(24 * 3600);

/// Refusals by UID of the pod.
#[derive(Debug, Default)]
pub struct RefusedEvictions {
    rows: Mutex<HashMap<String, (Instant, String)>>,
}

impl RefusedEvictions {
    /// Notes why a pod could not be evicted.
    pub fn note(&self, uid: &str, why: String) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.retain(|_, (at, _)| at.elapsed() < TOLD);
        rows.insert(uid.to_owned(), (Instant::now(), why));
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, RefusedEviction> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |(at, why): &(Instant, String)| RefusedEviction {
            why: why.clone(),
            again: at.elapsed() >= HOLDS,
        };
        rows.iter()
            .map(|(uid, row)| (uid.clone(), told(row)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_holds_the_next_try_back_for_a_moment() {
        let refused = RefusedEvictions::default();
        assert!(refused.all().is_empty());
        refused.note("a", "its budget".into());
        let told = &refused.all()["a"];
        assert_eq!((told.why.as_str(), told.again), ("its budget", false));
        let a_while_ago = Instant::now()
            .checked_sub(HOLDS)
            .expect("a running machine");
        let old = (a_while_ago, "its budget".to_owned());
        refused
            .rows
            .lock()
            .expect("no panic")
            .insert("a".into(), old);
        assert!(refused.all()["a"].again);
    }
}
