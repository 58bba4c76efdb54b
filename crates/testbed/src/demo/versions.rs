//! Which versions run where: the control plane and the sidecars, by namespace.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::ListParams;
use kube::{Api, Client};
use meshlift_api::labels;

/// Pods of one namespace by what they run, for example `sidecar 1.31.0 (1-31-0)`.
pub(super) type Versions = BTreeMap<String, usize>;

/// What runs in each namespace that has an istiod or a sidecar. Pods that are going do not count.
pub(super) async fn by_namespace(client: &Client) -> Result<BTreeMap<String, Versions>> {
    let pods: Api<Pod> = Api::all(client.clone());
    let pods = pods
        .list(&ListParams::default())
        .await
        .context("listing the pods")?;
    let mut namespaces: BTreeMap<String, Versions> = BTreeMap::new();
    for pod in pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
    {
        if let Some(runs) = runs(pod) {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            *namespaces
                .entry(namespace)
                .or_default()
                .entry(runs)
                .or_default() += 1;
        }
    }
    Ok(namespaces)
}

/// Whether something runs and all of it has the version.
pub(super) fn all_at(namespaces: &BTreeMap<String, Versions>, version: &str) -> bool {
    let mut runs = namespaces.values().flat_map(BTreeMap::keys).peekable();
    runs.peek().is_some() && runs.all(|runs| runs.split(' ').nth(1) == Some(version))
}

/// `istiod 1.31.0 x1, sidecar 1.31.0 x2`
pub(super) fn text(versions: Option<&Versions>) -> String {
    let Some(versions) = versions else {
        return "-".to_owned();
    };
    let parts: Vec<String> = versions
        .iter()
        .map(|(runs, count)| format!("{runs} x{count}"))
        .collect();
    parts.join(", ")
}

fn runs(pod: &Pod) -> Option<String> {
    let (kind, container, revision) = if label(pod, "app") == Some("istiod") {
        (
            "istiod",
            "discovery",
            label(pod, labels::ISTIO_REV)?.to_owned(),
        )
    } else {
        let kind = if is_gateway(pod) {
            "gateway"
        } else {
            "sidecar"
        };
        (kind, "istio-proxy", sidecar_revision(pod)?)
    };
    let spec = pod.spec.as_ref()?;
    let mut containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let version = containers
        .find(|c| c.name == container)
        .and_then(image_tag)?;
    Some(format!("{kind} {version} ({revision})"))
}

fn label<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// Whether the proxy is all there is, as the gateway chart has it.
fn is_gateway(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    let templates = annotations.and_then(|all| all.get("inject.istio.io/templates"));
    templates.is_some_and(|templates| templates.split(',').any(|one| one == "gateway"))
}

fn sidecar_revision(pod: &Pod) -> Option<String> {
    let status = pod
        .metadata
        .annotations
        .as_ref()?
        .get(labels::SIDECAR_STATUS)?;
    let status: serde_json::Value = serde_json::from_str(status).ok()?;
    status["revision"].as_str().map(str::to_owned)
}

fn image_tag(container: &Container) -> Option<&str> {
    container
        .image
        .as_deref()?
        .rsplit_once(':')
        .map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_at_needs_every_pod_and_at_least_one() {
        let namespace = |runs: &[&str]| {
            runs.iter()
                .map(|r| ((*r).to_owned(), 1))
                .collect::<Versions>()
        };
        let new = namespace(&["istiod 1.31.0 (1-31-0)"]);
        let mixed = namespace(&["sidecar 1.31.0 (1-31-0)", "sidecar 1.30.2 (default)"]);
        let mut mesh = BTreeMap::from([("istio-system".to_owned(), new)]);
        assert!(all_at(&mesh, "1.31.0"));
        mesh.insert("shop".to_owned(), mixed);
        assert!(!all_at(&mesh, "1.31.0"));
        assert!(!all_at(&BTreeMap::new(), "1.31.0"));
    }
}
