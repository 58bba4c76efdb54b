//! Istio on a cluster, installed by Helm the way people have it.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::{Cluster, commands};
use crate::images::ISTIO_HUB;
use crate::tools;

/// The namespace of Istio's control plane.
pub const NAMESPACE: &str = "istio-system";

/// What an installation is told.
#[derive(Clone, Debug, Default)]
pub struct IstioOptions {
    /// Values of the istiod release, laid over what this cluster needs.
    pub values: Value,
}

/// Installs releases `istio-base` and `istiod` (no revision) of `version` and waits until istiod is ready.
pub async fn install(cluster: &Cluster, version: &str, options: IstioOptions) -> Result<()> {
    let mut values = needed();
    merge(&mut values, options.values);
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
    let base = [
        "install",
        "istio-base",
        "base",
        "--create-namespace",
        "--set",
        "defaultRevision=default",
    ];
    cluster
        .helm(&[&base[..], &source[..]].concat())
        .await
        .context("cannot install istio-base")?;
    let istiod = [
        "install",
        "istiod",
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
    let patience = match cluster.has_node() {
        true => "3m",
        false => "1s",
    };
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

fn merge(into: &mut Value, from: Value) {
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
