//! Wiring: clients, watches, leader election, the controller.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::HeaderValue;
use axum::http::header::USER_AGENT;
use futures::{Stream, StreamExt, stream};
use kube::runtime::controller::Config as ControllerConfig;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Config, Resource, ResourceExt};
use meshlift_api::labels::RETRY;
use meshlift_api::{Mesh, MeshUpgrade, Phase};
use meshlift_cluster::helm::Helm;
use meshlift_cluster::{Executor, Observer, Settings, Watches};
use tokio::sync::watch;

use crate::controller::{Context, error_policy, reconcile};
use crate::events::Events;
use crate::http;
use crate::journal::Journal;
use crate::leader::Candidate;
use crate::meshes;
use crate::metrics::Metrics;

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the operator.
    pub namespace: String,
    /// Identity in the leader election; made up if none is given.
    pub identity: Option<String>,
    /// Chart repository for a Mesh that is made by discovery.
    pub default_charts_repository: String,
    /// How old the known versions of a chart repository may be.
    pub versions_interval: Duration,
    /// Where to serve health and metrics; nowhere if none is given.
    pub http_address: Option<SocketAddr>,
    /// Whether to act only while holding the lease.
    pub leader_election: bool,
    /// The Helm 4 program.
    pub helm: PathBuf,
    /// Kubeconfig for Helm; none for the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
}

/// However often things change, an upgrade is looked at no more often than this.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The same for the mesh list, which has a slower pace of its own for each mesh.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// Effects and the lease: an answer must come within this.
const REQUEST: Duration = Duration::from_secs(25);
/// How long the present step may take to end after a stop was asked for.
const GRACE: Duration = Duration::from_secs(25);

const NAME: HeaderValue =
    HeaderValue::from_static(concat!("meshlift-operator/", env!("CARGO_PKG_VERSION")));

/// Runs the operator until `stop` is ready or the lease is lost.
pub async fn run(
    mut config: Config,
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new().context("metrics")?);
    // Tells our requests from others in an audit log.
    config.headers.push((USER_AGENT, NAME));
    let watching = Client::try_from(config.clone()).context("the client for watches")?;
    let acting = acting_client(config)?;
    let (watches, follow) = Watches::start(&watching);
    let follow = tokio::spawn(follow);
    let serve = options
        .http_address
        .map(|address| tokio::spawn(http::serve(address, Arc::clone(&metrics), watches.clone())));
    let mut stop = pin!(stop);
    let mut candidate = None;
    if options.leader_election {
        let mut standing =
            Candidate::stand(acting.clone(), &options.namespace, options.identity.clone()).await?;
        tracing::info!("waits for the lease");
        tokio::select! {
            elected = standing.elected() => elected?,
            () = &mut stop => return Ok(()),
        }
        candidate = Some(standing);
    }
    metrics.leader.set(1);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "leads");
    let (stop_controller, stopping) = watch::channel(false);
    let mut controller = tokio::spawn(control(
        watching, acting, options, watches, metrics, stopping,
    ));
    let ended = tokio::select! {
        () = &mut stop => Ok(()),
        () = deposed(&mut candidate) => Err("the lease was lost: another replica may lead, so this one stops at once"),
        _ = &mut controller => Err("the controller ended"),
        () = served(serve) => Err("the HTTP server ended"),
    };
    follow.abort();
    if let Err(why) = ended {
        controller.abort();
        bail!(why);
    }
    // A stop ends the present step first: a Helm operation cut off would have to be mended.
    let _ = stop_controller.send(true);
    if tokio::time::timeout(GRACE, &mut controller).await.is_err() {
        tracing::warn!("the present step did not end in time; the next look mends what it left");
        controller.abort();
    }
    if let Some(candidate) = candidate {
        candidate.step_down().await;
    }
    Ok(())
}

/// A client for effects and the lease: no hidden retries, and an end to every request.
fn acting_client(mut config: Config) -> anyhow::Result<Client> {
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(REQUEST);
    config.write_timeout = Some(REQUEST);
    config.default_retry = false;
    Client::try_from(config).context("the client for effects")
}

async fn deposed(candidate: &mut Option<Candidate>) {
    match candidate {
        Some(candidate) => candidate.deposed().await,
        None => std::future::pending().await,
    }
}

async fn served(serve: Option<tokio::task::JoinHandle<anyhow::Result<()>>>) {
    match serve {
        Some(serve) => {
            if let Ok(Err(error)) = serve.await {
                tracing::error!(error = format!("{error:#}"), "HTTP");
            }
        }
        None => std::future::pending().await,
    }
}

async fn control(
    watching: Client,
    acting: Client,
    options: Options,
    watches: Watches,
    metrics: Arc<Metrics>,
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let settings = Settings {
        namespace: options.namespace,
        default_charts_repository: options.default_charts_repository.clone(),
        helm: Helm::new(options.helm, options.kubeconfig),
    };
    let observer = Arc::new(Observer::new(
        acting.clone(),
        settings.clone(),
        watches.clone(),
    )?);
    let events = Arc::new(Events::new(acting.clone(), options.identity));
    let journal = Arc::new(Journal::new(acting.clone(), settings.namespace.clone()));
    let list = Arc::new(meshes::Context {
        client: acting.clone(),
        watches: watches.clone(),
        observer: Arc::clone(&observer),
        events: Arc::clone(&events),
        metrics: Arc::clone(&metrics),
        charts_repository: options.default_charts_repository,
        versions_interval: options.versions_interval,
        pace: std::sync::Mutex::default(),
    });
    let context = Arc::new(Context {
        executor: Executor::new(
            acting.clone(),
            settings,
            watches.clone(),
            observer.charts().clone(),
        ),
        observer,
        events,
        journal: Arc::clone(&journal),
        client: acting,
        metrics,
        meshes: std::sync::Mutex::default(),
        written: std::sync::Mutex::default(),
        watches: watches.clone(),
    });
    let concurrency = ControllerConfig::default().concurrency(8);
    let stop = stopped(stopping.clone());
    let upgrades = Api::<MeshUpgrade>::all(watching.clone());
    let upgrades = Controller::new(upgrades, watcher::Config::default())
        .with_config(concurrency.clone())
        .reconcile_on(paced(&watches, LOOK_EVERY, under_way))
        .graceful_shutdown_on(stop)
        .run(reconcile, error_policy, context)
        .for_each(log);
    let stop = stopped(stopping.clone());
    let meshes = Controller::new(Api::<Mesh>::all(watching), watcher::Config::default())
        .with_config(concurrency)
        .reconcile_on(paced(&watches, LIST_EVERY, all_meshes))
        .graceful_shutdown_on(stop)
        .run(meshes::reconcile, meshes::error_policy, Arc::clone(&list))
        .for_each(log);
    tokio::join!(upgrades, meshes, meshes::discover(list, stopping));
    journal.close().await;
    Ok(())
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone stops too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn log<T, E: std::fmt::Display>(result: Result<T, E>) {
    if let Err(error) = result {
        tracing::debug!(%error, "controller");
    }
}

/// The objects that `which` names, each time something changed: at once, and then no more often than
/// every `pace`.
fn paced<K: Resource<DynamicType = ()> + 'static>(
    watches: &Watches,
    pace: Duration,
    which: fn(&Watches) -> Vec<ObjectRef<K>>,
) -> impl Stream<Item = ObjectRef<K>> + use<K> {
    let changes = watches.changes();
    let watches = watches.clone();
    stream::unfold((changes, false), move |(mut changes, again)| async move {
        if again {
            tokio::time::sleep(pace).await;
        }
        changes.changed().await.ok()?;
        Some(((), (changes, true)))
    })
    .flat_map(move |()| stream::iter(which(&watches)))
}

fn all_meshes(watches: &Watches) -> Vec<ObjectRef<Mesh>> {
    let all = watches.meshes.all();
    let meshes = all.present().into_iter().flatten();
    meshes.map(|mesh| ObjectRef::from_obj(&**mesh)).collect()
}

/// Those that have not ended: an ended one has nothing to look at.
fn under_way(watches: &Watches) -> Vec<ObjectRef<MeshUpgrade>> {
    let all = watches.upgrades.all();
    let running = all
        .present()
        .into_iter()
        .flatten()
        .filter(|upgrade| !rests(upgrade));
    running
        .map(|upgrade| ObjectRef::from_obj(&**upgrade))
        .collect()
}

/// Whether an upgrade has ended and nobody asks it to go on. One that is asked must be looked at from
/// here too: the controller has a watch of its own, which may be ahead of what a reconcile then sees.
fn rests(upgrade: &MeshUpgrade) -> bool {
    let Some(status) = &upgrade.status else {
        return false;
    };
    let retry = upgrade.annotations().get(RETRY);
    status.phase.is_some_and(Phase::is_terminal)
        && status.observed_generation == upgrade.metadata.generation
        && (retry.is_none() || retry == status.observed_retry.as_ref())
}

#[cfg(test)]
mod tests {
    use meshlift_api::{MeshUpgradeSpec, MeshUpgradeStatus};

    use super::*;

    #[test]
    fn an_ended_upgrade_rests_until_it_is_asked_again() {
        let spec = serde_json::json!({ "targetVersion": "1.31" });
        let spec: MeshUpgradeSpec = serde_json::from_value(spec).expect("a spec");
        let mut upgrade = MeshUpgrade::new("to-1-31", spec);
        assert!(!rests(&upgrade), "a new one");
        upgrade.metadata.generation = Some(2);
        let mut status = MeshUpgradeStatus {
            phase: Some(Phase::Failed),
            observed_generation: Some(2),
            ..Default::default()
        };
        upgrade.status = Some(status.clone());
        assert!(rests(&upgrade));
        upgrade.metadata.generation = Some(3);
        assert!(!rests(&upgrade), "its spec changed");
        upgrade.metadata.generation = Some(2);
        upgrade.annotations_mut().insert(RETRY.into(), "1".into());
        assert!(!rests(&upgrade), "it is to be tried again");
        status.observed_retry = Some("1".into());
        upgrade.status = Some(status.clone());
        assert!(rests(&upgrade), "it was tried again");
        status.phase = Some(Phase::Upgrading);
        upgrade.status = Some(status);
        assert!(!rests(&upgrade), "it runs");
    }
}
