//! Revision tags: a MutatingWebhookConfiguration, and since Istio 1.28 a Service beside it.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Service;
use kube::api::{ListParams, Patch, PostParams};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels as l;
use meshlift_planner::Effect;
use serde_json::json;

use super::patches::params;
use crate::{Error, Result};

/// Points a tag: label and every webhook in one write, which keeps the CA bundle; then its Service.
pub(super) async fn point(client: &Client, effect: &Effect) -> Result<()> {
    let Effect::PointTag {
        tag,
        configuration,
        uid,
        resource_version,
        revision,
        namespace,
        istiod,
        mark,
    } = effect
    else {
        return Ok(());
    };
    let doing = || format!("pointing tag {tag} at {revision}");
    let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let Some(mut object) = api
        .get_opt(configuration)
        .await
        .map_err(Error::kube(doing()))?
    else {
        return Ok(());
    };
    // What was written after the look is not overwritten: the API server compares both.
    object.metadata.uid = Some(uid.clone());
    object.metadata.resource_version = Some(resource_version.clone());
    object
        .labels_mut()
        .insert(l::ISTIO_REV.to_owned(), revision.clone());
    let annotations = object.annotations_mut();
    match mark {
        true => annotations.insert(l::MOVED_TO.to_owned(), revision.clone()),
        false => annotations.remove(l::MOVED_TO),
    };
    for webhook in object.webhooks.iter_mut().flatten() {
        if let Some(service) = &mut webhook.client_config.service {
            service.name.clone_from(istiod);
            service.namespace.clone_from(namespace);
        }
    }
    let post = PostParams {
        field_manager: Some(l::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    api.replace(configuration, &post, &object)
        .await
        .map_err(Error::kube(doing()))?;
    point_service(client, tag, revision, namespace, istiod).await
}

/// The Service of a tag selects the pods of the istiod that it points at.
async fn point_service(
    client: &Client,
    tag: &str,
    revision: &str,
    namespace: &str,
    istiod: &str,
) -> Result<()> {
    let doing = || format!("pointing the Service of tag {tag} at {revision}");
    let api = Api::<Service>::namespaced(client.clone(), namespace);
    let of_tag = ListParams::default().labels(&format!("{}={tag}", l::ISTIO_TAG));
    let found = api.list(&of_tag).await.map_err(Error::kube(doing()))?;
    if found.items.is_empty() {
        return Ok(());
    }
    let selector = api
        .get(istiod)
        .await
        .map_err(Error::kube(doing()))?
        .spec
        .and_then(|spec| spec.selector)
        .unwrap_or_default();
    for service in found {
        let old = service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        let gone = old
            .into_iter()
            .flatten()
            .filter(|(key, _)| !selector.contains_key(*key));
        let mut wanted = json!(selector);
        for (key, _) in gone {
            wanted[key] = json!(null);
        }
        let patch = json!({
            "metadata": { "uid": service.uid(), "labels": { (l::ISTIO_REV): revision } },
            "spec": { "selector": wanted },
        });
        api.patch(&service.name_any(), &params(), &Patch::Merge(patch))
            .await
            .map_err(Error::kube(doing()))?;
    }
    Ok(())
}
