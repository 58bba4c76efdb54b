//! An object on a mesh that is already at its target: Done, and no write to the mesh.

use anyhow::{Result, ensure};
use meshlift_api::{Outcome, Phase, conditions};
use meshlift_testbed::versions::ISTIO_TO;
use meshlift_tests::bed::{Bed, OPERATOR_USER};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{ensure_condition, ensure_says, wait_phase, wait_status};
use serde_json::json;

use crate::fixture::{SOON, ensure_untouched, install_istio, make_ready, with_own_bed};

const NAME: &str = "to-1-31";

#[test]
fn api_a_mesh_at_its_target_is_done_and_not_written_to() -> Result<()> {
    with_own_bed(async |bed| {
        install_istio(&bed, ISTIO_TO).await?;
        make_ready(&bed, "default").await?;
        let audit = bed.audit()?;
        let operator = Operator::start(&bed).await?;
        is_done(&bed).await?;

        // Re-applied unchanged: nothing at all is written.
        let ended = bed.upgrades().get(NAME).await?;
        let quiet = bed.audit()?;
        bed.patch_upgrade(NAME, json!({ "spec": { "targetVersion": "1.31" } }))
            .await?;
        let again = bed.upgrades().get(NAME).await?;
        ensure!(again.metadata.resource_version == ended.metadata.resource_version);
        // A restart looks at everything anew.
        ensure!(operator.stop().await?.success());
        let _operator = Operator::start(&bed).await?;
        // It has looked at `NAME` when it has looked at one that came later.
        bed.create_upgrade("later", json!({ "targetVersion": "1.31.0" }))
            .await?;
        wait_phase(&bed, "later", Phase::Done, SOON).await?;
        let about: Vec<_> = quiet
            .writes(OPERATOR_USER)?
            .into_iter()
            .filter(|w| w.name == NAME)
            .collect();
        ensure!(
            about.is_empty(),
            "an ended object was written to: {about:?}"
        );
        bed.delete_upgrade("later").await?;

        // Asked again, with a word and with a new target.
        bed.retry(NAME, "once more").await?;
        let status = wait_status(&bed, NAME, "it ran again", SOON, |status| {
            status.phase == Some(Phase::Done) && status.history.len() == 1
        });
        ensure!(status.await?.observed_retry.as_deref() == Some("once more"));
        bed.patch_upgrade(NAME, json!({ "spec": { "targetVersion": "1.31.0" } }))
            .await?;
        wait_status(&bed, NAME, "it ran for the new target", SOON, |status| {
            status.phase == Some(Phase::Done) && status.history.len() == 2
        })
        .await?;

        // Asked right after its end, again and again: none is overlooked.
        for number in 0..10 {
            let value = format!("again {number}");
            bed.retry(NAME, &value).await?;
            wait_status(&bed, NAME, &value, SOON, |status| {
                status.phase == Some(Phase::Done)
                    && status.observed_retry.as_deref() == Some(&value)
            })
            .await?;
        }

        // Deleted and made anew, as from a backup without status.
        bed.delete_upgrade(NAME).await?;
        is_done(&bed).await?;
        bed.delete_upgrade(NAME).await?;
        ensure_untouched(&audit)
    })
}

async fn is_done(bed: &Bed) -> Result<()> {
    bed.create_upgrade(NAME, json!({ "targetVersion": "1.31" }))
        .await?;
    let status = wait_phase(bed, NAME, Phase::Done, SOON).await?;
    ensure!(status.outcome == Some(Outcome::Upgraded), "{status:?}");
    ensure_condition(&status, conditions::READY, ("True", "Upgraded"))?;
    ensure_condition(&status, conditions::DETECTED, ("True", "AtTarget"))?;
    ensure_condition(&status, conditions::RECONCILING, ("False", "Ended"))?;
    ensure_says(&status, &["1.31.0", "nothing was to do"])?;
    let object = bed.upgrades().get(NAME).await?;
    ensure!(
        status.observed_generation == object.metadata.generation,
        "{status:?}"
    );
    Ok(())
}
