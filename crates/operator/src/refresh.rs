//! A look at a Mesh before its turn: when an upgrade of it has ended, its status must not name the version of before.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use kube::runtime::reflector::ObjectRef;
use meshlift_api::Mesh;
use meshlift_cluster::watch::Guarded;

/// Asks for looks, and remembers which were asked for.
#[derive(Clone)]
pub(crate) struct Refresh {
    due: Arc<Mutex<HashSet<String>>>,
    asked: UnboundedSender<ObjectRef<Guarded<Mesh>>>,
}

impl Refresh {
    /// With the objects to reconcile as they are asked for.
    pub(crate) fn new() -> (Self, UnboundedReceiver<ObjectRef<Guarded<Mesh>>>) {
        let (asked, looks) = mpsc::unbounded();
        let due = Arc::default();
        (Self { due, asked }, looks)
    }

    /// Asks for a look at a Mesh.
    pub(crate) fn ask(&self, mesh: &str) {
        self.due().insert(mesh.to_owned());
        // The list ends before the upgrades only when the program does.
        let _ = self.asked.unbounded_send(ObjectRef::new(mesh));
    }

    /// Whether a look was asked for that nobody has taken yet.
    pub(crate) fn take(&self, mesh: &str) -> bool {
        self.due().remove(mesh)
    }

    fn due(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_is_taken_once() {
        let (refresh, mut looks) = Refresh::new();
        assert!(!refresh.take("default"));
        refresh.ask("default");
        let asked = looks.try_recv().expect("one");
        assert_eq!(asked.name, "default");
        assert!(refresh.take("default"));
        assert!(!refresh.take("default"));
    }
}
