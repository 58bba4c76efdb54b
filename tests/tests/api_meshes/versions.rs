//! New versions: seen on schedule and when asked, told once, kept while the repository is away.

use anyhow::{Result, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::Patch;
use meshlift_api::labels::REFRESH;
use meshlift_api::{MeshStatus, conditions};
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_tests::bed::Bed;
use meshlift_tests::istio::install;
use meshlift_tests::operator::{Operator, Settings};
use meshlift_tests::repository::Index;
use meshlift_tests::wait::{SOON, until};
use serde_json::json;

use crate::fixture::{names, says, wait_mesh, with_bed};

const MESH: &str = "offered";

#[test]
fn api_a_new_version_is_seen_told_once_and_kept() -> Result<()> {
    with_bed("meshes-versions", async |bed| {
        let index = Index::serve(&[ISTIO_FROM]).await?;
        let charts = json!({ "repository": index.url() });
        bed.create_mesh(MESH, json!({ "charts": charts })).await?;
        install(&bed, ISTIO_FROM).await?;
        let often = Settings {
            versions_interval: Some("1s"),
            ..Settings::default()
        };
        let operator = Operator::start_with(&bed, often.clone()).await?;
        wait_mesh(&bed, MESH, "up to date", |status| {
            status.upgradable.as_deref() == Some("no")
                && says(status, conditions::UPGRADE_AVAILABLE, "False", "UpToDate")
        })
        .await?;
        ensure!(measured(&operator).await? == Some(0.0));

        index.offer(&[ISTIO_FROM, "1.30.5", "1.31.1", "1.32.0-alpha.1", "nonsense"]);
        let mesh = wait_mesh(&bed, MESH, "upgradable", |status| {
            status.upgradable.as_deref() == Some("1.31.1")
                && says(status, conditions::UPGRADE_AVAILABLE, "True", "NewVersion")
        })
        .await?;
        ensure!(mesh.status.and_then(|s| s.latest).as_deref() == Some("1.31.1"));
        ensure!(measured(&operator).await? == Some(1.0));
        let both = ["1.30.5 is available", "1.31.1 is available"];
        wait_told(&bed, &both).await?;

        // Another process remembers by the status.
        ensure!(operator.stop().await?.success());
        let operator = Operator::start_with(&bed, often).await?;
        index.offer(&[ISTIO_FROM, "1.30.5", "1.31.1", "1.31.2"]);
        wait_latest(&bed, "1.31.2").await?;
        wait_told(&bed, &[&both[..], &["1.31.2 is available"]].concat()).await?;

        index.go_away();
        let away = |status: &MeshStatus| {
            let error = status.charts.as_ref().map(|charts| charts.error.as_str());
            error.is_some_and(|error| error.contains("503"))
        };
        let mesh = wait_mesh(&bed, MESH, "the error is told", away).await?;
        let status = mesh.status.unwrap_or_default();
        ensure!(status.latest.as_deref() == Some("1.31.2"), "{status:?}");
        ensure!(status.upgradable.as_deref() == Some("1.31.2"), "{status:?}");
        ensure!(measured(&operator).await? == Some(1.0));
        ensure!(
            names(&bed).await? == [MESH],
            "a mesh with an object gets no second one"
        );
        Ok(())
    })
}

#[test]
fn api_who_asks_is_answered_at_once() -> Result<()> {
    with_bed("meshes-refresh", async |bed| {
        let index = Index::serve(&[ISTIO_FROM]).await?;
        let charts = json!({ "repository": index.url() });
        bed.create_mesh(MESH, json!({ "charts": charts })).await?;
        install(&bed, ISTIO_FROM).await?;
        // Every six hours, as usual.
        let _operator = Operator::start(&bed).await?;
        wait_latest(&bed, ISTIO_FROM).await?;
        index.offer(&[ISTIO_FROM, "1.31.1"]);
        let annotations = json!({ REFRESH: "now" });
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        bed.meshes()
            .patch(MESH, &Default::default(), &patch)
            .await?;
        let asked = std::time::Instant::now();
        let mesh = wait_latest(&bed, "1.31.1").await?;
        ensure!(mesh.observed_refresh.as_deref() == Some("now"), "{mesh:?}");
        let took = asked.elapsed();
        ensure!(took.as_secs() < 5, "it took {took:?}");
        Ok(())
    })
}

async fn wait_latest(bed: &Bed, version: &str) -> Result<MeshStatus> {
    let what = format!("latest is {version}");
    let mesh = wait_mesh(bed, MESH, &what, |status| {
        status.latest.as_deref() == Some(version)
    });
    Ok(mesh.await?.status.unwrap_or_default())
}

async fn measured(operator: &Operator) -> Result<Option<f64>> {
    let series = format!("meshlift_mesh_upgrade_available{{mesh=\"{MESH}\"}}");
    operator.metric(&series).await
}

/// Waits until exactly these were told, each once.
async fn wait_told(bed: &Bed, expected: &[&str]) -> Result<()> {
    until("every new version was told once", SOON, || async {
        let events = Api::<Event>::all(bed.client.clone());
        let all = events.list(&Default::default()).await?;
        let ours = all.items.into_iter();
        let ours = ours.filter(|event| event.reason.as_deref() == Some("UpgradeAvailable"));
        let mut told: Vec<(String, i32)> = ours
            .map(|event| {
                let times = event.series.map_or(1, |series| series.count);
                (event.note.unwrap_or_default(), times)
            })
            .collect();
        told.sort();
        let once: Vec<(String, i32)> = expected.iter().map(|e| ((*e).to_owned(), 1)).collect();
        Ok(if told == once {
            Ok(())
        } else {
            Err(format!("{told:?}"))
        })
    })
    .await
}
