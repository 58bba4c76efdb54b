//! What is looked up by request is kept for a while, errors for a shorter one.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;

/// An error is kept this long: neither hammering what is down nor slow to notice that it is back.
const ERROR_AGE: Duration = Duration::from_secs(3);
/// No look may hold up a decision for longer.
const LIMIT: Duration = Duration::from_secs(20);

/// When a value was looked up, and what came of it.
type Row<V> = (Instant, Result<V, String>);

/// Values by key, with an age.
pub(super) struct Cached<K, V> {
    age: Duration,
    rows: Mutex<HashMap<K, Row<V>>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Cached<K, V> {
    pub(super) fn new(age: Duration) -> Self {
        Self {
            age,
            rows: Mutex::default(),
        }
    }

    /// The value, looked up if it is not known or too old.
    pub(super) async fn get(
        &self,
        key: &K,
        look: impl Future<Output = Result<V, Error>>,
    ) -> Result<V, String> {
        if let Some(known) = self.known(key) {
            return known;
        }
        let value = match tokio::time::timeout(LIMIT, look).await {
            Ok(value) => value.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {LIMIT:?}")),
        };
        self.put(key, value.clone());
        value
    }

    pub(super) fn put(&self, key: &K, value: Result<V, String>) {
        let mut rows = self.lock();
        // What is too old is never used again, and its key may never come back.
        rows.retain(|_, (at, _)| at.elapsed() < self.age);
        rows.insert(key.clone(), (Instant::now(), value));
    }

    pub(super) fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    pub(super) fn forget_all(&self) {
        self.lock().clear();
    }

    fn known(&self, key: &K) -> Option<Result<V, String>> {
        let rows = self.lock();
        let (at, value) = rows.get(key)?;
        let age = if value.is_ok() {
            self.age
        } else {
            ERROR_AGE.min(self.age)
        };
        (at.elapsed() < age).then(|| value.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, Row<V>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
