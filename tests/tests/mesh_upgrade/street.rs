//! A street for upgrades in waves: the shop, its neighbours and gateways of both kinds, two replicas everywhere,
//! visitors with sidecars in all of it and guests through each gateway.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use meshlift_testbed::istio::{self, INGRESS, Ingress, Injection, ManagedGateway};
use meshlift_testbed::progress;
use meshlift_testbed::shop::{self, LoadHandle, LoadOptions, NAMESPACES, NEIGHBOURS, VISITORS};
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_tests::bed::{Bed, ISTIO};
use serde_json::{Value, json};

use crate::fixture::{ended, ensure_none_lost_but, kubectl_json};

/// Namespace of the Gateway that istiod manages; its Deployment is `door-istio`.
pub(crate) const EDGE: &str = "edge";
/// Name of that Gateway, and of the way through it.
pub(crate) const DOOR: &str = "door";
/// The one move of the Gateway may take it out for so long, on a slow machine: until new pods are ready.
const GAP: SignedDuration = SignedDuration::from_secs(15);
/// Wave of the neighbours.
pub(crate) const FIRST: &str = "neighbours";
/// Wave of the shop.
pub(crate) const SECOND: &str = "shop";

/// How the namespaces of a street ask for sidecars.
#[derive(Clone, Debug, Default)]
pub(crate) struct Street {
    /// The shop, the visitors and both gateways.
    pub(crate) shop: Injection,
    /// The neighbours.
    pub(crate) neighbours: Injection,
}

impl Street {
    /// Builds it on a mesh of the old version, and lets visitors and guests in.
    pub(crate) async fn open(&self, bed: &Bed) -> Result<LoadHandle> {
        let cluster = &bed.cluster;
        istio::install_gateway_api(cluster).await?;
        shop::deploy(cluster, &self.shop).await?;
        shop::deploy_neighbours(cluster, &self.neighbours).await?;
        let injection = self.shop.clone();
        istio::install_ingress(cluster, ISTIO_FROM, Ingress { injection }).await?;
        let door = self.door();
        istio::managed_gateway(cluster, &door).await?;
        let all = [&NAMESPACES[..], &NEIGHBOURS].concat();
        shop::wait_ready_in(&bed.client, &all, Duration::from_secs(180)).await?;
        let mut load = LoadOptions {
            injection: self.shop.clone(),
            gateways: vec![
                (INGRESS.to_owned(), Ingress::URL.to_owned()),
                (DOOR.to_owned(), door.url()),
            ],
            ..LoadOptions::default()
        };
        let neighbours = shop::NEIGHBOUR_URLS.map(str::to_owned);
        load.targets.extend(neighbours);
        shop::load_start(cluster, load).await
    }

    /// The Gateway that istiod manages. Its namespace says nothing where the shop is of the default revision: then
    /// the Gateway is of the default revision too.
    fn door(&self) -> ManagedGateway {
        ManagedGateway {
            name: DOOR.to_owned(),
            namespace: EDGE.to_owned(),
            injection: Some(self.shop.clone()).filter(|shop| *shop != Injection::Enabled),
            revision: None,
        }
    }
}

/// A MeshUpgrade's spec that hurries, and accepts that the door is out for a moment.
pub(crate) fn accepting() -> Value {
    let mut spec = crate::fixture::hurried();
    spec["acceptRisks"] = json!(["GATEWAY-OUTAGE"]);
    spec
}

/// The same in two waves, the second with an approval, and the gateways last.
pub(crate) fn in_waves() -> Value {
    let mut spec = accepting();
    spec["dataPlane"] = json!({
        "waves": [
            { "name": FIRST, "namespaces": { "names": NEIGHBOURS }, "soak": "3s" },
            { "name": SECOND, "namespaces": { "names": NAMESPACES }, "soak": "3s", "approval": "Required" },
        ],
        "restart": { "maxConcurrentPerNamespace": 2 },
    });
    spec["gateways"] = json!({ "order": "Last" });
    spec
}

/// Every namespace of the street with a proxy.
pub(crate) fn all_namespaces() -> Vec<&'static str> {
    let others = [VISITORS, INGRESS, EDGE];
    [&NAMESPACES[..], &NEIGHBOURS, &others].concat()
}

/// Fails unless every proxy of these namespaces is of this version, pods that are going aside, and there is one in
/// each.
pub(crate) async fn ensure_at(bed: &Bed, version: &str, namespaces: &[&str]) -> Result<()> {
    for namespace in namespaces {
        let pods: Api<Pod> = Api::namespaced(bed.client.clone(), namespace);
        let mut images = Vec::new();
        for pod in pods.list(&ListParams::default()).await? {
            if pod.metadata.deletion_timestamp.is_none() {
                let spec = pod.spec.context("a pod without a spec")?;
                let initial = spec.init_containers.unwrap_or_default();
                let all = initial.into_iter().chain(spec.containers);
                images.extend(all.filter(|c| c.name == "istio-proxy").map(|c| c.image));
            }
        }
        let is = |image: &Option<String>| {
            let image = image.as_deref().unwrap_or_default();
            image.ends_with(&format!(":{version}"))
        };
        ensure!(
            !images.is_empty() && images.iter().all(is),
            "namespace {namespace} is not at {version}: {images:?}"
        );
    }
    Ok(())
}

/// How often the spec of each workload of the street was changed, by `namespace/name`; not of what istiod renders.
pub(crate) async fn generations(bed: &Bed) -> Result<BTreeMap<String, i64>> {
    let mut found = BTreeMap::new();
    for kind in ["deployments", "statefulsets", "daemonsets"] {
        let list = kubectl_json(bed, &["get", kind, "--all-namespaces"]).await?;
        for item in list["items"].as_array().into_iter().flatten() {
            let text = |key: &str| item["metadata"][key].as_str().unwrap_or_default();
            let (namespace, name) = (text("namespace"), text("name"));
            let ours = all_namespaces().contains(&namespace) && namespace != EDGE;
            if let (true, Some(generation)) = (ours, item["metadata"]["generation"].as_i64()) {
                found.insert(format!("{namespace}/{name}"), generation);
            }
        }
    }
    Ok(found)
}

/// What each workload's generation grew by since then.
pub(crate) async fn restarts_since(
    bed: &Bed,
    before: &BTreeMap<String, i64>,
) -> Result<BTreeMap<String, i64>> {
    let mut now = generations(bed).await?;
    for (workload, generation) in &mut now {
        *generation -= before.get(workload).copied().unwrap_or_default();
    }
    Ok(now)
}

/// The labels `istio-injection` and `istio.io/rev` of every namespace of the street, and of the Gateway that istiod
/// manages: what an upgrade may change, and a rollback must bring back.
pub(crate) async fn bindings(bed: &Bed) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    let mut keep = |name: &str, object: &Value| {
        let labels = &object["metadata"]["labels"];
        let bound = json!([labels["istio-injection"], labels["istio.io/rev"]]);
        found.insert(name.to_owned(), bound);
    };
    for namespace in all_namespaces() {
        keep(
            namespace,
            &kubectl_json(bed, &["get", "namespace", namespace]).await?,
        );
    }
    let gateway = "gateways.gateway.networking.k8s.io";
    let door = kubectl_json(bed, &["get", gateway, DOOR, "-n", EDGE]).await?;
    keep("Gateway", &door);
    Ok(found)
}

/// Lets visitors and guests go home, and fails if one request was lost but those that an istiod before 1.31 loses at
/// the door (istio issue 59959): it takes the configuration away from the Gateway's pods that still serve, at the
/// moment the Gateway moves forward. Returns when that was, the first and the last of them.
pub(crate) async fn ensure_lost_but_at_the_door(
    load: LoadHandle,
) -> Result<Option<(Timestamp, Timestamp)>> {
    let seen = ended(load).await?;
    ensure_none_lost_but(&seen, DOOR)?;
    let door = seen.ways.get(DOOR).context("nobody came to the door")?;
    let Some((first, last)) = door.lost_within else {
        return Ok(None);
    };
    let gap = last.duration_since(first);
    progress::line(&format!("the door was out for {gap:#}"));
    ensure!(
        gap <= GAP,
        "the door was out for {gap:#}: {:?} {:?}",
        door.failed,
        door.samples
    );
    Ok(Some((first, last)))
}

/// Deletes the istiod pod of the revision that is moved to, and does not wait for the new one. The other one stays: what
/// ends meanwhile is told to those that call it by somebody, as by the second replica of an istiod.
pub(crate) async fn kill_the_new_istiod(bed: &Bed) -> Result<()> {
    let selector = "app=istiod,istio.io/rev=1-31-0";
    let delete = ["delete", "pods", "-n", ISTIO, "-l", selector];
    let hard = ["--wait=false", "--grace-period=0", "--force"];
    let deleted = bed.cluster.kubectl(&[&delete[..], &hard].concat()).await?;
    ensure!(deleted.contains("istiod-1-31-0"), "killed: {deleted:?}");
    Ok(())
}
