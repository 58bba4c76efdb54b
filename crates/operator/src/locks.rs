//! Locks by name, which are forgotten once nobody holds them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A lock for each name.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    /// The lock of this name. Names come and go with objects that people make, so those that nobody holds are not kept.
    pub(crate) fn of(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(name.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_holds_by_name_and_is_forgotten_with_its_last_holder() {
        let locks = Locks::default();
        let one = locks.of("a");
        let held = one.try_lock().expect("nobody holds it");
        assert!(locks.of("a").try_lock().is_err(), "it is held");
        assert!(locks.of("b").try_lock().is_ok(), "another name");
        drop(held);
        drop(one);
        assert!(locks.of("c").try_lock().is_ok());
        assert_eq!(
            locks.0.lock().expect("no panic").len(),
            1,
            "only the last name"
        );
    }
}
