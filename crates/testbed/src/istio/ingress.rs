//! An ingress gateway by Istio's `gateway` chart: a Deployment whose proxy istiod injects.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Injection;
use crate::Cluster;
use crate::shop::wait_ready_in;

/// Release, namespace, Deployment and Service of the ingress gateway.
pub const INGRESS: &str = "shop-gateway";

/// What the ingress gateway is told.
#[derive(Clone, Debug, Default)]
pub struct Ingress {
    /// How its namespace asks for injection.
    pub injection: Injection,
}

impl Ingress {
    /// Where it answers, for who is in the cluster.
    pub const URL: &str = "http://shop-gateway.shop-gateway/";
}

/// Installs the gateway chart of `version` with two replicas and sends what comes to it to the shop.
pub async fn install_ingress(cluster: &Cluster, version: &str, ingress: Ingress) -> Result<()> {
    let routes =
        include_str!("ingress.yaml").replace("INJECTION_LABEL", &ingress.injection.label());
    cluster
        .apply_yaml(&routes)
        .await
        .context("applying the namespace and the routes of the ingress gateway")?;
    let charts = cluster.charts_url_host()?;
    let install = ["install", INGRESS, "gateway", "--namespace", INGRESS];
    let from = ["--repo", &charts, "--version", version];
    let set = [
        "--set=replicaCount=2",
        "--set=autoscaling.enabled=false",
        "--set=service.type=ClusterIP",
        "--set=imagePullPolicy=Never",
        "--set=resources.requests.cpu=10m",
        "--set=resources.requests.memory=40Mi",
        "--set=podDisruptionBudget.minAvailable=1",
        // The new one is known to kube-proxy before the old one goes.
        "--set=minReadySeconds=2",
        "--set=strategy.rollingUpdate.maxUnavailable=0",
    ];
    cluster
        .helm(&[&install[..], &from, &set].concat())
        .await
        .context("cannot install the ingress gateway")?;
    wait_ready_in(&cluster.client(), &[INGRESS], Duration::from_secs(120)).await
}
