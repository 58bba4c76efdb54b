//! The operator as a process: health and metrics.

use anyhow::{Result, ensure};
use meshlift_api::Phase;
use meshlift_tests::operator::{Operator, Settings};
use meshlift_tests::upgrades::wait_phase;
use meshlift_tests::wait::until;
use serde_json::json;

use crate::fixture::{SOON, with_bed};

#[test]
fn api_health_and_metrics_are_served() -> Result<()> {
    with_bed(async |bed| {
        let operator = Operator::start(bed).await?;
        until("it is ready", SOON, || async {
            let (status, body) = operator.get("/readyz").await?;
            Ok(if status == 200 { Ok(()) } else { Err(body) })
        })
        .await?;
        ensure!(operator.get("/healthz").await? == (200, "ok".to_owned()));
        ensure!(operator.get("/nothing").await?.0 == 404);
        bed.create_upgrade("measured", json!({ "targetVersion": "1.99.0" }))
            .await?;
        wait_phase(bed, "measured", Phase::Detecting, SOON).await?;
        let phase = |phase: &str| {
            format!("meshlift_upgrade_phase{{phase=\"{phase}\",upgrade=\"measured\"}}")
        };
        until("the phase is measured", SOON, || async {
            let there = operator.metric(&phase("Detecting")).await?;
            Ok(if there == Some(1.0) {
                Ok(())
            } else {
                Err(format!("{there:?}"))
            })
        })
        .await?;
        ensure!(operator.metric(&phase("Upgrading")).await? == Some(0.0));
        ensure!(operator.metric("meshlift_leader").await? == Some(1.0));
        for name in [
            "meshlift_build_info",
            "meshlift_upgrade_workloads",
            "meshlift_reconcile_duration_seconds",
        ] {
            // A reconcile is measured at its end, after the status that was waited for.
            until(&format!("{name} is served"), SOON, || async {
                let (_, text) = operator.get("/metrics").await?;
                let there = text.contains(&format!("# TYPE {name} "));
                Ok(there.then_some(()).ok_or(text))
            })
            .await?;
        }
        bed.delete_upgrade("measured").await?;
        until("a deleted upgrade is not measured", SOON, || async {
            let left = operator.metric(&phase("Detecting")).await?;
            Ok(left.map_or(Ok(()), |value| Err(value.to_string())))
        })
        .await
    })
}

#[test]
fn api_without_rights_it_lives_and_is_not_ready() -> Result<()> {
    with_bed(async |bed| {
        let nobody = Settings {
            kubeconfig: Some(bed.cluster.kubeconfig_for("nobody", &[])?),
            ..Settings::default()
        };
        let mut operator = Operator::start_with(bed, nobody).await?;
        let audit = bed.audit()?;
        until("it was refused the list", SOON, || async {
            let log = std::fs::read_to_string(bed.cluster.audit_log())?;
            let refused = log.lines().any(|line| {
                line.contains("\"username\":\"nobody\"")
                    && line.contains("\"resource\":\"meshupgrades\"")
                    && line.contains("\"code\":403")
            });
            Ok(refused.then_some(()).ok_or("not yet".to_owned()))
        })
        .await?;
        ensure!(operator.get("/healthz").await?.0 == 200);
        let (status, body) = operator.get("/readyz").await?;
        ensure!(
            status == 503 && body.contains("MeshUpgrades"),
            "{status}: {body}"
        );
        ensure!(
            audit
                .writes("nobody")?
                .iter()
                .all(|write| write.code == 403)
        );
        operator.check()
    })
}
