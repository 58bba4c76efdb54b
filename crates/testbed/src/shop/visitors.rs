//! The visitors: the load in the cluster, and what it counted.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

use super::{VISITORS, wait_ready_in};
use crate::Cluster;
use crate::load::{Collected, Collector};

/// How much the visitors ask for.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Pods; each is a client of its own.
    pub replicas: u32,
    /// Requests a second of each.
    pub rate: f64,
    /// Requests under way at the same time, of each, at most.
    pub concurrency: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            replicas: 2,
            rate: 30.0,
            concurrency: 8,
        }
    }
}

/// A load that runs until [`LoadHandle::stop`].
pub struct LoadHandle {
    client: Client,
    collector: Collector,
}

/// Starts the visitors and waits until their requests are answered.
pub async fn load_start(cluster: &Cluster, options: LoadOptions) -> Result<LoadHandle> {
    let listener = cluster.listen(0).await?;
    let reports = SocketAddr::new(cluster.gateway(), listener.local_addr()?.port());
    let collector = Collector::serve(listener)?;
    let manifests = include_str!("visitors.yaml")
        .replace("REPLICAS", &options.replicas.to_string())
        .replace("CONCURRENCY", &options.concurrency.to_string())
        .replace("RATE", &options.rate.to_string())
        .replace("REPORT_PORT", &reports.port().to_string())
        .replace("REPORT_URL", &format!("http://{reports}/"));
    cluster
        .apply_yaml(&manifests)
        .await
        .context("applying the visitors' manifests")?;
    let handle = LoadHandle {
        client: cluster.client(),
        collector,
    };
    wait_ready_in(&handle.client, &[VISITORS], Duration::from_secs(120)).await?;
    let wanted = options.replicas as usize;
    handle
        .until(
            Duration::from_secs(60),
            "the visitors' first reports",
            |seen| seen.running.len() >= wanted && seen.totals.ok > 0,
        )
        .await?;
    Ok(handle)
}

impl LoadHandle {
    /// What was counted so far; up to a second old.
    pub fn totals(&self) -> Collected {
        self.collector.collected()
    }

    /// Stops the visitors and waits for their last requests and reports. A client that never said that it
    /// ended stays in `running`: what became of its last requests is then not known, and that is a failure.
    pub async fn stop(self) -> Result<Collected> {
        let visitors: Api<Deployment> = Api::namespaced(self.client.clone(), VISITORS);
        let none = serde_json::json!({"spec": {"replicas": 0}});
        visitors
            .patch("visitors", &PatchParams::default(), &Patch::Merge(none))
            .await
            .context("stopping the visitors")?;
        let ended = self
            .until(
                Duration::from_secs(60),
                "the visitors' last reports",
                |seen| seen.running.is_empty(),
            )
            .await;
        if let Err(error) = ended {
            tracing::warn!("{error:#}");
        }
        Ok(self.totals())
    }

    async fn until(
        &self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&Collected) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let seen = self.totals();
            if wanted(&seen) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{what} did not come within {} s: {} clients, running {:?}, {} ok, failed {:?}, first failures {:?}",
                    limit.as_secs(),
                    seen.instances,
                    seen.running,
                    seen.totals.ok,
                    seen.totals.failed,
                    seen.totals.samples
                );
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}
