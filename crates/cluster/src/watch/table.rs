//! A table of facts, kept by watch events: like kube's reflector, but what is stored is folded
//! from the object at once, so that thousands of pods cost little.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use meshlift_model::view::Seen;

use super::guarded::Undecoded;

/// A living watch is heard at least once a minute: an event, a bookmark, or its regular end. One that is silent for
/// longer than this is taken for dead, and nothing is concluded from what it last showed: a workload whose pods came
/// up behind our back would be judged overdue, and the mesh moved back because we were blind.
pub const SILENT: Duration = Duration::from_secs(90);
/// How long a watch that was lost may take to come back before the same is so. API servers restart.
pub const LOST: Duration = Duration::from_secs(15);

/// Facts folded from an object of kind `K`.
pub trait Fact<K>: Sized {
    /// The facts, or `None` when the object is of no interest.
    fn of(object: &K) -> Option<Self>;
}

/// Facts by `namespace/name`.
#[derive(Debug)]
pub struct Table<F> {
    inner: RwLock<Inner<F>>,
}

#[derive(Debug)]
struct Inner<F> {
    rows: HashMap<String, Row<F>>,
    /// Objects that could not be decoded.
    undecoded: HashMap<String, Arc<Undecoded>>,
    listing: Option<Listing<F>>,
    complete: bool,
    last_error: Option<String>,
    refusal: Option<Refusal>,
    /// The newest resource version that the watch has told of.
    told: u64,
    /// When the watch last gave a sign of life; none while the kind is not served, and nothing is to be heard.
    heard: Option<Instant>,
    /// Whether the last thing that was heard is an error.
    failing: bool,
    errors: u64,
}

#[derive(Debug)]
struct Listing<F> {
    rows: HashMap<String, Row<F>>,
    undecoded: HashMap<String, Arc<Undecoded>>,
    /// The resource version that the list is of.
    snapshot: u64,
}

/// How a table is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Why what is stored does not count, if so.
    pub blind: Option<String>,
    /// Time since the last sign of life.
    pub silence: Option<Duration>,
    /// Errors since the start.
    pub errors: u64,
    /// Objects that could not be decoded.
    pub undecoded: usize,
}

/// An answer to a list that no second try will change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The API server does not know the kind.
    NotInstalled,
    /// The account may not list it.
    Forbidden,
}

/// How far the first listing of a table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Under way, and what went wrong at the last try.
    Listing(Option<String>),
    /// Listed as a whole.
    Complete,
    /// The API server does not know the kind.
    NotInstalled,
    /// The account may not list it, in the words of the API server.
    Forbidden(String),
}

#[derive(Debug)]
struct Row<F> {
    resource_version: u64,
    fact: Arc<F>,
    /// Written by us since the list under way began, which may be of the time before.
    written: bool,
}

impl<F> Default for Table<F> {
    fn default() -> Self {
        let inner = Inner {
            rows: HashMap::new(),
            undecoded: HashMap::new(),
            listing: None,
            complete: false,
            last_error: None,
            refusal: None,
            told: 0,
            heard: None,
            failing: false,
            errors: 0,
        };
        Self {
            inner: RwLock::new(inner),
        }
    }
}

impl<F> Table<F> {
    fn read(&self) -> RwLockReadGuard<'_, Inner<F>> {
        self.inner
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner<F>> {
        self.inner
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes a watch event; says whether the table may have changed.
    pub fn take<K: Resource>(&self, event: &Event<K>) -> bool
    where
        F: Fact<K>,
    {
        let mut inner = self.write();
        match event {
            Event::Init => {
                inner.rows.values_mut().for_each(|row| row.written = false);
                inner.listing = Some(Listing {
                    rows: HashMap::new(),
                    undecoded: HashMap::new(),
                    snapshot: 0,
                });
                false
            }
            Event::InitApply(object) => {
                if let (Some((key, row)), Some(listing)) = (row(object), inner.listing.as_mut()) {
                    listing.rows.insert(key, row);
                }
                false
            }
            Event::InitDone => {
                if let Some(listing) = inner.listing.take() {
                    inner.replace(listing);
                }
                inner.complete = true;
                inner.last_error = None;
                inner.refusal = None;
                inner.heard();
                true
            }
            Event::Apply(object) => {
                inner.told = inner.told.max(version_of(object));
                inner.apply(object)
            }
            Event::Delete(object) => {
                inner.told = inner.told.max(version_of(object));
                let key = key_of(object);
                inner.undecoded.remove(&key).is_some() | inner.rows.remove(&key).is_some()
            }
        }
    }

    /// Takes an object that a write brought back, so that the next look already has it. One that the
    /// watch has passed and that is not stored was deleted meanwhile: it stays away.
    pub fn wrote<K: Resource>(&self, object: K)
    where
        F: Fact<K>,
    {
        let mut inner = self.write();
        let key = key_of(&object);
        let stored = inner.rows.contains_key(&key);
        if (stored || version_of(&object) > inner.told)
            && inner.apply(&object)
            && let Some(row) = inner.rows.get_mut(&key)
        {
            row.written = true;
        }
    }

    /// Takes an object that could not be decoded, in a list or as it is now. What was known of it before is no longer
    /// so.
    pub(super) fn undecoded(&self, object: &Arc<Undecoded>, listing: bool) {
        let key = key(
            object.metadata.namespace.as_deref(),
            object.metadata.name.as_deref().unwrap_or_default(),
        );
        let mut inner = self.write();
        let (new, why) = (Arc::clone(object), &object.why);
        let known = inner.undecoded.get(&key);
        if known.is_none_or(|known| known.why != *why) {
            tracing::warn!(object = object.reference(), why, "cannot be decoded");
        }
        match inner.listing.as_mut().filter(|_| listing) {
            Some(list) => {
                list.undecoded.insert(key, new);
            }
            None => {
                inner.rows.remove(&key);
                inner.undecoded.insert(key, new);
            }
        }
    }

    /// Objects that could not be decoded.
    pub fn all_undecoded(&self) -> Vec<Arc<Undecoded>> {
        self.read().undecoded.values().cloned().collect()
    }

    /// Notes of which resource version the list under way is.
    pub(super) fn snapshot(&self, version: u64) {
        if let Some(listing) = self.write().listing.as_mut() {
            listing.snapshot = version;
        }
    }

    /// Notes that the watch lives.
    pub(super) fn heard(&self) {
        self.write().heard();
    }

    /// Why what is stored does not count, if so.
    pub(super) fn blind(&self) -> Option<String> {
        self.read().blind()
    }

    /// How it is kept.
    pub fn health(&self) -> Health {
        let inner = self.read();
        Health {
            blind: inner.blind(),
            silence: inner.heard.map(|at| at.elapsed()),
            errors: inner.errors,
            undecoded: inner.undecoded.len(),
        }
    }

    /// Notes that the watch was lost; what is stored stays, and is told as such only if nothing
    /// was ever listed. Says whether the table is still to be listed for the first time.
    pub fn lost(&self, error: String, refusal: Option<Refusal>) -> bool {
        let mut inner = self.write();
        inner.last_error = Some(error);
        inner.refusal = refusal;
        inner.failing = true;
        inner.errors += 1;
        !inner.complete
    }

    /// How far the first listing is.
    pub fn standing(&self) -> Standing {
        let inner = self.read();
        match (inner.complete, inner.refusal) {
            (true, _) => Standing::Complete,
            (false, Some(Refusal::NotInstalled)) => Standing::NotInstalled,
            (false, Some(Refusal::Forbidden)) => {
                Standing::Forbidden(inner.last_error.clone().unwrap_or_default())
            }
            (false, None) => Standing::Listing(inner.last_error.clone()),
        }
    }

    /// Takes a kind that is not installed for one of which there is nothing. Only for a program that
    /// looks once: one that goes on watching must not take a CRD that is away for a moment as the end
    /// of all its objects.
    pub(super) fn empty_if_not_installed(&self) {
        let mut inner = self.write();
        if inner.refusal == Some(Refusal::NotInstalled) {
            inner.complete = true;
        }
    }

    /// Takes the kind for one of which there is nothing, because its CRD is not there; says whether
    /// that is news.
    pub(super) fn none(&self) -> bool {
        let mut inner = self.write();
        let news = !inner.complete || !inner.rows.is_empty();
        inner.rows.clear();
        inner.undecoded.clear();
        inner.complete = true;
        inner.heard = None;
        inner.failing = false;
        news
    }

    /// Forgets an object that a write took away.
    pub fn gone(&self, namespace: Option<&str>, name: &str) {
        let mut inner = self.write();
        let key = key(namespace, name);
        inner.rows.remove(&key);
        inner.undecoded.remove(&key);
    }

    /// Everything in the table that could be decoded, once it has been listed as a whole.
    pub fn all(&self) -> Seen<Vec<Arc<F>>> {
        let inner = self.read();
        match inner.blind() {
            None => Seen::Present(
                inner
                    .rows
                    .values()
                    .map(|row| Arc::clone(&row.fact))
                    .collect(),
            ),
            Some(why) => Seen::Unreadable(why),
        }
    }

    /// Goes through everything in the table, once it has been listed as a whole.
    pub fn fold<A>(&self, start: A, step: impl FnMut(A, &F) -> A) -> Seen<A> {
        let inner = self.read();
        match inner.blind() {
            None => Seen::Present(inner.rows.values().map(|row| &*row.fact).fold(start, step)),
            Some(why) => Seen::Unreadable(why),
        }
    }

    /// One row; cluster-scoped objects have no namespace.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Seen<Arc<F>> {
        let inner = self.read();
        let key = key(namespace, name);
        match (inner.rows.get(&key), inner.blind()) {
            // Before the list is whole, what is in it counts; afterwards, it is as old as all the rest.
            (Some(row), None) => Seen::Present(Arc::clone(&row.fact)),
            (Some(row), Some(_)) if !inner.complete => Seen::Present(Arc::clone(&row.fact)),
            (_, Some(why)) => Seen::Unreadable(why),
            (None, None) => match inner.undecoded.get(&key) {
                Some(object) => Seen::Unreadable(object.why.clone()),
                None => Seen::Absent,
            },
        }
    }

    /// Whether it was listed as a whole.
    pub fn is_complete(&self) -> bool {
        self.read().complete
    }
}

impl<F> Inner<F> {
    /// Why nothing can be said of the whole.
    fn not_listed(&self) -> String {
        let why = self.last_error.clone();
        why.unwrap_or_else(|| "not listed yet".to_owned())
    }

    fn heard(&mut self) {
        self.heard = Some(Instant::now());
        self.failing = false;
    }

    /// Why what is stored does not count, if so. The words stay the same while it lasts: they get into a status.
    fn blind(&self) -> Option<String> {
        if !self.complete {
            return Some(self.not_listed());
        }
        let silence = self.heard?.elapsed();
        let last = self.last_error.as_deref().filter(|_| self.failing);
        match last {
            Some(why) if silence > LOST => Some(format!("its watch was lost: {why}")),
            _ if silence > SILENT => Some(format!(
                "nothing was heard from its watch for more than {} s",
                SILENT.as_secs()
            )),
            _ => None,
        }
    }

    /// What was listed, except where a write of ours is newer than the list.
    fn replace(&mut self, listing: Listing<F>) {
        let mut rows = listing.rows;
        for (key, row) in self.rows.drain().filter(|(_, row)| row.written) {
            let newer = match rows.get(&key) {
                Some(listed) => row.resource_version > listed.resource_version,
                // One that the list does not have was deleted, unless it was made since.
                None => row.resource_version > listing.snapshot,
            };
            if newer {
                rows.insert(key, row);
            }
        }
        rows.shrink_to_fit();
        self.rows = rows;
        self.undecoded = listing.undecoded;
    }

    /// Stores an object unless a newer state of it is stored already.
    fn apply<K: Resource>(&mut self, object: &K) -> bool
    where
        F: Fact<K>,
    {
        let key = key_of(object);
        let version = version_of(object);
        if self
            .rows
            .get(&key)
            .is_some_and(|stored| stored.resource_version > version)
        {
            return false;
        }
        let was_undecoded = self.undecoded.remove(&key).is_some();
        match F::of(object) {
            Some(fact) => {
                let row = Row {
                    resource_version: version,
                    fact: Arc::new(fact),
                    written: false,
                };
                self.rows.insert(key, row);
                true
            }
            None => self.rows.remove(&key).is_some() | was_undecoded,
        }
    }
}

fn row<K: Resource, F: Fact<K>>(object: &K) -> Option<(String, Row<F>)> {
    let (key, resource_version) = (key_of(object), version_of(object));
    Some((
        key,
        Row {
            resource_version,
            fact: Arc::new(F::of(object)?),
            written: false,
        },
    ))
}

fn key_of<K: Resource>(object: &K) -> String {
    key(
        object.meta().namespace.as_deref(),
        object.meta().name.as_deref().unwrap_or_default(),
    )
}

fn key(namespace: Option<&str>, name: &str) -> String {
    format!("{}/{name}", namespace.unwrap_or_default())
}

/// Resource versions of one resource are numbers in the order of its writes (Kubernetes KEP-5504).
fn version_of<K: Resource>(object: &K) -> u64 {
    object
        .resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
