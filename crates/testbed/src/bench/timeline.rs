//! When each workload was restarted and ready again, as one watcher saw it for whoever did it.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_all};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::mesh::{self, Key};

/// When things happened to one workload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// Its template changed.
    pub(super) restarted: Option<Timestamp>,
    /// The last of its new pods was ready.
    pub(super) pods_ready: Option<Timestamp>,
    /// Its status said that the rollout is complete.
    pub(super) complete: Option<Timestamp>,
}

/// The times of all workloads.
pub(super) type Timeline = BTreeMap<Key, Times>;

/// What was recorded of one run.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) timeline: Timeline,
    /// When each new pod was ready.
    pub(super) pods: Vec<Timestamp>,
}

/// Watches workloads and their pods.
pub(super) struct Recorder {
    state: Arc<State>,
    // Ends the watches when dropped.
    watches: JoinSet<()>,
}

struct State {
    seen: Mutex<Seen>,
    complete: watch::Sender<usize>,
}

#[derive(Default)]
struct Seen {
    timeline: Timeline,
    /// Generation before any restart.
    generations: BTreeMap<Key, i64>,
    /// Pods that were there before, and new ones that were ready once.
    pods: HashSet<String>,
    /// When each new pod was ready.
    ready: Vec<Timestamp>,
}

impl Recorder {
    /// Returns once it knows how everything is before the first restart.
    pub(super) async fn start(client: Client, keys: &[Key]) -> Result<Self> {
        let timeline = keys.iter().map(|k| (k.clone(), Times::default())).collect();
        let state = Arc::new(State {
            seen: Mutex::new(Seen {
                timeline,
                ..Seen::default()
            }),
            complete: watch::Sender::new(0),
        });
        let (listed, mut lists) = watch::channel(0);
        let listed = Arc::new(listed);
        let config = watcher::Config::default().labels(mesh::MOVED);
        let workloads = watch_all(Api::<Deployment>::all(client.clone()), config.clone());
        let pods = watch_all(Api::<Pod>::all(client), config);
        let mut watches = JoinSet::new();
        let (here, bell) = (Arc::clone(&state), Arc::clone(&listed));
        watches.spawn(follow(workloads, bell, move |object, first| {
            here.workload(&object, first);
        }));
        let here = Arc::clone(&state);
        watches.spawn(follow(pods, listed, move |object, first| {
            here.pod(&object, first);
        }));
        let known = lists.wait_for(|lists| *lists == 2);
        tokio::time::timeout(Duration::from_secs(60), known)
            .await
            .context("the workloads were not listed within 60 s")??;
        Ok(Self { state, watches })
    }

    /// The times, once every workload was restarted and is complete again.
    pub(super) async fn complete(self, limit: Duration) -> Result<Recorded> {
        let all = self.state.lock().timeline.len();
        let mut complete = self.state.complete.subscribe();
        if tokio::time::timeout(limit, complete.wait_for(|n| *n == all))
            .await
            .is_err()
        {
            let done = *self.state.complete.borrow();
            bail!("{done} of {all} workloads were restarted and ready within {limit:?}");
        }
        drop(self.watches);
        let seen = std::mem::take(&mut *self.state.lock());
        Ok(Recorded {
            timeline: seen.timeline,
            pods: seen.ready,
        })
    }
}

/// Shows every object to `take`, with whether it belongs to the first list.
async fn follow<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    listed: Arc<watch::Sender<usize>>,
    take: impl Fn(K, bool) + Send,
) where
    K: kube::Resource + Clone,
{
    let mut events = std::pin::pin!(events.default_backoff());
    let mut first = true;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::InitApply(object)) => take(object, first),
            Ok(Event::Apply(object)) => take(object, false),
            Ok(Event::InitDone) if first => {
                first = false;
                listed.send_modify(|lists| *lists += 1);
            }
            Ok(Event::Init | Event::InitDone | Event::Delete(_)) => {}
            // The watch comes back by itself.
            Err(error) => tracing::debug!("watching the bench: {error}"),
        }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workload(&self, object: &Deployment, first: bool) {
        let now = Timestamp::now();
        let key = Key::of(object);
        let generation = object.metadata.generation.unwrap_or_default();
        let mut seen = self.lock();
        if first {
            seen.generations.insert(key, generation);
            return;
        }
        let before = seen.generations.get(&key).copied();
        let Some(times) = seen.timeline.get_mut(&key) else {
            return;
        };
        if before.is_none_or(|before| generation <= before) {
            return;
        }
        times.restarted.get_or_insert(now);
        if times.complete.is_none() && mesh::is_complete(object) {
            times.complete = Some(now);
            self.complete.send_modify(|complete| *complete += 1);
        }
    }

    fn pod(&self, object: &Pod, first: bool) {
        let now = Timestamp::now();
        let uid = object.uid().unwrap_or_default();
        let mut seen = self.lock();
        if first {
            seen.pods.insert(uid);
            return;
        }
        if !is_ready(object) || !seen.pods.insert(uid) {
            return;
        }
        let key = Key {
            namespace: object.namespace().unwrap_or_default(),
            name: object.labels().get("app").cloned().unwrap_or_default(),
        };
        if let Some(times) = seen.timeline.get_mut(&key) {
            times.pods_ready = Some(now);
            seen.ready.push(now);
        }
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}
