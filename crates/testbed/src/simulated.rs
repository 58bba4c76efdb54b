//! Workloads on simulated nodes, by the hundreds: created some at a time, waited for by one watch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::SIMULATED_NODE;

/// The label of a pod that chooses how it lives on a simulated node, from its start.
pub const BEHAVE: &str = "testbed/behave";
/// The same for pods that a revision other than the default one injected: the workload is sound until
/// it is moved to that revision.
pub const BEHAVE_ONCE_MOVED: &str = "testbed/behave-once-moved";
/// The annotation of a pod that says how long it takes to be ready, as a duration (`20000ms`).
pub const START: &str = "testbed/start-milliseconds";

/// Namespace and name of a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// Those of this object.
    pub fn of(object: &Deployment) -> Self {
        Key {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Deployment whose pods go to simulated nodes.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// Namespace and name; the name is also the label `app` of the pods.
    pub key: Key,
    /// How many pods.
    pub replicas: usize,
    /// Labels of the Deployment and of its pods.
    pub labels: BTreeMap<String, String>,
    /// Annotations of its pods.
    pub annotations: BTreeMap<String, String>,
    /// Number of the node of all its pods; the scheduler chooses if there is none.
    pub node: Option<usize>,
}

impl Simulated {
    /// A Deployment that is sound.
    pub fn new(key: Key, replicas: usize) -> Self {
        Simulated {
            labels: BTreeMap::from([("app".to_owned(), key.name.clone())]),
            key,
            replicas,
            annotations: BTreeMap::new(),
            node: None,
        }
    }

    /// The same with one more label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// The same with pods that take so long to be ready; it needs a behaviour that is slow.
    pub fn start(mut self, time: Duration) -> Self {
        let text = format!("{}ms", time.as_millis());
        self.annotations.insert(START.into(), text);
        self
    }

    /// The object.
    pub fn deployment(&self) -> Result<Deployment> {
        let container = json!({
            "name": "app",
            "image": "testbed.local/base:1",
            "command": ["sleep", "infinity"],
        });
        let mut spec = json!({
            "tolerations": [{"key": SIMULATED_NODE, "operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        });
        match self.node {
            Some(number) => spec["nodeName"] = json!(format!("kwok-{number}")),
            None => spec["nodeSelector"] = json!({SIMULATED_NODE: "fake"}),
        }
        let Key { namespace, name } = &self.key;
        let (labels, annotations) = (&self.labels, &self.annotations);
        Ok(serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
            },
        }))?)
    }
}

/// Whether the newest template is rolled out, by what the status says.
pub fn is_complete(object: &Deployment) -> bool {
    let wanted = object.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    object.status.as_ref().is_some_and(|status| {
        status.observed_generation >= object.metadata.generation
            && status.updated_replicas == Some(wanted)
            && status.available_replicas == Some(wanted)
            && status.replicas == Some(wanted)
    })
}

/// Creates a namespace.
pub async fn namespace(client: &Client, name: &str, labels: &Value) -> Result<()> {
    let object: Namespace =
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
    Api::all(client.clone())
        .create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("creating the namespace {name}"))?;
    Ok(())
}

/// Creates Deployments, some at a time.
pub async fn create(client: &Client, all: Vec<Deployment>) -> Result<()> {
    let create = async |object: Deployment| {
        let api = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
        api.create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("creating {}", Key::of(&object)))
    };
    stream::iter(all)
        .map(create)
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

/// Waits until all Deployments with these labels, which are there already, are rolled out.
pub async fn wait_complete(client: &Client, labels: &str, limit: Duration) -> Result<()> {
    let config = watcher::Config::default().labels(labels);
    let mut events = watcher(Api::<Deployment>::all(client.clone()), config)
        .default_backoff()
        .boxed();
    let mut open = BTreeSet::<Key>::new();
    let mut listed = false;
    let complete = async {
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => open.clear(),
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    if is_complete(&object) {
                        open.remove(&Key::of(&object))
                    } else {
                        open.insert(Key::of(&object))
                    };
                }
                Ok(Event::InitDone) => listed = true,
                Ok(Event::Delete(object)) => drop(open.remove(&Key::of(&object))),
                // The watch comes back by itself.
                Err(error) => tracing::debug!("waiting for {labels}: {error}"),
            }
            if listed && open.is_empty() {
                break;
            }
        }
    };
    if tokio::time::timeout(limit, complete).await.is_err() {
        let first = open.first().map(Key::to_string).unwrap_or_default();
        bail!(
            "{} workloads of {labels} are not ready within {limit:?}, the first is {first}",
            open.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_is_complete_when_all_replicas_are_new_and_nothing_else_is_left() -> Result<()> {
        let status = |generation, replicas, updated, available| {
            json!({"observedGeneration": generation, "replicas": replicas,
                "updatedReplicas": updated, "availableReplicas": available})
        };
        let key = Key {
            namespace: "a".into(),
            name: "b".into(),
        };
        for (status, complete) in [
            (status(2, 2, 2, 2), true),
            (status(1, 2, 2, 2), false),
            (status(2, 3, 2, 2), false),
            (status(2, 2, 1, 2), false),
            (status(2, 2, 2, 1), false),
        ] {
            let mut object = Simulated::new(key.clone(), 2).deployment()?;
            object.metadata.generation = Some(2);
            object.status = Some(serde_json::from_value(status.clone())?);
            assert_eq!(is_complete(&object), complete, "{status}");
        }
        Ok(())
    }
}
