//! The mesh that is measured: namespaces of small Deployments on simulated nodes, and one
//! workload that is slow to start.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use serde::Serialize;
use serde_json::json;

use super::NODES;
use crate::simulated::{self, BEHAVE, Simulated};
pub(super) use crate::simulated::{Key, is_complete, namespace, wait_complete};

/// Selects the workloads that are measured, and their pods.
pub(super) const MOVED: &str = "testbed/bench=moved";
/// After all others by name: it is restarted last, and then it alone is waited for.
const SLOW_NAMESPACE: &str = "bench-slow";
/// How long the pod of the slow workload takes to be ready.
const SLOW: Duration = Duration::from_secs(30);
const UP: Duration = Duration::from_secs(900);

/// How large the mesh is.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Size {
    pub(super) namespaces: usize,
    pub(super) per_namespace: usize,
    pub(super) replicas: usize,
}

impl Size {
    pub(super) fn workloads(self) -> usize {
        self.namespaces * self.per_namespace
    }

    /// Pods of the workloads that are measured.
    pub(super) fn pods(self) -> usize {
        self.workloads() * self.replicas
    }

    /// The workloads that are measured, in the order of their names.
    pub(super) fn keys(self) -> Vec<Key> {
        let namespaces = 0..self.namespaces;
        let key = |n, w| Key {
            namespace: format!("bench-{n:02}"),
            name: format!("app-{w:02}"),
        };
        namespaces
            .flat_map(|n| (0..self.per_namespace).map(move |w| key(n, w)))
            .collect()
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (workloads, replicas) = (self.workloads(), self.replicas);
        let namespaces = self.namespaces;
        write!(
            f,
            "{workloads} workloads of {replicas} pods in {namespaces} namespaces"
        )
    }
}

/// Creates everything and waits until it is ready. Pods that are `placed` name their node, and the
/// scheduler has no work with them.
pub(super) async fn create(client: &Client, size: Size, placed: bool) -> Result<()> {
    let injected = json!({"istio-injection": "enabled"});
    for number in 0..size.namespaces {
        namespace(client, &format!("bench-{number:02}"), &injected).await?;
    }
    namespace(client, SLOW_NAMESPACE, &injected).await?;
    let keys = size.keys().into_iter().enumerate();
    let mut all = keys
        .map(|(number, key)| {
            let small = Simulated {
                node: placed.then_some(number % NODES as usize),
                ..Simulated::new(key, size.replicas)
            };
            small.label("testbed/bench", "moved").deployment()
        })
        .collect::<Result<Vec<_>>>()?;
    all.push(slow()?);
    simulated::create(client, all).await?;
    wait_complete(client, "testbed/bench", UP).await
}

fn slow() -> Result<Deployment> {
    let key = Key {
        namespace: SLOW_NAMESPACE.into(),
        name: "slow".into(),
    };
    Simulated::new(key, 1)
        .label("testbed/bench", "slow")
        .label(BEHAVE, "slow-start")
        .start(SLOW)
        .deployment()
}
