//! Two upgrades of one mesh.

use std::time::Duration;

use anyhow::{Result, ensure};
use meshlift_api::{MeshUpgrade, Phase, conditions};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{ensure_condition, ensure_says, wait_phase, wait_status};
use serde_json::json;

use crate::fixture::{SOON, ensure_untouched, with_bed};

#[test]
fn api_the_younger_of_two_upgrades_waits_and_says_for_whom() -> Result<()> {
    with_bed(async |bed| {
        let audit = bed.audit()?;
        let _operator = Operator::start(bed).await?;
        // Refused, so that it stays where it is.
        let spec = || json!({ "targetVersion": "1.99.0" });
        let older = bed.create_upgrade("older", spec()).await?;
        wait_phase(bed, "older", Phase::Detecting, SOON).await?;
        wait_for_next_second(&older).await;
        let younger = bed.create_upgrade("younger", spec()).await?;
        let status = wait_status(bed, "younger", "the younger waits", SOON, |status| {
            status.message.contains("older")
        })
        .await?;
        ensure!(status.phase == Some(Phase::Pending), "{status:?}");
        ensure_condition(
            &status,
            conditions::RECONCILING,
            ("True", "WaitingForOtherUpgrade"),
        )?;
        ensure_condition(&status, conditions::READY, ("False", "Pending"))?;
        ensure_says(
            &status,
            &[
                "waiting for MeshUpgrade older",
                "kubectl describe mup older",
            ],
        )?;
        ensure_untouched(&audit)?;
        // Pending and Detecting: both can be deleted, and the waiting one takes over at once.
        bed.delete_upgrade("older").await?;
        wait_phase(bed, "younger", Phase::Detecting, SOON).await?;
        wait_for_next_second(&younger).await;
        bed.create_upgrade("third", spec()).await?;
        wait_phase(bed, "third", Phase::Pending, SOON).await?;
        bed.delete_upgrade("third").await?;
        bed.delete_upgrade("younger").await
    })
}

/// Creation times have whole seconds; within one second the uid decides, which is chance.
async fn wait_for_next_second(object: &MeshUpgrade) {
    let created = object.metadata.creation_timestamp.as_ref();
    let second = created.map_or(0, |time| time.0.as_second());
    while jiff::Timestamp::now().as_second() <= second {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
