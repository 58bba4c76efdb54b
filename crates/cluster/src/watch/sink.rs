//! One watch may fill several tables.

use std::sync::Arc;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;

use super::guarded::Undecoded;
use super::table::{Fact, Refusal, Table};

/// Takes what a watch tells.
pub(super) trait Sink<K>: Send + Sync {
    /// Takes an event; says whether there is anything to look at.
    fn take(&self, event: &Event<K>) -> bool;
    /// Takes an object that could not be decoded, in a list or as it is now.
    fn undecoded(&self, object: &Arc<Undecoded>, listing: bool);
    /// Forgets an object that could not be decoded.
    fn deleted(&self, object: &ObjectMeta);
    /// Notes of which resource version the list is that ends now.
    fn snapshot(&self, version: u64);
    /// Notes that the watch lives.
    fn heard(&self);
    /// Whether nothing was heard for so long that what is stored no longer counts.
    fn is_blind(&self) -> bool;
    /// Notes that the watch was lost; says whether the first listing is still to come.
    fn lost(&self, error: &str, refusal: Option<Refusal>) -> bool;
}

impl<K: Resource, F: Fact<K> + Send + Sync> Sink<K> for Arc<Table<F>> {
    fn take(&self, event: &Event<K>) -> bool {
        Table::take(self, event)
    }

    fn undecoded(&self, object: &Arc<Undecoded>, listing: bool) {
        Table::undecoded(self, object, listing);
    }

    fn deleted(&self, object: &ObjectMeta) {
        Table::gone(
            self,
            object.namespace.as_deref(),
            object.name.as_deref().unwrap_or_default(),
        );
    }

    fn snapshot(&self, version: u64) {
        Table::snapshot(self, version);
    }

    fn heard(&self) {
        Table::heard(self);
    }

    fn is_blind(&self) -> bool {
        Table::blind(self).is_some()
    }

    fn lost(&self, error: &str, refusal: Option<Refusal>) -> bool {
        Table::lost(self, error.to_owned(), refusal)
    }
}

/// Two tables of one watch; both are told, whatever the first says. Which objects cannot be decoded is asked of the
/// first only.
impl<K, A: Sink<K>, B: Sink<K>> Sink<K> for (A, B) {
    fn take(&self, event: &Event<K>) -> bool {
        self.0.take(event) | self.1.take(event)
    }

    fn undecoded(&self, object: &Arc<Undecoded>, listing: bool) {
        self.0.undecoded(object, listing);
        self.1.undecoded(object, listing);
    }

    fn deleted(&self, object: &ObjectMeta) {
        self.0.deleted(object);
        self.1.deleted(object);
    }

    fn snapshot(&self, version: u64) {
        self.0.snapshot(version);
        self.1.snapshot(version);
    }

    fn heard(&self) {
        self.0.heard();
        self.1.heard();
    }

    fn is_blind(&self) -> bool {
        self.0.is_blind() || self.1.is_blind()
    }

    fn lost(&self, error: &str, refusal: Option<Refusal>) -> bool {
        self.0.lost(error, refusal) | self.1.lost(error, refusal)
    }
}

/// A table whose changes are no reason to look: it is read when something else is.
pub(super) struct Quiet<S>(pub(super) S);

impl<K, S: Sink<K>> Sink<K> for Quiet<S> {
    fn take(&self, event: &Event<K>) -> bool {
        self.0.take(event);
        false
    }

    fn undecoded(&self, object: &Arc<Undecoded>, listing: bool) {
        self.0.undecoded(object, listing);
    }

    fn deleted(&self, object: &ObjectMeta) {
        self.0.deleted(object);
    }

    fn snapshot(&self, version: u64) {
        self.0.snapshot(version);
    }

    fn heard(&self) {
        self.0.heard();
    }

    fn is_blind(&self) -> bool {
        self.0.is_blind()
    }

    fn lost(&self, error: &str, refusal: Option<Refusal>) -> bool {
        self.0.lost(error, refusal)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use kube::api::ObjectMeta;

    use super::*;

    struct Any;

    impl Fact<ConfigMap> for Any {
        fn of(_: &ConfigMap) -> Option<Self> {
            Some(Self)
        }
    }

    struct Marked;

    impl Fact<ConfigMap> for Marked {
        fn of(object: &ConfigMap) -> Option<Self> {
            object.labels().contains_key("marked").then_some(Self)
        }
    }

    fn object(labels: &[(&str, &str)]) -> Event<ConfigMap> {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Event::Apply(ConfigMap {
            metadata: ObjectMeta {
                name: Some("a".into()),
                labels: Some(labels.collect()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        })
    }

    #[test]
    fn both_tables_are_told_and_a_quiet_one_wakes_nobody() {
        let (marked, any) = (
            Arc::new(Table::<Marked>::default()),
            Arc::new(Table::<Any>::default()),
        );
        let sink = (marked.clone(), Quiet(any.clone()));
        sink.take(&Event::<ConfigMap>::Init);
        assert!(sink.take(&Event::<ConfigMap>::InitDone));
        let rows = || {
            (
                marked.all().present().map(Vec::len),
                any.all().present().map(Vec::len),
            )
        };
        assert!(!sink.take(&object(&[])));
        assert_eq!(rows(), (Some(0), Some(1)));
        assert!(sink.take(&object(&[("marked", "")])));
        assert_eq!(rows(), (Some(1), Some(1)));
    }
}
