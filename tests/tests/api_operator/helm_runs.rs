//! Helm in the middle of an operation when the operator has to stop: it is asked to end, and when another leads it is made
//! to, at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshlift_api::Step;
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_tests::bed::Bed;
use meshlift_tests::operator::{Operator, Settings};
use meshlift_tests::upgrades::wait_status;
use meshlift_tests::wait::until;
use serde_json::json;

use crate::fixture::{install_istio, make_ready, with_own_bed};
use crate::leading::hold_as;

const NAME: &str = "to-1-31";
const LONG: Duration = Duration::from_secs(120);

/// A Helm that begins an upgrade and never ends it, but when it is asked to; what it did is in `told`.
fn slow_helm(bed: &Bed, told: &Path) -> Result<PathBuf> {
    let folder = bed.cluster.scratch().join("slow");
    fs::create_dir_all(&folder)?;
    // The name by which a child of the operator is known.
    let helm = folder.join("helm");
    let real = bed.cluster.tools().program("helm")?;
    let told = told.display();
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in\nupgrade) trap 'echo asked >> {told}; exit 1' TERM\necho begun >> {told}\n\
         while :; do sleep 0.2; done;;\n*) exec {} \"$@\";;\nesac\n",
        real.display()
    );
    fs::write(&helm, script)?;
    fs::set_permissions(&helm, fs::Permissions::from_mode(0o755))?;
    Ok(helm)
}

async fn begun(told: &Path) -> Result<()> {
    until("Helm has begun", LONG, || async {
        let said = fs::read_to_string(told).unwrap_or_default();
        Ok(said.contains("begun").then_some(()).ok_or(said))
    })
    .await
}

#[test]
fn api_helm_is_ended_with_the_time_of_the_operator() -> Result<()> {
    with_own_bed(async |bed| {
        install_istio(&bed, ISTIO_FROM).await?;
        make_ready(&bed, "default").await?;
        let told = bed.cluster.scratch().join("told");
        let slow = Settings {
            elects: Some("stops".to_owned()),
            helm: Some(slow_helm(&bed, &told)?),
            stop_within: Some("14s"),
            ..Settings::default()
        };
        bed.create_upgrade(NAME, json!({ "targetVersion": "1.31" }))
            .await?;

        // Asked to stop: Helm is waited for, and then asked, so that it can say that it failed.
        let operator = Operator::start_with(&bed, slow.clone()).await?;
        begun(&told).await?;
        let helm = operator.helm_child().context("no Helm runs")?;
        ensure!(operator.stop().await?.success());
        ensure!(
            fs::read_to_string(&told)?.contains("asked"),
            "Helm was not asked to end"
        );
        ensure!(
            !Path::new(&format!("/proc/{helm}")).exists(),
            "Helm still runs"
        );

        // Another leads: there is no time to ask.
        fs::remove_file(&told)?;
        let mut operator = Operator::start_with(&bed, slow).await?;
        begun(&told).await?;
        let helm = operator.helm_child().context("no Helm runs")?;
        hold_as(&bed, "ghost", "2026-11-02T02:00:00.000000Z").await?;
        let ended = operator.ended(LONG).await?;
        ensure!(
            !ended.success(),
            "it went as if it had been asked to: {ended}"
        );
        ensure!(
            !Path::new(&format!("/proc/{helm}")).exists(),
            "Helm still runs"
        );
        ensure!(
            !fs::read_to_string(&told)?.contains("asked"),
            "Helm was asked"
        );

        // The next one goes on, with what there is.
        let _next = Operator::start_with(&bed, Settings::default()).await?;
        wait_status(&bed, NAME, "the new istiod is waited for", LONG, |status| {
            status.step == Some(Step::ProvingControlPlane)
        })
        .await?;
        Ok(())
    })
}
