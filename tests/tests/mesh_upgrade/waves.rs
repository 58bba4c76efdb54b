//! Two waves, the second with an approval, and the gateways last; the new istiod and the operator killed on the way.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use meshlift_api::{MeshUpgradeStatus, Phase, WaveState, WaveStatus};
use meshlift_testbed::istio::INGRESS;
use meshlift_testbed::shop::{LoadHandle, NAMESPACES, NEIGHBOURS, VISITORS};
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use meshlift_tests::bed::Bed;
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{shown, wait_phase, wait_status};
use serde_json::json;

use crate::fixture::{UPGRADE, ensure_none_lost, ensure_upgraded, ensure_values_survived};
use crate::street::{
    EDGE, FIRST, SECOND, all_namespaces, ensure_at, generations, in_waves, kill_the_new_istiod,
    restarts_since,
};

const NAME: &str = "in-waves";

/// Moves wave by wave to the end. Returns how the wave of the gateways went.
pub(crate) async fn go_in_order_and_wait_for_a_person(
    bed: &Bed,
    operator: Operator,
    load: &LoadHandle,
) -> Result<WaveStatus> {
    let before = generations(bed).await?;
    bed.create_upgrade(NAME, in_waves()).await?;
    wait_for_wave(bed, SECOND, WaveState::WaitingForApproval).await?;
    ensure_at(bed, ISTIO_TO, &NEIGHBOURS).await?;
    let others = [&NAMESPACES[..], &[VISITORS, INGRESS, EDGE]].concat();
    ensure_at(bed, ISTIO_FROM, &others).await?;

    bed.patch_upgrade(NAME, json!({ "spec": { "approvals": [SECOND] } }))
        .await?;
    wait_for_wave(bed, SECOND, WaveState::Moving).await?;
    kill_the_new_istiod(bed).await?;
    wait_for_wave(bed, SECOND, WaveState::Verified).await?;
    ensure_none_lost(&load.totals())?;
    operator.kill()?;
    let operator = Operator::start(bed).await?;
    let status = wait_phase(bed, NAME, Phase::Done, UPGRADE)
        .await
        .with_context(|| operator.log_tail())?;
    ensure!(status.blocked.is_empty(), "{:?}", status.blocked);
    ensure_upgraded(bed).await?;
    ensure_values_survived(bed).await?;
    ensure_at(bed, ISTIO_TO, &all_namespaces()).await?;
    ensure_in_order(&status)?;
    ensure_gateways_were_last(bed, &status).await?;
    let restarts = restarts_since(bed, &before).await?;
    ensure!(
        restarts.len() == 9 && restarts.values().all(|count| *count == 1),
        "not each restarted once: {restarts:?}"
    );
    wave(&status, "gateways")
        .cloned()
        .context("no wave of the gateways")
}

/// Waits until a wave is there, or further.
async fn wait_for_wave(bed: &Bed, name: &str, state: WaveState) -> Result<()> {
    let what = format!("wave {name} is {state}");
    let status = wait_status(bed, NAME, &what, UPGRADE, |status| {
        let ended = status.phase.is_some_and(Phase::is_terminal);
        ended || wave(status, name).is_some_and(|wave| wave.state >= state)
    })
    .await?;
    let is = wave(&status, name).map(|wave| wave.state);
    ensure!(
        is >= Some(state),
        "{what}: it is {is:?}: {}",
        shown(&status)
    );
    Ok(())
}

fn wave<'a>(status: &'a MeshUpgradeStatus, name: &str) -> Option<&'a WaveStatus> {
    status.waves.iter().find(|wave| wave.name == name)
}

/// Each wave began after the one before had been verified.
fn ensure_in_order(status: &MeshUpgradeStatus) -> Result<()> {
    let names: Vec<&str> = status.waves.iter().map(|w| w.name.as_str()).collect();
    ensure!(names == [FIRST, SECOND, "rest", "gateways"], "{names:?}");
    for pair in status.waves.windows(2) {
        let (earlier, later) = (&pair[0].finished_at, &pair[1].started_at);
        ensure!(
            earlier.is_some() && later >= earlier,
            "{} began before {} was verified: {:?}",
            pair[1].name,
            pair[0].name,
            status.waves
        );
    }
    Ok(())
}

/// No pod of a gateway is older than the end of the last wave.
async fn ensure_gateways_were_last(bed: &Bed, status: &MeshUpgradeStatus) -> Result<()> {
    let rest = wave(status, "rest").and_then(|wave| wave.finished_at.clone());
    for namespace in [INGRESS, EDGE] {
        let pods: Api<Pod> = Api::namespaced(bed.client.clone(), namespace);
        for pod in pods.list(&ListParams::default()).await? {
            let created = pod.metadata.creation_timestamp;
            ensure!(
                created >= rest,
                "a gateway in {namespace} moved at {created:?}, before the last wave ended at {rest:?}"
            );
        }
    }
    Ok(())
}
