//! The one place where Mesh objects are made and their status is written.

use std::collections::BTreeMap;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels::{DISCOVERED, FIELD_MANAGER, MANAGED_BY, STATUS_MANAGER};
use meshlift_api::{GROUP, Mesh, MeshSpec, MeshStatus, VERSION};
use serde_json::json;

use crate::error::is_not_found;
use crate::watch::Watches;
use crate::{Error, Result};

/// Makes the object of a mesh that was found. `None` if someone made one of that name meanwhile:
/// theirs counts.
pub async fn make(
    client: &Client,
    watches: &Watches,
    name: &str,
    spec: MeshSpec,
) -> Result<Option<Mesh>> {
    let mut mesh = Mesh::new(name, spec);
    mesh.metadata.labels = Some(BTreeMap::from([
        (MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned()),
        (DISCOVERED.to_owned(), "true".to_owned()),
    ]));
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let api = Api::<Mesh>::all(client.clone());
    match api.create(&parameters, &mesh).await {
        Ok(mesh) => {
            watches.meshes.wrote(mesh.clone());
            Ok(Some(mesh))
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(Error::kube(format!("making Mesh {name}"))(error)),
    }
}

/// Writes the status that was made from this very object (by UID and resource version), unless it says the same already.
/// Whether it was written.
pub async fn write(
    client: &Client,
    watches: &Watches,
    object: &Mesh,
    status: &MeshStatus,
) -> Result<bool> {
    if object.status.as_ref() == Some(status) {
        return Ok(false);
    }
    let name = object.name_any();
    let patch = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "Mesh",
        "metadata": {
            "name": name,
            "uid": object.uid(),
            "resourceVersion": object.resource_version(),
        },
        "status": status,
    });
    // Force: this operator is the only owner of the status, whatever wrote it before.
    let parameters = PatchParams::apply(STATUS_MANAGER).force();
    let api = Api::<Mesh>::all(client.clone());
    match api
        .patch_status(&name, &parameters, &Patch::Apply(patch))
        .await
    {
        Ok(object) => {
            watches.meshes.wrote(object);
            Ok(true)
        }
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(Error::kube(format!("writing the status of Mesh {name}"))(
            error,
        )),
    }
}
