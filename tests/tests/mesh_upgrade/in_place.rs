//! One istiod, upgraded where it is: refused with one replica, then up, back and up again under one load.

use anyhow::{Context, Result, ensure};
use meshlift_api::{MeshUpgradeStatus, Outcome, Phase};
use meshlift_testbed::progress;
use meshlift_testbed::shop::{NAMESPACES, VISITORS};
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{shown, wait_phase, wait_status};
use meshlift_tests::wait::{SOON, until};
use serde_json::{Value, json};

use crate::fixture::{
    UPGRADE, ensure_nothing_lost, helm_json, hurried, kubectl_json, open_shop, rollouts, sidecars,
    with_mesh,
};

const NAME: &str = "in-place";
/// Workloads of the shop, and the visitors.
const WORKLOADS: usize = 6;

#[test]
fn mesh_an_istiod_is_upgraded_in_place_and_back_and_again() -> Result<()> {
    with_mesh("mesh_in_place", async |bed| {
        let load = open_shop(&bed).await?;
        let before = Found::now(&bed).await?;
        let operator = Operator::start(&bed).await?;
        let went = async {
            is_refused_with_one_replica(&bed).await?;
            goes_up(&bed).await?;
            ensure_at(&bed, ISTIO_TO, ISTIO_TO, 2).await?;
            goes_back(&bed).await?;
            ensure_at(&bed, ISTIO_TO, ISTIO_FROM, 3).await?;
            goes_up_again(&bed).await?;
            // With the mark of the first time, so with the templates of then.
            ensure_at(&bed, ISTIO_TO, ISTIO_TO, 3).await
        };
        went.await.with_context(|| operator.log_tail())?;
        let after = Found::now(&bed).await?;
        ensure!(after == before, "before: {before:?}; after: {after:?}");
        ensure_nothing_lost(load).await
    })
}

/// What an upgrade in place leaves as it is.
#[derive(Debug, PartialEq)]
struct Found {
    /// Values of the istiod release.
    values: Value,
    labels: Vec<Value>,
    webhooks: Vec<Value>,
}

impl Found {
    async fn now(bed: &Bed) -> Result<Self> {
        let values = helm_json(bed, &["get", "values", "istiod", "-n", ISTIO]).await?;
        let namespaces = kubectl_json(bed, &["get", "namespaces"]).await?;
        let kind = "mutatingwebhookconfigurations";
        let webhooks = kubectl_json(bed, &["get", kind]).await?;
        let each = |list: &Value, path: &str| -> Vec<Value> {
            let items = list["items"].as_array().into_iter().flatten();
            items
                .map(|item| item.pointer(path).cloned().unwrap_or_default())
                .collect()
        };
        Ok(Self {
            values,
            labels: each(&namespaces, "/metadata/labels"),
            webhooks: each(&webhooks, "/metadata/name"),
        })
    }
}

/// It says what to do: it may raise the number itself, and begins once it is asked to.
async fn is_refused_with_one_replica(bed: &Bed) -> Result<()> {
    let mut spec = hurried();
    spec["strategy"] = json!("InPlace");
    bed.create_upgrade(NAME, spec).await?;
    let status = wait_status(bed, NAME, "it is refused", UPGRADE, |status| {
        status
            .checks
            .iter()
            .any(|check| check.code == "IN-PLACE-REPLICAS")
    })
    .await?;
    progress::line(&status.message);
    ensure!(status.phase == Some(Phase::Detecting), "{}", shown(&status));
    ensure!(
        status.message.contains("spec.inPlace.ensureReplicas: 2"),
        "{}",
        status.message
    );
    let ask = json!({ "spec": { "inPlace": { "ensureReplicas": 2 } } });
    bed.patch_upgrade(NAME, ask).await.map(drop)?;
    Ok(())
}

async fn goes_up(bed: &Bed) -> Result<()> {
    let status = wait_phase(bed, NAME, Phase::Done, 2 * UPGRADE).await?;
    progress::line(&status.message);
    ensure_upgraded(&status)
}

fn ensure_upgraded(status: &MeshUpgradeStatus) -> Result<()> {
    ensure!(
        status.outcome == Some(Outcome::Upgraded) && status.blocked.is_empty(),
        "{}: {:?}",
        shown(status),
        status.blocked
    );
    Ok(())
}

/// Asked for after the end: workloads first, then istiod.
async fn goes_back(bed: &Bed) -> Result<()> {
    bed.patch_upgrade(NAME, json!({ "spec": { "requestRollback": true } }))
        .await?;
    let status = wait_phase(bed, NAME, Phase::Failed, UPGRADE).await?;
    progress::line(&status.message);
    ensure!(
        status.outcome == Some(Outcome::RolledBack) && status.blocked.is_empty(),
        "{}: {:?}",
        shown(&status),
        status.blocked
    );
    Ok(())
}

async fn goes_up_again(bed: &Bed) -> Result<()> {
    bed.patch_upgrade(NAME, json!({ "spec": { "requestRollback": false } }))
        .await?;
    bed.retry(NAME, "again").await?;
    let status = wait_status(bed, NAME, "it is done again", UPGRADE, |status| {
        status.observed_retry.as_deref() == Some("again")
            && status.phase.is_some_and(Phase::is_terminal)
    })
    .await?;
    progress::line(&status.message);
    ensure_upgraded(&status)
}

/// Fails unless CRDs, istiod and every sidecar are of these versions, there is one istiod, and each workload has had so
/// many templates.
async fn ensure_at(bed: &Bed, base: &str, istiod: &str, templates: usize) -> Result<()> {
    let releases = helm_json(bed, &["ls", "-n", ISTIO]).await?;
    let releases = releases.as_array().into_iter().flatten();
    let mut charts: Vec<_> = releases
        .map(|release| (release["chart"].clone(), release["status"].clone()))
        .collect();
    charts.sort_by_key(|(chart, _)| chart.to_string());
    let deployed =
        |chart: &str, version: &str| (json!(format!("{chart}-{version}")), json!("deployed"));
    ensure!(
        charts == [deployed("base", base), deployed("istiod", istiod)],
        "{charts:?}"
    );
    let of_istiod = ["get", "deployments", "-n", ISTIO, "-l", "app=istiod"];
    let planes = kubectl_json(bed, &of_istiod).await?;
    let planes = planes["items"].as_array().map_or(0, Vec::len);
    ensure!(planes == 1, "{planes} control planes");
    let version = format!(":{istiod}");
    // What was replaced last takes its time to end.
    until("every sidecar is of this version", SOON, || async {
        let sidecars = sidecars(bed).await?;
        ensure!(!sidecars.is_empty(), "no sidecar at all");
        let other = sidecars
            .into_iter()
            .find(|(_, image)| !image.ends_with(&version));
        Ok(other.map_or(Ok(()), |(pod, image)| Err(format!("{pod} has {image}"))))
    })
    .await?;
    let namespaces = [&NAMESPACES[..], &[VISITORS]].concat();
    let restarts = rollouts(bed, &namespaces).await?;
    ensure!(
        restarts.len() == WORKLOADS && restarts.iter().all(|(_, n)| *n == templates),
        "not each restarted once each way, {templates} templates in all: {restarts:?}"
    );
    Ok(())
}
