//! Text that thousands of rows have in common (images, names of nodes) is kept once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::{Deserialize, Deserializer, Error, Visitor};

static POOL: Mutex<Pool> = Mutex::new(Pool {
    known: None,
    clean_at: SMALL,
});

/// A pool of so many is not worth cleaning.
const SMALL: usize = 256;

struct Pool {
    known: Option<HashSet<Arc<str>>>,
    /// What nobody has any more goes when there are so many.
    clean_at: usize,
}

/// The text as everybody else has it.
pub(super) fn shared(text: &str) -> Arc<str> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    pool.get(text)
}

impl Pool {
    fn get(&mut self, text: &str) -> Arc<str> {
        let known = self.known.get_or_insert_default();
        if let Some(shared) = known.get(text) {
            return Arc::clone(shared);
        }
        if known.len() >= self.clean_at {
            known.retain(|shared| Arc::strong_count(shared) > 1);
            self.clean_at = SMALL.max(known.len() * 2);
        }
        let shared = Arc::<str>::from(text);
        known.insert(Arc::clone(&shared));
        shared
    }
}

/// Shared text, made without a copy of one's own.
#[derive(Clone, Debug)]
pub(super) struct Shared(pub(super) Arc<str>);

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Shared;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Shared, E> {
                Ok(Shared(shared(text)))
            }
        }
        from.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_one_and_what_nobody_has_goes() {
        let mut pool = Pool {
            known: None,
            clean_at: 2,
        };
        let image = pool.get("proxyv2");
        assert!(Arc::ptr_eq(&image, &pool.get("proxyv2")));
        drop(pool.get("gone"));
        let _third = pool.get("third");
        let known = pool.known.expect("a pool");
        assert!(known.contains("proxyv2") && known.contains("third") && !known.contains("gone"));
    }
}
