//! A rollback that a person asks for in the middle of the second wave, as a StatefulSet crashes; the operator is killed
//! on the way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshlift_api::{MeshUpgradeStatus, Outcome, Phase, Step, WaveState};
use meshlift_testbed::istio::INGRESS;
use meshlift_testbed::progress;
use meshlift_testbed::shop::{NAMESPACES, NEIGHBOURS, VISITORS, wait_ready_in};
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{shown, wait_status};
use meshlift_tests::wait::until;
use serde_json::json;

use crate::fixture::{UPGRADE, helm_json, kubectl_json};
use crate::street::{
    FIRST, SECOND, all_namespaces, bindings, ensure_at, generations, in_waves, restarts_since,
};

const NAME: &str = "there-and-back";
/// Namespace and name of a StatefulSet that crashes once it has moved.
const BRITTLE: &str = "brittle";

/// Moves forward until the second wave moves, then back, and leaves the mesh as it was. Returns the operator that
/// runs then.
pub(crate) async fn goes_back_in_the_second_wave(
    bed: &Bed,
    operator: Operator,
) -> Result<Operator> {
    let bound = bindings(bed).await?;
    let before = generations(bed).await?;
    bed.cluster.apply_yaml(include_str!("brittle.yaml")).await?;
    wait_ready_in(&bed.client, &[BRITTLE], Duration::from_secs(60)).await?;
    let mut spec = in_waves();
    spec["approvals"] = json!([SECOND]);
    let names = [&NAMESPACES[..], &[BRITTLE]].concat();
    spec["dataPlane"]["waves"][1]["namespaces"]["names"] = json!(names);
    bed.create_upgrade(NAME, spec).await?;
    wait_status(bed, NAME, "the second wave moves", UPGRADE, |status| {
        is_ended(status) || has_begun_to_move(status, SECOND)
    })
    .await
    .and_then(still_runs)?;
    ensure_at(bed, ISTIO_TO, &NEIGHBOURS).await?;
    wait_until_it_crashes(bed).await?;
    let ask = json!({ "spec": { "requestRollback": true } });
    bed.patch_upgrade(NAME, ask).await?;
    wait_status(bed, NAME, "it moves back", UPGRADE, |status| {
        is_ended(status) || status.step >= Some(Step::RestartingBack)
    })
    .await
    .and_then(still_runs)?;
    operator.kill()?;
    let operator = Operator::start(bed).await?;
    let status = wait_status(bed, NAME, "it ends", UPGRADE, is_ended)
        .await
        .with_context(|| operator.log_tail())?;
    progress::line(&status.message);
    ensure!(
        (status.phase, status.outcome) == (Some(Phase::Failed), Some(Outcome::RolledBack)),
        "{}",
        shown(&status)
    );
    ensure!(status.blocked.is_empty(), "{:?}", status.blocked);
    ensure_at(bed, ISTIO_FROM, &all_namespaces()).await?;
    ensure_at(bed, ISTIO_FROM, &[BRITTLE]).await?;
    let after = bindings(bed).await?;
    ensure!(after == bound, "labels were {bound:?}, and are {after:?}");
    ensure_removed(bed, "1-31-0").await?;
    ensure_only_what_had_moved(&restarts_since(bed, &before).await?)?;
    bed.delete_upgrade(NAME).await?;
    bed.cluster
        .kubectl(&["delete", "namespace", BRITTLE])
        .await?;
    Ok(operator)
}

fn is_ended(status: &MeshUpgradeStatus) -> bool {
    status.phase.is_some_and(Phase::is_terminal)
}

/// Fails if the upgrade ended before what was waited for.
fn still_runs(status: MeshUpgradeStatus) -> Result<()> {
    ensure!(!is_ended(&status), "it ended before: {}", shown(&status));
    Ok(())
}

async fn wait_until_it_crashes(bed: &Bed) -> Result<()> {
    until("the brittle one crashes", UPGRADE, || async {
        let pods = kubectl_json(bed, &["get", "pods", "-n", BRITTLE]).await?;
        let containers = &pods["items"][0]["status"]["containerStatuses"];
        let mut containers = containers.as_array().into_iter().flatten();
        let crashes = containers.any(|c| c["restartCount"].as_u64() > Some(0));
        Ok(crashes.then_some(()).ok_or_else(|| pods.to_string()))
    })
    .await
}

/// Whether a workload of the wave has moved, and not all of them.
fn has_begun_to_move(status: &MeshUpgradeStatus, wave: &str) -> bool {
    let mut waves = status.waves.iter();
    waves.any(|w| w.name == wave && w.state == WaveState::Moving && !w.progress.starts_with("0/"))
}

/// Every trace of a revision is gone: its release, its istiod, its webhooks; the default is the old one's.
async fn ensure_removed(bed: &Bed, revision: &str) -> Result<()> {
    let releases = helm_json(bed, &["ls", "-n", ISTIO]).await?;
    let names: Vec<&str> = releases
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|release| release["name"].as_str())
        .collect();
    ensure!(
        names.len() == 2 && !names.iter().any(|name| name.ends_with(revision)),
        "releases: {names:?}"
    );
    let selector = format!("istio.io/rev={revision}");
    let kinds =
        "deployments,services,mutatingwebhookconfigurations,validatingwebhookconfigurations";
    let left = kubectl_json(bed, &["get", kinds, "--all-namespaces", "-l", &selector]).await?;
    let left = left["items"].as_array().context("a list")?;
    ensure!(left.is_empty(), "left of {revision}: {left:?}");
    Ok(())
}

/// Forward and back is two restarts, or one where the first had not made a pod yet when its label went back; what had
/// not come to its turn has none.
fn ensure_only_what_had_moved(restarts: &std::collections::BTreeMap<String, i64>) -> Result<()> {
    let text = format!("{restarts:?}");
    let of = |namespace: &str| {
        let within = format!("{namespace}/");
        let found = restarts.iter().filter(move |(n, _)| n.starts_with(&within));
        found.map(|(_, count)| *count).collect::<Vec<_>>()
    };
    for neighbour in NEIGHBOURS {
        ensure!(of(neighbour) == [2], "{FIRST}, forward and back: {text}");
    }
    for untouched in [VISITORS, INGRESS] {
        ensure!(of(untouched) == [0], "its turn had not come: {text}");
    }
    ensure!(
        restarts.values().all(|count| *count <= 2),
        "more than forward and back: {text}"
    );
    let second = [of("shop"), of("orders")].concat();
    ensure!(second.contains(&2), "{SECOND} had begun to move: {text}");
    Ok(())
}
