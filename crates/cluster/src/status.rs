//! The one place where status is written.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels::STATUS_MANAGER;
use meshlift_api::{GROUP, MeshUpgrade, MeshUpgradeStatus, VERSION};
use serde_json::json;

use crate::error::is_not_found;
use crate::watch::Watches;
use crate::{Error, Result};

/// Writes the status of this very object (by UID), unless it says the same already. Whether it
/// was written.
pub async fn write(
    client: &Client,
    watches: &Watches,
    object: &MeshUpgrade,
    status: &MeshUpgradeStatus,
) -> Result<bool> {
    if object.status.as_ref() == Some(status) {
        return Ok(false);
    }
    let patch = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "MeshUpgrade",
        "metadata": { "name": object.name_any(), "uid": object.uid() },
        "status": status,
    });
    // Force: this operator is the only owner of the status, whatever wrote it before.
    let parameters = PatchParams::apply(STATUS_MANAGER).force();
    let api = Api::<MeshUpgrade>::all(client.clone());
    match api
        .patch_status(&object.name_any(), &parameters, &Patch::Apply(patch))
        .await
    {
        Ok(object) => {
            watches.upgrades.wrote(object);
            Ok(true)
        }
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(Error::kube("writing the status")(error)),
    }
}
