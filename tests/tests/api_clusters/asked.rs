//! Which clusters a mesh has, and what each answers: the observer alone, with the operator's rights.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use meshlift_api::{ClusterRole, MeshSpec};
use meshlift_cluster::Observer;
use meshlift_model::view::{Cluster, Seen};
use meshlift_tests::bed::ISTIO;
use meshlift_tests::wait::{SOON, until};
use serde_json::{Value, json};

use crate::fixture::{EAST, Two, named, run};

fn mesh(clusters: Value) -> Result<MeshSpec> {
    Ok(serde_json::from_value(json!({ "clusters": clusters }))?)
}

async fn look(observer: &Observer, clusters: Value) -> Result<Vec<Cluster>> {
    match observer.clusters(&mesh(clusters)?).await {
        Seen::Present(clusters) => Ok(clusters),
        other => anyhow::bail!("the clusters were not listed: {other:?}"),
    }
}

/// Name, role and version (or why there is none) of the only cluster.
async fn only(observer: &Observer, clusters: Value) -> Result<(String, ClusterRole, String)> {
    let all = look(observer, clusters).await?;
    let [one] = all.as_slice() else {
        anyhow::bail!("not one cluster: {all:?}");
    };
    let told = match &one.kubernetes {
        Seen::Present(version) => version.to_string(),
        Seen::Unreadable(why) => why.clone(),
        Seen::Absent => "absent".to_owned(),
    };
    Ok((one.name.clone(), one.role, told))
}

fn ensure_words(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "{word:?} is missing in: {said}");
    }
    Ok(())
}

#[test]
fn api_clusters_are_found_by_themselves_and_asked_for_their_version() -> Result<()> {
    run(async {
        let mut two = Two::up("1.31.4").await?;
        let observer = two.observer().await?;
        ensure!(
            look(&observer, json!([])).await?.is_empty(),
            "a mesh of one cluster"
        );

        // Found by istiod's own secret, with no word in the Mesh.
        two.bed.cluster.remote_secret(&two.east, EAST).await?;
        let found = only(&observer, json!([])).await?;
        ensure!(
            found == (EAST.into(), ClusterRole::Remote, "1.31".into()),
            "{found:?}"
        );

        // Named as well: it counts once, and the Mesh is right about its role.
        two.secret(
            "east",
            json!({ "kubeconfig": two.kubeconfig().await?.to_string() }),
        )
        .await?;
        let both = only(&observer, named("east")).await?;
        ensure!(
            both == (EAST.into(), ClusterRole::Primary, "1.31".into()),
            "{both:?}"
        );

        // Our own cluster is no other one, whatever it is called.
        two.bed
            .cluster
            .remote_secret(&two.bed.cluster, "Kubernetes")
            .await?;
        ensure!(look(&observer, json!([])).await?.len() == 1);
        let charts = two.bed.cluster.charts_url_host()?;
        let install = [
            "install", "istiod", "istiod", "-n", ISTIO, "--repo", &charts,
        ];
        let west = ["--set", "global.multiCluster.clusterName=west"];
        let version = ["--version", meshlift_testbed::versions::ISTIO_FROM];
        two.bed
            .cluster
            .helm(&[&install[..], &west, &version].concat())
            .await?;
        two.bed
            .cluster
            .remote_secret(&two.bed.cluster, "west")
            .await?;
        let observer = two.observer().await?;
        let names: Vec<String> = look(&observer, json!([]))
            .await?
            .into_iter()
            .map(|c| c.name)
            .collect();
        ensure!(names == ["Kubernetes", EAST], "{names:?}");

        // An upgrade is seen at once by who forgets what was answered.
        two.east.restart_api_server("1.33.2").await?;
        observer.redetect();
        let (.., version) = east(look(&observer, json!([])).await?)?;
        ensure!(version == "1.33", "{version}");
        two.down().await
    })
}

fn east(all: Vec<Cluster>) -> Result<(String, ClusterRole, String)> {
    let east = all.into_iter().find(|cluster| cluster.name == EAST);
    let east = east.context("no cluster east")?;
    let told = match east.kubernetes {
        Seen::Present(version) => version.to_string(),
        other => format!("{other:?}"),
    };
    Ok((east.name, east.role, told))
}

#[test]
fn api_clusters_that_cannot_be_asked_say_why_and_come_back() -> Result<()> {
    run(async {
        let two = Two::up("1.33.2").await?;
        let observer = two.observer().await?;
        let says = async |words: &[&str]| {
            observer.redetect();
            let (.., said) = only(&observer, named("east")).await?;
            ensure_words(&said, words)
        };
        says(&["no Secret meshlift-system/east", "create it"]).await?;
        let kubeconfig = two.kubeconfig().await?;
        two.secret("east", json!({ "a": "x", "b": "y" })).await?;
        says(&["Secret meshlift-system/east", "kubeconfig, value, config"]).await?;
        for key in ["config", "value", "kubeconfig"] {
            // Of several keys the more usual one is read.
            two.secret("east", json!({ key: kubeconfig.to_string() }))
                .await?;
            observer.redetect();
            let found = only(&observer, named("east")).await?;
            ensure!(found.2 == "1.33", "{key}: {found:?}");
        }

        let server = kubeconfig["clusters"][0]["cluster"]["server"]
            .as_str()
            .context("a server")?;
        two.east.stop_api_server()?;
        says(&[
            server,
            "Secret meshlift-system/east, key kubeconfig",
            "refused",
        ])
        .await?;
        two.east.start_api_server().await?;
        // An error is known for seconds only: nobody has to ask for the next look.
        until("the cluster is back", SOON, || async {
            let (.., said) = only(&observer, named("east")).await?;
            Ok(if said == "1.33" { Ok(()) } else { Err(said) })
        })
        .await?;

        two.east.freeze_api_server()?;
        let asked = Instant::now();
        let silent = says(&[server, "does not answer in time"]).await;
        two.east.thaw_api_server()?;
        silent?;
        let took = asked.elapsed();
        ensure!(took < Duration::from_secs(8), "it took {took:?}");

        // The token of nobody, and a certificate of somebody else.
        let mut stranger = kubeconfig.clone();
        stranger["users"][0]["user"]["token"] = json!("nobody");
        two.secret("east", json!({ "kubeconfig": stranger.to_string() }))
            .await?;
        says(&["401", "write a new one"]).await?;
        let mut impostor = kubeconfig.clone();
        let ours = two.bed.cluster.reader_kubeconfig("ours").await?;
        impostor["clusters"][0]["cluster"]["certificate-authority-data"] =
            ours["clusters"][0]["cluster"]["certificate-authority-data"].clone();
        two.secret("east", json!({ "kubeconfig": impostor.to_string() }))
            .await?;
        says(&[server, "certificate"]).await?;
        two.down().await
    })
}
