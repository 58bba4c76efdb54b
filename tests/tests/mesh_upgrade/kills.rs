//! The operator killed at ten points of one upgrade under load, four of them while Helm works for it.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use meshlift_api::{MeshUpgradeStatus, Phase, Step};
use meshlift_testbed::progress;
use meshlift_testbed::shop::{NAMESPACES, VISITORS};
use meshlift_testbed::versions::ISTIO_TO;
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{shown, wait_phase};
use meshlift_tests::wait::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::colleagues::label_namespace;
use crate::fixture::{
    UPGRADE, ensure_istiods_namespace_asks, ensure_nothing_lost, ensure_upgraded,
    ensure_values_survived, hurried, open_shop, revision_of, rollouts, with_mesh,
};

const NAME: &str = "to-1-31";

/// When the operator is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// Once this step is written, or a later one.
    At(Step),
    /// While Helm runs in this step; Helm goes on by itself.
    WithHelmLeft(Step),
    /// In the middle of what Helm does in this step, and Helm with it, as when a container dies.
    WithHelm(Step),
    /// Once so many workloads have moved.
    Moved(u32),
}

const POINTS: [Point; 10] = [
    Point::At(Step::CheckingEnvironment),
    Point::WithHelmLeft(Step::UpgradingBase),
    Point::WithHelm(Step::InstallingControlPlane),
    Point::At(Step::ProvingControlPlane),
    Point::At(Step::MovingNamespaces),
    Point::At(Step::RestartingWorkloads),
    Point::Moved(2),
    Point::At(Step::Soaking),
    Point::WithHelm(Step::MovingDefaultRevision),
    Point::WithHelm(Step::RetiringControlPlane),
];

#[test]
fn mesh_an_operator_killed_at_ten_points_loses_nothing() -> Result<()> {
    with_mesh("mesh_kills", async |bed| {
        // As people have it who run gateways there.
        label_namespace(&bed, ISTIO, &["istio-injection=enabled"]).await?;
        let load = open_shop(&bed).await?;
        let mut operator = Operator::start(&bed).await?;
        bed.create_upgrade(NAME, hurried()).await?;
        for point in POINTS {
            let told = reach(&bed, &operator, point)
                .await
                .with_context(|| format!("{point:?}\n{}", operator.log_tail()))?;
            operator.kill()?;
            progress::line(&format!("killed at {point:?}: {told}"));
            operator = Operator::start(&bed).await?;
        }
        let status = wait_phase(&bed, NAME, Phase::Done, UPGRADE).await;
        let status = status.with_context(|| operator.log_tail())?;
        ensure!(status.blocked.is_empty(), "{:?}", status.blocked);
        // Also that no release is left in the middle of an operation.
        ensure_upgraded(&bed).await?;
        ensure_values_survived(&bed).await?;
        ensure_istiods_namespace_asks(&bed, &revision_of(ISTIO_TO)).await?;
        let mut namespaces = NAMESPACES.to_vec();
        namespaces.push(VISITORS);
        let restarts = rollouts(&bed, &namespaces).await?;
        ensure!(
            restarts.len() == 6 && restarts.iter().all(|(_, n)| *n == 2),
            "not each restarted exactly once: {restarts:?}"
        );
        ensure_nothing_lost(load).await
    })
}

/// Waits for a point; kills Helm if that is part of it. Returns where the upgrade was.
async fn reach(bed: &Bed, operator: &Operator, point: Point) -> Result<String> {
    let what = format!("{point:?} is reached");
    let upgrades = bed.upgrades();
    until(&what, UPGRADE, || async {
        let status = upgrades.get(NAME).await?.status.unwrap_or_default();
        let ended = status.phase.is_some_and(Phase::is_terminal);
        ensure!(!ended, "it ended before: {}", shown(&status));
        let helm = operator.helm_child();
        if !is_reached(point, &status, helm) {
            return Ok(Err(shown(&status)));
        }
        if matches!(point, Point::WithHelm(_)) && !is_helm_halfway(bed).await? {
            return Ok(Err(format!("Helm is not halfway; {}", shown(&status))));
        }
        let helm = helm.filter(|_| matches!(point, Point::WithHelm(_)));
        if let Some(pid) = helm {
            // The operator first, or it would see Helm fail.
            for pid in [operator.pid(), pid] {
                let pid = Pid::from_raw(pid.cast_signed());
                kill(pid, Signal::SIGKILL).context("it ended by itself just now")?;
            }
        }
        Ok(Ok(shown(&status)))
    })
    .await
}

/// Whether Helm's storage says that a release is in the middle of an operation.
async fn is_helm_halfway(bed: &Bed) -> Result<bool> {
    let secrets = Api::<Secret>::namespaced(bed.client.clone(), ISTIO);
    let halfway = "owner=helm,status in (pending-install,pending-upgrade,uninstalling)";
    let found = secrets
        .list_metadata(&ListParams::default().labels(halfway))
        .await?;
    Ok(!found.items.is_empty())
}

fn is_reached(point: Point, status: &MeshUpgradeStatus, helm: Option<u32>) -> bool {
    match point {
        Point::At(step) => status.step >= Some(step),
        Point::WithHelmLeft(step) | Point::WithHelm(step) => {
            status.step == Some(step) && helm.is_some()
        }
        Point::Moved(count) => status.workloads.is_some_and(|w| w.moved >= count),
    }
}
