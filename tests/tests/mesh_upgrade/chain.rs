//! A chain of minors as one MeshUpgrade, and then a patch of the same mesh, under one load, and silence after it.

use anyhow::{Context, Result, ensure};
use meshlift_api::{ControlPlaneRef, MeshUpgradeStatus, Outcome, Phase};
use meshlift_testbed::istio::IstioOptions;
use meshlift_testbed::shop::{NAMESPACES, VISITORS};
use meshlift_testbed::versions::{ISTIO_BEFORE, ISTIO_FROM, ISTIO_PATCH, ISTIO_TO};
use meshlift_testbed::{Options, progress};
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{shown, wait_phase, wait_status};
use serde_json::{Value, json};

use crate::afterwards::{
    Silence, ensure_all_is_well, ensure_held_until_it_ends, ensure_still_the_users_release, let_go,
};
use crate::colleagues::label_namespace;
use crate::fixture::{
    UPGRADE, ensure_istiods_namespace_asks, ensure_none_lost, ensure_nothing_lost,
    ensure_upgraded_to, ensure_values_survived_to, hurried, open_shop, revision_of, rollouts,
    sidecars, with_mesh_from,
};

const CHAIN: &str = "two-minors";
const PATCH: &str = "a-patch";
/// Workloads of the shop, and the visitors.
const WORKLOADS: usize = 6;

#[test]
fn mesh_a_chain_of_minors_and_a_patch_lose_no_request_and_then_it_is_quiet() -> Result<()> {
    let cluster = Options::mesh("mesh_chain").chain();
    with_mesh_from(
        cluster,
        ISTIO_BEFORE,
        IstioOptions::default(),
        async |bed| {
            label_namespace(&bed, ISTIO, &["istio.io/rev=default"]).await?;
            let load = open_shop(&bed).await?;
            let before = sidecars(&bed).await?;
            let first = format!(":{ISTIO_BEFORE}");
            ensure!(
                before.len() >= 10 && before.iter().all(|(_, image)| image.ends_with(&first)),
                "not all of {ISTIO_BEFORE}: {before:?}"
            );
            let mut operator = Operator::start(&bed).await?;
            let moved = async {
                each_minor_in_turn(&bed).await?;
                ensure_none_lost(&load.totals()).context("on the way over two minors")?;
                the_patch(&bed).await
            };
            let silence = moved.await.with_context(|| operator.log_tail())?;
            ensure_nothing_lost(load).await?;
            silence.ensure_kept().await?;
            operator.check()?;
            ensure_still_the_users_release(&bed, ISTIO_PATCH).await
        },
    )
}

/// One MeshUpgrade takes each minor on the way, which is what the path is if nobody chooses another.
async fn each_minor_in_turn(bed: &Bed) -> Result<()> {
    bed.create_upgrade(CHAIN, to(ISTIO_TO)).await?;
    let status = wait_status(bed, CHAIN, "the path is known", UPGRADE, |status| {
        !status.hops.is_empty()
    })
    .await?;
    let path: Vec<&str> = status.hops.iter().map(|hop| hop.version.as_str()).collect();
    ensure!(path == [ISTIO_FROM, ISTIO_TO], "{path:?}");
    let status = wait_phase(bed, CHAIN, Phase::Done, 2 * UPGRADE).await?;
    progress::line(&status.message);
    ensure_went(&status, &revision_of(ISTIO_FROM), (ISTIO_FROM, ISTIO_TO))?;
    let [first] = &status.history[..] else {
        anyhow::bail!("not one earlier step: {:?}", status.history);
    };
    let planes = (first.from.as_ref(), first.target.as_ref());
    let (from, to) = (
        plane(ISTIO_BEFORE, "default"),
        plane(ISTIO_FROM, &revision_of(ISTIO_FROM)),
    );
    ensure!(
        planes == (Some(&from), Some(&to)) && first.outcome == Some(Outcome::Upgraded),
        "{first:?}"
    );
    ensure_at(bed, ISTIO_TO, 3).await
}

async fn the_patch(bed: &Bed) -> Result<Silence> {
    bed.create_upgrade(PATCH, to(ISTIO_PATCH)).await?;
    ensure_held_until_it_ends(bed, PATCH).await?;
    let status = wait_phase(bed, PATCH, Phase::Done, UPGRADE).await?;
    progress::line(&status.message);
    let silence = let_go(bed, PATCH, ISTIO_PATCH).await?;
    ensure_went(&status, &revision_of(ISTIO_TO), (ISTIO_TO, ISTIO_PATCH))?;
    ensure_all_is_well(&status)?;
    ensure!(status.history.is_empty(), "{:?}", status.history);
    ensure_at(bed, ISTIO_PATCH, 4).await?;
    Ok(silence)
}

/// The path is not chosen here: every minor is taken by those who choose nothing.
fn to(version: &str) -> Value {
    let mut spec = hurried();
    spec["targetVersion"] = json!(version);
    spec["dataPlane"] = json!({ "restart": { "maxConcurrentPerNamespace": 2 } });
    spec
}

fn plane(version: &str, revision: &str) -> ControlPlaneRef {
    ControlPlaneRef {
        version: version.to_owned(),
        revision: Some(revision.to_owned()),
    }
}

/// Fails unless the last step of an upgrade led from one version to the other, and left nothing behind.
fn ensure_went(
    status: &MeshUpgradeStatus,
    from_revision: &str,
    (from, to): (&str, &str),
) -> Result<()> {
    let planes = (status.from.as_ref(), status.target.as_ref());
    let expected = (plane(from, from_revision), plane(to, &revision_of(to)));
    ensure!(
        planes == (Some(&expected.0), Some(&expected.1))
            && status.outcome == Some(Outcome::Upgraded),
        "{planes:?}: {}",
        shown(status)
    );
    ensure!(status.blocked.is_empty(), "{:?}", status.blocked);
    Ok(())
}

/// Fails unless the whole mesh is of this version, and every workload has had so many templates.
async fn ensure_at(bed: &Bed, version: &str, templates: usize) -> Result<()> {
    ensure_upgraded_to(bed, version).await?;
    ensure_values_survived_to(bed, version).await?;
    ensure_istiods_namespace_asks(bed, &revision_of(version)).await?;
    let namespaces = [&NAMESPACES[..], &[VISITORS]].concat();
    let restarts = rollouts(bed, &namespaces).await?;
    ensure!(
        restarts.len() == WORKLOADS && restarts.iter().all(|(_, n)| *n == templates),
        "not each restarted once a step, {templates} templates in all: {restarts:?}"
    );
    Ok(())
}
