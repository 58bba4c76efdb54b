//! The one place where status is written.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels::STATUS_MANAGER;
use meshlift_api::{GROUP, MeshUpgrade, MeshUpgradeStatus, VERSION};
use serde_json::json;

use crate::error::is_not_found;
use crate::watch::Watches;
use crate::{Error, Result};

/// Writes the status that follows from a decision on this very object: by its UID, and only while its resource version
/// is still this one. A spec that changed, a deletion that was asked for, or what another process recorded after the
/// decision would be lost under it otherwise: then it is a conflict. The object as written; `None` if the status says the
/// same already, or the object is gone.
pub async fn write(
    client: &Client,
    watches: &Watches,
    object: &MeshUpgrade,
    status: &MeshUpgradeStatus,
) -> Result<Option<MeshUpgrade>> {
    if object.status.as_ref() == Some(status) {
        return Ok(None);
    }
    let patch = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "MeshUpgrade",
        "metadata": {
            "name": object.name_any(),
            "uid": object.uid(),
            "resourceVersion": object.resource_version(),
        },
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
            watches.upgrades.wrote(object.clone());
            Ok(Some(object))
        }
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(Error::kube("writing the status")(error)),
    }
}
