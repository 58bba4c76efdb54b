//! Two upgrades of one mesh.

use anyhow::{Result, ensure};
use meshlift_api::{Phase, conditions};
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
        // Creation times have whole seconds; the same second is settled by uid, which is chance.
        let next_second = older
            .metadata
            .creation_timestamp
            .map_or(0, |time| time.0.as_second() + 1);
        while jiff::Timestamp::now().as_second() < next_second {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        bed.create_upgrade("younger", spec()).await?;
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
            &["waits for MeshUpgrade older", "kubectl describe mup older"],
        )?;
        ensure_untouched(&audit)?;
        // Pending and Detecting: both can be deleted, and the waiting one takes over at once.
        bed.delete_upgrade("older").await?;
        wait_phase(bed, "younger", Phase::Detecting, SOON).await?;
        bed.create_upgrade("third", spec()).await?;
        wait_phase(bed, "third", Phase::Pending, SOON).await?;
        bed.delete_upgrade("third").await?;
        bed.delete_upgrade("younger").await
    })
}
