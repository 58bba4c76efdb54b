//! The floor: the smallest client that does the same restarts. One patch each, one watch, the same
//! limits, and a workload is ready when its status says that the rollout is complete.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::json;

use super::mesh::{self, Key};
use super::schedule::{Limits, Places};

/// Restarts every workload, and returns when all are ready.
pub(super) async fn run(client: Client, keys: &[Key], limits: Limits) -> Result<()> {
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
    let mut begun = false;
    while ready < keys.len() {
        let was_ready = ready;
        tokio::select! {
            Some(patched) = patches.next() => { let _: Deployment = patched?; }
            change = changes.next() => {
                let object = change.context("the watch ended")?.context("watching the workloads")?;
                let key = Key::of(&object);
                let generation = object.metadata.generation.unwrap_or_default();
                let known = *before.entry(key.clone()).or_insert(generation);
                if generation > known && mesh::is_complete(&object) {
                    ready += 1;
                    places.give(&key.namespace);
                    // What changes later is not counted again.
                    before.insert(key, i64::MAX);
                }
            }
        }
        // Only a place that got free lets another one begin.
        if before.len() < keys.len() || (begun && ready == was_ready) {
            continue;
        }
        begun = true;
        let (now, later) = waiting.into_iter().partition::<Vec<_>, _>(|key| {
            let admitted = places.admits(&key.namespace);
            if admitted {
                places.take(&key.namespace);
            }
            admitted
        });
        waiting = later.into();
        patches.extend(now.into_iter().map(|key| restart(&client, key, &stamp)));
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
