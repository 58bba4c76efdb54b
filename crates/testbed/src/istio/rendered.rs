//! Istio without Helm releases: charts that are rendered and applied, as Argo CD does from Git.

use anyhow::{Context, Result};
use serde_json::Value;

use super::NAMESPACE;
use crate::cluster::Cluster;

/// What a chart renders, as it is in Git.
#[derive(Clone, Debug)]
pub struct Rendered(String);

/// Renders chart `base` or `istiod` of a version with these values.
pub async fn render(
    cluster: &Cluster,
    chart: &str,
    version: &str,
    values: &Value,
) -> Result<Rendered> {
    let file = cluster
        .scratch()
        .join(format!("rendered-{chart}.values.json"));
    std::fs::write(&file, serde_json::to_vec_pretty(values)?)?;
    let file = file.display().to_string();
    let charts = cluster.charts_url_host()?;
    let template = ["template", chart, chart, "--namespace", NAMESPACE];
    let from = [
        "--repo",
        &charts,
        "--version",
        version,
        "--values",
        &file,
        "--include-crds",
    ];
    let manifests = cluster.helm(&[&template[..], &from].concat()).await;
    manifests
        .map(Rendered)
        .with_context(|| format!("rendering chart {chart} {version}"))
}

impl Rendered {
    /// Applies it, over what istiod itself writes into its webhooks.
    pub async fn apply(&self, cluster: &Cluster) -> Result<()> {
        let file = self.written(cluster)?;
        let apply = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=git",
            "-f",
            &file,
        ];
        cluster.kubectl(&apply).await.map(drop)
    }

    /// Deletes what it renders, as a tool that prunes does.
    pub async fn delete(&self, cluster: &Cluster) -> Result<()> {
        let file = self.written(cluster)?;
        let delete = ["delete", "--ignore-not-found", "-f", &file];
        cluster.kubectl(&delete).await.map(drop)
    }

    fn written(&self, cluster: &Cluster) -> Result<String> {
        let file = cluster.scratch().join("rendered.yaml");
        std::fs::write(&file, &self.0)?;
        Ok(file.display().to_string())
    }
}
