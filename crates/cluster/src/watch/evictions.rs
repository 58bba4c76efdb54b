//! Evictions that the API server refused: remembered for a moment, so that they are not tried all the time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a refusal holds the next try back. Shorter than the time between two looks while one is waited for.
const HOLDS: Duration = Duration::from_secs(4);

/// Refusals by UID of the pod.
#[derive(Debug, Default)]
pub struct RefusedEvictions {
    rows: Mutex<HashMap<String, (Instant, String)>>,
}

impl RefusedEvictions {
    /// Notes why a pod could not be evicted.
    pub fn note(&self, uid: &str, why: String) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.retain(|_, (at, _)| at.elapsed() < HOLDS);
        rows.insert(uid.to_owned(), (Instant::now(), why));
    }

    /// Those of the last seconds.
    pub fn recent(&self) -> BTreeMap<String, String> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = rows.iter().filter(|(_, (at, _))| at.elapsed() < HOLDS);
        recent
            .map(|(uid, (_, why))| (uid.clone(), why.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_for_a_moment() {
        let refused = RefusedEvictions::default();
        assert!(refused.recent().is_empty());
        refused.note("a", "its budget".into());
        assert_eq!(refused.recent()["a"], "its budget");
        let long_ago = Instant::now()
            .checked_sub(HOLDS)
            .expect("a running machine");
        let old = (long_ago, "its budget".to_owned());
        refused
            .rows
            .lock()
            .expect("no panic")
            .insert("b".into(), old);
        assert!(!refused.recent().contains_key("b"));
    }
}
