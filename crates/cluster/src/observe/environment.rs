//! The surroundings of a mesh: only a detection asks for them, all at once, and they are kept for a while.

mod autoscalers;
mod budgets;
pub(crate) mod crds;
mod envoy_filters;
mod helm_releases;
mod injectors;
mod installers;
pub(super) mod list;
mod node_agents;
mod nodes;
mod quotas;
mod selections;

use std::time::Duration;

use kube::Client;
use meshlift_model::view::{
    Autoscaler, Budget, ControlPlane, Crd, Environment, EnvoyFilter, HelmRelease, InjectionRule,
    NodeAgent, Quota, Seen, Selection,
};

use self::crds::{CrdFact, Crds};
use self::injectors::Injectors;
use self::nodes::NodeFact;
use super::cached::Cached;
use super::seen;
use crate::watch::Watches;

/// A blocked detection looks again as soon as anything watched changes; these are not looked at more often.
const AGE: Duration = Duration::from_secs(30);

/// What the API server has of a kind; none when it does not know the kind.
pub(crate) type Found<T> = Option<Vec<T>>;

/// Looks at the surroundings of a mesh.
pub(super) struct Surroundings {
    client: Client,
    crds: Crds,
    other_installers: Cached<(), Vec<String>>,
    helm_releases: Cached<(), Found<HelmRelease>>,
    selections: Cached<(), Vec<Selection>>,
    nodes: Cached<(), Found<NodeFact>>,
    budgets: Cached<(), Found<Budget>>,
    autoscalers: Cached<String, Found<Autoscaler>>,
    quotas: Cached<String, Found<Quota>>,
    injectors: Injectors,
    envoy_filters: Cached<(), Found<EnvoyFilter>>,
}

impl Surroundings {
    pub(super) fn new(client: Client) -> Self {
        Self {
            crds: Crds::new(client.clone()),
            other_installers: Cached::new(AGE),
            helm_releases: Cached::new(AGE),
            selections: Cached::new(AGE),
            nodes: Cached::new(AGE),
            budgets: Cached::new(AGE),
            autoscalers: Cached::new(AGE),
            quotas: Cached::new(AGE),
            injectors: Injectors::new(client.clone()),
            envoy_filters: Cached::new(AGE),
            client,
        }
    }

    /// The next look asks for everything again.
    pub(super) fn forget(&self) {
        self.crds.forget();
        self.other_installers.forget_all();
        self.helm_releases.forget_all();
        self.selections.forget_all();
        self.nodes.forget_all();
        self.budgets.forget_all();
        self.autoscalers.forget_all();
        self.quotas.forget_all();
        self.injectors.forget();
        self.envoy_filters.forget_all();
    }

    /// CRDs of Istio and of the Gateway API, and of other installers.
    pub(super) async fn crds(&self) -> Result<Vec<CrdFact>, String> {
        Ok(self.crds.look().await?.unwrap_or_default())
    }

    /// The same for who waits for their version.
    pub(super) async fn istio_crds(&self) -> Seen<Vec<Crd>> {
        crds::seen(self.crds.look().await)
    }

    /// Control planes that are short of replicas need no more of them than their autoscaler keeps at the least.
    pub(super) async fn autoscaled(&self, planes: &mut [ControlPlane]) {
        for plane in planes.iter_mut().filter(|plane| !plane.is_ready()) {
            let look = autoscalers::look(self.client.clone(), &plane.namespace);
            let known = self.autoscalers.get(&plane.namespace, look).await;
            let all = known.ok().flatten().into_iter().flatten();
            let scales = |scaler: &Autoscaler| scaler.target == plane.name;
            if let Some(scaler) = all.into_iter().find(scales) {
                plane.enough = Some(plane.enough.unwrap_or(plane.desired).min(scaler.min));
            }
        }
    }

    /// Disruption budgets of a namespace, as they are now.
    pub(super) async fn budgets(&self, namespace: &str) -> Seen<Vec<Budget>> {
        let looked = budgets::look_in(self.client.clone(), namespace).await;
        found(looked.map_err(|error| error.to_string()))
    }

    /// Webhooks that inject sidecars.
    pub(super) async fn injectors(&self, watches: &Watches) -> Seen<Vec<InjectionRule>> {
        self.injectors.look(watches).await
    }

    /// The CNI agent and ztunnel.
    pub(super) fn node_agents(&self, watches: &Watches) -> Seen<Vec<NodeAgent>> {
        node_agents::look(watches)
    }

    /// Everything but other clusters and the risks of the catalog. `home` is the namespace of istiod.
    pub(super) async fn look(&self, watches: &Watches, home: Option<&str>) -> Environment {
        let client = || self.client.clone();
        let installations = async {
            let crds = self.crds.look().await;
            let (others, flux) = match &crds {
                Ok(crds) => {
                    let crds = crds.as_deref().unwrap_or_default();
                    let others = installers::look(&self.client, crds);
                    let flux = helm_releases::look(&self.client, crds);
                    let others = seen(self.other_installers.get(&(), others).await);
                    (others, found(self.helm_releases.get(&(), flux).await))
                }
                // Without the kinds nobody can tell what there is of them.
                Err(why) => (Seen::Unreadable(why.clone()), Seen::Unreadable(why.clone())),
            };
            (crds::seen(crds), others, flux)
        };
        let autoscalers = async {
            let home = home?.to_owned();
            let look = autoscalers::look(client(), &home);
            Some(self.autoscalers.get(&home, look).await)
        };
        let quotas = async {
            let home = home?.to_owned();
            let look = quotas::look(client(), &home);
            Some(self.quotas.get(&home, look).await)
        };
        let (
            (crds, other_installers, helm_releases),
            nodes,
            budgets,
            autoscalers,
            quotas,
            injectors,
            envoy_filters,
            selections,
        ) = tokio::join!(
            installations,
            self.nodes.get(&(), nodes::look(client())),
            self.budgets.get(&(), budgets::look(client())),
            autoscalers,
            quotas,
            self.injectors.look(watches),
            self.envoy_filters.get(&(), envoy_filters::look(client())),
            self.selections.get(&(), selections::look(client())),
        );
        Environment {
            crds,
            nodes: nodes::with_room(found(nodes), watches),
            budgets: found(budgets),
            autoscalers: autoscalers.map_or(Seen::Absent, found),
            quotas: quotas.map_or(Seen::Absent, found),
            injectors,
            envoy_filters: found(envoy_filters),
            other_installers,
            helm_releases,
            selections: seen(selections),
            ..Environment::default()
        }
    }
}

fn found<T>(looked: Result<Found<T>, String>) -> Seen<Vec<T>> {
    match looked {
        Ok(Some(all)) => Seen::Present(all),
        Ok(None) => Seen::Absent,
        Err(why) => Seen::Unreadable(why),
    }
}
