//! The floor: the smallest client that does the same restarts. One patch each, one watch, the same
//! limits and the same pace, and a workload is ready when its status says that the rollout is complete.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::mesh::{self, Key};
use super::schedule::{Limits, Places, cores, proxies_a_second};

/// Restarts every workload, each of so many pods, and returns when all are ready.
pub(super) async fn run(
    client: Client,
    keys: &[Key],
    replicas: usize,
    limits: Limits,
) -> Result<()> {
    let config = watcher::Config::default().labels(mesh::MOVED);
    let mut changes = watcher(Api::<Deployment>::all(client.clone()), config)
        .default_backoff()
        .applied_objects()
        .boxed();
    let mut waiting: VecDeque<&Key> = keys.iter().collect();
    let mut places = Places::new(limits, keys.iter());
    // The generation of each workload before its restart; those known are not restarted yet, or not ready.
    let mut before = BTreeMap::<Key, i64>::new();
    let stamp = Timestamp::now().to_string();
    let mut patches = FuturesUnordered::new();
    let mut ready = 0;
    // One workload takes so long of what istiod shall have to admit.
    let each = Duration::from_secs_f64(replicas as f64 / proxies_a_second(cores()));
    let mut next = Instant::now();
    // Whether one may begin as soon as the pace allows it.
    let mut fits = true;
    while ready < keys.len() {
        let paced = fits && !waiting.is_empty() && before.len() == keys.len();
        tokio::select! {
            () = sleep_until(next), if paced => {}
            Some(patched) = patches.next() => { let _: Deployment = patched?; }
            change = changes.next() => {
                let object = change.context("the watch ended")?.context("watching the workloads")?;
                let key = Key::of(&object);
                let generation = object.metadata.generation.unwrap_or_default();
                let known = *before.entry(key.clone()).or_insert(generation);
                if generation > known && mesh::is_complete(&object) {
                    ready += 1;
                    places.give(&key.namespace);
                    fits = true;
                    // What changes later is not counted again.
                    before.insert(key, i64::MAX);
                }
            }
        }
        if before.len() < keys.len() || Instant::now() < next {
            continue;
        }
        let admitted = |key: &&Key| places.admits(&key.namespace);
        let at = waiting.iter().position(admitted);
        fits = at.is_some();
        if let Some(key) = at.and_then(|at| waiting.remove(at)) {
            places.take(&key.namespace);
            next = next.max(Instant::now()) + each;
            patches.push(restart(&client, key, &stamp));
        }
    }
    Ok(())
}

async fn restart(client: &Client, key: &Key, stamp: &str) -> Result<Deployment> {
    let api = Api::<Deployment>::namespaced(client.clone(), &key.namespace);
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": stamp});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .with_context(|| format!("restarting {key}"))
}
