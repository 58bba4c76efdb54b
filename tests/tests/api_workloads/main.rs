//! Workloads that are no Deployments on a real API server, with the account of the chart: kinds whose CRDs
//! appear while we watch, owner-less ReplicaSets, evictions and their budgets.

mod eyes;
mod objects;
mod refusals;

use anyhow::{Context, Result, ensure};
use eyes::Eyes;
use meshlift_model::Effect;
use meshlift_model::view::{Workload, WorkloadKind};
use meshlift_testbed::Options;
use meshlift_tests::bed::Bed;
use meshlift_tests::wait::{SOON, until};
use objects::{NAMESPACE, Objects};
use serde_json::json;
use tokio::runtime::Runtime;

#[test]
fn api_workloads_of_every_kind_are_seen_restarted_and_evicted() -> Result<()> {
    Runtime::new()?.block_on(async {
        let bed = Bed::up(Options::api("workloads")).await?;
        let eyes = Eyes::open(&bed).await?;
        eyes.settled().await?;
        let objects = Objects::new(&bed);
        objects.namespace().await?;
        Box::pin(kinds_of_others(&eyes, &objects)).await?;
        Box::pin(evictions(&eyes, &objects)).await?;
        Box::pin(evictions_of_new_pods(&eyes, &objects)).await?;
        Box::pin(a_template_that_asks_itself(&eyes, &objects)).await?;
        objects.without_crds().await?;
        until("a kind whose CRD goes is empty", SOON, || async {
            let view = eyes.look().await;
            let left = view.workloads.present().context("workloads")?.iter();
            let left = left
                .filter(|w| w.key.kind == WorkloadKind::CloneSet)
                .count();
            Ok((left == 0).then_some(()).ok_or(format!("{left} CloneSets")))
        })
        .await?;
        bed.cluster.down().await
    })
}

/// Watched as soon as their CRDs are there, and restarted in their own way.
async fn kinds_of_others(eyes: &Eyes, objects: &Objects<'_>) -> Result<()> {
    objects.crds().await?;
    objects.rollout("front").await?;
    objects.clone_set("pool").await?;
    let front = eyes
        .workload(WorkloadKind::Rollout, "front", |w| w.settled)
        .await?;
    let pool = eyes
        .workload(WorkloadKind::CloneSet, "pool", |w| w.settled)
        .await?;
    ensure!(
        front.pods.len() == 1 && pool.pods.len() == 1,
        "{front:?} {pool:?}"
    );

    eyes.execute(vec![eyes.restart(&front), eyes.restart(&pool)])
        .await?;
    let front = objects
        .get("argoproj.io/v1alpha1", "Rollout", "front")
        .await?;
    ensure!(front.pointer("/spec/restartAt").is_some(), "{front}");
    let mark = |object: &serde_json::Value, at: &str| {
        let annotations = object.pointer(at).cloned().unwrap_or_default();
        annotations["meshlift.io/revision"] == "1-31-0"
    };
    ensure!(mark(&front, "/metadata/annotations"), "{front}");
    ensure!(
        !mark(&front, "/spec/template/metadata/annotations"),
        "{front}"
    );
    let pool = objects
        .get("apps.kruise.io/v1alpha1", "CloneSet", "pool")
        .await?;
    ensure!(mark(&pool, "/spec/template/metadata/annotations"), "{pool}");
    // Until its controller says that it is through.
    let unsettled = |w: &Workload| !w.settled && w.mark.is_some();
    eyes.workload(WorkloadKind::Rollout, "front", unsettled)
        .await?;

    for (kind, patch) in [
        ("clonesets", json!({ "spec": { "replicas": 0 } })),
        ("rollouts", json!({ "spec": { "paused": true } })),
        (
            "rollouts",
            json!({ "spec": { "template": { "spec": { "hostNetwork": true } } } }),
        ),
    ] {
        objects.refused_to_the_operator(kind, patch).await?;
    }
    Ok(())
}

/// An owner-less ReplicaSet, pod by pod, within a budget.
async fn evictions(eyes: &Eyes, objects: &Objects<'_>) -> Result<()> {
    objects.replica_set("bare", 2).await?;
    objects.all_ready("bare", 2).await?;
    objects.budget("bare", 2).await?;
    let bare = eyes
        .workload(WorkloadKind::ReplicaSet, "bare", |w| w.whole)
        .await?;
    let pod = bare.pods.first().context("a pod")?;

    let other = Effect::EvictPod {
        namespace: NAMESPACE.into(),
        name: pod.name.clone(),
        uid: "another".into(),
        workload: bare.key.clone(),
        workload_uid: bare.uid.clone(),
        at: None,
    };
    eyes.execute(vec![other]).await?;
    objects.still_there(pod).await?;
    objects.evicted_without_uid_is_refused(pod).await?;

    eyes.execute(vec![eyes.evict(&bare)]).await?;
    objects.still_there(pod).await?;
    let view = eyes.look().await;
    let refused = view.refusals.get(&pod.uid).context("a refusal")?;
    ensure!(refused.why.contains("budget bare"), "{refused:?}");

    objects.budget("bare", 1).await?;
    until("the budget lets one go", SOON, || async {
        eyes.execute(vec![eyes.evict(&bare)]).await?;
        let gone = objects.still_there(pod).await.is_err();
        Ok(gone.then_some(()).ok_or("the pod is still there".into()))
    })
    .await?;
    let going = |w: &Workload| !w.whole && w.evicted_at.is_some();
    eyes.workload(WorkloadKind::ReplicaSet, "bare", going)
        .await?;
    objects.all_ready("bare", 2).await?;
    let bare = eyes
        .workload(WorkloadKind::ReplicaSet, "bare", |w| w.whole)
        .await?;
    ensure!(bare.pods.iter().all(|new| new.uid != pod.uid), "{bare:?}");
    ensure!(
        bare.mark.is_none() && bare.restarted_at.is_none(),
        "{bare:?}"
    );
    Ok(())
}

/// A new pod goes only while it is not ready, by the version in which that was read.
async fn evictions_of_new_pods(eyes: &Eyes, objects: &Objects<'_>) -> Result<()> {
    objects.replica_set("late", 1).await?;
    objects.all_ready("late", 1).await?;
    let late = eyes
        .workload(WorkloadKind::ReplicaSet, "late", |w| !w.pods.is_empty())
        .await?;
    let pod = late.pods.first().context("a pod")?;
    eyes.execute(vec![eyes.evict_if_not_ready(&late)]).await?;
    objects.still_there(pod).await?;

    objects.not_ready(pod).await?;
    eyes.execute(vec![eyes.evict_if_not_ready(&late)]).await?;
    ensure!(objects.still_there(pod).await.is_err(), "{pod:?} stayed");
    let replaced = |w: &Workload| w.pods.iter().all(|new| new.uid != pod.uid) && !w.pods.is_empty();
    let late = eyes
        .workload(WorkloadKind::ReplicaSet, "late", replaced)
        .await?;
    ensure!(late.evicted_at.is_none(), "{late:?}");
    Ok(())
}

/// The label of a template is written and remembered, and goes back as it was.
/// It asks for a revision by itself, and later for the network of its host.
async fn a_template_that_asks_itself(eyes: &Eyes, objects: &Objects<'_>) -> Result<()> {
    objects.deployment("asks").await?;
    objects.all_ready("asks", 1).await?;
    let asks = eyes
        .workload(WorkloadKind::Deployment, "asks", |w| !w.pods.is_empty())
        .await?;
    ensure!(asks.template_revision_before.is_none() && asks.template_revision_owner.is_none());
    eyes.execute(vec![eyes.restart_asking(&asks, Some("1-31-0"), Some(""))])
        .await?;
    let asked = |w: &Workload| w.template_labels.contains_key("istio.io/rev");
    let asks = eyes
        .workload(WorkloadKind::Deployment, "asks", asked)
        .await?;
    ensure!(
        asks.template_revision_before.as_deref() == Some(""),
        "{asks:?}"
    );
    ensure!(
        asks.template_revision_owner.as_deref() == Some("meshlift"),
        "{asks:?}"
    );
    eyes.execute(vec![eyes.restart_asking(&asks, None, None)])
        .await?;
    let back = |w: &Workload| !asked(w) && w.template_revision_before.is_none();
    let asks = eyes
        .workload(WorkloadKind::Deployment, "asks", back)
        .await?;
    ensure!(!asks.host_network, "{asks:?}");
    objects.onto_the_host("asks").await?;
    eyes.workload(WorkloadKind::Deployment, "asks", |w| w.host_network)
        .await?;
    Ok(())
}
