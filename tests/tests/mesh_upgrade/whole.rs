//! One whole upgrade under load, and silence after it.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::DeleteParams;
use meshlift_api::{Outcome, Phase, conditions};
use meshlift_testbed::shop::{NAMESPACES, VISITORS};
use meshlift_testbed::{progress, versions};
use meshlift_tests::bed::{ISTIO, OPERATOR_USER};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{ensure_condition, wait_phase};
use meshlift_tests::wait::until;

use crate::fixture::{
    UPGRADE, ensure_nothing_lost, ensure_upgraded, ensure_values_survived, hurried, open_shop,
    rollouts, sidecars, with_mesh,
};

const NAME: &str = "to-1-31";
/// For so long nothing may be written after the end.
const QUIET: Duration = Duration::from_secs(60);

#[test]
fn mesh_a_whole_upgrade_loses_no_request_and_then_is_quiet() -> Result<()> {
    with_mesh("mesh_a_whole_upgrade", async |bed| {
        let load = open_shop(&bed).await?;
        let before = sidecars(&bed).await?;
        ensure!(before.len() >= 10, "too few sidecars: {before:?}");
        ensure!(
            before.iter().all(|(_, image)| image.ends_with(":1.30.2")),
            "{before:?}"
        );
        let mut operator = Operator::start(&bed).await?;
        bed.create_upgrade(NAME, hurried()).await?;

        wait_phase(&bed, NAME, Phase::Upgrading, UPGRADE).await?;
        wait_phase(&bed, NAME, Phase::HealthChecking, UPGRADE).await?;
        let refused = bed.upgrades().delete(NAME, &DeleteParams::default()).await;
        let said = refused
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        ensure!(
            said.contains("HealthChecking"),
            "deleted while health is checked: {said:?}"
        );

        let status = wait_phase(&bed, NAME, Phase::Done, UPGRADE).await?;
        // The last thing it does is to let the object go.
        until("the finalizer is gone", Duration::from_secs(10), || async {
            let held = bed.upgrades().get(NAME).await?.metadata.finalizers;
            Ok(held.map_or(Ok(()), |held| Err(format!("{held:?}"))))
        })
        .await?;
        mesh_list_follows(&bed).await?;
        let audit = bed.audit()?;
        let ended = tokio::time::Instant::now();
        ensure!(status.outcome == Some(Outcome::Upgraded), "{status:?}");
        for kind in [
            conditions::DETECTED,
            conditions::CONTROL_PLANE_READY,
            conditions::DATA_PLANE_UPGRADED,
            conditions::HEALTHY,
            conditions::OLD_REVISION_RETIRED,
        ] {
            ensure!(
                status
                    .conditions
                    .iter()
                    .any(|c| c.type_ == kind && c.status == "True"),
                "{kind}: {status:?}"
            );
        }
        ensure_condition(&status, conditions::READY, ("True", "Upgraded"))?;
        ensure!(status.blocked.is_empty(), "{:?}", status.blocked);
        ensure_upgraded(&bed).await?;
        ensure_values_survived(&bed).await?;
        let mut namespaces = NAMESPACES.to_vec();
        namespaces.push(VISITORS);
        let restarts = rollouts(&bed, &namespaces).await?;
        ensure!(
            restarts.len() == 6 && restarts.iter().all(|(_, n)| *n == 2),
            "not each restarted once: {restarts:?}"
        );
        ensure_nothing_lost(load).await?;

        tokio::time::sleep_until(ended + QUIET).await;
        operator.check()?;
        // What the mesh list tells may settle a little later, in one or two writes of its own.
        let (list, others): (Vec<_>, Vec<_>) = audit
            .writes(OPERATOR_USER)?
            .into_iter()
            .partition(|write| write.resource == "meshlift.io/meshes/status");
        ensure!(others.is_empty(), "written after the end: {others:?}");
        ensure!(list.len() <= 2, "the mesh list does not settle: {list:?}");
        progress::line(&format!("quiet for {} s after the end", QUIET.as_secs()));
        still_the_users_release(&bed).await
    })
}

/// The mesh list is looked at every few seconds: it tells of the end a little later.
async fn mesh_list_follows(bed: &meshlift_tests::bed::Bed) -> Result<()> {
    until("the Mesh is at 1.31.0", Duration::from_secs(60), || async {
        let status = bed.meshes().get("default").await?.status;
        let status = status.unwrap_or_default();
        let revisions: Vec<&str> = status.revisions.iter().map(|r| r.name.as_str()).collect();
        let proxies = status.data_plane.clone().unwrap_or_default();
        let told = status.version.as_deref() == Some(versions::ISTIO_TO)
            && revisions == ["1-31-0"]
            && proxies.current == proxies.total;
        Ok(told.then_some(()).ok_or(format!("{status:?}")))
    })
    .await
}

/// What Helm shows is the user's to go on with.
async fn still_the_users_release(bed: &meshlift_tests::bed::Bed) -> Result<()> {
    let charts = bed.cluster.charts_url_host()?;
    let upgrade = [
        "upgrade",
        "istiod-1-31-0",
        "istiod",
        "-n",
        ISTIO,
        "--reuse-values",
    ];
    let from = ["--repo", &charts, "--version", versions::ISTIO_TO];
    let set = [
        "--set",
        "meshConfig.accessLogEncoding=JSON",
        "--wait",
        "--timeout",
        "60s",
    ];
    bed.cluster
        .helm(&[&upgrade[..], &from, &set].concat())
        .await?;
    ensure_upgraded(bed).await?;
    ensure_values_survived(bed).await
}
