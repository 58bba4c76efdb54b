//! The first listing, for a program that looks once: when it has ended, and what it lacks.

use std::sync::Arc;

use meshlift_model::view::WorkloadKind;

use super::Watches;
use super::guarded::Undecoded;
use super::table::{Health, Refusal, Standing, Table};

/// Our own kinds: what cannot be decoded of them is named in their own status.
const OWN: [&str; 3] = ["meshes", "meshupgrades", "releasecatalogs"];

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
    fn health(&self) -> Health;
    fn all_undecoded(&self) -> Vec<Arc<Undecoded>>;
    fn empty_if_not_installed(&self);
}

impl<F: Send + Sync> Listed for Table<F> {
    fn standing(&self) -> Standing {
        Table::standing(self)
    }

    fn health(&self) -> Health {
        Table::health(self)
    }

    fn all_undecoded(&self) -> Vec<Arc<Undecoded>> {
        Table::all_undecoded(self)
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

    /// How each table is kept, by what is in it.
    pub fn health(&self) -> Vec<(&'static str, Health)> {
        let all = self.tables().into_iter();
        all.map(|(what, table)| (what, table.health())).collect()
    }

    /// Objects that could not be decoded, of everything that may use a control plane; those of our own kinds are not
    /// among them.
    pub fn undecoded(&self) -> Vec<Arc<Undecoded>> {
        let all = self.tables().into_iter();
        let of_the_mesh = all.filter(|(what, _)| !OWN.contains(what));
        let mut found: Vec<_> = of_the_mesh
            .flat_map(|(_, table)| table.all_undecoded())
            .collect();
        found.sort_by_key(|object| object.reference());
        found
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
pub(super) fn refusal(error: &kube::Error) -> Option<Refusal> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    match status.code {
        403 => Some(Refusal::Forbidden),
        404 => Some(Refusal::NotInstalled),
        _ => None,
    }
}

/// The API server's own words where it gave any.
pub(super) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answer(code: u16) -> kube::Error {
        let status = Status::failure("no", "Reason").with_code(code);
        kube::Error::Api(Box::new(status))
    }

    #[test]
    fn only_the_last_word_of_the_api_server_ends_the_wait() {
        assert_eq!(refusal(&answer(404)), Some(Refusal::NotInstalled));
        assert_eq!(refusal(&answer(403)), Some(Refusal::Forbidden));
        assert_eq!(refusal(&answer(503)), None);
        assert_eq!(words(&answer(503)), "no");
    }
}
