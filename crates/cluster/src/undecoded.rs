//! Tells in the status of an object of ours that it cannot be decoded.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource};
use meshlift_api::labels::STATUS_MANAGER;
use meshlift_api::{Mesh, MeshUpgrade};
use meshlift_planner::undecoded;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::is_not_found;
use crate::watch::Undecoded;
use crate::{Error, Result};

/// Writes to the status of a MeshUpgrade that it cannot be read, unless it says so already.
pub async fn refuse_upgrade(
    client: &Client,
    now: jiff::Timestamp,
    object: &Undecoded,
) -> Result<bool> {
    let before = conditions(object);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let said = undecoded::upgrade(now, generation, name, &object.why, &before);
    let message = object.status.get("message").and_then(Value::as_str);
    if said.conditions == before && message == Some(said.message.as_str()) {
        return Ok(false);
    }
    let status = json!({ "message": said.message, "conditions": said.conditions });
    write::<MeshUpgrade>(client, object, status).await
}

/// The same for a Mesh, whose status has conditions only.
pub async fn refuse_mesh(
    client: &Client,
    now: jiff::Timestamp,
    object: &Undecoded,
) -> Result<bool> {
    let before = conditions(object);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let conditions = undecoded::mesh(now, generation, name, &object.why, &before);
    if conditions == before {
        return Ok(false);
    }
    write::<Mesh>(client, object, json!({ "conditions": conditions })).await
}

/// A merge, and not the whole status as it is written otherwise: what stands there is not known to us, and stays.
async fn write<K: Resource<DynamicType = ()>>(
    client: &Client,
    object: &Undecoded,
    status: Value,
) -> Result<bool> {
    let api = Api::<DynamicObject>::all_with(client.clone(), &ApiResource::erase::<K>(&()));
    let patch = json!({
        "metadata": {
            "uid": object.metadata.uid,
            "resourceVersion": object.metadata.resource_version,
        },
        "status": status,
    });
    let parameters = PatchParams {
        field_manager: Some(STATUS_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let answer = api
        .patch_status(name, &parameters, &Patch::Merge(patch))
        .await;
    match answer {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(Error::kube(format!(
            "writing to the status of {} that it cannot be read",
            object.reference()
        ))(error)),
    }
}

/// The conditions that it has, as far as they can be read.
fn conditions(object: &Undecoded) -> Vec<Condition> {
    let stored = object.status.get("conditions");
    let stored = stored.and_then(Value::as_array).into_iter().flatten();
    stored
        .filter_map(|condition| Condition::deserialize(condition).ok())
        .collect()
}
