//! `approve`, `pause`, `resume` and `rollback`: what may be changed of an upgrade that runs.

use anyhow::{Result, ensure};
use kube::api::{Patch, PatchParams};
use meshlift_tests::bed::Bed;
use serde_json::json;

use crate::fixture::{meshlift, with_bed};

async fn waits(bed: &Bed, name: &str) -> Result<()> {
    let waves = json!([
        { "name": "canary", "namespaces": { "names": ["blog"] } },
        { "name": "prod", "namespaces": { "percent": 100 }, "approval": "Required" },
    ]);
    let spec = json!({ "targetVersion": "1.31", "dataPlane": { "waves": waves } });
    bed.create_upgrade(name, spec).await?;
    let status = json!({
        "phase": "Upgrading", "step": "WaitingForApproval", "observedGeneration": 1,
        "message": "wave prod waits for approval",
        "waves": [
            {
                "name": "canary", "state": "Verified", "namespaces": 1, "progress": "2/2",
                "startedAt": "2026-03-01T10:00:00Z", "finishedAt": "2026-03-01T10:10:00Z",
            },
            { "name": "prod", "state": "WaitingForApproval", "namespaces": 3, "progress": "0/7" },
        ],
    });
    says(bed, name, status).await
}

async fn says(bed: &Bed, name: &str, status: serde_json::Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": status }));
    let params = PatchParams::default();
    bed.upgrades().patch_status(name, &params, &patch).await?;
    Ok(())
}

/// Ends what may not be deleted while it runs.
async fn ends(bed: &Bed, name: &str) -> Result<()> {
    says(bed, name, json!({ "phase": "Failed" })).await?;
    bed.delete_upgrade(name).await
}

#[test]
fn a_wave_is_shown_as_waiting_and_approved_by_its_name() -> Result<()> {
    with_bed(|bed| async move {
        waits(bed, "asks").await?;
        let shown = meshlift(bed, &["status", "asks"]).await?;
        shown.expect(
            0,
            &[
                "Waves",
                "canary",
                "Verified",
                "10m",
                "WaitingForApproval",
                "0/7",
            ],
        )?;
        let slip = meshlift(bed, &["approve", "asks", "prd"]).await?;
        slip.expect(
            1,
            &["asks has no wave prd; those that need an approval are prod"],
        )?;
        let needless = meshlift(bed, &["approve", "asks", "canary"]).await?;
        needless.expect(1, &["wave canary of asks needs no approval"])?;
        let dry = meshlift(bed, &["approve", "asks", "prod", "--dry-run"]).await?;
        dry.expect(0, &["kind: MeshUpgrade", "approvals:\n  - prod"])?;
        ensure!(bed.upgrades().get("asks").await?.spec.approvals.is_empty());
        let approved = meshlift(bed, &["approve", "asks", "prod"]).await?;
        approved.expect(0, &["meshupgrade.meshlift.io/asks approved: prod"])?;
        ensure!(bed.upgrades().get("asks").await?.spec.approvals == ["prod"]);
        let again = meshlift(bed, &["approve", "asks", "prod"]).await?;
        again.expect(0, &["approved: prod already"])?;
        let none = meshlift(bed, &["approve", "nothing", "prod"]).await?;
        none.expect(1, &["there is no MeshUpgrade nothing"])?;
        meshlift(bed, &["approve", "asks"])
            .await?
            .expect(2, &["<WAVE>"])?;
        let row = bed.cluster.kubectl(&["get", "mup", "-o", "wide"]).await?;
        let says = row.contains("WAVE") && row.contains("   prod   ");
        ensure!(says && !row.contains("canary"), "{row}");
        ends(bed, "asks").await
    })
}

#[test]
fn an_upgrade_is_held_and_let_go_on() -> Result<()> {
    with_bed(|bed| async move {
        waits(bed, "held").await?;
        let paused = meshlift(bed, &["pause", "held"]).await?;
        paused.expect(0, &["meshupgrade.meshlift.io/held paused"])?;
        ensure!(bed.upgrades().get("held").await?.spec.paused);
        let again = meshlift(bed, &["pause", "held"]).await?;
        again.expect(0, &["held is paused already"])?;
        let resumed = meshlift(bed, &["resume", "held", "-o", "json"])
            .await?
            .json()?;
        ensure!(resumed["spec"]["paused"] == false, "{resumed:#}");
        let again = meshlift(bed, &["resume", "held"]).await?;
        again.expect(0, &["held is not paused"])?;
        ends(bed, "held").await
    })
}

#[test]
fn what_has_ended_says_how_to_go_on() -> Result<()> {
    with_bed(|bed| async move {
        waits(bed, "over").await?;
        says(bed, "over", json!({ "phase": "Failed" })).await?;
        for what in [
            &["approve", "over", "prod"][..],
            &["pause", "over"],
            &["rollback", "over", "--yes"],
        ] {
            let refused = meshlift(bed, what).await?;
            let way_out = "kubectl annotate mup over meshlift.io/retry=";
            refused.expect(1, &["over has ended (Failed)", way_out])?;
        }
        let resumed = meshlift(bed, &["resume", "over"]).await?;
        resumed.expect(0, &["over is not paused"])?;
        bed.delete_upgrade("over").await
    })
}

#[test]
fn only_what_runs_goes_back_and_only_if_that_is_allowed() -> Result<()> {
    with_bed(|bed| async move {
        bed.create_upgrade("begins", json!({ "targetVersion": "1.31" }))
            .await?;
        let early = meshlift(bed, &["rollback", "begins", "--yes"]).await?;
        early.expect(1, &["there is nothing to move back"])?;
        let unasked = meshlift(bed, &["rollback", "nothing"]).await?;
        unasked.expect(1, &["there is no MeshUpgrade nothing"])?;
        bed.delete_upgrade("begins").await?;
        waits(bed, "goes").await?;
        let asks = meshlift(bed, &["rollback", "goes"]).await?;
        asks.expect(1, &["no terminal to ask on: add --yes"])?;
        let back = meshlift(bed, &["rollback", "goes", "--yes"]).await?;
        back.expect(0, &["goes asked to move back", "meshlift watch goes"])?;
        ensure!(bed.upgrades().get("goes").await?.spec.request_rollback);
        let rollback = json!({ "reason": "a wave was ill", "since": "2026-03-01T10:00:00Z" });
        says(bed, "goes", json!({ "rollback": rollback })).await?;
        let shown = meshlift(bed, &["status", "goes"]).await?;
        shown.expect(0, &["rollback", "a wave was ill"])?;
        ends(bed, "goes").await?;
        let never = json!({ "targetVersion": "1.31", "rollback": "Never" });
        bed.create_upgrade("never", never).await?;
        says(bed, "never", json!({ "phase": "Upgrading" })).await?;
        let refused = meshlift(bed, &["rollback", "never", "--yes"]).await?;
        refused.expect(1, &["cannot be true with spec.rollback: Never"])?;
        ends(bed, "never").await
    })
}
