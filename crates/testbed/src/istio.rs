//! Istio on a cluster, installed by Helm the way people have it.

mod gateway_api;
mod ingress;
mod rendered;
mod tags;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::{Cluster, commands};
use crate::images::ISTIO_HUB;
use crate::tools;

pub use gateway_api::{ManagedGateway, install_gateway_api, managed_gateway};
pub use ingress::{INGRESS, Ingress, install_ingress};
pub use rendered::{Rendered, render};
pub use tags::{apply_tag, tag_revision};

/// The namespace of Istio's control plane.
pub const NAMESPACE: &str = "istio-system";

/// What an installation is told.
#[derive(Clone, Debug, Default)]
pub struct IstioOptions {
    /// Values of the istiod release, laid over what this cluster needs.
    pub values: Value,
    /// The revision (`1-30-2`), which is also in the name of the release; none for release `istiod`.
    pub revision: Option<String>,
    /// Revision tags that are values of the istiod release, and so belong to it.
    pub tags: Vec<String>,
}

impl IstioOptions {
    /// The name of the istiod release.
    pub fn release(&self) -> String {
        match &self.revision {
            Some(revision) => format!("istiod-{revision}"),
            None => "istiod".to_owned(),
        }
    }

    fn istiod_values(&self) -> Value {
        let mut values = needed();
        merge(&mut values, self.values.clone());
        if let Some(revision) = &self.revision {
            values["revision"] = json!(revision);
        }
        if !self.tags.is_empty() {
            values["revisionTags"] = json!(self.tags);
        }
        values
    }
}

/// How a namespace asks for sidecars.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Injection {
    /// `istio-injection: enabled`: by the default revision.
    #[default]
    Enabled,
    /// `istio.io/rev`: by a revision, or by what a tag of that name points to.
    Revision(String),
}

impl Injection {
    /// The label, as YAML.
    pub fn label(&self) -> String {
        match self {
            Injection::Enabled => "istio-injection: enabled".to_owned(),
            Injection::Revision(name) => format!("istio.io/rev: {name}"),
        }
    }
}

/// Installs `istio-base` and istiod of `version` and waits until istiod is ready. Istiod's revision is the
/// default one.
pub async fn install(cluster: &Cluster, version: &str, options: IstioOptions) -> Result<()> {
    let values = options.istiod_values();
    let file = cluster
        .scratch()
        .join(format!("istiod-{version}.values.json"));
    std::fs::write(&file, serde_json::to_vec_pretty(&values)?)?;
    let file = file.display().to_string();
    let charts = cluster.charts_url_host()?;
    let source = [
        "--repo",
        &charts,
        "--version",
        version,
        "--namespace",
        NAMESPACE,
    ];
    let revision = options.revision.as_deref().unwrap_or("default");
    let default = format!("--set=defaultRevision={revision}");
    let base = [
        "install",
        "istio-base",
        "base",
        "--create-namespace",
        &default,
    ];
    cluster
        .helm(&[&base[..], &source[..]].concat())
        .await
        .context("cannot install istio-base")?;
    let release = options.release();
    let istiod = [
        "install",
        &release,
        "istiod",
        "--values",
        &file,
        "--wait",
        "--timeout",
        "3m",
    ];
    cluster
        .helm(&[&istiod[..], &source[..]].concat())
        .await
        .context("cannot install istiod")?;
    Ok(())
}

/// Installs Istio with `istioctl install`, as people do who have no Helm. `set` are its settings
/// (`revision=1-30-2`). Where no node runs pods istiod never gets ready, and that is not waited for.
pub async fn install_with_istioctl(cluster: &Cluster, version: &str, set: &[&str]) -> Result<()> {
    let wanted = version.to_owned();
    let istioctl = tokio::task::spawn_blocking(move || tools::istioctl(&wanted)).await??;
    let patience = if cluster.has_node() { "3m" } else { "1s" };
    let mut arguments: Vec<String> = vec![
        "install".into(),
        "--skip-confirmation".into(),
        format!("--kubeconfig={}", cluster.kubeconfig().display()),
        format!("--readiness-timeout={patience}"),
        "--set=profile=minimal".into(),
        // The sources name images of the day.
        "--set=hub=docker.io/istio".into(),
        format!("--set=tag={version}"),
    ];
    arguments.extend(set.iter().map(|setting| format!("--set={setting}")));
    match commands::run(istioctl, &arguments, &[]).await {
        Err(error) if !cluster.has_node() && error.to_string().contains("not ready") => Ok(()),
        other => other.map(drop),
    }
}

/// The values that this cluster needs: its images, and an Istio that asks a stock Envoy for nothing it lacks.
pub fn needed() -> Value {
    json!({
        "global": {
            "hub": ISTIO_HUB,
            "imagePullPolicy": "Never",
            "proxy": {"resources": {"requests": {"cpu": "10m", "memory": "40Mi"}}},
        },
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        // Filters of Istio's own Envoy build.
        "env": {"PILOT_ENABLE_METADATA_EXCHANGE": "false", "PILOT_ENABLE_ALPN_FILTER": "false"},
        "telemetry": {"enabled": false},
    })
}

/// Lays values over others, as Helm does; null changes nothing.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_and_tags_are_values_and_the_revision_names_the_release() {
        let options = IstioOptions {
            revision: Some("1-30-2".into()),
            tags: vec!["prod".into()],
            ..IstioOptions::default()
        };
        let values = options.istiod_values();
        assert_eq!(values["revision"], "1-30-2");
        assert_eq!(values["revisionTags"], json!(["prod"]));
        assert_eq!(options.release(), "istiod-1-30-2");
        let plain = IstioOptions::default();
        assert_eq!(plain.istiod_values(), needed());
        assert_eq!(plain.release(), "istiod");
    }

    #[test]
    fn given_values_are_laid_over_the_needed_ones() {
        let mut values = json!({"a": {"kept": 1, "changed": 1}, "b": 1});
        merge(
            &mut values,
            json!({"a": {"changed": 2, "new": {"deep": true}}}),
        );
        assert_eq!(
            values,
            json!({"a": {"kept": 1, "changed": 2, "new": {"deep": true}}, "b": 1})
        );
        merge(&mut values, Value::Null);
        assert_eq!(values["b"], 1);
    }
}
