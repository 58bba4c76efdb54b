//! What others do in a cluster while its mesh is upgraded.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{EvictParams, ListParams};
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::wait::until;
use serde_json::{Value, json};

use crate::fixture::{helm_json, kubectl_json};

/// A Helm release in the namespace of istiod that is none of the mesh's.
const DASHBOARDS: &str = "dashboards";

/// A workload, and its pods by label `app`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct App(pub(crate) &'static str, pub(crate) &'static str);

impl App {
    /// Scales it as an autoscaler does, by its subresource, and waits for nothing.
    pub(crate) async fn scale(self, bed: &Bed, replicas: u32) -> Result<()> {
        scale(bed, self.0, self.1, replicas).await
    }

    /// A new version of the application, as its pipeline brings it.
    pub(crate) async fn deploy(self, bed: &Bed, release: &str) -> Result<()> {
        let App(namespace, name) = self;
        let deployment = format!("deployment/{name}");
        let environment = format!("RELEASE={release}");
        let set = ["set", "env", "-n", namespace, &deployment, &environment];
        bed.cluster.kubectl(&set).await.map(drop)
    }

    /// The version of the application that its template has.
    pub(crate) async fn release(self, bed: &Bed) -> Result<Value> {
        let App(namespace, name) = self;
        let object = kubectl_json(bed, &["get", "deployment", name, "-n", namespace]).await?;
        let environment = &object["spec"]["template"]["spec"]["containers"][0]["env"];
        Ok(environment[0]["value"].clone())
    }

    /// Evicts one of its pods, as who drains a node does: as soon as its budget allows it. Returns the name of the pod.
    pub(crate) async fn evict_one(self, bed: &Bed) -> Result<String> {
        let App(namespace, name) = self;
        let pods: Api<Pod> = Api::namespaced(bed.client.clone(), namespace);
        let own = ListParams::default().labels(&format!("app={name}"));
        let what = format!("a pod of {namespace}/{name} is evicted");
        until(&what, Duration::from_secs(60), || async {
            let running = pods.list(&own).await?.items.into_iter();
            let mut there = running.filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let Some(pod) = there.next().and_then(|pod| pod.metadata.name) else {
                return Ok(Err("it has no pod".to_owned()));
            };
            Ok(match pods.evict(&pod, &EvictParams::default()).await {
                Ok(_) => Ok(pod),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 429) => {
                    Err(status.message)
                }
                Err(error) => return Err(error).context(pod),
            })
        })
        .await
    }
}

/// Scales a Deployment by its subresource.
pub(crate) async fn scale(bed: &Bed, namespace: &str, name: &str, replicas: u32) -> Result<()> {
    let (deployment, replicas) = (
        format!("deployment/{name}"),
        format!("--replicas={replicas}"),
    );
    let scale = ["scale", "-n", namespace, &deployment, &replicas];
    bed.cluster.kubectl(&scale).await.map(drop)
}

/// Installs or upgrades a release of another team beside istiod.
pub(crate) async fn release_dashboards(bed: &Bed, version: &str) -> Result<()> {
    let chart = bed.cluster.scratch().join("dashboards-chart");
    std::fs::create_dir_all(chart.join("templates"))?;
    let manifest = json!({ "apiVersion": "v2", "name": DASHBOARDS, "version": version });
    std::fs::write(chart.join("Chart.yaml"), manifest.to_string())?;
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": DASHBOARDS }, "data": { "version": version },
    });
    std::fs::write(chart.join("templates/config.yaml"), config.to_string())?;
    let chart = chart.display().to_string();
    let upgrade = [
        "upgrade",
        "--install",
        DASHBOARDS,
        &chart,
        "-n",
        ISTIO,
        "--wait",
    ];
    bed.cluster.helm(&upgrade).await.map(drop)
}

/// Fails unless that release is as its team left it.
pub(crate) async fn ensure_dashboards_are(bed: &Bed, version: &str) -> Result<()> {
    let releases = helm_json(bed, &["ls", "-n", ISTIO]).await?;
    let mut all = releases.as_array().into_iter().flatten();
    let found = all.find(|release| release["name"] == DASHBOARDS);
    let found = found.with_context(|| format!("{DASHBOARDS} is gone: {releases}"))?;
    let chart = format!("{DASHBOARDS}-{version}");
    ensure!(
        found["chart"] == chart && found["status"] == "deployed",
        "{found}"
    );
    Ok(())
}

/// Ends one pod of an istiod at once, as a node that is lost does, and waits for nothing.
pub(crate) async fn kill_one_istiod(bed: &Bed, revision: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(bed.client.clone(), ISTIO);
    let own = format!("app=istiod,istio.io/rev={revision}");
    let found = pods.list(&ListParams::default().labels(&own)).await?.items;
    ensure!(found.len() >= 2, "istiod has {} pods only", found.len());
    let victim = found.into_iter().next().and_then(|pod| pod.metadata.name);
    let victim = victim.context("a pod without a name")?;
    let delete = ["delete", "pod", &victim, "-n", ISTIO, "--wait=false"];
    let hard = ["--grace-period=0", "--force"];
    bed.cluster.kubectl(&[&delete[..], &hard].concat()).await?;
    Ok(victim)
}

/// Labels a namespace by hand: puts what it had back, say, or names the new revision.
pub(crate) async fn label_namespace(bed: &Bed, name: &str, labels: &[&str]) -> Result<()> {
    let label = ["label", "namespace", name, "--overwrite"];
    bed.cluster
        .kubectl(&[&label[..], labels].concat())
        .await
        .map(drop)
}
