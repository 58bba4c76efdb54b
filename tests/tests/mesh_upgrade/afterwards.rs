//! What holds while the health of an upgraded mesh is checked, and once the upgrade has ended.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::DeleteParams;
use meshlift_api::{MeshUpgradeStatus, Outcome, Phase, conditions};
use meshlift_testbed::progress;
use meshlift_tests::audit::Audit;
use meshlift_tests::bed::{Bed, OPERATOR_USER};
use meshlift_tests::istio;
use meshlift_tests::upgrades::{ensure_condition, wait_phase};
use meshlift_tests::wait::until;

use crate::fixture::{UPGRADE, ensure_upgraded_to, ensure_values_survived_to, revision_of};

/// For so long nothing may be written after the end.
const QUIET: Duration = Duration::from_secs(60);

/// Fails unless an upgrade is kept from being deleted until it has ended.
pub(crate) async fn ensure_held_until_it_ends(bed: &Bed, name: &str) -> Result<()> {
    wait_phase(bed, name, Phase::HealthChecking, UPGRADE).await?;
    let refused = bed.upgrades().delete(name, &DeleteParams::default()).await;
    let said = refused.err().map(|error| error.to_string());
    ensure!(
        said.as_ref()
            .is_some_and(|said| said.contains("HealthChecking")),
        "deleted while health is checked: {said:?}"
    );
    Ok(())
}

/// The last thing that it does is to let the object go. What is written from then on is in the audit log.
pub(crate) async fn let_go(bed: &Bed, name: &str, version: &str) -> Result<Silence> {
    until("the finalizer is gone", Duration::from_secs(10), || async {
        let held = bed.upgrades().get(name).await?.metadata.finalizers;
        Ok(held.map_or(Ok(()), |held| Err(format!("{held:?}"))))
    })
    .await?;
    mesh_list_follows(bed, version).await?;
    Ok(Silence {
        audit: bed.audit()?,
        since: tokio::time::Instant::now(),
    })
}

/// Fails unless every condition says that it went well.
pub(crate) fn ensure_all_is_well(status: &MeshUpgradeStatus) -> Result<()> {
    ensure!(status.outcome == Some(Outcome::Upgraded), "{status:?}");
    for kind in [
        conditions::DETECTED,
        conditions::CONTROL_PLANE_READY,
        conditions::DATA_PLANE_UPGRADED,
        conditions::HEALTHY,
        conditions::OLD_REVISION_RETIRED,
    ] {
        let mut all = status.conditions.iter();
        ensure!(
            all.any(|c| c.type_ == kind && c.status == "True"),
            "{kind}: {status:?}"
        );
    }
    ensure_condition(status, conditions::READY, ("True", "Upgraded"))?;
    ensure!(status.blocked.is_empty(), "{:?}", status.blocked);
    Ok(())
}

/// What the operator writes after the end.
pub(crate) struct Silence {
    audit: Audit,
    since: tokio::time::Instant,
}

impl Silence {
    /// Fails if a minute after the end something was written but what the mesh list tells: that may settle a little
    /// later, in one or two writes of its own.
    pub(crate) async fn ensure_kept(self) -> Result<()> {
        tokio::time::sleep_until(self.since + QUIET).await;
        let writes = self.audit.writes(OPERATOR_USER)?.into_iter();
        let of_list = |resource: &str| resource == "meshlift.io/meshes/status";
        let (list, others): (Vec<_>, Vec<_>) = writes.partition(|write| of_list(&write.resource));
        ensure!(others.is_empty(), "written after the end: {others:?}");
        ensure!(list.len() <= 2, "the mesh list does not settle: {list:?}");
        progress::line(&format!("quiet for {} s after the end", QUIET.as_secs()));
        Ok(())
    }
}

/// The mesh list is looked at every few seconds: it tells of the end a little later.
async fn mesh_list_follows(bed: &Bed, version: &str) -> Result<()> {
    let what = format!("the Mesh is at {version}");
    until(&what, Duration::from_secs(60), || async {
        let status = bed.meshes().get("default").await?.status;
        let status = status.unwrap_or_default();
        let revisions: Vec<&str> = status.revisions.iter().map(|r| r.name.as_str()).collect();
        let proxies = status.data_plane.clone().unwrap_or_default();
        let told = status.version.as_deref() == Some(version)
            && revisions == [revision_of(version)]
            && proxies.current == proxies.total;
        Ok(told.then_some(()).ok_or(format!("{status:?}")))
    })
    .await
}

/// Fails unless what Helm shows is the user's to go on with.
pub(crate) async fn ensure_still_the_users_release(bed: &Bed, version: &str) -> Result<()> {
    let release = format!("istiod-{}", revision_of(version));
    let set = [
        "--set",
        "meshConfig.accessLogEncoding=JSON",
        "--wait",
        "--timeout",
        "60s",
    ];
    istio::upgrade(bed, &release, version, &set).await?;
    ensure_upgraded_to(bed, version).await?;
    ensure_values_survived_to(bed, version).await
}
