//! What is watched all the time: pods, workloads, namespaces, webhooks and our own kinds, each
//! folded at once to the few facts that decisions need.

mod facts;
mod follow;
mod guarded;
mod refusals;
mod settle;
mod sink;
mod table;
mod while_served;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use meshlift_api::labels::DEFAULT_VALIDATOR;
use meshlift_api::{Mesh, MeshUpgrade, ReleaseCatalog};
use meshlift_model::view::WorkloadKind;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use facts::GatewayObject;
pub use facts::{
    AdvancedDaemonSetObject, AdvancedStatefulSetObject, CloneSetObject, DaemonSetObject,
    DeploymentObject, PodObject, ReplicaSetObject, RolloutObject, StatefulSetObject,
};
pub use facts::{
    InjectionFact, IstiodFact, NamespaceObject, NodeAgentFact, Placement, PodFact, WebhookFact,
    WorkloadFact, WorkloadObject, WorkloadSource,
};
use follow::{Feed, Selection};
pub use guarded::{Guarded, Undecoded};
pub use refusals::RefusedWrites;
pub use settle::Unsettled;
use sink::{Quiet, Sink};
pub use table::{Fact, Health, LOST, Refusal, SILENT, Standing, Table};
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
    pub namespaces: Arc<Table<meshlift_model::view::Namespace>>,
    /// Gateways that istiod renders; none where the Gateway API is not installed.
    pub gateways: Arc<Table<meshlift_model::view::Gateway>>,
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

impl Watches {
    /// Starts all watches; the future ends only if one of them does, which they never should, and says which.
    pub fn start(client: &Client) -> (Self, impl Future<Output = String> + Send + use<>) {
        Self::start_rechecking(client, RECHECK)
    }

    /// The same, asking so often whether a CRD that is not there was installed meanwhile.
    pub fn start_rechecking(
        client: &Client,
        every: Duration,
    ) -> (Self, impl Future<Output = String> + Send + use<>) {
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

    async fn run(self, client: Client, recheck: Duration) -> String {
        until_one_ends(self.feeds(&client, recheck)).await
    }

    fn feeds(&self, client: &Client, recheck: Duration) -> Vec<(String, BoxFuture<'static, ()>)> {
        let feeds = Feeds {
            client,
            recheck,
            bell: &self.changed,
        };
        let all = Selection::default;
        let validator = Selection {
            fields: Some(format!("metadata.name={DEFAULT_VALIDATOR}")),
            ..all()
        };
        // ReplicaSets of a Deployment or a Rollout are many, and none of ours: those have its hash as a label.
        let bare = Selection {
            labels: Some("!pod-template-hash,!rollouts-pod-template-hash"),
            ..all()
        };
        let of = |kind| Arc::clone(self.of(kind));
        let pods = (self.pods.clone(), Quiet(self.placements.clone()));
        let webhooks = (self.injectors.clone(), self.injection_rules.clone());
        vec![
            feeds.always::<PodObject, _>(all(), pods),
            feeds.always::<DeploymentObject, _>(all(), of(WorkloadKind::Deployment)),
            feeds.always::<StatefulSetObject, _>(all(), of(WorkloadKind::StatefulSet)),
            feeds.always::<DaemonSetObject, _>(all(), of(WorkloadKind::DaemonSet)),
            feeds.always::<ReplicaSetObject, _>(bare, of(WorkloadKind::ReplicaSet)),
            feeds.while_served::<RolloutObject, _>(of(WorkloadKind::Rollout)),
            feeds.while_served::<CloneSetObject, _>(of(WorkloadKind::CloneSet)),
            feeds.while_served::<AdvancedStatefulSetObject, _>(of(
                WorkloadKind::AdvancedStatefulSet,
            )),
            feeds.while_served::<AdvancedDaemonSetObject, _>(of(WorkloadKind::AdvancedDaemonSet)),
            feeds.always::<NamespaceObject, _>(all(), self.namespaces.clone()),
            feeds.while_served::<GatewayObject, _>(self.gateways.clone()),
            feeds.always::<MutatingWebhookConfiguration, _>(all(), webhooks),
            feeds.always::<ValidatingWebhookConfiguration, _>(validator, self.validators.clone()),
            feeds.always::<Mesh, _>(all(), self.meshes.clone()),
            feeds.always::<MeshUpgrade, _>(all(), self.upgrades.clone()),
            feeds.always::<ReleaseCatalog, _>(all(), self.catalogs.clone()),
        ]
    }
}

/// What all watches have in common.
struct Feeds<'a> {
    client: &'a Client,
    recheck: Duration,
    bell: &'a Arc<watch::Sender<u64>>,
}

/// How long until a kind that must be there is listed again after the API server said that it does not serve it.
const MISSING: Duration = Duration::from_secs(5);

impl Feeds<'_> {
    fn feed<K: Resource<DynamicType = ()>, S>(&self, selection: Selection, sink: S) -> Feed<K, S> {
        Feed {
            api: Api::all(self.client.clone()),
            selection,
            sink,
            bell: Arc::clone(self.bell),
        }
    }

    /// Of a kind that every cluster has, or that is ours.
    fn always<K, S>(&self, selection: Selection, sink: S) -> (String, BoxFuture<'static, ()>)
    where
        K: Watched,
        S: Sink<K> + 'static,
    {
        let feed = self.feed::<K, S>(selection, sink);
        let run = async move {
            loop {
                feed.until_not_served().await;
                tokio::time::sleep(MISSING).await;
            }
        };
        (K::kind(&()).into_owned(), run.boxed())
    }

    /// Of a kind that a cluster may not have.
    fn while_served<K, F>(&self, table: Arc<Table<F>>) -> (String, BoxFuture<'static, ()>)
    where
        K: Watched + Resource<Scope = NamespaceResourceScope>,
        F: Fact<K> + Send + Sync + 'static,
    {
        let feed = self.feed::<K, _>(Selection::default(), table);
        let run = follow_while_served(self.client.clone(), feed, self.recheck);
        (K::kind(&()).into_owned(), run.boxed())
    }
}

/// What a kind needs to be watched.
trait Watched:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Runs them all until the first ends, and says which and why. A watch that ended leaves a table behind that never changes
/// again: whoever runs this ends with it.
async fn until_one_ends(feeds: Vec<(String, BoxFuture<'static, ()>)>) -> String {
    let mut names = HashMap::new();
    let mut tasks = JoinSet::new();
    for (what, feed) in feeds {
        names.insert(tasks.spawn(feed).id(), what);
    }
    let (id, why) = match tasks.join_next_with_id().await {
        Some(Ok((id, ()))) => (id, "it ended".to_owned()),
        Some(Err(error)) => (error.id(), error.to_string()),
        None => return "there are no watches".to_owned(),
    };
    let what = names.remove(&id).unwrap_or_default();
    format!("the watch of {what} ended: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_one(ends: BoxFuture<'static, ()>) -> Vec<(String, BoxFuture<'static, ()>)> {
        let lives = |what: &str| (what.to_owned(), std::future::pending().boxed());
        vec![
            lives("Pods"),
            ("Namespaces".to_owned(), ends),
            lives("Deployments"),
        ]
    }

    #[tokio::test]
    async fn a_watch_that_ends_ends_them_all_and_is_named() {
        let told = until_one_ends(with_one(async {}.boxed())).await;
        assert_eq!(told, "the watch of Namespaces ended: it ended");
        let told = until_one_ends(with_one(async { panic!("out of order") }.boxed())).await;
        assert!(
            told.starts_with("the watch of Namespaces ended: "),
            "{told}"
        );
        assert!(told.contains("panicked"), "{told}");
    }
}
