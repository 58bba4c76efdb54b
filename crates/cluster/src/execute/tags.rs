//! Revision tags: a MutatingWebhookConfiguration, and since Istio 1.28 a Service beside it.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Service;
use kube::api::{ListParams, Patch};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels as l;
use meshlift_model::Effect;
use serde_json::{Value, json};

use super::patches::params;
use crate::watch::Watches;
use crate::{Error, Result};

/// Points a tag at a revision.
///
/// Its Service goes first: what tells that a tag has moved is the label of the webhook configuration, so a Service
/// that was not reached is written the next time. Then label and every webhook in one write, which keeps the CA
/// bundle: istiod fills in only that of a revision of its own.
pub(super) async fn point(client: &Client, watches: &Watches, effect: &Effect) -> Result<()> {
    let Effect::PointTag {
        tag,
        configuration,
        revision,
        namespace,
        istiod,
        ..
    } = effect
    else {
        return Ok(());
    };
    let doing = || format!("pointing tag {tag} at {revision}");
    let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let found = api.get_opt(configuration).await;
    let Some(object) = found.map_err(Error::kube(doing()))? else {
        // Deleted meanwhile: the next look shows it.
        return Ok(());
    };
    point_service(client, tag, revision, (namespace, istiod)).await?;
    let patch = patch(effect, object);
    let written = api
        .patch(configuration, &params(), &Patch::Merge(patch))
        .await
        .map_err(Error::kube(doing()))?;
    watches.injection_rules.wrote(written.clone());
    watches.injectors.wrote(written);
    Ok(())
}

/// What is written to the webhook configuration of a tag.
pub(super) fn patch(effect: &Effect, object: MutatingWebhookConfiguration) -> Value {
    let Effect::PointTag {
        uid,
        resource_version,
        revision,
        namespace,
        istiod,
        mark,
        ..
    } = effect
    else {
        return Value::Null;
    };
    let mut webhooks = object.webhooks.unwrap_or_default();
    for webhook in &mut webhooks {
        if let Some(service) = &mut webhook.client_config.service {
            service.name.clone_from(istiod);
            service.namespace.clone_from(namespace);
        }
    }
    // The resource version is that of the look, so that nothing that was written since is overwritten.
    json!({
        "metadata": {
            "uid": uid,
            "resourceVersion": resource_version,
            "labels": { (l::ISTIO_REV): revision },
            "annotations": { (l::MOVED_TO): mark.then_some(revision) },
        },
        "webhooks": webhooks,
    })
}

/// Has Helm leave a tag alone, its Service first: the webhook configuration tells that both are done.
pub(super) async fn keep(client: &Client, watches: &Watches, effect: &Effect) -> Result<()> {
    let Effect::KeepTag {
        tag,
        configuration,
        uid,
        resource_version,
        namespace,
    } = effect
    else {
        return Ok(());
    };
    let doing = || format!("keeping tag {tag} from Helm");
    let keep = json!({ (l::HELM_RESOURCE_POLICY): "keep" });
    let services = Api::<Service>::namespaced(client.clone(), namespace);
    for service in of_tag(&services, tag).await.map_err(Error::kube(doing()))? {
        let patch = json!({ "metadata": { "uid": service.uid(), "annotations": keep } });
        services
            .patch(&service.name_any(), &params(), &Patch::Merge(patch))
            .await
            .map_err(Error::kube(doing()))?;
    }
    let patch = json!({ "metadata": {
        "uid": uid, "resourceVersion": resource_version, "annotations": keep,
    } });
    let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let written = api
        .patch(configuration, &params(), &Patch::Merge(patch))
        .await
        .map_err(Error::kube(doing()))?;
    watches.injectors.wrote(written);
    Ok(())
}

async fn of_tag(services: &Api<Service>, tag: &str) -> kube::Result<Vec<Service>> {
    let of_tag = ListParams::default().labels(&format!("{}={tag}", l::ISTIO_TAG));
    Ok(services.list(&of_tag).await?.items)
}

/// The Service of a tag selects the pods of the istiod that it points at.
async fn point_service(
    client: &Client,
    tag: &str,
    revision: &str,
    (namespace, istiod): (&str, &str),
) -> Result<()> {
    let doing = || format!("pointing the Service of tag {tag} at {revision}");
    let api = Api::<Service>::namespaced(client.clone(), namespace);
    let found = of_tag(&api, tag).await.map_err(Error::kube(doing()))?;
    if found.is_empty() {
        return Ok(());
    }
    let istiod = api.get(istiod).await.map_err(Error::kube(doing()))?;
    let selector = istiod
        .spec
        .and_then(|spec| spec.selector)
        .unwrap_or_default();
    for service in found {
        let old = service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        let patch = json!({
            "metadata": { "uid": service.uid(), "labels": { (l::ISTIO_REV): revision } },
            "spec": { "selector": changed(old, &selector) },
        });
        api.patch(&service.name_any(), &params(), &Patch::Merge(patch))
            .await
            .map_err(Error::kube(doing()))?;
    }
    Ok(())
}

/// A selector as a merge patch: what the old one has and the new one has not is taken away.
fn changed(
    old: Option<&BTreeMap<String, String>>,
    new: &BTreeMap<String, String>,
) -> BTreeMap<String, Value> {
    let gone = old
        .into_iter()
        .flatten()
        .map(|(key, _)| (key.clone(), Value::Null));
    let kept = new.iter().map(|(key, value)| (key.clone(), json!(value)));
    gone.chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_loses_what_only_the_old_istiod_has() {
        let labels = |pairs: &[(&str, &str)]| {
            let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
            pairs.iter().map(owned).collect::<BTreeMap<_, _>>()
        };
        let plain = labels(&[("app", "istiod"), ("istio", "pilot")]);
        let revision = labels(&[("app", "istiod"), ("istio.io/rev", "1-31-0")]);
        assert_eq!(
            json!(changed(Some(&plain), &revision)),
            json!({ "app": "istiod", "istio": null, "istio.io/rev": "1-31-0" })
        );
        assert_eq!(
            json!(changed(Some(&revision), &plain)),
            json!({ "app": "istiod", "istio": "pilot", "istio.io/rev": null })
        );
    }
}
