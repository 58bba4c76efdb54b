//! A running upgrade is not deleted: not itself, not with its CRD, not when a policy is missing.

use anyhow::{Result, ensure};
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject};
use meshlift_api::{MeshUpgrade, labels};
use serde_json::{Value, json};

use crate::environment::{
    Environment, RUNNING_UPGRADES, eventually, refused_by, refused_with, upgrade, with_cluster,
};

const CRD: &str = "meshupgrades.meshlift.io";
const FORCE: &str = "meshlift.io/force-delete";

async fn delete(client: &Client, name: &str) -> Result<()> {
    let api = Api::<MeshUpgrade>::all(client.clone());
    api.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

async fn exists(client: &Client, name: &str) -> Result<bool> {
    Ok(Api::<MeshUpgrade>::all(client.clone())
        .get_opt(name)
        .await?
        .is_some())
}

#[test]
fn api_an_upgrade_is_deleted_only_while_nothing_moves() -> Result<()> {
    with_cluster(async |env| {
        let _alone = RUNNING_UPGRADES.lock().await;
        env.create(&env.admin, &upgrade("no-phase"), false).await?;
        delete(&env.admin, "no-phase").await?;
        for phase in ["Pending", "Detecting", "Done", "Failed"] {
            env.upgrade_in_phase("idle", phase).await?;
            delete(&env.admin, "idle").await?;
            ensure!(!exists(&env.admin, "idle").await?, "{phase}: still there");
        }
        for phase in ["Upgrading", "HealthChecking"] {
            env.upgrade_in_phase("busy", phase).await?;
            let result = delete(&env.admin, "busy").await;
            let said = refused_by("meshlift-running-upgrades", phase, result)?;
            for word in [
                phase,
                "spec.paused",
                "kubectl get mup busy -w",
                FORCE,
                labels::FINALIZER,
            ] {
                ensure!(said.contains(word), "{word:?} is missing in: {said}");
            }
            let one = Api::<MeshUpgrade>::all(env.admin.clone());
            let selected = kube::api::ListParams::default().fields("metadata.name=busy");
            let all = one
                .delete_collection(&DeleteParams::default(), &selected)
                .await;
            refused_by(
                "meshlift-running-upgrades",
                "all at once",
                all.map_err(Into::into),
            )?;
            ensure!(exists(&env.admin, "busy").await?, "{phase}: it went");
            let forced = json!({ "metadata": { "annotations": { FORCE: "true" } } });
            env.merge(&env.admin, &upgrade("busy"), forced).await?;
            delete(&env.admin, "busy").await?;
            ensure!(
                !exists(&env.admin, "busy").await?,
                "{phase}: not deleted by force"
            );
        }
        Ok(())
    })
}

#[test]
fn api_without_the_policy_the_finalizer_holds_it() -> Result<()> {
    with_cluster(async |env| {
        let _alone = RUNNING_UPGRADES.lock().await;
        let object = upgrade("held");
        env.upgrade_in_phase("held", "Upgrading").await?;
        let finalizer = json!({ "metadata": { "finalizers": [labels::FINALIZER] } });
        env.merge(&env.operator, &object, finalizer).await?;

        let name = "meshlift-running-upgrades";
        let binding = ["validatingadmissionpolicybinding", name];
        let kept = env
            .cluster
            .kubectl(&["get", binding[0], name, "-o", "json"])
            .await?;
        env.cluster
            .kubectl(&["delete", binding[0], binding[1]])
            .await?;
        eventually("the deletion is no longer refused", || async {
            Ok(delete(&env.admin, "held").await.is_ok())
        })
        .await?;
        let held = Api::<MeshUpgrade>::all(env.admin.clone())
            .get("held")
            .await?;
        ensure!(
            held.metadata.deletion_timestamp.is_some(),
            "it was not asked to go"
        );
        // Also on its way out it stays what it was.
        let change = json!({ "spec": { "targetVersion": "1.32" } });
        let result = env.merge(&env.admin, &object, change).await;
        refused_with(
            &["only spec.paused, spec.approvals and spec.requestRollback may change"],
            "a change on the way out",
            result,
        )?;

        let free = json!({ "metadata": { "finalizers": null } });
        env.merge(&env.operator, &object, free).await?;
        ensure!(
            !exists(&env.admin, "held").await?,
            "it stayed without its finalizer"
        );
        let mut kept: Value = serde_json::from_str(&kept)?;
        kept["metadata"] = json!({ "name": name, "labels": kept["metadata"]["labels"], "annotations": kept["metadata"]["annotations"] });
        env.create(&env.admin, &kept, false).await?;
        env.upgrade_in_phase("held", "Upgrading").await?;
        eventually("the policy holds again", || async {
            let dry = DeleteParams {
                dry_run: true,
                ..Default::default()
            };
            let api = Api::<MeshUpgrade>::all(env.admin.clone());
            Ok(api.delete("held", &dry).await.is_err())
        })
        .await?;
        env.set_phase("held", "Done").await?;
        delete(&env.admin, "held").await
    })
}

#[test]
fn api_the_crd_stays_while_an_upgrade_runs() -> Result<()> {
    with_cluster(async |env| {
        let _alone = RUNNING_UPGRADES.lock().await;
        env.upgrade_in_phase("guard-1", "Done").await?;
        env.upgrade_in_phase("guard-2", "Pending").await?;
        eventually("nothing runs: the CRD may go", || async {
            Ok(delete_crd(env, CRD).await.is_ok())
        })
        .await?;
        for phase in ["Upgrading", "HealthChecking"] {
            env.set_phase("guard-2", phase).await?;
            let what = format!("refused while one is {phase}");
            eventually(&what, || async { Ok(delete_crd(env, CRD).await.is_err()) }).await?;
            let said = refused_by("meshlift-crd-guard", phase, delete_crd(env, CRD).await)?;
            for word in ["guard-2", phase, FORCE] {
                ensure!(said.contains(word), "{word:?} is missing in: {said}");
            }
        }
        // Only that CRD is guarded.
        delete_crd(env, "meshes.meshlift.io").await?;
        let forced = format!("{FORCE}=true");
        env.cluster
            .kubectl(&["annotate", "crd", CRD, &forced])
            .await?;
        delete_crd(env, CRD).await?;
        env.cluster
            .kubectl(&["annotate", "crd", CRD, &format!("{FORCE}-")])
            .await?;
        env.set_phase("guard-2", "Failed").await?;
        for name in ["guard-1", "guard-2"] {
            delete(&env.admin, name).await?;
        }
        Ok(())
    })
}

/// As a dry run: admission is asked, and the other tests keep their CRD.
async fn delete_crd(env: &Environment, name: &str) -> Result<()> {
    let object = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": name } });
    let api: Api<DynamicObject> = env.api_of(&env.admin, &object).await?;
    api.delete(
        name,
        &DeleteParams {
            dry_run: true,
            ..Default::default()
        },
    )
    .await?;
    Ok(())
}
