//! The shop, its load and the operator's image: what the demo and the tests of upgrades stand on; root only.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use meshlift_testbed::istio::{self, Ingress, Injection, IstioOptions, ManagedGateway};
use meshlift_testbed::load::Collected;
use meshlift_testbed::shop::{self, LoadHandle, LoadOptions, VISITORS};
use meshlift_testbed::skip::is_root_or_skips;
use meshlift_testbed::tools::{Need, Tools};
use meshlift_testbed::{Cluster, Options, demo, versions};
use serde_json::Value;

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

#[test]
fn mesh_operator_image_is_not_root_and_has_helm_beside_the_operator() -> Result<()> {
    if !is_root_or_skips("mesh_operator_image_is_not_root_and_has_helm_beside_the_operator") {
        return Ok(());
    }
    let tools = Tools::ensure(Need::Istio, false)?;
    let image = demo::build_operator_image(tools.rootfs()?, tools.program("helm")?, "dev")?;
    let index = blob(&image.archive, "index.json")?;
    let name = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
    assert_eq!(*name, format!("{}:{}", demo::REPOSITORY, image.tag));
    let manifest = referenced(&image.archive, &index["manifests"][0]["digest"])?;
    let config = referenced(&image.archive, &manifest["config"]["digest"])?;
    assert_eq!(config["config"]["User"], "65532:65532");
    let entrypoint = serde_json::json!(["/usr/local/bin/meshlift-operator"]);
    assert_eq!(config["config"]["Entrypoint"], entrypoint);
    let environment = config["config"]["Env"].to_string();
    for variable in [
        "HELM_CACHE_HOME=/tmp/",
        "HELM_CONFIG_HOME=/tmp/",
        "HELM_DATA_HOME=/tmp/",
    ] {
        assert!(environment.contains(variable), "{variable}: {environment}");
    }
    let layer = manifest["layers"]
        .as_array()
        .and_then(|layers| layers.last());
    let layer = layer.context("the image has no layers")?;
    let files = executables(&image.archive, &layer["digest"])?;
    assert_eq!(
        files,
        ["usr/local/bin/helm", "usr/local/bin/meshlift-operator"]
    );
    Ok(())
}

fn referenced(archive: &Path, digest: &Value) -> Result<Value> {
    blob(archive, &path_of(digest)?)
}

fn path_of(digest: &Value) -> Result<String> {
    let digest = digest.as_str().context("no digest")?;
    Ok(format!("blobs/{}", digest.replace(':', "/")))
}

fn blob(archive: &Path, path: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&read(archive, path)?)?)
}

fn read(archive: &Path, path: &str) -> Result<Vec<u8>> {
    let mut archive = tar::Archive::new(std::fs::File::open(archive)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.as_ref() == Path::new(path) {
            let mut bytes = Vec::new();
            std::io::copy(&mut entry, &mut bytes)?;
            return Ok(bytes);
        }
    }
    anyhow::bail!("no {path} in the image")
}

/// Files that anyone may run, in a layer of the image.
fn executables(archive: &Path, digest: &Value) -> Result<Vec<String>> {
    let layer = read(archive, &path_of(digest)?)?;
    let mut layer = tar::Archive::new(flate2::read::GzDecoder::new(layer.as_slice()));
    let mut names = Vec::new();
    for entry in layer.entries()? {
        let entry = entry?;
        if entry.header().entry_type().is_file() && entry.header().mode()? & 0o005 == 0o005 {
            names.push(entry.path()?.display().to_string());
        }
    }
    names.sort();
    Ok(names)
}
