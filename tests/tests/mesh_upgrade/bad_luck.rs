//! Bad luck, one piece after the other on one mesh: each is told, nothing is broken, and when it is
//! mended the upgrade goes on to its end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use meshlift_api::{MeshUpgradeStatus, Outcome, Phase, Predicate, Step, conditions};
use meshlift_testbed::istio::IstioOptions;
use meshlift_testbed::progress;
use meshlift_testbed::shop::wait_ready_in;
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{
    blocked, condition, ensure_condition, ensure_says, shown, wait_phase, wait_status,
};
use meshlift_tests::wait::until;
use serde_json::json;

use crate::fixture::{UPGRADE, ensure_upgraded, kubectl_json, sidecars, with_quiet_mesh_of};

const NAME: &str = "to-1-31";
/// How long a control plane or a workload may take.
const PATIENCE: &str = "25s";

#[test]
fn mesh_bad_luck_is_told_harms_nothing_and_can_be_mended() -> Result<()> {
    with_quiet_mesh_of("mesh_bad_luck", IstioOptions::default(), async |bed| {
        deploy(&bed).await?;
        let operator = Operator::start(&bed).await?;
        let told = async {
            an_image_that_cannot_be_pulled(&bed).await?;
            a_workload_that_crashes_after_its_restart(&bed).await?;
            what_git_owns_is_waited_for(&bed).await?;
            what_cannot_be_moved_is_named(&bed).await?;
            what_is_named_moves_by_the_command(&bed).await
        };
        told.await.with_context(|| operator.log_tail())
    })
}

async fn deploy(bed: &Bed) -> Result<()> {
    bed.cluster
        .apply_yaml(include_str!("bad_luck.yaml"))
        .await?;
    let namespaces = ["a-frail", "leaving", "stuck", "taken"];
    wait_ready_in(&bed.client, &namespaces, Duration::from_secs(120)).await?;
    for pod in ["pod/bare", "--selector=job-name=long"] {
        let wait = [
            "wait",
            "-n",
            "stuck",
            "--for=condition=Ready",
            "--timeout=60s",
        ];
        let kind: &[&str] = if pod.starts_with("--") {
            &["pod", pod]
        } else {
            &[pod]
        };
        bed.cluster.kubectl(&[&wait[..], kind].concat()).await?;
    }
    bed.cluster
        .kubectl(&["rollout", "pause", "-n", "stuck", "deployment/paused"])
        .await?;
    Ok(())
}

/// A workload of ours as it is seen from outside: everything on the old sidecar, and serving.
async fn ensure_unharmed(bed: &Bed) -> Result<()> {
    let old = Api::<Deployment>::namespaced(bed.client.clone(), ISTIO)
        .get("istiod")
        .await?;
    let ready = old.status.and_then(|status| status.ready_replicas);
    ensure!(
        ready == Some(1),
        "the old istiod has {ready:?} ready replicas"
    );
    let pods = kubectl_json(bed, &["get", "pods", "--all-namespaces"]).await?;
    for (pod, image) in sidecars(bed).await? {
        ensure!(image.ends_with(":1.30.2"), "{pod} runs {image}");
        let (_, name) = pod.split_once('/').context("no namespace")?;
        let of = |p: &&serde_json::Value| p["metadata"]["name"] == name;
        let found = pods["items"].as_array().into_iter().flatten().find(of);
        let found = found.with_context(|| format!("{pod} is gone"))?;
        let ready = found["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        ensure!(ready, "{pod} is not ready");
    }
    Ok(())
}

async fn an_image_that_cannot_be_pulled(bed: &Bed) -> Result<()> {
    let charts = json!({ "repository": bed.cluster.charts_url_host()? });
    bed.create_mesh(
        "default",
        json!({ "charts": charts, "hub": "testbed.local/nowhere" }),
    )
    .await?;
    let spec = json!({
        "targetVersion": "1.31",
        "dataPlane": {
            "restart": { "timeout": PATIENCE, "maxConcurrent": 1 },
            "exclude": { "matchLabels": { "meshlift.io/exclude": "true" } },
        },
        "healthCheck": { "soak": "3s" },
        "retire": { "after": "0s" },
        "rollback": "Never",
    });
    bed.create_upgrade(NAME, spec).await?;
    let status = wait_phase(bed, NAME, Phase::Failed, UPGRADE).await?;
    progress::line(&status.message);
    ensure!(status.outcome == Some(Outcome::Stopped), "{status:?}");
    ensure_condition(
        &status,
        conditions::CONTROL_PLANE_READY,
        ("False", "NotReady"),
    )?;
    ensure_condition(&status, conditions::STALLED, ("True", "Stopped"))?;
    let words = [
        "1-31-0 did not come up within 25s",
        "ErrImageNeverPull",
        "old control plane (1.30.2) stays",
    ];
    ensure_says(&status, &words)?;
    ensure_unharmed(bed).await
}

async fn a_workload_that_crashes_after_its_restart(bed: &Bed) -> Result<()> {
    let mended = json!({ "spec": { "hub": "testbed.local/istio" } });
    let patch = kube::api::Patch::Merge(mended);
    bed.meshes()
        .patch("default", &Default::default(), &patch)
        .await?;
    bed.retry(NAME, "the hub is right").await?;
    let restarting = |status: &MeshUpgradeStatus| {
        status.observed_retry.as_deref() == Some("the hub is right")
            && (status.phase == Some(Phase::Failed)
                || status.workloads.is_some_and(|w| w.restarting > 0))
    };
    let status = wait_status(bed, NAME, "the frail one restarts", UPGRADE, restarting).await?;
    ensure!(
        status.step == Some(Step::RestartingWorkloads),
        "{}",
        shown(&status)
    );

    // Meanwhile: one namespace goes, and another is taken back by a tool that owns its label.
    bed.cluster
        .kubectl(&["delete", "namespace", "leaving", "--wait=false"])
        .await?;
    let label = [
        "label",
        "namespace",
        "taken",
        "istio-injection=enabled",
        "istio.io/rev-",
    ];
    let owner = ["--overwrite", "--field-manager=argocd"];
    bed.cluster.kubectl(&[&label[..], &owner].concat()).await?;

    let status = wait_phase(bed, NAME, Phase::Failed, UPGRADE).await?;
    progress::line(&status.message);
    ensure!(status.outcome == Some(Outcome::Stopped), "{status:?}");
    ensure_condition(
        &status,
        conditions::DATA_PLANE_UPGRADED,
        ("False", "Moving"),
    )?;
    ensure_says(
        &status,
        &[
            "not ready on 1-31-0",
            "a-frail/frail",
            "container app: ",
            "meshlift.io/retry",
        ],
    )?;
    ensure!(
        status.workloads.is_some_and(|w| w.failed == 1),
        "{:?}",
        status.workloads
    );
    // Its old pod serves on: a rolling update takes nothing away before the new one is ready.
    let frail = Api::<Deployment>::namespaced(bed.client.clone(), "a-frail")
        .get("frail")
        .await?;
    let available = frail.status.and_then(|status| status.available_replicas);
    ensure!(
        available == Some(1),
        "the frail one has {available:?} available"
    );
    Ok(())
}

/// The change is made where it comes from: with the same owner, and by nobody else.
async fn what_git_owns_is_waited_for(bed: &Bed) -> Result<()> {
    let sound = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/command", "value": ["sleep", "infinity"] }]);
    let patch = [
        "patch",
        "deployment",
        "frail",
        "-n",
        "a-frail",
        "--type=json",
    ];
    bed.cluster
        .kubectl(&[&patch[..], &["-p", &sound.to_string()]].concat())
        .await?;
    let mended = "the frail one is sound";
    bed.retry(NAME, mended).await?;
    let waits = |status: &MeshUpgradeStatus| {
        let reason = condition(status, conditions::RECONCILING).map(|(_, reason, _)| reason);
        // Until it has seen the retry, the run before is told, which has ended.
        status.observed_retry.as_deref() == Some(mended)
            && (status.phase.is_some_and(Phase::is_terminal)
                || reason.is_ok_and(|reason| reason == "WaitingForGit"))
    };
    let status = wait_status(bed, NAME, "it waits for Git", UPGRADE, waits).await?;
    progress::line(&status.message);
    ensure_condition(&status, conditions::RECONCILING, ("True", "WaitingForGit"))?;
    ensure_says(
        &status,
        &["amespace taken", "istio.io/rev", "1-31-0", "argocd"],
    )?;
    let namespace = kubectl_json(bed, &["get", "namespace", "taken"]).await?;
    let labels = &namespace["metadata"]["labels"];
    ensure!(
        labels["istio-injection"] == "enabled" && labels["istio.io/rev"].is_null(),
        "fought over: {labels}"
    );
    let commit = [
        "label",
        "namespace",
        "taken",
        "istio.io/rev=1-31-0",
        "istio-injection-",
        "--field-manager=argocd",
    ];
    bed.cluster.kubectl(&commit).await?;
    Ok(())
}

async fn what_cannot_be_moved_is_named(bed: &Bed) -> Result<()> {
    let status = wait_status(bed, NAME, "it ends", UPGRADE, |status| {
        status.observed_retry.as_deref() == Some("the frail one is sound")
            && status.phase.is_some_and(Phase::is_terminal)
    })
    .await?;
    progress::line(&status.message);
    ensure!(status.phase == Some(Phase::Done), "{}", shown(&status));
    ensure_condition(&status, conditions::READY, ("True", "Upgraded"))?;
    ensure_condition(
        &status,
        conditions::OLD_REVISION_RETIRED,
        ("False", "InUse"),
    )?;
    ensure_condition(
        &status,
        conditions::DATA_PLANE_UPGRADED,
        ("True", "AllButBlockedMoved"),
    )?;
    ensure_says(&status, &["1.31.0", "1.30.2", "meshlift.io/retry"])?;
    for (name, why, command) in [
        ("stuck/bare", Predicate::BarePod, "get pod bare -o yaml"),
        ("stuck/long-", Predicate::Job, "get job long"),
        (
            "stuck/ondelete",
            Predicate::OnDelete,
            "kubectl -n stuck delete pod",
        ),
        (
            "stuck/paused",
            Predicate::Paused,
            "kubectl -n stuck rollout resume deployment/paused",
        ),
        (
            "stuck/excluded",
            Predicate::Excluded,
            "kubectl -n stuck rollout restart deployment/excluded",
        ),
    ] {
        let (predicate, message) = blocked(&status, name)?;
        ensure!(
            predicate == why,
            "{name} is blocked by {predicate}, not {why}"
        );
        ensure!(
            message.contains(command),
            "{command:?} is missing in: {message}"
        );
    }
    ensure!(status.blocked.len() == 5, "{:?}", status.blocked);
    let left = bed.cluster.kubectl(&["get", "namespace", "leaving"]).await;
    ensure!(
        left.is_err(),
        "the namespace that was deleted is still there"
    );
    // The old control plane still serves those that stayed.
    let images: Vec<_> = sidecars(bed).await?;
    let old = images
        .iter()
        .filter(|(_, image)| image.ends_with(":1.30.2"))
        .count();
    ensure!(old == 5, "{old} old sidecars: {images:?}");
    let istiod = Api::<Deployment>::namespaced(bed.client.clone(), ISTIO)
        .get("istiod")
        .await?;
    let ready = istiod.status.and_then(|status| status.ready_replicas);
    ensure!(
        ready == Some(1),
        "the old istiod has {ready:?} ready replicas"
    );
    Ok(())
}

/// Does what the messages say, then asks again.
async fn what_is_named_moves_by_the_command(bed: &Bed) -> Result<()> {
    let stuck = ["-n", "stuck"];
    let run =
        async |arguments: &[&str]| bed.cluster.kubectl(&[&stuck[..], arguments].concat()).await;
    run(&["delete", "pod", "bare"]).await?;
    run(&["delete", "job", "long"]).await?;
    run(&["delete", "pod", "--selector=app=ondelete"]).await?;
    run(&["rollout", "resume", "deployment/paused"]).await?;
    run(&["rollout", "restart", "deployment/paused"]).await?;
    run(&["label", "deployment", "excluded", "meshlift.io/exclude-"]).await?;
    run(&["rollout", "restart", "deployment/excluded"]).await?;
    let limit = Duration::from_secs(60);
    until("every old sidecar is gone", limit, || async {
        let mut images = sidecars(bed).await?;
        images.retain(|(_, image)| image.ends_with(":1.30.2"));
        Ok(if images.is_empty() {
            Ok(())
        } else {
            Err(format!("{images:?}"))
        })
    })
    .await?;
    bed.retry(NAME, "all moved by hand").await?;
    let status = wait_status(
        bed,
        NAME,
        "the old control plane is retired",
        UPGRADE,
        |status| {
            status.observed_retry.as_deref() == Some("all moved by hand")
                && status.phase.is_some_and(Phase::is_terminal)
        },
    )
    .await?;
    ensure!(status.phase == Some(Phase::Done), "{}", shown(&status));
    ensure_condition(
        &status,
        conditions::OLD_REVISION_RETIRED,
        ("True", "Retired"),
    )?;
    ensure!(status.blocked.is_empty(), "{:?}", status.blocked);
    ensure!(
        status.history.len() == 3,
        "{} earlier runs",
        status.history.len()
    );
    ensure_upgraded(bed).await
}
