//! Objects made and removed: the record, a discovered Mesh, Helm's storage of a dead operation.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Client};
use meshlift_api::labels::{FIELD_MANAGER, MANAGED_BY};
use meshlift_api::{ChartSource, Mesh, MeshSpec, MeshUpgrade};
use meshlift_planner::view::StorageRef;
use meshlift_planner::{Record, Upgrade};

use super::RECORD_KEY;
use crate::error::is_not_found;
use crate::watch::Watches;
use crate::{Error, Result, Settings};

fn params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Writes the record; one of an earlier run of the same object is replaced.
pub(super) async fn write_record(
    client: &Client,
    settings: &Settings,
    object: &MeshUpgrade,
    upgrade: &Upgrade,
    record: &Record,
) -> Result<()> {
    let what = "writing the record";
    let json = serde_json::to_vec(record)
        .map_err(|error| Error::Unreadable(format!("{what}: {error}")))?;
    let name = upgrade.record_name();
    let mut secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(BTreeMap::from([(
                MANAGED_BY.to_owned(),
                FIELD_MANAGER.to_owned(),
            )])),
            annotations: Some(BTreeMap::from([(
                "meshlift.io/upgrade".to_owned(),
                object.metadata.name.clone().unwrap_or_default(),
            )])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(RECORD_KEY.to_owned(), ByteString(json))])),
        ..Secret::default()
    };
    let api = Api::<Secret>::namespaced(client.clone(), &settings.namespace);
    match api.create(&params(), &secret).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => return other.map(|_| ()).map_err(Error::kube(what)),
    }
    let existing = api.get(&name).await.map_err(Error::kube(what))?;
    secret.metadata.resource_version = existing.metadata.resource_version;
    api.replace(&name, &params(), &secret)
        .await
        .map(|_| ())
        .map_err(Error::kube(what))
}

/// Makes a Mesh for the control plane that was found.
pub(super) async fn register_mesh(
    client: &Client,
    watches: &Watches,
    name: &str,
    control_plane_namespace: &str,
    repository: &str,
) -> Result<()> {
    let spec = MeshSpec {
        control_plane_namespace: control_plane_namespace.to_owned(),
        charts: ChartSource {
            repository: repository.to_owned(),
            ..ChartSource::default()
        },
        ..MeshSpec::default()
    };
    let mut mesh = Mesh::new(name, spec);
    mesh.metadata.labels = Some(BTreeMap::from([(
        MANAGED_BY.to_owned(),
        FIELD_MANAGER.to_owned(),
    )]));
    match Api::<Mesh>::all(client.clone())
        .create(&params(), &mesh)
        .await
    {
        Ok(mesh) => {
            watches.meshes.wrote(mesh);
            Ok(())
        }
        // Someone made one meanwhile: theirs counts.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(Error::kube(format!("making Mesh {name}"))(error)),
    }
}

/// Deletes the storage of a Helm operation that died, if it is still exactly that.
pub(super) async fn delete_storage(
    client: &Client,
    namespace: &str,
    storage: &StorageRef,
) -> Result<()> {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(storage.uid.clone()),
            resource_version: Some(storage.resource_version.clone()),
        }),
        ..DeleteParams::default()
    };
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    match api.delete(&storage.name, &parameters).await {
        Err(error) if !is_not_found(&error) => Err(Error::kube(format!(
            "deleting Secret {namespace}/{}",
            storage.name
        ))(error)),
        _ => Ok(()),
    }
}
