//! Meshes of every kind, found.

use std::time::Duration;

use anyhow::{Result, ensure};
use meshlift_api::labels::DISCOVERED;
use meshlift_api::{MeshType, conditions};
use meshlift_testbed::istio::install_with_istioctl;
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::istio::{install, make_ready};
use meshlift_tests::operator::Operator;
use meshlift_tests::wait::{SOON, until};
use serde_json::json;

use crate::fixture::{is_silent, names, says, wait_mesh, with_bed};

/// Long enough for every pace of the mesh list but the slowest.
const QUIET: Duration = Duration::from_secs(20);

#[test]
fn api_a_mesh_by_helm_is_found_once_it_is_there_and_stays_known() -> Result<()> {
    with_bed("meshes", async |bed| {
        let mut operator = Operator::start(&bed).await?;
        until("the operator is ready", SOON, || async {
            let (status, body) = operator.get("/readyz").await?;
            Ok(if status == 200 { Ok(()) } else { Err(body) })
        })
        .await?;
        is_silent(&bed, Duration::from_secs(5)).await?;
        ensure!(names(&bed).await?.is_empty(), "there is no mesh");

        install(&bed, ISTIO_FROM).await?;
        let not_ready =
            |status: &_| says(status, conditions::READY, "False", "ControlPlaneNotReady");
        let mesh = wait_mesh(&bed, "default", "found, not ready", not_ready).await?;
        let labels = mesh.metadata.labels.clone().unwrap_or_default();
        ensure!(
            labels.get(DISCOVERED).map(String::as_str) == Some("true"),
            "{labels:?}"
        );
        ensure!(mesh.spec.mesh_type == MeshType::Dedicated, "{mesh:?}");
        ensure!(mesh.spec.charts.repository == bed.cluster.charts_url_host()?);
        make_ready(&bed, "default").await?;
        let mesh = wait_mesh(&bed, "default", "ready", |status| {
            says(status, conditions::READY, "True", "ControlPlaneReady")
                && status.upgradable.is_some()
        })
        .await?;
        let status = mesh.status.unwrap_or_default();
        ensure!(status.version.as_deref() == Some(ISTIO_FROM), "{status:?}");
        ensure!(status.installer.as_deref() == Some("Helm"), "{status:?}");
        ensure!(status.latest.as_deref() == Some(ISTIO_TO), "{status:?}");
        ensure!(status.upgradable.as_deref() == Some(ISTIO_TO), "{status:?}");
        let until = status.supported_until.clone().unwrap_or_default();
        ensure!(until.starts_with("~2026-1"), "{until}");
        ensure!(status.revisions.len() == 1 && status.revisions[0].ready == "1/1");
        ensure!(
            status.clusters.len() == 1 && status.clusters[0].reachable,
            "{status:?}"
        );
        ensure!(
            says(
                &status,
                conditions::KUBERNETES_COMPATIBLE,
                "True",
                "Supported"
            ),
            "{status:?}"
        );
        ensure!(status.observed_generation == mesh.metadata.generation);
        prints_columns(&bed).await?;
        is_silent(&bed, QUIET).await?;

        bed.cluster
            .helm(&["uninstall", "istiod", "-n", ISTIO])
            .await?;
        let gone = |status: &_| says(status, conditions::READY, "False", "NoControlPlane");
        let mesh = wait_mesh(&bed, "default", "gone", gone).await?;
        ensure!(mesh.status.is_some_and(|status| status.version.is_none()));
        let named = "meshlift_mesh_info{latest=\"1.31.0\",mesh=\"default\",type=\"Dedicated\",version=\"\"}";
        ensure!(operator.metric(named).await? == Some(1.0), "{named}");
        // Who deletes the object of a mesh that is gone is rid of it, also in the metrics.
        bed.meshes().delete("default", &Default::default()).await?;
        until_unmeasured(&operator).await?;
        is_silent(&bed, Duration::from_secs(3)).await?;
        operator.check()
    })
}

async fn until_unmeasured(operator: &Operator) -> Result<()> {
    until("a mesh that is gone is not measured", SOON, || async {
        let (_, text) = operator.get("/metrics").await?;
        let left = text.lines().any(|line| line.starts_with("meshlift_mesh_"));
        Ok(if left { Err(text) } else { Ok(()) })
    })
    .await
}

async fn prints_columns(bed: &Bed) -> Result<()> {
    let table = bed.cluster.kubectl(&["get", "meshes"]).await?;
    println!("{table}");
    let mut lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let head = [
        "NAME",
        "TYPE",
        "VERSION",
        "LATEST",
        "UPGRADABLE",
        "PROXIES",
        "OUTDATED",
        "SUPPORTED-UNTIL",
        "READY",
        "AGE",
    ];
    ensure!(lines.next().as_deref() == Some(&head[..]), "{table}");
    let row = lines.next().unwrap_or_default();
    let expected = [
        "default",
        "Dedicated",
        ISTIO_FROM,
        ISTIO_TO,
        ISTIO_TO,
        "0",
        "0",
        "~2026-11-30",
        "True",
    ];
    ensure!(row[..row.len() - 1] == expected, "{table}");
    Ok(())
}

#[test]
fn api_revisions_tags_and_two_meshes_are_told_apart() -> Result<()> {
    with_bed("meshes-many", async |bed| {
        let charts = bed.cluster.charts_url_host()?;
        let helm = async |release: &str, namespace: &str, version: &str, set: &[&str]| {
            let chart = if release.ends_with("base") {
                "base"
            } else {
                "istiod"
            };
            let install = [
                "install",
                release,
                chart,
                "-n",
                namespace,
                "--create-namespace",
            ];
            let from = ["--repo", &charts, "--version", version];
            bed.cluster.helm(&[&install[..], &from, set].concat()).await
        };
        let old = [
            "--set=revision=1-30-2",
            "--set=revisionTags={default,stable}",
        ];
        helm(
            "istio-base",
            ISTIO,
            ISTIO_TO,
            &["--set=defaultRevision=1-30-2"],
        )
        .await?;
        helm("istiod-1-30-2", ISTIO, ISTIO_FROM, &old).await?;
        helm("istiod-1-31-0", ISTIO, ISTIO_TO, &["--set=revision=1-31-0"]).await?;
        let own = ["--set=revision=b", "--set=global.istioNamespace=mesh-b"];
        helm("istiod-b", "mesh-b", ISTIO_TO, &own).await?;
        for (namespace, label) in [
            ("by-default", "istio-injection=enabled"),
            ("by-tag", "istio.io/rev=stable"),
            ("by-revision", "istio.io/rev=1-31-0"),
            ("by-the-other", "istio.io/rev=b"),
        ] {
            bed.cluster
                .kubectl(&["create", "namespace", namespace])
                .await?;
            bed.cluster
                .kubectl(&["label", "namespace", namespace, label])
                .await?;
        }
        let _operator = Operator::start(&bed).await?;
        let known = |status: &meshlift_api::MeshStatus| status.upgradable.is_some();
        let mesh = wait_mesh(&bed, "default", "known", known).await?;
        let status = mesh.status.unwrap_or_default();
        ensure!(
            status.version.as_deref() == Some(ISTIO_FROM),
            "tag default: {status:?}"
        );
        let told: Vec<_> = status
            .revisions
            .iter()
            .map(|r| {
                (
                    r.name.as_str(),
                    r.version.as_deref(),
                    r.tags.join(","),
                    r.namespaces,
                )
            })
            .collect();
        let expected = [
            ("1-30-2", Some(ISTIO_FROM), "default,stable".to_owned(), 2),
            ("1-31-0", Some(ISTIO_TO), String::new(), 1),
        ];
        ensure!(told == expected, "{told:?}");

        let mesh = wait_mesh(&bed, "mesh-b", "known", known).await?;
        ensure!(mesh.spec.control_plane_namespace == "mesh-b");
        let status = mesh.status.unwrap_or_default();
        ensure!(status.upgradable.as_deref() == Some("no"), "{status:?}");
        ensure!(
            says(&status, conditions::UPGRADE_AVAILABLE, "False", "UpToDate"),
            "{status:?}"
        );
        ensure!(
            status.revisions.len() == 1 && status.revisions[0].namespaces == 1,
            "{status:?}"
        );
        ensure!(names(&bed).await? == ["default", "mesh-b"]);
        println!(
            "{}",
            bed.cluster
                .kubectl(&["get", "meshes", "-o", "wide"])
                .await?
        );
        is_silent(&bed, QUIET).await
    })
}

#[test]
fn api_a_mesh_by_istioctl_is_external_and_one_with_an_object_is_known() -> Result<()> {
    with_bed("meshes-istioctl", async |bed| {
        // A person called it so before the operator came.
        let charts = json!({ "repository": bed.cluster.charts_url_host()? });
        let spec = json!({ "controlPlaneNamespace": "mesh-c", "charts": charts });
        bed.create_mesh("production", spec).await?;
        bed.cluster
            .kubectl(&["create", "namespace", "mesh-c"])
            .await?;
        let deployment = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: istiod, namespace: mesh-c, labels: { app: istiod, istio.io/rev: c, app.kubernetes.io/managed-by: sail-operator } }
spec:
  selector: { matchLabels: { app: istiod } }
  template:
    metadata: { labels: { app: istiod, istio.io/rev: c } }
    spec: { containers: [{ name: discovery, image: "docker.io/istio/pilot:1.30.2" }] }
"#;
        bed.cluster.apply_yaml(deployment).await?;
        install_with_istioctl(&bed.cluster, ISTIO_FROM, &[]).await?;
        let _operator = Operator::start(&bed).await?;
        let known = |status: &meshlift_api::MeshStatus| status.upgradable.is_some();
        let mesh = wait_mesh(&bed, "default", "known", known).await?;
        ensure!(mesh.spec.mesh_type == MeshType::External, "{mesh:?}");
        let status = mesh.status.unwrap_or_default();
        ensure!(
            status.installer.as_deref() == Some("istioctl"),
            "{status:?}"
        );
        ensure!(status.version.as_deref() == Some(ISTIO_FROM), "{status:?}");
        let ways: Vec<&str> = status.manual.iter().map(|m| m.way.as_str()).collect();
        ensure!(ways == ["canary", "in-place", "helm"], "{status:?}");

        let mesh = wait_mesh(&bed, "production", "known", known).await?;
        ensure!(
            mesh.spec.mesh_type == MeshType::Dedicated,
            "it was overwritten: {mesh:?}"
        );
        let status = mesh.status.unwrap_or_default();
        ensure!(status.installer.as_deref() == Some("Sail"), "{status:?}");
        ensure!(names(&bed).await? == ["default", "production"]);
        is_silent(&bed, QUIET).await
    })
}
