//! A status that follows from a decision is written only over what the decision was made from: as the API server sees it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DeleteParams;
use meshlift_api::{MeshUpgrade, MeshUpgradeStatus, Phase, RollbackStatus, WaveStatus, labels};
use meshlift_cluster::{Watches, mesh_status, status};
use meshlift_model::ErrorClass;
use meshlift_tests::bed::Bed;
use serde_json::json;

use crate::fixture::with_bed;

const NAME: &str = "meanwhile";

/// Writes as the operator does, from what it looked at.
struct Writer {
    bed: &'static Bed,
    watches: Watches,
}

impl Writer {
    /// An upgrade in Detecting, as a look found it.
    async fn looked(&self) -> Result<MeshUpgrade> {
        self.bed
            .create_upgrade(NAME, json!({ "targetVersion": "1.31.0" }))
            .await?;
        let held = json!({ "metadata": { "finalizers": [labels::FINALIZER] } });
        let object = self.bed.patch_upgrade(NAME, held).await?;
        let detecting = MeshUpgradeStatus {
            phase: Some(Phase::Detecting),
            ..MeshUpgradeStatus::default()
        };
        self.write(&object, &detecting).await?;
        Ok(self.bed.upgrades().get(NAME).await?)
    }

    async fn write(&self, object: &MeshUpgrade, status: &MeshUpgradeStatus) -> Result<()> {
        let written = status::write(&self.bed.client, &self.watches, object, status).await?;
        written.map(drop).context("there was nothing to write")
    }

    /// Records that it begins, as was decided from `looked`: refused as a conflict, and nothing of it is stored.
    async fn must_not_begin(&self, looked: &MeshUpgrade) -> Result<()> {
        let before = self.bed.upgrades().get(NAME).await?;
        let begins = begins(looked);
        let written = status::write(&self.bed.client, &self.watches, looked, &begins).await;
        let error = written.err().context("it was written")?;
        ensure!(error.class() == ErrorClass::Conflict, "{error}");
        ensure!(
            self.bed.upgrades().get(NAME).await? == before,
            "something changed"
        );
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        let free = json!({ "metadata": { "finalizers": null } });
        self.bed.patch_upgrade(NAME, free).await?;
        self.bed.delete_upgrade(NAME).await
    }
}

fn begins(looked: &MeshUpgrade) -> MeshUpgradeStatus {
    MeshUpgradeStatus {
        phase: Some(Phase::Upgrading),
        observed_generation: looked.metadata.generation,
        ..looked.status.clone().unwrap_or_default()
    }
}

#[test]
fn api_a_status_is_not_written_over_what_changed_since_the_look() -> Result<()> {
    with_bed(async |bed| {
        let (watches, follow) = Watches::start_rechecking(&bed.client, Duration::from_secs(1));
        drop(follow);
        let writer = Writer { bed, watches };

        // A spec that changed: Done would be said of a version that nobody asks for any more.
        let looked = writer.looked().await?;
        let spec = json!({ "spec": { "targetVersion": "1.31.1" } });
        bed.patch_upgrade(NAME, spec).await?;
        writer.must_not_begin(&looked).await?;
        writer.clear().await?;

        // A deletion: what was deleted before it began would run.
        let looked = writer.looked().await?;
        bed.upgrades()
            .delete(NAME, &DeleteParams::default())
            .await?;
        writer.must_not_begin(&looked).await?;
        let free = json!({ "metadata": { "finalizers": null } });
        bed.patch_upgrade(NAME, free).await?;

        // What another process recorded: a way back and the begin of a wave would be lost.
        let looked = writer.looked().await?;
        let now = Time(Timestamp::from_second(Timestamp::now().as_second())?);
        let recorded = MeshUpgradeStatus {
            rollback: Some(RollbackStatus {
                reason: "it failed".into(),
                since: now.clone(),
                soak: None,
            }),
            waves: vec![WaveStatus {
                started_at: Some(now),
                ..WaveStatus::pending("first")
            }],
            ..begins(&looked)
        };
        writer.write(&looked, &recorded).await?;
        writer.must_not_begin(&looked).await?;
        let stored = bed
            .upgrades()
            .get(NAME)
            .await?
            .status
            .context("no status")?;
        ensure!(stored == recorded, "{stored:?}");
        bed.set_phase(NAME, "Failed").await?;
        writer.clear().await?;

        // Nothing but our own metadata: the newest state takes it.
        let looked = writer.looked().await?;
        let touched = json!({ "metadata": { "annotations": { "someone": "else" } } });
        let newest = bed.patch_upgrade(NAME, touched).await?;
        writer.must_not_begin(&looked).await?;
        writer.write(&newest, &begins(&looked)).await?;
        bed.set_phase(NAME, "Failed").await?;
        writer.clear().await
    })
}

#[test]
fn api_the_status_of_a_mesh_is_not_written_over_another_spec() -> Result<()> {
    with_bed(async |bed| {
        let (watches, follow) = Watches::start_rechecking(&bed.client, Duration::from_secs(1));
        drop(follow);
        bed.create_mesh("meanwhile", json!({})).await?;
        let looked = bed.meshes().get("meanwhile").await?;
        bed.create_mesh("meanwhile", json!({ "hub": "registry.example.org/istio" }))
            .await?;
        let after = meshlift_api::MeshStatus {
            observed_generation: looked.metadata.generation,
            version: Some("1.30.2".into()),
            ..meshlift_api::MeshStatus::default()
        };
        let written = mesh_status::write(&bed.client, &watches, &looked, &after).await;
        let error = written.err().context("it was written")?;
        ensure!(error.class() == ErrorClass::Conflict, "{error}");
        let newest = bed.meshes().get("meanwhile").await?;
        ensure!(newest.status.is_none(), "{:?}", newest.status);
        ensure!(mesh_status::write(&bed.client, &watches, &newest, &after).await?);
        bed.meshes()
            .delete("meanwhile", &DeleteParams::default())
            .await?;
        Ok(())
    })
}
