//! What is known of Istio releases: built in, with the ReleaseCatalog object over it.

use std::sync::{Arc, Mutex, PoisonError};

use meshlift_api::{RELEASE_CATALOG, ReleaseCatalog};
use meshlift_istio::knowledge::Knowledge;
use meshlift_model::view::Seen;

use crate::watch::Table;

/// The state of the object that was read last, and what came of it.
type Read = (Arc<ReleaseCatalog>, Arc<Knowledge>);

/// Reads the catalog once for each change of it.
#[derive(Default)]
pub(super) struct Catalog {
    read: Mutex<Option<Read>>,
}

impl Catalog {
    pub(super) fn look(&self, catalogs: &Table<ReleaseCatalog>) -> Arc<Knowledge> {
        match catalogs.get(None, RELEASE_CATALOG) {
            Seen::Absent => Arc::default(),
            Seen::Present(object) => self.of(object),
            Seen::Unreadable(why) => Arc::new(Knowledge::despite(format!(
                "the ReleaseCatalog cannot be read, so only what is built in counts: {why}"
            ))),
        }
    }

    fn of(&self, object: Arc<ReleaseCatalog>) -> Arc<Knowledge> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, knowledge)) = &*read
            && Arc::ptr_eq(known, &object)
        {
            return Arc::clone(knowledge);
        }
        let knowledge = Arc::new(of_object(&object));
        *read = Some((object, Arc::clone(&knowledge)));
        knowledge
    }
}

fn of_object(object: &ReleaseCatalog) -> Knowledge {
    Knowledge::with(&object.spec).unwrap_or_else(|error| {
        tracing::warn!(%error, "the ReleaseCatalog is not heeded");
        Knowledge::despite(format!(
            "ReleaseCatalog {RELEASE_CATALOG} is not heeded, so only what is built in counts: {error}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::watcher::Event;
    use meshlift_api::{IstioRelease, KubernetesVersions, ReleaseCatalogSpec};

    fn catalog(high: &str, version: &str) -> ReleaseCatalog {
        let release = IstioRelease {
            minor: "1.31".into(),
            kubernetes: Some(KubernetesVersions {
                low: "1.32".into(),
                high: high.into(),
            }),
            ..IstioRelease::default()
        };
        let spec = ReleaseCatalogSpec {
            releases: vec![release],
            ..ReleaseCatalogSpec::default()
        };
        let mut object = ReleaseCatalog::new(RELEASE_CATALOG, spec);
        object.metadata.resource_version = Some(version.into());
        object
    }

    fn highest(knowledge: &Knowledge) -> String {
        let version = "1.31.0".parse().expect("a version");
        let range = knowledge.kubernetes_range(&version).expect("known");
        range.high.to_string()
    }

    #[test]
    fn the_object_counts_while_it_is_there_and_is_read_once() {
        let watched = Table::<ReleaseCatalog>::default();
        let seen = Catalog::default();
        let unlisted = seen.look(&watched);
        assert!(unlisted.problem.is_some(), "not listed yet");
        watched.take::<ReleaseCatalog>(&Event::Init);
        watched.take::<ReleaseCatalog>(&Event::InitDone);
        assert_eq!(*seen.look(&watched), Knowledge::embedded());

        watched.take(&Event::Apply(catalog("1.40", "1")));
        let first = seen.look(&watched);
        assert_eq!(highest(&first), "1.40");
        assert!(Arc::ptr_eq(&first, &seen.look(&watched)));

        watched.take(&Event::Apply(catalog("1.20", "2")));
        let problem = seen.look(&watched);
        assert_eq!(highest(&problem), "1.37");
        let said = problem.problem.as_deref().expect("a problem");
        assert!(
            said.contains("spec.releases[1.31].kubernetes: low is above high"),
            "{said}"
        );

        watched.take(&Event::Delete(catalog("1.20", "3")));
        assert_eq!(*seen.look(&watched), Knowledge::embedded());
    }
}
