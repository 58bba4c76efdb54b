//! Objects made and removed: the record, a discovered Mesh, Helm's storage of a dead operation.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_api::labels::{CONTENT, FIELD_MANAGER, MANAGED_BY, UPGRADE};
use meshlift_api::{MeshSpec, MeshUpgrade, Phase};
use meshlift_model::view::{Seen, StorageRef};
use meshlift_model::{BackupScope, Record, Upgrade};

use super::{PLAN_KEY, RECORD_KEY};
use crate::error::is_not_found;
use crate::watch::Watches;
use crate::{Error, Result, Settings, backup, mesh_status};

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
    let mut secret = own_secret(object, upgrade.record_name(), RECORD_KEY, json);
    let content = (CONTENT.to_owned(), backup::RECORD.to_owned());
    secret.labels_mut().extend([content]);
    let mesh = (backup::MESH.to_owned(), upgrade.spec.mesh.clone());
    secret.annotations_mut().extend([mesh]);
    put(client, settings, secret, what).await
}

/// Writes the plan; one of an earlier look is replaced. It goes with its MeshUpgrade, which is all
/// it speaks of.
pub(super) async fn write_plan(
    client: &Client,
    settings: &Settings,
    object: &MeshUpgrade,
    upgrade: &Upgrade,
    text: &str,
) -> Result<()> {
    let mut secret = own_secret(object, upgrade.plan_name(), PLAN_KEY, text.into());
    // Not a controller's reference: that would ask for the right to hold up deletion.
    let owner = object.owner_ref(&());
    secret.metadata.owner_references = owner.map(|owner| vec![owner]);
    put(client, settings, secret, "writing the plan").await
}

/// Takes the backup of this run, unless it is there as a whole.
pub(super) async fn back_up(
    client: &Client,
    settings: &Settings,
    upgrade: &Upgrade,
    scope: &BackupScope,
) -> Result<()> {
    if backup::exists(client, &settings.namespace, &scope.name).await? {
        return Ok(());
    }
    let header = backup::Header {
        format: backup::FORMAT,
        name: scope.name.clone(),
        mesh: scope.mesh.clone(),
        upgrade: Some(upgrade.name.clone()),
        from: Some(scope.from.clone()),
        to: Some(scope.to.clone()),
        taken_at: Timestamp::now(),
        meshlift: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut sink = backup::SecretSink::new(
        client.clone(),
        &settings.namespace,
        &scope.name,
        &upgrade.name,
    );
    let index = backup::take(client, header, &scope.releases, &mut sink).await?;
    let entries: u64 = index.counts.values().sum();
    tracing::info!(
        backup = scope.name,
        entries,
        bytes = index.bytes,
        "backed up"
    );
    Ok(())
}

/// Removes backups and records that are too many. A failure is no reason to hold an upgrade: the next one tries again.
pub(super) async fn retain(
    client: &Client,
    settings: &Settings,
    watches: &Watches,
    upgrade: &Upgrade,
) {
    let Seen::Present(all) = watches.upgrades.all() else {
        // Whose backup is still needed is not known.
        return;
    };
    let statuses = || all.iter().filter_map(|other| other.status.as_ref());
    let ended = |other: &MeshUpgrade| {
        let phase = other.status.as_ref().and_then(|status| status.phase);
        phase.is_some_and(Phase::is_terminal)
    };
    let running = all.iter().filter(|other| !ended(other));
    let retention = backup::Retention {
        mesh: &upgrade.spec.mesh,
        keep: settings.keep_backups,
        running: &running.map(|other| other.name_any()).collect(),
        named: &statuses()
            .filter_map(|status| status.record.clone())
            .collect(),
    };
    match retention.apply(client, &settings.namespace).await {
        Ok((0, 0)) => {}
        Ok((backups, records)) => tracing::info!(backups, records, "removed what is too old"),
        Err(error) => tracing::warn!(%error, "old backups are kept"),
    }
}

/// A Secret of our own with one key.
fn own_secret(object: &MeshUpgrade, name: String, key: &str, data: Vec<u8>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(BTreeMap::from([(
                MANAGED_BY.to_owned(),
                FIELD_MANAGER.to_owned(),
            )])),
            annotations: Some(BTreeMap::from([(
                UPGRADE.to_owned(),
                object.metadata.name.clone().unwrap_or_default(),
            )])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(key.to_owned(), ByteString(data))])),
        ..Secret::default()
    }
}

/// Makes a Secret in the operator's namespace, or replaces it.
async fn put(client: &Client, settings: &Settings, mut secret: Secret, what: &str) -> Result<()> {
    let name = secret.metadata.name.clone().unwrap_or_default();
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

/// Makes a Mesh for the control plane that was found, unless there is one by another name.
pub(super) async fn register_mesh(
    client: &Client,
    watches: &Watches,
    name: &str,
    spec: &MeshSpec,
    repository: &str,
) -> Result<()> {
    let home = &spec.control_plane_namespace;
    let all = watches.meshes.all();
    let mut meshes = all.present().into_iter().flatten();
    if let Some(known) = meshes.find(|mesh| &mesh.spec.control_plane_namespace == home) {
        let known = known.name_any();
        return if known == name {
            Ok(())
        } else {
            Err(Error::Unreadable(format!(
                "there is no Mesh {name}, and the mesh in namespace {home} is called {known}: set spec.mesh to {known}"
            )))
        };
    }
    let mut spec = spec.clone();
    repository.clone_into(&mut spec.charts.repository);
    mesh_status::make(client, watches, name, spec)
        .await
        .map(|_| ())
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
