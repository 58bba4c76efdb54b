//! What is watched all the time: pods, workloads, namespaces, webhooks and our own kinds, each
//! folded at once to the few facts that decisions need.

mod facts;
mod refusals;
mod settle;
mod sink;
mod table;
mod while_served;

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, future};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use meshlift_api::labels::DEFAULT_VALIDATOR;
use meshlift_api::{Mesh, MeshUpgrade, ReleaseCatalog};
use meshlift_planner::view::WorkloadKind;
use tokio::sync::watch;

pub use facts::GatewayObject;
pub use facts::{
    AdvancedDaemonSetObject, AdvancedStatefulSetObject, CloneSetObject, DaemonSetObject,
    DeploymentObject, PodObject, ReplicaSetObject, RolloutObject, StatefulSetObject,
};
pub use facts::{
    InjectionFact, IstiodFact, NamespaceObject, NodeAgentFact, Placement, PodFact, WebhookFact,
    WorkloadFact, WorkloadObject, WorkloadSource,
};
pub use refusals::RefusedWrites;
pub use settle::Unsettled;
use sink::{Quiet, Sink};
pub use table::{Fact, Refusal, Standing, Table};
use while_served::follow_while_served;

/// Tables of everything that is watched.
#[derive(Clone)]
pub struct Watches {
    /// Pods with a sidecar, and those of istiod.
    pub pods: Arc<Table<PodFact>>,
    /// Every pod that sits on a node, with a sidecar or without.
    pub placements: Arc<Table<Placement>>,
    /// Workloads by kind, in the order of [`WorkloadKind::ALL`].
    pub workloads: [Arc<Table<WorkloadFact>>; WorkloadKind::ALL.len()],
    /// Evictions that were refused a moment ago.
    pub refusals: Arc<RefusedWrites>,
    /// Namespaces.
    pub namespaces: Arc<Table<meshlift_planner::view::Namespace>>,
    /// Gateways that istiod renders; none where the Gateway API is not installed.
    pub gateways: Arc<Table<meshlift_planner::view::Gateway>>,
    /// Injection webhooks of revisions and tags.
    pub injectors: Arc<Table<WebhookFact>>,
    /// Every webhook that injects sidecars, also where nothing says for which revision.
    pub injection_rules: Arc<Table<InjectionFact>>,
    /// The default validating webhook.
    pub validators: Arc<Table<WebhookFact>>,
    /// Meshes.
    pub meshes: Arc<Table<Mesh>>,
    /// MeshUpgrades.
    pub upgrades: Arc<Table<MeshUpgrade>>,
    /// ReleaseCatalogs, of which one counts.
    pub catalogs: Arc<Table<ReleaseCatalog>>,
    changed: Arc<watch::Sender<u64>>,
}

/// How long until a CRD that was installed meanwhile is noticed.
const RECHECK: Duration = Duration::from_secs(180);
/// Pods are asked for in pages: a page is what is in memory at once while listing.
const PAGE: u32 = 100;

impl Watches {
    /// Starts all watches; the future ends only if one of them does, which they never should.
    pub fn start(client: &Client) -> (Self, impl Future<Output = ()> + Send + use<>) {
        Self::start_rechecking(client, RECHECK)
    }

    /// The same, asking so often whether a CRD that is not there was installed meanwhile.
    pub fn start_rechecking(
        client: &Client,
        every: Duration,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let changed = Arc::new(watch::Sender::new(0));
        let watches = Self {
            pods: Arc::default(),
            placements: Arc::default(),
            workloads: Default::default(),
            refusals: Arc::default(),
            namespaces: Arc::default(),
            gateways: Arc::default(),
            injectors: Arc::default(),
            injection_rules: Arc::default(),
            validators: Arc::default(),
            meshes: Arc::default(),
            upgrades: Arc::default(),
            catalogs: Arc::default(),
            changed,
        };
        let run = watches.clone().run(client.clone(), every);
        (watches, run)
    }

    /// The workloads of a kind.
    pub fn of(&self, kind: WorkloadKind) -> &Arc<Table<WorkloadFact>> {
        &self.workloads[kind as usize]
    }

    /// A channel that changes whenever something watched did.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn run(self, client: Client, recheck: Duration) {
        let all = watcher::Config::default().page_size(PAGE);
        let validator = all
            .clone()
            .fields(&format!("metadata.name={DEFAULT_VALIDATOR}"));
        // ReplicaSets of a Deployment or a Rollout are many, and none of ours: those have its hash as a label.
        let bare = all
            .clone()
            .labels("!pod-template-hash,!rollouts-pod-template-hash");
        let of = |kind| Arc::clone(self.of(kind));
        let bell = &self.changed;
        let streams = [
            follow(
                Api::<PodObject>::all(client.clone()),
                all.clone(),
                (self.pods.clone(), Quiet(self.placements.clone())),
                bell,
            ),
            follow(
                Api::<DeploymentObject>::all(client.clone()),
                all.clone(),
                of(WorkloadKind::Deployment),
                bell,
            ),
            follow(
                Api::<StatefulSetObject>::all(client.clone()),
                all.clone(),
                of(WorkloadKind::StatefulSet),
                bell,
            ),
            follow(
                Api::<DaemonSetObject>::all(client.clone()),
                all.clone(),
                of(WorkloadKind::DaemonSet),
                bell,
            ),
            follow(
                Api::<ReplicaSetObject>::all(client.clone()),
                bare,
                of(WorkloadKind::ReplicaSet),
                bell,
            ),
            follow_while_served::<RolloutObject, _>(
                client.clone(),
                all.clone(),
                of(WorkloadKind::Rollout),
                recheck,
                bell,
            ),
            follow_while_served::<CloneSetObject, _>(
                client.clone(),
                all.clone(),
                of(WorkloadKind::CloneSet),
                recheck,
                bell,
            ),
            follow_while_served::<AdvancedStatefulSetObject, _>(
                client.clone(),
                all.clone(),
                of(WorkloadKind::AdvancedStatefulSet),
                recheck,
                bell,
            ),
            follow_while_served::<AdvancedDaemonSetObject, _>(
                client.clone(),
                all.clone(),
                of(WorkloadKind::AdvancedDaemonSet),
                recheck,
                bell,
            ),
            follow(
                Api::<NamespaceObject>::all(client.clone()),
                all.clone(),
                self.namespaces.clone(),
                bell,
            ),
            follow_while_served::<GatewayObject, _>(
                client.clone(),
                all.clone(),
                self.gateways.clone(),
                recheck,
                bell,
            ),
            follow(
                Api::<MutatingWebhookConfiguration>::all(client.clone()),
                all.clone(),
                (self.injectors.clone(), self.injection_rules.clone()),
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
                Api::<MeshUpgrade>::all(client.clone()),
                all.clone(),
                self.upgrades.clone(),
                bell,
            ),
            follow(
                Api::<ReleaseCatalog>::all(client),
                all,
                self.catalogs.clone(),
                bell,
            ),
        ];
        future::select_all(streams).await;
    }
}

/// Keeps tables equal to what the API server has.
fn follow<K, S>(
    api: Api<K>,
    config: watcher::Config,
    tables: S,
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
    S: Sink<K> + 'static,
{
    let bell = Arc::clone(bell);
    let events = watcher(api, config).default_backoff();
    Box::pin(async move {
        let mut events = events
            .inspect_err(|error| tracing::warn!(kind = std::any::type_name::<K>(), %error, "watch"))
            .boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if tables.take(&event) {
                        bell.send_modify(|count| *count = count.wrapping_add(1));
                    }
                }
                Err(error) => {
                    // Who waits for the first listing hears of it.
                    if tables.lost(&settle::words(&error), settle::refusal(&error)) {
                        bell.send_modify(|count| *count = count.wrapping_add(1));
                    }
                }
            }
        }
    })
}
