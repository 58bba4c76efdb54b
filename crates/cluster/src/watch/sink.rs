//! One watch may fill several tables.

use std::sync::Arc;

use kube::Resource;
use kube::runtime::watcher::Event;

use super::table::{Fact, Refusal, Table};

/// Takes what a watch tells.
pub(super) trait Sink<K>: Send + Sync {
    /// Takes an event; says whether there is anything to look at.
    fn take(&self, event: &Event<K>) -> bool;
    /// Notes that the watch was lost; says whether the first listing is still to come.
    fn lost(&self, error: &str, refusal: Option<Refusal>) -> bool;
}

impl<K: Resource, F: Fact<K> + Send + Sync> Sink<K> for Arc<Table<F>> {
    fn take(&self, event: &Event<K>) -> bool {
        Table::take(self, event)
    }

    fn lost(&self, error: &str, refusal: Option<Refusal>) -> bool {
        Table::lost(self, error.to_owned(), refusal)
    }
}

/// Two tables of one watch; both are told, whatever the first says.
impl<K, A: Sink<K>, B: Sink<K>> Sink<K> for (A, B) {
    fn take(&self, event: &Event<K>) -> bool {
        self.0.take(event) | self.1.take(event)
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
