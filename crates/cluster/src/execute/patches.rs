//! Patches: each one request, each guarded by the UID of what was looked at.

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_api::MeshUpgrade;
use meshlift_api::labels as l;
use meshlift_model::view::{WorkloadKey, WorkloadKind};
use meshlift_model::{InjectionLabels, TemplateRevision};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::is_not_found;
use crate::watch::{
    AdvancedDaemonSetObject, AdvancedStatefulSetObject, CloneSetObject, DaemonSetObject,
    DeploymentObject, Fact, NamespaceObject, ReplicaSetObject, RolloutObject, StatefulSetObject,
    Table, Watches, WorkloadFact,
};
use crate::{Error, Result};

pub(super) fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(l::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Writes both injection labels of a namespace in one patch, because between two a pod would get no
/// sidecar. `mark` is the revision that is remembered as the one it was moved to.
pub(super) async fn move_namespace(
    client: &Client,
    watches: &Watches,
    name: &str,
    (uid, resource_version): (&str, &str),
    labels: &InjectionLabels,
    mark: Option<&str>,
) -> Result<()> {
    let patch = namespace((uid, resource_version), labels, mark);
    let api = Api::<NamespaceObject>::all(client.clone());
    match api.patch(name, &params(), &Patch::Merge(patch)).await {
        Ok(object) => {
            watches.namespaces.wrote(object);
            Ok(())
        }
        // Deleted meanwhile: the next look shows it.
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Error::kube(format!(
            "writing the injection labels of namespace {name}"
        ))(error)),
    }
}

/// What is written to a namespace that moves.
pub(super) fn namespace(
    (uid, resource_version): (&str, &str),
    labels: &InjectionLabels,
    mark: Option<&str>,
) -> Value {
    json!({
        "metadata": {
            "uid": uid,
            "resourceVersion": resource_version,
            "labels": { (l::ISTIO_INJECTION): labels.injection, (l::ISTIO_REV): labels.revision },
            "annotations": { (l::MOVED_TO): mark },
        }
    })
}

/// Restarts a workload: the mark on its template starts a rolling update. The time beside it, on
/// the workload itself, starts none. A Rollout has a field for it, and keeps the mark on itself.
pub(super) async fn restart(
    client: &Client,
    watches: &Watches,
    key: &WorkloadKey,
    seen: (&str, &str),
    asks: (&str, Option<&TemplateRevision>),
    at: Timestamp,
) -> Result<()> {
    let patch = restarted(key, seen, asks, at);
    write(client, watches, key, patch, "restarting").await
}

/// What is written to a workload that is restarted.
pub(super) fn restarted(
    key: &WorkloadKey,
    (uid, resource_version): (&str, &str),
    (mark, asked): (&str, Option<&TemplateRevision>),
    at: Timestamp,
) -> Value {
    let at = Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string();
    let mut annotations = json!({ (l::RESTARTED_AT): at });
    let spec = match key.kind {
        WorkloadKind::Rollout => {
            annotations[l::RESTARTED_FOR] = mark.into();
            json!({ "restartAt": at })
        }
        _ => {
            let mut template = json!({ "annotations": { (l::RESTARTED_FOR): mark } });
            if let Some(asked) = asked {
                template["labels"] = json!({ (l::ISTIO_REV): asked.label });
                annotations[l::TEMPLATE_REVISION] = json!(asked.before);
            }
            json!({ "template": { "metadata": template } })
        }
    };
    let metadata = json!({
        "uid": uid,
        // A mark that was written meanwhile must not be taken back: that would be a rollout.
        "resourceVersion": resource_version,
        "annotations": annotations,
    });
    json!({ "metadata": metadata, "spec": spec })
}

/// Remembers on a workload that one of its pods was evicted. Starts nothing.
pub(super) async fn note_eviction(
    client: &Client,
    watches: &Watches,
    key: &WorkloadKey,
    uid: &str,
    at: Timestamp,
) -> Result<()> {
    let at = Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string();
    let patch = json!({ "metadata": { "uid": uid, "annotations": { (l::EVICTED_AT): at } } });
    write(client, watches, key, patch, "noting an eviction on").await
}

async fn write(
    client: &Client,
    watches: &Watches,
    key: &WorkloadKey,
    patch: Value,
    what: &str,
) -> Result<()> {
    let table = watches.of(key.kind);
    match key.kind {
        WorkloadKind::Deployment => {
            patch_workload::<DeploymentObject>(client, table, key, patch, what).await
        }
        WorkloadKind::StatefulSet => {
            patch_workload::<StatefulSetObject>(client, table, key, patch, what).await
        }
        WorkloadKind::DaemonSet => {
            patch_workload::<DaemonSetObject>(client, table, key, patch, what).await
        }
        WorkloadKind::ReplicaSet => {
            patch_workload::<ReplicaSetObject>(client, table, key, patch, what).await
        }
        WorkloadKind::Rollout => {
            patch_workload::<RolloutObject>(client, table, key, patch, what).await
        }
        WorkloadKind::CloneSet => {
            patch_workload::<CloneSetObject>(client, table, key, patch, what).await
        }
        WorkloadKind::AdvancedStatefulSet => {
            patch_workload::<AdvancedStatefulSetObject>(client, table, key, patch, what).await
        }
        WorkloadKind::AdvancedDaemonSet => {
            patch_workload::<AdvancedDaemonSetObject>(client, table, key, patch, what).await
        }
    }
}

async fn patch_workload<W>(
    client: &Client,
    table: &Table<WorkloadFact>,
    key: &WorkloadKey,
    patch: Value,
    what: &str,
) -> Result<()>
where
    W: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
    WorkloadFact: Fact<W>,
{
    let api = Api::<W>::namespaced(client.clone(), &key.namespace);
    match api.patch(&key.name, &params(), &Patch::Merge(patch)).await {
        Ok(object) => {
            table.wrote(object);
            Ok(())
        }
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Error::kube(format!("{what} {key}"))(error)),
    }
}

/// Puts our finalizer on a MeshUpgrade, or takes it off.
pub(super) async fn set_finalizer(
    client: &Client,
    watches: &Watches,
    object: &MeshUpgrade,
    on: bool,
) -> Result<()> {
    let mut finalizers: Vec<&str> = object
        .finalizers()
        .iter()
        .map(String::as_str)
        .filter(|f| *f != l::FINALIZER)
        .collect();
    if on {
        finalizers.push(l::FINALIZER);
    }
    // The resource version keeps the finalizers that others add meanwhile.
    let patch = json!({
        "metadata": {
            "uid": object.uid(),
            "resourceVersion": object.resource_version(),
            "finalizers": finalizers,
        }
    });
    let api = Api::<MeshUpgrade>::all(client.clone());
    match api
        .patch(&object.name_any(), &params(), &Patch::Merge(patch))
        .await
    {
        Ok(object) => {
            watches.upgrades.wrote(object);
            Ok(())
        }
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(Error::kube("setting the finalizer")(error)),
    }
}
