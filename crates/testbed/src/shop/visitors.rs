//! The visitors, who have sidecars, and the guests, who come through a gateway: the load in the cluster, and
//! what it counted.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

use super::{GUESTS, VISITORS, wait_ready_in};
use crate::Cluster;
use crate::istio::Injection;
use crate::load::{Collected, Collector};

/// What the requests of the visitors go through, as it is counted.
pub const SIDECARS: &str = "sidecars";

/// How much is asked for, by whom, and through what.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Pods of the visitors, and of the guests of each gateway; each pod is a client of its own.
    pub replicas: u32,
    /// Requests a second of each.
    pub rate: f64,
    /// Requests under way at the same time, of each, at most.
    pub concurrency: usize,
    /// What the visitors call in turn, through their own sidecars.
    pub targets: Vec<String>,
    /// How the visitors' namespace asks for sidecars.
    pub injection: Injection,
    /// Gateways by a name and URL, each called by guests from outside the mesh.
    pub gateways: Vec<(String, String)>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            replicas: 2,
            rate: 20.0,
            concurrency: 8,
            targets: vec!["http://storefront.shop/".to_owned()],
            injection: Injection::default(),
            gateways: Vec::new(),
        }
    }
}

impl LoadOptions {
    fn visitors(&self, report: SocketAddr) -> String {
        let targets = self.targets.iter().map(|url| format!("--target={url}"));
        let arguments = self.arguments(SIDECARS, targets, report);
        include_str!("visitors.yaml")
            .replace("INJECTION_LABEL", &self.injection.label())
            .replace("REPORT_PORT", &report.port().to_string())
            .replace("REPLICAS", &self.replicas.to_string())
            .replace("ARGUMENTS", &arguments)
    }

    fn guests(&self, name: &str, url: &str, report: SocketAddr) -> String {
        let targets = [format!("--target={url}")].into_iter();
        include_str!("guests.yaml")
            .replace("REPLICAS", &self.replicas.to_string())
            .replace("ARGUMENTS", &self.arguments(name, targets, report))
            .replace("NAME", name)
    }

    fn arguments(
        &self,
        way: &str,
        targets: impl Iterator<Item = String>,
        report: SocketAddr,
    ) -> String {
        let others = [
            format!("--way={way}"),
            format!("--concurrency={}", self.concurrency),
            format!("--rate={}", self.rate),
            format!("--report=http://{report}/"),
            // Envoy sets it: an answer without it went round the mesh.
            "--require-header=x-envoy-upstream-service-time".to_owned(),
        ];
        let load = std::iter::once("load".to_owned());
        serde_json::json!(load.chain(targets).chain(others).collect::<Vec<_>>()).to_string()
    }
}

/// A load that runs until [`LoadHandle::stop`].
pub struct LoadHandle {
    client: Client,
    collector: Collector,
    /// Namespace and name of the Deployments that ask.
    clients: Vec<(&'static str, String)>,
}

/// Starts the visitors and the guests and waits until the requests of both are answered.
pub async fn load_start(cluster: &Cluster, options: LoadOptions) -> Result<LoadHandle> {
    let listener = cluster.listen(0).await?;
    let report = SocketAddr::new(cluster.gateway(), listener.local_addr()?.port());
    let collector = Collector::serve(listener)?;
    let mut manifests = options.visitors(report);
    let mut clients = vec![(VISITORS, "visitors".to_owned())];
    for (name, url) in &options.gateways {
        manifests.push_str("---\n");
        manifests.push_str(&options.guests(name, url, report));
        clients.push((GUESTS, name.clone()));
    }
    cluster
        .apply_yaml(&manifests)
        .await
        .context("applying the manifests of the visitors and guests")?;
    let handle = LoadHandle {
        client: cluster.client(),
        collector,
        clients,
    };
    let mut namespaces: Vec<&str> = handle.clients.iter().map(|(n, _)| *n).collect();
    namespaces.dedup();
    wait_ready_in(&handle.client, &namespaces, Duration::from_secs(120)).await?;
    let wanted = handle.clients.len() * options.replicas as usize;
    handle
        .until(Duration::from_secs(60), "the first reports", |seen| {
            let answered = seen.ways.values().filter(|totals| totals.ok > 0).count();
            seen.running.len() >= wanted && answered == handle.clients.len()
        })
        .await?;
    Ok(handle)
}

impl LoadHandle {
    /// What was counted so far; up to a second old.
    pub fn totals(&self) -> Collected {
        self.collector.collected()
    }

    /// Stops visitors and guests and waits for their last requests and reports. A client that never said that it
    /// ended stays in `running`: what became of its last requests is then not known, and that is a failure.
    pub async fn stop(self) -> Result<Collected> {
        for (namespace, name) in &self.clients {
            let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
            let none = Patch::Merge(serde_json::json!({"spec": {"replicas": 0}}));
            deployments
                .patch(name, &PatchParams::default(), &none)
                .await
                .with_context(|| format!("stopping Deployment {namespace}/{name}"))?;
        }
        let ended = self
            .until(Duration::from_secs(60), "the last reports", |seen| {
                seen.running.is_empty()
            })
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
