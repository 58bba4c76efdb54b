//! The first listing, for a program that looks once: when it has ended, and what it lacks.

use std::sync::Arc;

use kube::runtime::watcher;
use meshlift_planner::view::WorkloadKind;

use super::Watches;
use super::table::{Refusal, Standing, Table};

/// Something that was not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// What, in the plural: `pods`.
    pub what: &'static str,
    /// How far it is.
    pub standing: Standing,
}

/// A table, whatever is in it.
trait Listed: Send + Sync {
    fn standing(&self) -> Standing;
    fn empty_if_not_installed(&self);
}

impl<F: Send + Sync> Listed for Table<F> {
    fn standing(&self) -> Standing {
        Table::standing(self)
    }

    fn empty_if_not_installed(&self) {
        Table::empty_if_not_installed(self);
    }
}

impl Watches {
    /// What is not listed yet.
    pub fn unsettled(&self) -> Vec<Unsettled> {
        let all = self.tables().into_iter();
        all.map(|(what, table)| Unsettled {
            what,
            standing: table.standing(),
        })
        .filter(|table| table.standing != Standing::Complete)
        .collect()
    }

    /// Waits until everything was listed or never will be, takes what is not installed for empty,
    /// and returns what may not be listed.
    ///
    /// For a program that looks once. It never ends while the API server does not answer: the caller
    /// has a deadline, and [`Watches::unsettled`] to say what was missing.
    pub async fn settled(&self) -> Vec<Unsettled> {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            let open = self.unsettled();
            let waits = |table: &Unsettled| matches!(table.standing, Standing::Listing(_));
            if !open.iter().any(waits) {
                for (_, table) in self.tables() {
                    table.empty_if_not_installed();
                }
                return self.unsettled();
            }
            if changes.changed().await.is_err() {
                return open;
            }
        }
    }

    fn tables(&self) -> Vec<(&'static str, Arc<dyn Listed>)> {
        let of = |kind| self.of(kind).clone();
        vec![
            ("pods", self.pods.clone()),
            ("deployments", of(WorkloadKind::Deployment)),
            ("statefulsets", of(WorkloadKind::StatefulSet)),
            ("daemonsets", of(WorkloadKind::DaemonSet)),
            ("replicasets", of(WorkloadKind::ReplicaSet)),
            ("rollouts.argoproj.io", of(WorkloadKind::Rollout)),
            ("clonesets.apps.kruise.io", of(WorkloadKind::CloneSet)),
            (
                "statefulsets.apps.kruise.io",
                of(WorkloadKind::AdvancedStatefulSet),
            ),
            (
                "daemonsets.apps.kruise.io",
                of(WorkloadKind::AdvancedDaemonSet),
            ),
            ("namespaces", self.namespaces.clone()),
            ("gateways.gateway.networking.k8s.io", self.gateways.clone()),
            ("mutatingwebhookconfigurations", self.injectors.clone()),
            ("validatingwebhookconfigurations", self.validators.clone()),
            ("meshes", self.meshes.clone()),
            ("meshupgrades", self.upgrades.clone()),
            ("releasecatalogs", self.catalogs.clone()),
        ]
    }
}

/// What the API server said to a list, if that is its last word.
pub(super) fn refusal(error: &watcher::Error) -> Option<Refusal> {
    let watcher::Error::InitialListFailed(kube::Error::Api(status)) = error else {
        return None;
    };
    match status.code {
        403 => Some(Refusal::Forbidden),
        404 => Some(Refusal::NotInstalled),
        _ => None,
    }
}

/// The API server's own words where it gave any.
pub(super) fn words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
            if !status.message.is_empty() =>
        {
            status.message.clone()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answer(code: u16) -> watcher::Error {
        let status = Status::failure("no", "Reason").with_code(code);
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn only_the_last_word_of_the_api_server_ends_the_wait() {
        assert_eq!(refusal(&answer(404)), Some(Refusal::NotInstalled));
        assert_eq!(refusal(&answer(403)), Some(Refusal::Forbidden));
        assert_eq!(refusal(&answer(503)), None);
        assert_eq!(words(&answer(503)), "no");
    }
}
