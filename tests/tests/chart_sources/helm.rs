//! The Helm program, with charts from repositories that ask for credentials: it is never told them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use meshlift_api::{ChartSource, MeshSpec};
use meshlift_cluster::charts::ChartsClient;
use meshlift_cluster::helm::Helm;
use meshlift_model::{Chart, ChartTarget};
use meshlift_testbed::charts::{ChartServer, ServerOptions};
use meshlift_testbed::registry::{self, Access, Registry, RegistryOptions};
use meshlift_testbed::tls::Authority;
use serde_json::json;

use crate::fixture::{client_for, login, packed, says, source, trusting, with_login, with_secret};

/// Helm, run by a script that writes down everything that other processes could see of it.
fn spied(helm: &Path, directory: &Path) -> Result<(Helm, PathBuf)> {
    let (script, seen) = (directory.join("helm"), directory.join("seen"));
    let text = format!(
        "#!/bin/sh\n{{ tr '\\0' '\\n' </proc/$$/cmdline; env; }} >>{}\nexec {} \"$@\"\n",
        seen.display(),
        helm.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let nowhere = directory.join("kubeconfig");
    fs::write(
        &nowhere,
        "apiVersion: v1\nkind: Config\nclusters: [{name: x, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: x, context: {cluster: x}}]\ncurrent-context: x\n",
    )?;
    Ok((Helm::new(script, Some(nowhere)), seen))
}

fn target(charts: &ChartSource, chart: Chart, version: &str) -> Result<ChartTarget> {
    let values = json!({ "revision": "1-31-0", "global": { "hub": "hub.local/istio" } });
    Ok(ChartTarget {
        release: format!("istio-{}", chart.name()),
        namespace: "istio-system".to_owned(),
        chart,
        repository: charts.repository.clone(),
        version: version.parse()?,
        digest: None,
        values: values.as_object().cloned().unwrap_or_default(),
    })
}

async fn renders(helm: &Helm, client: &ChartsClient, charts: &ChartSource) -> Result<()> {
    let mesh = MeshSpec {
        charts: charts.clone(),
        ..MeshSpec::default()
    };
    for version in ["1.30.2", "1.31.0"] {
        for (chart, words) in [
            (
                Chart::Base,
                [
                    "kind: CustomResourceDefinition",
                    "name: istiod-default-validator",
                ],
            ),
            (
                Chart::Istiod,
                ["name: istiod-1-31-0", "hub.local/istio/pilot:"],
            ),
        ] {
            let target = target(charts, chart, version)?;
            let archive = client.archive(&target, Some(&mesh)).await?;
            let manifest = helm
                .render(&target, &archive, "1.33".parse()?, false)
                .await?;
            says(&manifest, &words)?;
            ensure!(chart == Chart::Base || manifest.contains(&format!("pilot:{version}")));
        }
    }
    // Nothing answers there: what Helm says of it is told, and what it was given is written down.
    let target = target(charts, Chart::Base, "1.31.0")?;
    let archive = client.archive(&target, Some(&mesh)).await?;
    let error = helm.apply(&target, &archive, "uid").await.err();
    let error = error.context("there is no cluster")?.to_string();
    says(
        &error,
        &[
            "Helm release istio-system/istio-base to base 1.31.0",
            "127.0.0.1:1",
        ],
    )
}

#[tokio::test]
async fn helm_renders_charts_of_a_repository_that_asks_for_a_password() -> Result<()> {
    let (helm, packed) = packed().await?;
    let directory = tempfile::tempdir()?;
    let (helm, seen) = spied(&helm, directory.path())?;
    let authority = Authority::new()?;
    let options = ServerOptions {
        tls: Some(authority.identity()?),
        login: Some(login()),
        ..ServerOptions::default()
    };
    let server = ChartServer::serve(packed, options)?;
    let charts = with_secret(&trusting(&source(server.url()), authority.pem()));
    let client = client_for(&charts, with_login(&login()));
    renders(&helm, &client, &charts).await?;
    let requests = server.take_requests();
    ensure!(
        requests.iter().all(|request| request.status == 200),
        "{requests:?}"
    );
    assert_eq!(requests.len(), 5, "one index and four charts: {requests:?}");
    says(
        &fs::read_to_string(seen)?,
        &["template", "upgrade", "HELM_CONFIG_HOME"],
    )
}

#[tokio::test]
async fn helm_renders_charts_of_a_registry_that_asks_for_a_password() -> Result<()> {
    let (helm, _) = packed().await?;
    let directory = tempfile::tempdir()?;
    let (helm, seen) = spied(&helm, directory.path())?;
    let authority = Authority::new()?;
    let options = RegistryOptions {
        tls: Some(authority.identity()?),
        access: Access::Password,
    };
    let registry = Registry::start(options).await?;
    let charts = with_secret(&trusting(&source(registry.charts()), authority.pem()));
    let client = client_for(&charts, with_login(&registry::login()));
    renders(&helm, &client, &charts).await?;
    says(
        &fs::read_to_string(seen)?,
        &["template", "upgrade", "HELM_CONFIG_HOME"],
    )
}

#[tokio::test]
async fn the_credentials_of_a_mesh_are_for_its_own_repository_only() -> Result<()> {
    let (_, packed) = packed().await?;
    let pinned = ChartServer::serve(&packed, ServerOptions::default())?;
    let mesh = MeshSpec {
        charts: with_secret(&source("https://charts.example")),
        ..MeshSpec::default()
    };
    let client = client_for(&mesh.charts, with_login(&login()));
    let target = target(&source(pinned.url()), Chart::Base, "1.31.0")?;
    client.archive(&target, Some(&mesh)).await?;
    let requests = pinned.take_requests();
    ensure!(
        !requests.is_empty() && requests.iter().all(|request| !request.with_credentials),
        "{requests:?}"
    );
    Ok(())
}
