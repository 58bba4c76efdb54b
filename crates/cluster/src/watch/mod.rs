//! What is watched all the time: pods, workloads, namespaces, webhooks and our own kinds, each
//! folded at once to the few facts that decisions need.

mod facts;
mod table;

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, future};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use meshlift_api::labels::{DEFAULT_VALIDATOR, ISTIO_REV};
use meshlift_api::{Mesh, MeshUpgrade};
use tokio::sync::watch;

pub use facts::{DaemonSetObject, DeploymentObject, PodObject, StatefulSetObject};
pub use facts::{
    IstiodFact, NamespaceObject, PodFact, WebhookFact, WorkloadFact, WorkloadObject, WorkloadSource,
};
pub use table::{Fact, Table};

/// Tables of everything that is watched.
#[derive(Clone)]
pub struct Watches {
    /// Pods with a sidecar, and those of istiod.
    pub pods: Arc<Table<PodFact>>,
    /// Deployments, StatefulSets, DaemonSets.
    pub workloads: [Arc<Table<WorkloadFact>>; 3],
    /// Namespaces.
    pub namespaces: Arc<Table<meshlift_planner::view::Namespace>>,
    /// Injection webhooks of revisions and tags.
    pub injectors: Arc<Table<WebhookFact>>,
    /// The default validating webhook.
    pub validators: Arc<Table<WebhookFact>>,
    /// Meshes.
    pub meshes: Arc<Table<Mesh>>,
    /// MeshUpgrades.
    pub upgrades: Arc<Table<MeshUpgrade>>,
    changed: Arc<watch::Sender<u64>>,
}

/// Pods are asked for in pages: a page is what is in memory at once while listing.
const PAGE: u32 = 250;

impl Watches {
    /// Starts all watches; the future ends only if one of them does, which they never should.
    pub fn start(client: &Client) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let changed = Arc::new(watch::Sender::new(0));
        let watches = Self {
            pods: Arc::default(),
            workloads: Default::default(),
            namespaces: Arc::default(),
            injectors: Arc::default(),
            validators: Arc::default(),
            meshes: Arc::default(),
            upgrades: Arc::default(),
            changed,
        };
        let run = watches.clone().run(client.clone());
        (watches, run)
    }

    /// A channel that changes whenever something watched did.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn run(self, client: Client) {
        let all = watcher::Config::default().page_size(PAGE);
        let revisions = all.clone().labels(ISTIO_REV);
        let validator = all
            .clone()
            .fields(&format!("metadata.name={DEFAULT_VALIDATOR}"));
        let [deployments, stateful_sets, daemon_sets] = self.workloads.clone();
        let bell = &self.changed;
        let streams = [
            follow(
                Api::<PodObject>::all(client.clone()),
                all.clone(),
                self.pods.clone(),
                bell,
            ),
            follow(
                Api::<DeploymentObject>::all(client.clone()),
                all.clone(),
                deployments,
                bell,
            ),
            follow(
                Api::<StatefulSetObject>::all(client.clone()),
                all.clone(),
                stateful_sets,
                bell,
            ),
            follow(
                Api::<DaemonSetObject>::all(client.clone()),
                all.clone(),
                daemon_sets,
                bell,
            ),
            follow(
                Api::<NamespaceObject>::all(client.clone()),
                all.clone(),
                self.namespaces.clone(),
                bell,
            ),
            follow(
                Api::<MutatingWebhookConfiguration>::all(client.clone()),
                revisions,
                self.injectors.clone(),
                bell,
            ),
            follow(
                Api::<ValidatingWebhookConfiguration>::all(client.clone()),
                validator,
                self.validators.clone(),
                bell,
            ),
            follow(
                Api::<Mesh>::all(client.clone()),
                all.clone(),
                self.meshes.clone(),
                bell,
            ),
            follow(
                Api::<MeshUpgrade>::all(client),
                all,
                self.upgrades.clone(),
                bell,
            ),
        ];
        future::select_all(streams).await;
    }
}

/// Keeps a table equal to what the API server has.
fn follow<K, F>(
    api: Api<K>,
    config: watcher::Config,
    table: Arc<Table<F>>,
    bell: &Arc<watch::Sender<u64>>,
) -> future::BoxFuture<'static, ()>
where
    K: kube::Resource
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
    F: Fact<K> + Send + Sync + 'static,
{
    let bell = Arc::clone(bell);
    let events = watcher(api, config).default_backoff();
    Box::pin(async move {
        let mut events = events
            .inspect_err(|error| tracing::warn!(kind = std::any::type_name::<F>(), %error, "watch"))
            .boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if table.take(event) {
                        bell.send_modify(|count| *count = count.wrapping_add(1));
                    }
                }
                Err(error) => table.lost(error.to_string()),
            }
        }
    })
}
