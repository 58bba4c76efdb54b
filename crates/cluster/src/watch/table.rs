//! A table of facts, kept by watch events: like kube's reflector, but what is stored is folded
//! from the object at once, so that thousands of pods cost little.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use meshlift_planner::view::Seen;

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
    listing: Option<HashMap<String, Row<F>>>,
    complete: bool,
    last_error: Option<String>,
    refusal: Option<Refusal>,
    /// The newest resource version that the watch has told of.
    told: u64,
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
}

impl<F> Default for Table<F> {
    fn default() -> Self {
        let inner = Inner {
            rows: HashMap::new(),
            listing: None,
            complete: false,
            last_error: None,
            refusal: None,
            told: 0,
        };
        Self {
            inner: RwLock::new(inner),
        }
    }
}

impl<F> Table<F> {
    /// Takes a watch event; says whether the table may have changed.
    pub fn take<K: Resource>(&self, event: &Event<K>) -> bool
    where
        F: Fact<K>,
    {
        let mut inner = self
            .inner
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        match event {
            Event::Init => {
                inner.listing = Some(HashMap::new());
                false
            }
            Event::InitApply(object) => {
                if let (Some((key, row)), Some(listing)) = (row(object), inner.listing.as_mut()) {
                    listing.insert(key, row);
                }
                false
            }
            Event::InitDone => {
                if let Some(mut listing) = inner.listing.take() {
                    listing.shrink_to_fit();
                    inner.rows = listing;
                }
                inner.complete = true;
                inner.last_error = None;
                inner.refusal = None;
                true
            }
            Event::Apply(object) => {
                inner.told = inner.told.max(version_of(object));
                inner.apply(object)
            }
            Event::Delete(object) => {
                inner.told = inner.told.max(version_of(object));
                inner.rows.remove(&key_of(object)).is_some()
            }
        }
    }

    /// Takes an object that a write brought back, so that the next look already has it. One that the
    /// watch has passed and that is not stored was deleted meanwhile: it stays away.
    pub fn wrote<K: Resource>(&self, object: K)
    where
        F: Fact<K>,
    {
        let mut inner = self
            .inner
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let stored = inner.rows.contains_key(&key_of(&object));
        if stored || version_of(&object) > inner.told {
            inner.apply(&object);
        }
    }

    /// Notes that the watch was lost; what is stored stays, and is told as such only if nothing
    /// was ever listed. Says whether the table is still to be listed for the first time.
    pub fn lost(&self, error: String, refusal: Option<Refusal>) -> bool {
        let mut inner = self
            .inner
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        inner.last_error = Some(error);
        inner.refusal = refusal;
        !inner.complete
    }

    /// How far the first listing is.
    pub fn standing(&self) -> Standing {
        let inner = self
            .inner
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
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
        let mut inner = self
            .inner
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if inner.refusal == Some(Refusal::NotInstalled) {
            inner.complete = true;
        }
    }

    /// Takes the kind for one of which there is nothing, because its CRD is not there; says whether
    /// that is news.
    pub(super) fn none(&self) -> bool {
        let mut inner = self
            .inner
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let news = !inner.complete || !inner.rows.is_empty();
        inner.rows.clear();
        inner.complete = true;
        news
    }

    /// Forgets an object that a write took away.
    pub fn gone(&self, namespace: Option<&str>, name: &str) {
        let mut inner = self
            .inner
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        inner.rows.remove(&key(namespace, name));
    }

    /// Everything in the table, once it has been listed as a whole.
    pub fn all(&self) -> Seen<Vec<Arc<F>>> {
        let inner = self
            .inner
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        match inner.complete {
            true => Seen::Present(
                inner
                    .rows
                    .values()
                    .map(|row| Arc::clone(&row.fact))
                    .collect(),
            ),
            false => Seen::Unreadable(inner.not_listed()),
        }
    }

    /// Goes through everything in the table, once it has been listed as a whole.
    pub fn fold<A>(&self, start: A, step: impl FnMut(A, &F) -> A) -> Seen<A> {
        let inner = self
            .inner
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        match inner.complete {
            true => Seen::Present(inner.rows.values().map(|row| &*row.fact).fold(start, step)),
            false => Seen::Unreadable(inner.not_listed()),
        }
    }

    /// One row; cluster-scoped objects have no namespace.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Seen<Arc<F>> {
        let inner = self
            .inner
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        match (inner.rows.get(&key(namespace, name)), inner.complete) {
            (Some(row), _) => Seen::Present(Arc::clone(&row.fact)),
            (None, true) => Seen::Absent,
            (None, false) => Seen::Unreadable(inner.not_listed()),
        }
    }

    /// Whether it was listed as a whole.
    pub fn is_complete(&self) -> bool {
        self.inner
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .complete
    }
}

impl<F> Inner<F> {
    /// Why nothing can be said of the whole.
    fn not_listed(&self) -> String {
        let why = self.last_error.clone();
        why.unwrap_or_else(|| "not listed yet".to_owned())
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
        match F::of(object) {
            Some(fact) => {
                let row = Row {
                    resource_version: version,
                    fact: Arc::new(fact),
                };
                self.rows.insert(key, row);
                true
            }
            None => self.rows.remove(&key).is_some(),
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
}
