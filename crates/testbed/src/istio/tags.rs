//! Revision tags that belong to no release.

use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt};

use super::NAMESPACE;
use crate::Cluster;

const REVISION: &str = "istio.io/rev";

/// Makes or moves a tag the documented way: its templates are rendered by Helm and applied by kubectl, so that
/// no release owns it.
pub async fn apply_tag(cluster: &Cluster, version: &str, tag: &str, revision: &str) -> Result<()> {
    let charts = cluster.charts_url_host()?;
    let template = ["template", "istiod", "istiod", "--namespace", NAMESPACE];
    let from = ["--repo", &charts, "--version", version];
    let set = [
        "-s=templates/revision-tags-mwc.yaml".to_owned(),
        "-s=templates/revision-tags-svc.yaml".to_owned(),
        format!("--set=revisionTags={{{tag}}}"),
        format!("--set=revision={revision}"),
    ];
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let rendered = cluster
        .helm(&[&template[..], &from, &set].concat())
        .await
        .with_context(|| format!("rendering tag {tag}"))?;
    let file = cluster.scratch().join(format!("tag-{tag}.yaml"));
    std::fs::write(&file, rendered)?;
    let file = file.display().to_string();
    cluster.kubectl(&["apply", "-f", &file]).await.map(drop)
}

/// The revision a tag points to. Fails unless its webhooks and its Service agree in every part.
pub async fn tag_revision(cluster: &Cluster, tag: &str) -> Result<String> {
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(cluster.client());
    let webhooks = webhooks.get(&format!("istio-revision-tag-{tag}")).await?;
    let services: Api<Service> = Api::namespaced(cluster.client(), NAMESPACE);
    let service = services.get(&format!("istiod-revision-tag-{tag}")).await?;
    let label = |labels: &std::collections::BTreeMap<String, String>| labels.get(REVISION).cloned();
    let revision = label(webhooks.labels()).context("a tag without label istio.io/rev")?;
    let selector = service.spec.as_ref().and_then(|s| s.selector.clone());
    let mut told = vec![
        label(service.labels()),
        label(&selector.unwrap_or_default()),
    ];
    for webhook in webhooks.webhooks.iter().flatten() {
        let called = webhook.client_config.service.as_ref();
        let called = called.and_then(|s| s.name.strip_prefix("istiod-"));
        told.push(called.map(str::to_owned));
        anyhow::ensure!(
            webhook.client_config.ca_bundle.is_some(),
            "webhook {} of tag {tag} has no caBundle",
            webhook.name
        );
    }
    anyhow::ensure!(
        told.iter().all(|one| one.as_ref() == Some(&revision)),
        "tag {tag} points to {revision} by its label and to {told:?} by its Service and webhooks"
    );
    Ok(revision)
}
