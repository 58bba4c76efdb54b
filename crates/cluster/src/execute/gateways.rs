//! Gateways of the Gateway API: the label that says which istiod renders and rolls them.

use jiff::Timestamp;
use kube::api::Patch;
use kube::{Api, Client};
use meshlift_api::labels as l;
use meshlift_model::Effect;
use serde_json::{Value, json};

use super::patches::params;
use crate::error::is_not_found;
use crate::watch::{GatewayObject, Watches};
use crate::{Error, Result};

/// Writes the revision label of a Gateway, and what is remembered of it, in one patch: istiod copies both to the pod
/// template, so two writes would be two rollouts.
pub(super) async fn label(client: &Client, watches: &Watches, effect: &Effect) -> Result<()> {
    let Effect::LabelGateway {
        namespace, name, ..
    } = effect
    else {
        return Ok(());
    };
    let patch = patch(effect);
    let api = Api::<GatewayObject>::namespaced(client.clone(), namespace);
    match api.patch(name, &params(), &Patch::Merge(patch)).await {
        Ok(object) => {
            watches.gateways.wrote(object);
            Ok(())
        }
        // Deleted meanwhile: the next look shows it.
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Error::kube(format!(
            "writing the revision of Gateway {namespace}/{name}"
        ))(error)),
    }
}

/// What is written to a Gateway.
pub(super) fn patch(effect: &Effect) -> Value {
    let Effect::LabelGateway {
        uid,
        resource_version,
        revision,
        label,
        mark,
        at,
        ..
    } = effect
    else {
        return Value::Null;
    };
    let at = Timestamp::from_second(at.as_second()).unwrap_or(*at);
    json!({
        "metadata": {
            "uid": uid,
            "resourceVersion": resource_version,
            "labels": { (l::ISTIO_REV): label },
            "annotations": {
                (l::MOVED_TO): mark.then_some(revision),
                (l::RESTARTED_AT): at.to_string(),
            },
        }
    })
}
