//! What people do by hand: kubectl in parallel, a restart and a status for each workload.

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};

use super::mesh::Key;
use crate::Cluster;

/// Restarts every workload, so many at once as `xargs -P` would, and returns when all are ready.
pub(super) async fn run(cluster: &Cluster, keys: &[Key], at_once: usize) -> Result<()> {
    let mut order: Vec<&Key> = keys.iter().collect();
    // In turn from every namespace, so that no namespace has much more than its share at once.
    order.sort_by(|a, b| (&a.name, &a.namespace).cmp(&(&b.name, &b.namespace)));
    stream::iter(order)
        .map(|key| restart(cluster, key))
        .buffer_unordered(at_once)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

async fn restart(cluster: &Cluster, key: &Key) -> Result<()> {
    let workload = format!("deployment/{}", key.name);
    let rollout = async |verb: &str| {
        let arguments = ["--namespace", &key.namespace, "rollout", verb, &workload];
        cluster.kubectl(&arguments).await
    };
    rollout("restart").await?;
    rollout("status").await?;
    Ok(())
}
