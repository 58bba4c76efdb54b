//! The shop and its load: what the demo and the tests of upgrades stand on; root only. Nothing else is built meanwhile,
//! which would take the time that requests need.

use std::time::Duration;

use anyhow::{Context, Result};
use meshlift_testbed::istio::{self, Ingress, Injection, IstioOptions, ManagedGateway};
use meshlift_testbed::load::Collected;
use meshlift_testbed::shop::{self, LoadHandle, LoadOptions, VISITORS};
use meshlift_testbed::skip::is_root_or_skips;
use meshlift_testbed::{Cluster, Options, versions};

#[tokio::test]
async fn mesh_load_survives_restarts_and_counts_what_is_lost() -> Result<()> {
    if !is_root_or_skips("mesh_load_survives_restarts_and_counts_what_is_lost") {
        return Ok(());
    }
    let cluster = Cluster::up(Options::mesh("shop")).await?;
    istio::install(&cluster, versions::ISTIO_FROM, IstioOptions::default()).await?;
    shop::deploy(&cluster, &Injection::default()).await?;
    shop::deploy_neighbours(&cluster, &Injection::default()).await?;
    istio::install_ingress(&cluster, versions::ISTIO_FROM, Ingress::default()).await?;
    istio::install_gateway_api(&cluster).await?;
    let managed = ManagedGateway {
        name: "door".into(),
        namespace: "edge".into(),
        injection: None,
        revision: None,
    };
    istio::managed_gateway(&cluster, &managed).await?;
    shop::wait_ready(&cluster, Duration::from_secs(300)).await?;
    let mut through = LoadOptions::default();
    through
        .targets
        .extend(shop::NEIGHBOUR_URLS.map(str::to_owned));
    through.gateways = vec![
        (istio::INGRESS.to_owned(), Ingress::URL.to_owned()),
        ("door".to_owned(), managed.url()),
    ];
    let load = shop::load_start(&cluster, through).await?;

    // Everything restarts at once, the visitors and the gateways too; istiod itself rolls the one that it manages
    // when that one's label changes.
    let pin = ["label", "gateway", "door", "-n", "edge"];
    cluster
        .kubectl(&[&pin[..], &["istio.io/rev=default"]].concat())
        .await?;
    let restarted = [VISITORS, istio::INGRESS];
    let all = shop::NAMESPACES.iter().chain(&shop::NEIGHBOURS);
    for namespace in all.chain(&restarted) {
        for kind in ["deployments", "statefulsets", "daemonsets"] {
            cluster
                .kubectl(&["rollout", "restart", kind, "-n", namespace])
                .await?;
        }
    }
    let limit = Duration::from_secs(300);
    let all = [
        &shop::NAMESPACES[..],
        &shop::NEIGHBOURS,
        &restarted,
        &["edge"],
    ]
    .concat();
    shop::wait_ready_in(&cluster.client(), &all, limit).await?;
    let seen = until(&load, |seen| seen.instances >= 8 && seen.running.len() == 6).await?;
    let answered: Vec<&str> = seen.ways.keys().map(String::as_str).collect();
    assert_eq!(answered, ["door", istio::INGRESS, shop::SIDECARS]);
    assert_eq!(
        seen.totals.lost(),
        0,
        "{:?} {:?}",
        seen.totals.failed,
        seen.totals.samples
    );

    // And that it is not blind: without a catalog the storefront fails.
    cluster
        .kubectl(&["scale", "deployment/catalog", "-n", "shop", "--replicas=0"])
        .await?;
    until(&load, |seen| seen.totals.failed.contains_key("status 502")).await?;
    let seen = load.stop().await?;
    assert!(seen.is_complete(), "{seen:?}");
    cluster.down().await
}

async fn until(load: &LoadHandle, wanted: impl Fn(&Collected) -> bool) -> Result<Collected> {
    let look = async {
        loop {
            let seen = load.totals();
            if wanted(&seen) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(120), look).await;
    seen.with_context(|| format!("not within two minutes: {:?}", load.totals()))
}
