//! A real Istio release by Helm on a cluster without nodes, and the parts of kubelet and istiod that it
//! then lacks.

use anyhow::{Context, Result};
use base64::Engine;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::bed::{Bed, ISTIO};
use crate::wait::{SOON, until};

/// Installs Istio as people do, and waits for nothing.
pub async fn install(bed: &Bed, version: &str) -> Result<()> {
    let charts = bed.cluster.charts_url_host()?;
    for (release, chart) in [("istio-base", "base"), ("istiod", "istiod")] {
        let install = ["install", release, chart, "-n", ISTIO];
        let from = ["--repo", &charts, "--version", version];
        bed.cluster.helm(&[&install[..], &from].concat()).await?;
    }
    Ok(())
}

/// Upgrades a release of istiod as people do who keep its values, with more arguments.
pub async fn upgrade(bed: &Bed, release: &str, version: &str, more: &[&str]) -> Result<()> {
    let charts = bed.cluster.charts_url_host()?;
    let upgrade = ["upgrade", release, "istiod", "-n", ISTIO, "--reuse-values"];
    let to = ["--repo", &charts, "--version", version];
    let arguments = [&upgrade[..], &to, more].concat();
    bed.cluster.helm(&arguments).await.map(drop)
}

/// Does what a kubelet and istiod do once istiod of `revision` runs.
pub async fn make_ready(bed: &Bed, revision: &str) -> Result<()> {
    let pods = Api::<Pod>::namespaced(bed.client.clone(), ISTIO);
    let selector = format!("app=istiod,istio.io/rev={revision}");
    let ours = ListParams::default().labels(&selector);
    let what = format!("istiod {revision} has a pod");
    let found = until(&what, SOON, || async {
        let found = pods.list(&ours).await?.items;
        Ok(if found.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(found)
        })
    })
    .await?;
    for pod in found {
        let now = jiff::Timestamp::now().to_string();
        let ready =
            |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now });
        let status =
            json!({ "phase": "Running", "conditions": [ready("Ready"), ready("ContainersReady")] });
        let patch = Patch::Merge(json!({ "status": status }));
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch)
            .await?;
    }
    write_ca_bundles(bed).await
}

async fn write_ca_bundles(bed: &Bed) -> Result<()> {
    let bundle = ca_bundle(bed)?;
    let injectors = Api::<MutatingWebhookConfiguration>::all(bed.client.clone());
    for mut injector in injectors.list(&Default::default()).await? {
        for webhook in injector.webhooks.iter_mut().flatten() {
            webhook.client_config.ca_bundle = Some(bundle.clone());
        }
        let name = injector.name_any();
        injectors
            .replace(&name, &PostParams::default(), &injector)
            .await?;
    }
    let validators = Api::<ValidatingWebhookConfiguration>::all(bed.client.clone());
    for mut validator in validators.list(&Default::default()).await? {
        for webhook in validator.webhooks.iter_mut().flatten() {
            webhook.client_config.ca_bundle = Some(bundle.clone());
        }
        let name = validator.name_any();
        validators
            .replace(&name, &PostParams::default(), &validator)
            .await?;
    }
    Ok(())
}

/// Any CA will do: nobody answers these webhooks.
fn ca_bundle(bed: &Bed) -> Result<ByteString> {
    let kubeconfig = kube::config::Kubeconfig::read_from(bed.cluster.kubeconfig())?;
    let cluster = kubeconfig
        .clusters
        .into_iter()
        .find_map(|named| named.cluster);
    let data = cluster.and_then(|cluster| cluster.certificate_authority_data);
    let text = data.context("a kubeconfig without the cluster's CA")?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text)?;
    Ok(ByteString(decoded))
}
