//! An API server that fails at every call site: an upgrade detects, installs, waits and rolls back through it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshlift_api::{Outcome, Phase, Step, conditions};
use meshlift_testbed::Options;
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::faulty::{Faulty, INJECTED, Spares};
use meshlift_tests::istio::{install, make_ready};
use meshlift_tests::operator::{Operator, Settings};
use meshlift_tests::releases::history;
use meshlift_tests::upgrades::{Followed, ensure_condition, ensure_says, wait_phase, wait_status};
use serde_json::json;
use tokio::runtime::Runtime;

const NAME: &str = "to-1-31";
/// With every call site disturbed, on a slow machine.
const LIMIT: Duration = Duration::from_secs(420);
/// Of the calls of a detection, an installation and a rollback.
const SITES: usize = 25;

#[test]
fn api_an_upgrade_goes_on_whatever_call_fails() -> Result<()> {
    Runtime::new()?.block_on(async {
        let bed = Bed::up(Options::api("faults")).await?;
        install(&bed, ISTIO_FROM).await?;
        make_ready(&bed, "default").await?;
        let faulty = Faulty::start(&bed, Spares::Nothing).await?;
        let settings = Settings {
            elects: Some("operator".into()),
            kubeconfig: Some(faulty.kubeconfig().to_owned()),
            ..Settings::default()
        };
        let mut operator = Operator::start_with(&bed, settings).await?;
        let run = async {
            let followed = Followed::follow(&bed, NAME);
            installs_once(&bed).await?;
            rolls_back_once(&bed).await?;
            operator.check()?;
            followed.ensure_said(INJECTED)
        };
        run.await
            .with_context(|| format!("{}", faulty.disturbed()))?;
        faulty.ensure_disturbed(SITES)?;
        faulty.ensure_all_used()?;
        ensure!(operator.stop().await?.success());
        bed.cluster.down().await
    })
}

/// Through detection, backup and record to an istiod that without a kubelet never gets ready.
async fn installs_once(bed: &Bed) -> Result<()> {
    bed.create_upgrade(
        NAME,
        json!({
            "targetVersion": "1.31",
            "dataPlane": { "restart": { "timeout": "10m" } },
            "rollback": "Manual",
        }),
    )
    .await?;
    let status = wait_status(bed, NAME, "the new istiod is waited for", LIMIT, |status| {
        status.step == Some(Step::ProvingControlPlane)
    })
    .await?;
    ensure!(status.phase == Some(Phase::Upgrading), "{status:?}");
    ensure_condition(&status, conditions::DETECTED, ("True", "ChecksPassed"))?;
    for (release, revisions) in [("istio-base", 2), ("istiod", 1), ("istiod-1-31-0", 1)] {
        let found = history(bed, release).await?;
        ensure!(found.len() == revisions, "{release}: {found:?}");
    }
    Ok(())
}

async fn rolls_back_once(bed: &Bed) -> Result<()> {
    bed.patch_upgrade(NAME, json!({ "spec": { "requestRollback": true } }))
        .await?;
    let status = wait_phase(bed, NAME, Phase::Failed, LIMIT).await?;
    ensure!(status.outcome == Some(Outcome::RolledBack), "{status:?}");
    ensure_says(
        &status,
        &["spec.requestRollback asks for it", "on 1.30.2 again"],
    )?;
    let releases = bed.cluster.helm(&["ls", "-n", ISTIO]).await?;
    ensure!(!releases.contains("istiod-1-31-0"), "{releases}");
    let old = history(bed, "istiod").await?;
    ensure!(old.len() == 1, "the old istiod was touched: {old:?}");
    Ok(())
}
