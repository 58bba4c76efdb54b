//! A table of facts, kept by watch events: like kube's reflector, but what is stored is folded
//! from the object at once, so that thousands of pods cost little.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use meshlift_planner::view::Seen;

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
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    #[derive(Debug, PartialEq)]
    struct Version(String);

    impl Fact<ConfigMap> for Version {
        fn of(object: &ConfigMap) -> Option<Self> {
            object.metadata.resource_version.clone().map(Version)
        }
    }

    fn object(name: &str, version: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        ConfigMap {
            metadata,
            ..ConfigMap::default()
        }
    }

    #[test]
    fn nothing_is_absent_before_everything_was_listed() {
        let table = Table::<Version>::default();
        assert!(matches!(table.get(None, "a"), Seen::Unreadable(_)));
        table.take::<ConfigMap>(&Event::Init);
        table.take(&Event::InitApply(object("a", "5")));
        assert!(matches!(table.get(None, "a"), Seen::Unreadable(_)));
        table.take::<ConfigMap>(&Event::InitDone);
        assert_eq!(
            table.get(None, "a"),
            Seen::Present(Arc::new(Version("5".into())))
        );
        assert_eq!(table.get(None, "b"), Seen::Absent);
    }

    #[test]
    fn an_event_older_than_our_own_write_is_passed_over() {
        let table = Table::<Version>::default();
        table.take::<ConfigMap>(&Event::Init);
        table.take::<ConfigMap>(&Event::InitDone);
        table.wrote(object("a", "10"));
        assert!(!table.take(&Event::Apply(object("a", "9"))));
        assert_eq!(
            table.get(None, "a"),
            Seen::Present(Arc::new(Version("10".into())))
        );
        assert!(table.take(&Event::Apply(object("a", "11"))));
    }

    #[test]
    fn what_was_deleted_while_we_wrote_to_it_does_not_come_back() {
        let table = Table::<Version>::default();
        table.take::<ConfigMap>(&Event::Init);
        table.take(&Event::InitApply(object("a", "5")));
        table.take::<ConfigMap>(&Event::InitDone);
        table.take(&Event::Delete(object("a", "7")));
        table.wrote(object("a", "6"));
        assert_eq!(table.get(None, "a"), Seen::Absent);
        table.wrote(object("a", "8"));
        assert_eq!(
            table.get(None, "a"),
            Seen::Present(Arc::new(Version("8".into())))
        );
    }

    #[test]
    fn a_new_list_forgets_what_went_meanwhile() {
        let table = Table::<Version>::default();
        table.take::<ConfigMap>(&Event::Init);
        table.take(&Event::InitApply(object("a", "1")));
        table.take::<ConfigMap>(&Event::InitDone);
        table.take::<ConfigMap>(&Event::Init);
        table.take(&Event::InitApply(object("b", "2")));
        table.take::<ConfigMap>(&Event::InitDone);
        assert_eq!(table.get(None, "a"), Seen::Absent);
    }

    #[test]
    fn a_kind_that_is_not_installed_is_empty_only_for_who_asks_for_it() {
        let table = Table::<Version>::default();
        assert_eq!(table.standing(), Standing::Listing(None));
        assert!(table.lost("404".into(), Some(Refusal::NotInstalled)));
        assert_eq!(table.standing(), Standing::NotInstalled);
        assert!(matches!(table.get(None, "a"), Seen::Unreadable(_)));
        table.empty_if_not_installed();
        assert_eq!(table.get(None, "a"), Seen::Absent);
    }

    #[test]
    fn a_kind_whose_crd_goes_is_empty_and_that_is_news_once() {
        let table = Table::<Version>::default();
        assert!(table.none());
        assert!(!table.none());
        table.take::<ConfigMap>(&Event::Init);
        table.take(&Event::InitApply(object("a", "5")));
        table.take::<ConfigMap>(&Event::InitDone);
        assert!(table.none());
        assert_eq!(table.get(None, "a"), Seen::Absent);
    }

    #[test]
    fn what_may_not_be_listed_is_never_empty() {
        let table = Table::<Version>::default();
        table.lost("may not list".into(), Some(Refusal::Forbidden));
        assert_eq!(table.standing(), Standing::Forbidden("may not list".into()));
        table.empty_if_not_installed();
        assert!(matches!(table.get(None, "a"), Seen::Unreadable(_)));
        table.lost("connection reset".into(), None);
        assert_eq!(
            table.standing(),
            Standing::Listing(Some("connection reset".into()))
        );
    }

    impl<F> Table<F> {
        /// As if so much time had passed since the watch was last heard.
        fn silent_for(&self, time: Duration) {
            let mut inner = self.write();
            inner.heard = inner.heard.and_then(|at| at.checked_sub(time));
        }
    }

    fn listed(objects: &[(&str, &str)]) -> Table<Version> {
        let table = Table::<Version>::default();
        list(&table, objects, 0);
        table
    }

    fn list(table: &Table<Version>, objects: &[(&str, &str)], snapshot: u64) {
        table.take::<ConfigMap>(&Event::Init);
        for (name, version) in objects {
            table.take(&Event::InitApply(object(name, version)));
        }
        table.snapshot(snapshot);
        table.take::<ConfigMap>(&Event::InitDone);
    }

    #[test]
    fn a_silent_watch_makes_its_table_unreadable_until_it_is_heard() {
        let table = listed(&[("a", "5")]);
        table.silent_for(SILENT - Duration::from_secs(2));
        assert!(matches!(table.get(None, "a"), Seen::Present(_)));
        table.silent_for(Duration::from_secs(4));
        let why = "nothing was heard from its watch for more than 90 s";
        assert_eq!(table.get(None, "a"), Seen::Unreadable(why.into()));
        assert_eq!(table.all(), Seen::Unreadable(why.into()));
        assert_eq!(table.fold(0, |n, _| n + 1), Seen::Unreadable(why.into()));
        assert_eq!(table.health().blind.as_deref(), Some(why));
        table.heard();
        assert!(matches!(table.all(), Seen::Present(all) if all.len() == 1));
    }

    #[test]
    fn a_watch_that_was_lost_has_little_time_to_come_back() {
        let table = listed(&[("a", "5")]);
        table.lost("connection refused".into(), None);
        assert!(table.blind().is_none(), "an API server that restarts");
        table.silent_for(LOST + Duration::from_secs(1));
        let why = "its watch was lost: connection refused";
        assert_eq!(table.get(None, "b"), Seen::Unreadable(why.into()));
        // Once it is back, what it said last counts for nothing.
        table.heard();
        table.silent_for(LOST + Duration::from_secs(1));
        assert_eq!(table.get(None, "b"), Seen::Absent);
        assert_eq!(table.health().errors, 1);
    }

    #[test]
    fn a_kind_that_is_not_served_is_never_stale() {
        let table = listed(&[("a", "5")]);
        table.silent_for(SILENT * 2);
        table.none();
        assert_eq!(table.get(None, "a"), Seen::Absent);
        assert_eq!(table.health().silence, None);
    }

    #[test]
    fn a_list_does_not_undo_what_we_wrote_while_it_was_taken() {
        let table = listed(&[("a", "5"), ("b", "6")]);
        table.take::<ConfigMap>(&Event::Init);
        table.take(&Event::InitApply(object("a", "5")));
        table.take(&Event::InitApply(object("b", "6")));
        table.wrote(object("a", "11"));
        table.wrote(object("new", "12"));
        table.wrote(object("deleted", "8"));
        table.snapshot(10);
        table.take::<ConfigMap>(&Event::InitDone);
        let version = |name| table.get(None, name);
        assert_eq!(version("a"), Seen::Present(Arc::new(Version("11".into()))));
        assert_eq!(
            version("new"),
            Seen::Present(Arc::new(Version("12".into())))
        );
        assert_eq!(version("deleted"), Seen::Absent, "the list is newer");
        // The next list began after that write: what it does not have is gone.
        list(&table, &[("b", "6")], 20);
        assert_eq!((version("a"), version("new")), (Seen::Absent, Seen::Absent));
    }

    #[test]
    fn an_object_that_cannot_be_decoded_is_unreadable_and_the_others_are_not() {
        let bad = |version: &str| {
            Arc::new(Undecoded {
                kind: "ConfigMap".into(),
                metadata: object("bad", version).metadata,
                why: "data: invalid type".into(),
                mesh: None,
                status: serde_json::Value::Null,
            })
        };
        let table = listed(&[("bad", "4"), ("good", "5")]);
        table.undecoded(&bad("6"), false);
        let unreadable = Seen::Unreadable("data: invalid type".into());
        assert_eq!(table.get(None, "bad"), unreadable);
        assert!(matches!(table.all(), Seen::Present(all) if all.len() == 1));
        assert_eq!(table.all_undecoded(), [bad("6")]);
        // Mended, and spoiled again before a list.
        assert!(table.take(&Event::Apply(object("bad", "7"))));
        assert!(table.all_undecoded().is_empty());
        table.take::<ConfigMap>(&Event::Init);
        table.undecoded(&bad("8"), true);
        assert!(
            table.all_undecoded().is_empty(),
            "the list is not whole yet"
        );
        table.take::<ConfigMap>(&Event::InitDone);
        assert_eq!(table.get(None, "bad"), unreadable);
        table.gone(None, "bad");
        assert_eq!(table.get(None, "bad"), Seen::Absent);
    }
}
