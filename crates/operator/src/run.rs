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
use kube::client::ClientBuilder;
use kube::runtime::controller::Config as ControllerConfig;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Config, Resource, ResourceExt};
use meshlift_api::labels::{FINALIZER, REDETECT, RETRY};
use meshlift_api::{Mesh, MeshUpgrade, Phase};
use meshlift_cluster::helm::{ASKED, Helm};
use meshlift_cluster::watch::Guarded;
use meshlift_cluster::{Executor, Observer, Settings, Tenure, Watches};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::controller::{Context, error_policy, reconcile};
use crate::events::Events;
use crate::http;
use crate::journal::Journal;
use crate::leader::Candidate;
use crate::locks::Locks;
use crate::meshes;
use crate::metrics::Metrics;
use crate::refresh::Refresh;

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the operator.
    pub namespace: String,
    /// Identity in the leader election; made up if none is given.
    pub identity: Option<String>,
    /// Chart repository for a Mesh that is made by discovery.
    pub default_charts_repository: String,
    /// How many backups and records of a mesh are kept; all of them where it is 0.
    pub keep_backups: usize,
    /// How old the known versions of a chart repository may be.
    pub versions_interval: Duration,
    /// Where to serve health and metrics; nowhere if none is given.
    pub http_address: Option<SocketAddr>,
    /// Whether to act only while holding the lease.
    pub leader_election: bool,
    /// The Helm 4 program.
    pub helm: PathBuf,
    /// How long a stop may take, before the process is killed.
    pub stop_within: Duration,
    /// Kubeconfig for Helm; none for the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
}

/// However often things change, an upgrade is looked at no more often than this.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The same for the mesh list, which has a slower pace of its own for each mesh.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// How long the controllers' own watches last.
const WATCH: u32 = 60;
/// Lists and watches: something must be sent within this.
const READ: Duration = Duration::from_secs(75);
/// Effects: an answer must come within this. Longer than an admission webhook may take (30 s), so that the API server tells of
/// one that does not answer; whoever hangs up first only knows that nothing came.
const REQUEST: Duration = Duration::from_secs(35);
/// The lease: the same.
const ELECTION: Duration = Duration::from_secs(3);
/// Of the time that a stop may take, what is left for ending Helm, for the last lines of the logs and for giving back the
/// lease.
const LAST: Duration = Duration::from_secs(10);
/// How long reconciles have to end once this process may not act any more: as long as Helm has that is asked to end, and
/// no longer than others wait before they act.
const DEPOSED: Duration = Duration::from_secs(ASKED.as_secs() + 1);

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
    let watching = watching_client(config.clone())?;
    let tenure = if options.leader_election {
        Tenure::none()
    } else {
        Tenure::unlimited()
    };
    let acting = acting_client(config.clone(), &tenure)?;
    let (watches, follow) = Watches::start(&watching);
    let mut follow = tokio::spawn(follow);
    let serve = options
        .http_address
        .map(|address| tokio::spawn(http::serve(address, Arc::clone(&metrics), watches.clone())));
    let mut stop = pin!(stop);
    let mut candidate = None;
    let stop_within = options.stop_within;
    if options.leader_election {
        let client = electing_client(config)?;
        let (namespace, identity) = (&options.namespace, options.identity.as_deref());
        let standing = Candidate::stand(client, namespace, identity, tenure.clone());
        tracing::info!("waits for the lease");
        tokio::select! {
            () = standing.elected() => {}
            () = &mut stop => {
                standing.step_down().await;
                return Ok(());
            }
            ended = &mut follow => bail!(blinded(ended)),
        }
        candidate = Some(standing);
    }
    metrics.leader.set(1);
    let leader = Arc::clone(&metrics);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "leads");
    let (stop_controller, stopping) = watch::channel(false);
    let mut controller = tokio::spawn(control(
        watching,
        acting,
        options,
        watches,
        metrics,
        tenure.clone(),
        stopping,
    ));
    let ended = tokio::select! {
        () = &mut stop => Ok(()),
        () = tenure.over() => Err("the lease was lost: another replica may lead, so this one stops at once".to_owned()),
        _ = &mut controller => Err("the controller ended".to_owned()),
        () = served(serve) => Err("the HTTP server ended".to_owned()),
        ended = &mut follow => Err(blinded(ended)),
    };
    follow.abort();
    let _ = stop_controller.send(true);
    if let Err(why) = ended {
        leader.leader.set(0);
        // Nothing is written any more, and Helm is being ended: this only waits for it.
        tenure.cap(Duration::ZERO);
        wait_or_abort(DEPOSED, controller).await;
        bail!(why);
    }
    // A stop ends the present step first. Helm is asked to end while there still is time for it to say that it failed: an
    // operation that is killed has to be cleared by hand or by the next leader.
    tenure.cap(stop_within.saturating_sub(LAST));
    wait_or_abort(stop_within.saturating_sub(LAST / 2), controller).await;
    if let Some(candidate) = candidate {
        candidate.step_down().await;
    }
    Ok(())
}

/// Waits until the controllers have ended; when this returns, they have.
async fn wait_or_abort<T>(limit: Duration, mut controller: JoinHandle<T>) {
    if controller.is_finished() {
        return;
    }
    if tokio::time::timeout(limit, &mut controller).await.is_err() {
        tracing::warn!("the present step did not end in time; the next look finds what it left");
        controller.abort();
        // Only how it ended is in it.
        let _ = controller.await;
    }
}

/// A watch that ended leaves a table that never changes again, and looks like a mesh in which nothing happens.
fn blinded(ended: Result<String, tokio::task::JoinError>) -> String {
    ended.unwrap_or_else(|error| format!("the watches ended: {error}"))
}

/// A client for lists and watches: whatever sends nothing for longer than a watch lasts is dead.
fn watching_client(mut config: Config) -> anyhow::Result<Client> {
    config.read_timeout = Some(READ);
    Client::try_from(config).context("the client for watches")
}

/// A client for effects: no hidden retries, an end to every request, and no write by a process that does not lead.
fn acting_client(mut config: Config, tenure: &Tenure) -> anyhow::Result<Client> {
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(REQUEST);
    config.write_timeout = Some(REQUEST);
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).context("the client for effects")?;
    Ok(builder.with_layer(&tenure.fence()).build())
}

/// A client for the lease, with connections of its own: when those of the effects hang, it still renews.
fn electing_client(mut config: Config) -> anyhow::Result<Client> {
    config.connect_timeout = Some(ELECTION);
    config.read_timeout = Some(ELECTION);
    config.write_timeout = Some(ELECTION);
    config.default_retry = false;
    Client::try_from(config).context("the client for the lease")
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
    tenure: Tenure,
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let settings = Settings {
        namespace: options.namespace,
        default_charts_repository: options.default_charts_repository.clone(),
        keep_backups: options.keep_backups,
        helm: Helm::new(options.helm, options.kubeconfig)
            .within(tenure.clone(), options.identity.as_deref()),
    };
    let observer = Arc::new(Observer::new(
        acting.clone(),
        settings.clone(),
        watches.clone(),
    )?);
    let events = Arc::new(Events::new(acting.clone(), options.identity));
    let journal = Arc::new(Journal::new(acting.clone(), settings.namespace.clone()));
    let (refresh, ended) = Refresh::new();
    let list = Arc::new(meshes::Context {
        client: acting.clone(),
        watches: watches.clone(),
        observer: Arc::clone(&observer),
        events: Arc::clone(&events),
        metrics: Arc::clone(&metrics),
        charts_repository: options.default_charts_repository,
        versions_interval: options.versions_interval,
        pace: std::sync::Mutex::default(),
        refresh: refresh.clone(),
    });
    let context = Arc::new(Context {
        executor: Executor::new(
            acting.clone(),
            settings,
            watches.clone(),
            observer.charts().clone(),
        )
        .within(tenure),
        observer,
        events: Arc::clone(&events),
        journal: Arc::clone(&journal),
        client: acting,
        metrics,
        meshes: Locks::default(),
        written: std::sync::Mutex::default(),
        refresh,
        watches: watches.clone(),
    });
    let concurrency = ControllerConfig::default().concurrency(8);
    let stop = stopped(stopping.clone());
    let upgrades = Api::<Guarded<MeshUpgrade>>::all(watching.clone());
    let upgrades = Controller::new(upgrades, watcher::Config::default().timeout(WATCH))
        .with_config(concurrency.clone())
        .reconcile_on(paced(&watches, LOOK_EVERY, under_way))
        .graceful_shutdown_on(stop)
        .run(reconcile, error_policy, context)
        .for_each(log);
    let stop = stopped(stopping.clone());
    let meshes = Api::<Guarded<Mesh>>::all(watching);
    let meshes = Controller::new(meshes, watcher::Config::default().timeout(WATCH))
        .with_config(concurrency)
        .reconcile_on(paced(&watches, LIST_EVERY, all_meshes))
        .reconcile_on(ended)
        .graceful_shutdown_on(stop)
        .run(meshes::reconcile, meshes::error_policy, Arc::clone(&list))
        .for_each(log);
    tokio::join!(upgrades, meshes, meshes::discover(list, stopping));
    journal.close().await;
    events.close().await;
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

fn all_meshes(watches: &Watches) -> Vec<ObjectRef<Guarded<Mesh>>> {
    let all = watches.meshes.all();
    let meshes = all.present().into_iter().flatten();
    meshes
        .map(|mesh| ObjectRef::new(&mesh.name_any()))
        .collect()
}

/// Those that have not ended: an ended one has nothing to look at.
fn under_way(watches: &Watches) -> Vec<ObjectRef<Guarded<MeshUpgrade>>> {
    let all = watches.upgrades.all();
    let running = all
        .present()
        .into_iter()
        .flatten()
        .filter(|upgrade| !rests(upgrade));
    running
        .map(|upgrade| ObjectRef::new(&upgrade.name_any()))
        .collect()
}

/// Whether an upgrade has ended, nothing is left to do for it, and nobody asks it to go on. One that is asked must be looked at from
/// here too: the controller has a watch of its own, which may be ahead of what a reconcile then sees.
pub(crate) fn rests(upgrade: &MeshUpgrade) -> bool {
    let Some(status) = &upgrade.status else {
        return false;
    };
    let retry = upgrade.annotations().get(RETRY);
    // An ended one has nothing to detect, and says that it has seen it.
    let redetect = upgrade.annotations().get(REDETECT);
    status.phase.is_some_and(Phase::is_terminal)
        && !upgrade.finalizers().iter().any(|held| held == FINALIZER)
        && status.observed_generation == upgrade.metadata.generation
        && (retry.is_none() || retry == status.observed_retry.as_ref())
        && (redetect.is_none() || redetect == status.observed_redetect.as_ref())
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
        upgrade.metadata.finalizers = Some(vec![FINALIZER.into()]);
        assert!(!rests(&upgrade), "it is to let go of the object");
        upgrade.metadata.finalizers = None;
        status.phase = Some(Phase::Upgrading);
        upgrade.status = Some(status);
        assert!(!rests(&upgrade), "it runs");
    }
}
