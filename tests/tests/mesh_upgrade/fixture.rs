//! A mesh with a shop in it and visitors that keep calling it.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshlift_testbed::istio::{self, Injection, IstioOptions};
use meshlift_testbed::load::Collected;
use meshlift_testbed::shop::{self, LoadHandle, LoadOptions};
use meshlift_testbed::skip::is_root_or_skips;
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use meshlift_testbed::{Options, progress};
use meshlift_tests::bed::{Bed, ISTIO};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// Two meshes under load are more than two cores carry: requests would be lost because nobody ran.
static UNDER_LOAD: Mutex<()> = Mutex::const_new(());
/// One without load has room beside one with it, which leaves the cores idle for almost half of its time.
static QUIET: Mutex<()> = Mutex::const_new(());

/// A whole upgrade under load takes at most this long, on a slow machine.
pub(crate) const UPGRADE: Duration = Duration::from_secs(420);

/// Runs one test on a mesh of its own without a revision, if this is root.
pub(crate) fn with_mesh<F: Future<Output = Result<()>>>(
    name: &str,
    test: impl FnOnce(Bed) -> F,
) -> Result<()> {
    with_mesh_of(name, IstioOptions::default(), test)
}

/// Runs one test on a mesh of its own that is installed so, and with custom values, if this is root.
pub(crate) fn with_mesh_of<F: Future<Output = Result<()>>>(
    name: &str,
    options: IstioOptions,
    test: impl FnOnce(Bed) -> F,
) -> Result<()> {
    with_mesh_from(Options::mesh(name), ISTIO_FROM, options, test)
}

/// The same on a cluster that is started so, and from this version on.
pub(crate) fn with_mesh_from<F: Future<Output = Result<()>>>(
    cluster: Options,
    version: &str,
    options: IstioOptions,
    test: impl FnOnce(Bed) -> F,
) -> Result<()> {
    with_mesh_beside(&UNDER_LOAD, cluster, version, options, test)
}

/// Runs one test on a mesh of its own that nobody loads, and with custom values, if this is root.
pub(crate) fn with_quiet_mesh_of<F: Future<Output = Result<()>>>(
    name: &str,
    options: IstioOptions,
    test: impl FnOnce(Bed) -> F,
) -> Result<()> {
    with_mesh_beside(&QUIET, Options::mesh(name), ISTIO_FROM, options, test)
}

fn with_mesh_beside<F: Future<Output = Result<()>>>(
    alone: &'static Mutex<()>,
    cluster: Options,
    version: &str,
    options: IstioOptions,
    test: impl FnOnce(Bed) -> F,
) -> Result<()> {
    with_bed(alone, cluster, async |bed| {
        let mut values = custom();
        istio::merge(&mut values, options.values.clone());
        let options = IstioOptions { values, ..options };
        istio::install(&bed.cluster, version, options).await?;
        test(bed).await
    })
}

/// Runs one test on a cluster that is started so, beside no other one that takes the same turn, if this is root.
fn with_bed(
    alone: &'static Mutex<()>,
    cluster: Options,
    test: impl AsyncFnOnce(Bed) -> Result<()>,
) -> Result<()> {
    if !is_root_or_skips(&cluster.name) {
        return Ok(());
    }
    Runtime::new()?.block_on(async {
        let _alone = alone.lock().await;
        test(Bed::up(cluster).await?).await
    })
}

/// Runs one test on a cluster of its own under load that has no Istio yet, if this is root.
pub(crate) fn with_bare_cluster(
    name: &str,
    test: impl AsyncFnOnce(Bed) -> Result<()>,
) -> Result<()> {
    with_bed(&UNDER_LOAD, Options::mesh(name), test)
}

/// Values that people set, which must survive.
pub(crate) fn custom() -> Value {
    json!({
        "meshConfig": { "accessLogFile": "/dev/stdout" },
        "resources": { "requests": { "cpu": "60m", "memory": "140Mi" } },
    })
}

/// Opens the shop and lets visitors in.
pub(crate) async fn open_shop(bed: &Bed) -> Result<LoadHandle> {
    shop::deploy(&bed.cluster, &Injection::default()).await?;
    shop::wait_ready(&bed.cluster, Duration::from_secs(180)).await?;
    shop::load_start(&bed.cluster, LoadOptions::default()).await
}

/// Lets visitors and guests go home, and fails if one request was lost.
pub(crate) async fn ensure_nothing_lost(load: LoadHandle) -> Result<()> {
    ensure_none_lost(&ended(load).await?)
}

/// Lets visitors and guests go home, and returns what became of all their requests.
pub(crate) async fn ended(load: LoadHandle) -> Result<Collected> {
    let seen = load.stop().await?;
    ensure!(
        seen.is_complete(),
        "what became of all requests is not known: {:?}",
        seen.running
    );
    Ok(seen)
}

/// Fails if one request was lost so far, on whatever way.
pub(crate) fn ensure_none_lost(seen: &Collected) -> Result<()> {
    ensure_none_lost_but(seen, "")
}

/// The same, but for one way.
pub(crate) fn ensure_none_lost_but(seen: &Collected, except: &str) -> Result<()> {
    for (way, totals) in &seen.ways {
        let (sent, lost) = (totals.sent, totals.lost());
        progress::line(&format!("requests through {way}: {sent}, lost {lost}"));
        ensure!(totals.ok > 100, "too few to say anything: {}", totals.ok);
        ensure!(
            lost == 0 || way == except,
            "{lost} of {sent} requests through {way} were lost: {:?} {:?}",
            totals.failed,
            totals.samples
        );
    }
    Ok(())
}

/// A MeshUpgrade's spec that hurries.
pub(crate) fn hurried() -> Value {
    json!({
        "targetVersion": "1.31",
        "healthCheck": { "soak": "5s" },
        "retire": { "after": "0s" },
    })
}

/// Every sidecar by pod: `namespace/pod image`, in namespaces that Istio serves.
pub(crate) async fn sidecars(bed: &Bed) -> Result<Vec<(String, String)>> {
    let pods: Value = kubectl_json(bed, &["get", "pods", "--all-namespaces"]).await?;
    let mut found = Vec::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let containers = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
        let proxy = containers
            .into_iter()
            .flatten()
            .flatten()
            .find(|c| c["name"] == "istio-proxy");
        if let Some(image) = proxy.and_then(|proxy| proxy["image"].as_str()) {
            let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
            found.push((
                format!("{}/{}", text("namespace"), text("name")),
                image.to_owned(),
            ));
        }
    }
    Ok(found)
}

/// Fails unless the mesh is at the new version: Helm's releases, control planes, webhooks, every sidecar.
pub(crate) async fn ensure_upgraded(bed: &Bed) -> Result<()> {
    ensure_upgraded_to(bed, ISTIO_TO).await
}

/// The revision that a control plane of this version is installed under.
pub(crate) fn revision_of(version: &str) -> String {
    version.replace('.', "-")
}

/// The same for another version.
pub(crate) async fn ensure_upgraded_to(bed: &Bed, version: &str) -> Result<()> {
    let istiod = format!("istiod-{}", revision_of(version));
    ensure_releases_are(bed, version, &istiod).await?;
    let planes = kubectl_json(
        bed,
        &["get", "deployments", "-n", ISTIO, "-l", "app=istiod"],
    )
    .await?;
    let names: Vec<&str> = planes["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|plane| plane["metadata"]["name"].as_str())
        .collect();
    ensure!(names == [&istiod], "control planes: {names:?}");
    ensure_webhooks_call(bed, &istiod).await?;
    let sidecars = sidecars(bed).await?;
    ensure!(!sidecars.is_empty(), "no sidecar at all");
    let current = format!(":{version}");
    let old: Vec<_> = sidecars
        .iter()
        .filter(|(_, image)| !image.ends_with(&current))
        .collect();
    ensure!(old.is_empty(), "old sidecars: {old:?}");
    Ok(())
}

/// Fails unless the namespace of istiod, which asked for sidecars like any other, asks this revision for them.
pub(crate) async fn ensure_istiods_namespace_asks(bed: &Bed, revision: &str) -> Result<()> {
    let namespace = kubectl_json(bed, &["get", "namespace", ISTIO]).await?;
    let labels = &namespace["metadata"]["labels"];
    let moved = labels["istio.io/rev"] == revision && labels["istio-injection"].is_null();
    ensure!(moved, "labels of {ISTIO}: {labels}");
    Ok(())
}

/// Fails unless Helm has the base chart and one istiod, both of this version and deployed.
async fn ensure_releases_are(bed: &Bed, version: &str, istiod: &str) -> Result<()> {
    let releases: Value = helm_json(bed, &["ls", "-n", ISTIO]).await?;
    let text = |release: &Value, key: &str| release[key].as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for release in releases.as_array().into_iter().flatten() {
        found.push(["name", "chart", "status"].map(|key| text(release, key)));
    }
    found.sort_unstable();
    let deployed = |name: &str, chart: &str| {
        [name, &format!("{chart}-{version}"), "deployed"].map(str::to_owned)
    };
    let expected = [deployed("istio-base", "base"), deployed(istiod, "istiod")];
    ensure!(found == expected, "releases: {found:?}");
    Ok(())
}

/// Fails unless every webhook of Istio calls this one, the default validator among them.
pub(crate) async fn ensure_webhooks_call(bed: &Bed, istiod: &str) -> Result<()> {
    let kinds = "validatingwebhookconfigurations,mutatingwebhookconfigurations";
    let all = kubectl_json(bed, &["get", kinds]).await?;
    let mut called = Vec::new();
    for configuration in all["items"].as_array().into_iter().flatten() {
        let name = configuration["metadata"]["name"].as_str();
        for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
            let service = &webhook["clientConfig"]["service"];
            if service["namespace"] == ISTIO {
                called.push((name.unwrap_or_default(), service["name"].as_str()));
            }
        }
    }
    let has_default = called.iter().any(|(n, _)| *n == "istiod-default-validator");
    ensure!(has_default, "no default validator: {called:?}");
    let others = called.iter().any(|(_, service)| *service != Some(istiod));
    ensure!(!others, "not all webhooks call {istiod}: {called:?}");
    Ok(())
}

/// Fails unless every custom value is still in the release of the new control plane.
pub(crate) async fn ensure_values_survived(bed: &Bed) -> Result<()> {
    ensure_values_survived_to(bed, ISTIO_TO).await
}

/// The same for another version.
pub(crate) async fn ensure_values_survived_to(bed: &Bed, version: &str) -> Result<()> {
    let istiod = format!("istiod-{}", revision_of(version));
    let values = helm_json(bed, &["get", "values", &istiod, "-n", ISTIO]).await?;
    let mut expected = istio::needed();
    expected["meshConfig"] = custom()["meshConfig"].clone();
    expected["resources"] = custom()["resources"].clone();
    for (path, wanted) in leaves(&expected, "") {
        let found = values.pointer(&path);
        ensure!(found == Some(&wanted), "{path} is {found:?}, not {wanted}");
    }
    Ok(())
}

fn leaves(value: &Value, path: &str) -> Vec<(String, Value)> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| leaves(value, &format!("{path}/{key}")))
            .collect(),
        leaf => vec![(path.to_owned(), leaf.clone())],
    }
}

/// What Helm prints, as JSON.
pub(crate) async fn helm_json(bed: &Bed, arguments: &[&str]) -> Result<Value> {
    let text = bed
        .cluster
        .helm(&[arguments, &["--output", "json"]].concat())
        .await?;
    serde_json::from_str(&text).with_context(|| format!("helm {}", arguments.join(" ")))
}

/// What kubectl prints, as JSON.
pub(crate) async fn kubectl_json(bed: &Bed, arguments: &[&str]) -> Result<Value> {
    let text = bed
        .cluster
        .kubectl(&[arguments, &["--output", "json"]].concat())
        .await?;
    serde_json::from_str(&text).with_context(|| format!("kubectl {}", arguments.join(" ")))
}

/// How often each workload of the namespaces was rolled out: generations of its template by name.
pub(crate) async fn rollouts(bed: &Bed, namespaces: &[&str]) -> Result<Vec<(String, usize)>> {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for namespace in namespaces {
        for kind in ["replicasets", "controllerrevisions"] {
            let list = kubectl_json(bed, &["get", kind, "-n", namespace]).await?;
            for item in list["items"].as_array().into_iter().flatten() {
                let owner = &item["metadata"]["ownerReferences"][0]["name"];
                let owner = owner
                    .as_str()
                    .context("a template generation without an owner")?;
                *counts.entry(format!("{namespace}/{owner}")).or_default() += 1;
            }
        }
    }
    Ok(counts.into_iter().collect())
}
