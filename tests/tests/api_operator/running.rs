//! A run: what starts it, what holds it, how it stops and goes on. Without a kubelet the new istiod
//! never gets ready, so the run stays where the new control plane is proved.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::DeleteParams;
use meshlift_api::{MeshUpgradeStatus, Outcome, Phase, Step, conditions, labels};
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use meshlift_tests::bed::{Bed, ISTIO, OPERATOR_USER};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{ensure_condition, ensure_says, wait_phase, wait_status};
use meshlift_tests::wait::until;
use serde_json::{Value, json};

use crate::fixture::{SOON, ensure_untouched, install_istio, make_ready, with_own_bed};

const NAME: &str = "to-1-31";
const LONG: Duration = Duration::from_secs(120);

#[test]
fn api_a_run_starts_is_held_stops_and_goes_on_when_asked() -> Result<()> {
    with_own_bed(async |bed| {
        let operator = Operator::start(&bed).await?;
        starts_when_all_is_well(&bed).await?;
        for kind in ["upgrade_base", "install_revision", "hold_deletion"] {
            let series = format!("meshlift_effects_total{{kind=\"{kind}\",result=\"ok\"}}");
            ensure!(operator.metric(&series).await? == Some(1.0), "{series}");
        }
        changes_only_in_what_steers_it(&bed).await?;
        is_not_deleted_while_it_runs(&bed).await?;
        ends_and_then_goes(&bed).await?;
        stops_and_goes_on_when_asked(&bed).await?;
        goes_back_by_itself(&bed).await?;
        goes_back_when_asked(&bed).await?;
        tells_by_events(&bed).await?;
        ensure!(operator.stop().await?.success());
        Ok(())
    })
}

/// With a limit on how long the new istiod may take.
fn spec(timeout: &str) -> Value {
    json!({
        "targetVersion": "1.31",
        "dataPlane": { "restart": { "timeout": timeout } },
        "healthCheck": { "soak": "1s" },
        "retire": { "after": "0s" },
        "rollback": "Never",
    })
}

/// Waits by itself for an Istio, and for a healthy one; touches nothing till then.
async fn starts_when_all_is_well(bed: &Bed) -> Result<()> {
    let audit = bed.audit()?;
    bed.create_upgrade(NAME, spec("40s")).await?;
    let reason = |reason: &'static str| {
        move |status: &MeshUpgradeStatus| {
            let mut all = status.conditions.iter();
            all.any(|c| c.type_ == conditions::DETECTED && c.reason == reason)
        }
    };
    wait_status(bed, NAME, "no Istio", SOON, reason("NoControlPlane")).await?;
    install_istio(bed, ISTIO_FROM).await?;
    let status = wait_status(
        bed,
        NAME,
        "no healthy Istio",
        SOON,
        reason("ControlPlaneNotReady"),
    );
    ensure_says(&status.await?, &["istiod has 0 of 1 replicas ready"])?;
    ensure_untouched(&audit)?;
    make_ready(bed, "default").await?;
    let status = wait_status(bed, NAME, "the new istiod is waited for", LONG, |status| {
        status.step == Some(Step::ProvingControlPlane)
    })
    .await?;
    ensure!(status.phase == Some(Phase::Upgrading), "{status:?}");
    ensure_condition(&status, conditions::DETECTED, ("True", "ChecksPassed"))?;
    ensure_condition(
        &status,
        conditions::CONTROL_PLANE_READY,
        ("False", "NotReady"),
    )?;
    ensure_condition(
        &status,
        conditions::RECONCILING,
        ("True", "WaitingForControlPlane"),
    )?;
    let versions = (
        status.from.map(|f| f.version),
        status.target.map(|t| t.version),
    );
    ensure!(
        versions == (Some(ISTIO_FROM.into()), Some(ISTIO_TO.into())),
        "{versions:?}"
    );
    let releases = bed.cluster.helm(&["ls", "-n", ISTIO]).await?;
    for release in ["istio-base", "istiod", "istiod-1-31-0"] {
        ensure!(
            releases.contains(release),
            "no release {release}: {releases}"
        );
    }
    Ok(())
}

async fn changes_only_in_what_steers_it(bed: &Bed) -> Result<()> {
    for change in [
        json!({ "targetVersion": "1.32" }),
        json!({ "mesh": "other" }),
        json!({ "dataPlane": { "restart": { "maxConcurrent": 9 } } }),
        json!({ "healthCheck": { "soak": "1h" } }),
        json!({ "retire": { "after": "1h" } }),
        json!({ "rollback": "Automatic" }),
        json!({ "gateways": { "order": "First" } }),
    ] {
        let result = bed.patch_upgrade(NAME, json!({ "spec": change })).await;
        let said = result
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        ensure!(
            said.contains("only spec.paused, spec.approvals and spec.requestRollback may change"),
            "{change}: {said:?}"
        );
    }
    let back = json!({ "spec": { "requestRollback": true } });
    let refused = bed.patch_upgrade(NAME, back).await;
    let said = refused.err().map(|error| error.to_string());
    let said = said.unwrap_or_default();
    ensure!(said.contains("spec.rollback: Never"), "{said:?}");
    for change in [
        json!({ "paused": true }),
        json!({ "paused": false }),
        json!({ "approvals": ["rest"] }),
    ] {
        bed.patch_upgrade(NAME, json!({ "spec": change })).await?;
    }
    Ok(())
}

/// The policy says no; where it is missing the finalizer holds the object.
async fn is_not_deleted_while_it_runs(bed: &Bed) -> Result<()> {
    let object = bed.upgrades().get(NAME).await?;
    let held = object.metadata.finalizers.unwrap_or_default();
    ensure!(held == [labels::FINALIZER], "finalizers: {held:?}");
    let refused = bed.upgrades().delete(NAME, &DeleteParams::default()).await;
    let said = refused
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(
        said.contains("Upgrading") && said.contains("spec.paused"),
        "{said:?}"
    );
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(bed.client.clone());
    let policy = "meshlift-running-upgrades";
    let mut kept = bindings.get(policy).await?;
    bindings.delete(policy, &DeleteParams::default()).await?;
    until("the deletion is accepted", SOON, || async {
        let deleted = bed.upgrades().delete(NAME, &DeleteParams::default()).await;
        Ok(deleted.map(drop).map_err(|error| error.to_string()))
    })
    .await?;
    kept.metadata.resource_version = None;
    kept.metadata.uid = None;
    bindings.create(&Default::default(), &kept).await?;
    let held = bed.upgrades().get(NAME).await?;
    ensure!(
        held.metadata.deletion_timestamp.is_some(),
        "it was not asked to go"
    );
    Ok(())
}

/// Asked to go, it still ends what it began, and only then goes.
async fn ends_and_then_goes(bed: &Bed) -> Result<()> {
    let mut last = MeshUpgradeStatus::default();
    let upgrades = bed.upgrades();
    let end = tokio::time::Instant::now() + LONG;
    while let Some(object) = upgrades.get_opt(NAME).await? {
        last = object.status.unwrap_or_default();
        ensure!(
            tokio::time::Instant::now() < end,
            "it does not go: {last:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let phase = last.phase;
    ensure!(
        phase == Some(Phase::Failed),
        "it went while {phase:?}: {}",
        last.message
    );
    Ok(())
}

async fn stops_and_goes_on_when_asked(bed: &Bed) -> Result<()> {
    bed.create_upgrade(NAME, spec("5s")).await?;
    let status = wait_phase(bed, NAME, Phase::Failed, LONG).await?;
    ensure!(status.outcome == Some(Outcome::Stopped), "{status:?}");
    ensure_condition(&status, conditions::READY, ("False", "Stopped"))?;
    ensure_condition(&status, conditions::STALLED, ("True", "Stopped"))?;
    ensure_condition(&status, conditions::RECONCILING, ("False", "Ended"))?;
    let words = [
        "1-31-0 did not come up within 5s",
        "0 of 1 replicas",
        "meshlift.io/retry",
        "old control plane (1.30.2) stays",
    ];
    ensure_says(&status, &words)?;
    // The old one still serves, as it did.
    let old = bed.cluster.helm(&["status", "istiod", "-n", ISTIO]).await?;
    ensure!(old.contains("deployed"), "{old}");

    let audit = bed.audit()?;
    bed.retry(NAME, "1").await?;
    let status = wait_status(bed, NAME, "it ran again", LONG, |status| {
        status.phase == Some(Phase::Failed) && status.observed_retry.as_deref() == Some("1")
    })
    .await?;
    ensure!(status.history.len() == 1, "history: {:?}", status.history);
    let writes = audit.mesh_writes(OPERATOR_USER)?;
    // What was already there is not done again; the run's own record and status are no part of the mesh.
    ensure!(writes.is_empty(), "done again: {writes:?}");
    bed.delete_upgrade(NAME).await
}

/// An istiod that does not come up goes again, and the old one is left as it was.
async fn goes_back_by_itself(bed: &Bed) -> Result<()> {
    let mut spec = spec("5s");
    spec["rollback"] = json!("Automatic");
    bed.create_upgrade(NAME, spec).await?;
    let status = wait_phase(bed, NAME, Phase::Failed, LONG).await?;
    is_back(bed, &status, "1-31-0 did not come up within 5s").await?;
    bed.delete_upgrade(NAME).await
}

/// While it runs, and again when it is allowed to begin anew.
async fn goes_back_when_asked(bed: &Bed) -> Result<()> {
    let mut spec = spec("120s");
    spec["rollback"] = json!("Manual");
    bed.create_upgrade(NAME, spec).await?;
    wait_status(bed, NAME, "the new istiod is waited for", LONG, |status| {
        status.step == Some(Step::ProvingControlPlane)
    })
    .await?;
    let ask = json!({ "spec": { "requestRollback": true } });
    bed.patch_upgrade(NAME, ask).await?;
    let status = wait_phase(bed, NAME, Phase::Failed, LONG).await?;
    is_back(bed, &status, "spec.requestRollback asks for it").await?;

    let audit = bed.audit()?;
    bed.retry(NAME, "1").await?;
    let status = wait_status(bed, NAME, "it does not begin", LONG, |status| {
        status.phase == Some(Phase::Detecting) && status.message.contains("requestRollback")
    })
    .await?;
    ensure!(status.history.len() == 1, "history: {:?}", status.history);
    let before = status.history.first().and_then(|run| run.outcome);
    ensure!(before == Some(Outcome::RolledBack), "{before:?}");
    ensure_untouched(&audit)?;
    bed.delete_upgrade(NAME).await
}

async fn is_back(bed: &Bed, status: &MeshUpgradeStatus, why: &str) -> Result<()> {
    ensure!(status.outcome == Some(Outcome::RolledBack), "{status:?}");
    ensure_condition(status, conditions::READY, ("False", "RolledBack"))?;
    ensure_condition(status, conditions::STALLED, ("True", "RolledBack"))?;
    ensure_says(
        status,
        &[why, "on 1.30.2 again", "new control plane is gone"],
    )?;
    let releases = bed.cluster.helm(&["ls", "-n", ISTIO]).await?;
    ensure!(!releases.contains("istiod-1-31-0"), "{releases}");
    let old = bed.cluster.helm(&["status", "istiod", "-n", ISTIO]).await?;
    ensure!(old.contains("deployed"), "{old}");
    Ok(())
}

async fn tells_by_events(bed: &Bed) -> Result<()> {
    let events = Api::<Event>::all(bed.client.clone());
    let all = events.list(&Default::default()).await?;
    let ours = all.items.into_iter().filter(|event| {
        let about = event.regarding.as_ref();
        about.and_then(|r| r.kind.as_deref()) == Some("MeshUpgrade")
    });
    let mut reasons = BTreeSet::new();
    for event in ours {
        let reason = event.reason.clone().context("an event without a reason")?;
        let note = event.note.clone().unwrap_or_default();
        ensure!(!note.is_empty(), "an event without words: {event:?}");
        reasons.insert(reason);
    }
    for reason in [
        "DetectionStarted",
        "DetectionBlocked",
        "Recording",
        "UpgradeStarted",
        "UpgradingBase",
        "InstallingControlPlane",
        "ProvingControlPlane",
        "UpgradeStopped",
    ] {
        ensure!(reasons.contains(reason), "no event {reason}: {reasons:?}");
    }
    Ok(())
}
