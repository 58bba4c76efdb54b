//! Patches: each one request, each guarded by the UID of what was looked at.

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_api::MeshUpgrade;
use meshlift_api::labels as l;
use meshlift_planner::InjectionLabels;
use meshlift_planner::view::{WorkloadKey, WorkloadKind};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::is_not_found;
use crate::watch::{
    DaemonSetObject, DeploymentObject, Fact, NamespaceObject, StatefulSetObject, Table, Watches,
    WorkloadFact,
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
    let patch = json!({
        "metadata": {
            "uid": uid,
            "resourceVersion": resource_version,
            "labels": { (l::ISTIO_INJECTION): labels.injection, (l::ISTIO_REV): labels.revision },
            "annotations": { (l::MOVED_TO): mark },
        }
    });
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

/// Restarts a workload: the mark on its template starts a rolling update. The time beside it, on
/// the workload itself, starts none.
pub(super) async fn restart(
    client: &Client,
    watches: &Watches,
    key: &WorkloadKey,
    (uid, resource_version): (&str, &str),
    (mark, template_revision): (&str, Option<&str>),
    at: Timestamp,
) -> Result<()> {
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    let mut template = json!({ "annotations": { (l::RESTARTED_FOR): mark } });
    if let Some(revision) = template_revision {
        template["labels"] = json!({ (l::ISTIO_REV): revision });
    }
    let patch = json!({
        "metadata": {
            "uid": uid,
            // A mark that was written meanwhile must not be taken back: that would be a rollout.
            "resourceVersion": resource_version,
            "annotations": { (l::RESTARTED_AT): at.to_string() },
        },
        "spec": { "template": { "metadata": template } }
    });
    let [deployments, stateful_sets, daemon_sets] = &watches.workloads;
    match key.kind {
        WorkloadKind::Deployment => {
            patch_workload::<DeploymentObject>(client, deployments, key, patch).await
        }
        WorkloadKind::StatefulSet => {
            patch_workload::<StatefulSetObject>(client, stateful_sets, key, patch).await
        }
        WorkloadKind::DaemonSet => {
            patch_workload::<DaemonSetObject>(client, daemon_sets, key, patch).await
        }
    }
}

async fn patch_workload<W>(
    client: &Client,
    table: &Table<WorkloadFact>,
    key: &WorkloadKey,
    patch: Value,
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
        Err(error) => Err(Error::kube(format!("restarting {key}"))(error)),
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
