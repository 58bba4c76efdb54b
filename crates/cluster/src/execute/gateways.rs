//! Gateways of the Gateway API: the label that says which istiod renders and rolls them.

use kube::api::{ApiResource, DynamicObject, Patch};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use meshlift_api::labels as l;
use meshlift_planner::Effect;
use serde_json::json;

use super::patches::params;
use crate::error::is_not_found;
use crate::{Error, Result};

/// The kind of a Gateway.
pub(crate) fn gateway_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
    ApiResource::from_gvk_with_plural(&kind, "gateways")
}

/// Writes the revision label of a Gateway.
pub(super) async fn label(client: &Client, effect: &Effect) -> Result<()> {
    let Effect::LabelGateway {
        namespace,
        name,
        uid,
        resource_version,
        revision,
        label,
        mark,
    } = effect
    else {
        return Ok(());
    };
    let patch = json!({
        "metadata": {
            "uid": uid,
            "resourceVersion": resource_version,
            "labels": { (l::ISTIO_REV): label },
            "annotations": { (l::MOVED_TO): mark.then_some(revision) },
        }
    });
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &gateway_resource());
    match api.patch(name, &params(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Error::kube(format!(
            "writing the revision of Gateway {namespace}/{name}"
        ))(error)),
    }
}
