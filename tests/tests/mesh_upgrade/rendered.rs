//! A mesh without Helm releases, as Argo CD renders it from Git: the upgrade reports what to commit, waits for it, and
//! moves the workloads under load.

use anyhow::{Context, Result, ensure};
use meshlift_api::{MeshUpgradeStatus, Outcome, Phase};
use meshlift_testbed::istio::{self, render};
use meshlift_testbed::progress;
use meshlift_testbed::shop::{NAMESPACES, VISITORS};
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{wait_phase, wait_status};
use serde_json::{Value, json};

use crate::fixture::{
    UPGRADE, ensure_nothing_lost, ensure_webhooks_call, helm_json, hurried, kubectl_json,
    open_shop, revision_of, rollouts, sidecars, with_bare_cluster,
};

const NAME: &str = "rendered";
/// Workloads of the shop, and the visitors.
const WORKLOADS: usize = 6;

#[test]
fn mesh_that_others_render_is_upgraded_by_their_commits() -> Result<()> {
    with_bare_cluster("mesh_rendered", async |bed| {
        let git = Git { bed: &bed };
        git.base(ISTIO_FROM, "default").await?;
        git.istiod(ISTIO_FROM, "").await?;
        let deployment = ["-n", ISTIO, "rollout", "status", "deployment/istiod"];
        bed.cluster.kubectl(&deployment).await?;
        let charts = bed.cluster.charts_url_host()?;
        let mesh = json!({ "installer": "None", "charts": { "repository": charts } });
        bed.create_mesh("default", mesh).await?;
        let load = open_shop(&bed).await?;
        let operator = Operator::start(&bed).await?;
        bed.create_upgrade(NAME, hurried()).await?;
        let went = git.commits_what_is_asked_for().await;
        went.with_context(|| operator.log_tail())?;
        ensure_upgraded(&bed).await?;
        ensure_nothing_lost(load).await
    })
}

/// Whoever renders Istio from Git.
struct Git<'a> {
    bed: &'a Bed,
}

impl Git<'_> {
    async fn base(&self, version: &str, default_revision: &str) -> Result<()> {
        let values = json!({ "defaultRevision": default_revision });
        let base = render(&self.bed.cluster, "base", version, &values).await?;
        base.apply(&self.bed.cluster).await
    }

    async fn istiod(&self, version: &str, revision: &str) -> Result<istio::Rendered> {
        let mut values = istio::needed();
        values["revision"] = json!(revision);
        let istiod = render(&self.bed.cluster, "istiod", version, &values).await?;
        istiod.apply(&self.bed.cluster).await?;
        Ok(istiod)
    }

    /// Makes each change when the upgrade reports that it waits for it, and no other.
    async fn commits_what_is_asked_for(&self) -> Result<()> {
        let new = revision_of(ISTIO_TO);
        self.asked_for(&format!("render chart base {ISTIO_TO}"))
            .await?;
        self.base(ISTIO_TO, "default").await?;
        self.asked_for(&format!("revision={new}")).await?;
        self.istiod(ISTIO_TO, &new).await?;
        self.asked_for(&format!("defaultRevision={new}")).await?;
        self.base(ISTIO_TO, &new).await?;
        self.asked_for("remove what chart istiod renders").await?;
        let mut old = istio::needed();
        old["revision"] = json!("");
        let old = render(&self.bed.cluster, "istiod", ISTIO_FROM, &old).await?;
        old.delete(&self.bed.cluster).await?;
        let status = wait_phase(self.bed, NAME, Phase::Done, UPGRADE).await?;
        progress::line(&status.message);
        ensure!(
            status.outcome == Some(Outcome::Upgraded) && status.blocked.is_empty(),
            "{status:?}"
        );
        Ok(())
    }

    async fn asked_for(&self, change: &str) -> Result<()> {
        let waits = |status: &MeshUpgradeStatus| {
            status.message.starts_with("waiting for a commit") && status.message.contains(change)
        };
        let status = wait_status(self.bed, NAME, change, UPGRADE, waits).await?;
        progress::line(&status.message);
        Ok(())
    }
}

/// Fails unless one istiod is left, everything calls it, every sidecar is of the new version after one restart of each
/// workload, and Helm has nothing.
async fn ensure_upgraded(bed: &Bed) -> Result<()> {
    let releases = helm_json(bed, &["ls", "-n", ISTIO]).await?;
    ensure!(releases == json!([]), "releases: {releases}");
    let of_istiod = ["get", "deployments", "-n", ISTIO, "-l", "app=istiod"];
    let planes = kubectl_json(bed, &of_istiod).await?;
    let names = planes["items"].as_array().into_iter().flatten();
    let names: Vec<&Value> = names.map(|plane| &plane["metadata"]["name"]).collect();
    let istiod = format!("istiod-{}", revision_of(ISTIO_TO));
    ensure!(names == [&json!(istiod)], "control planes: {names:?}");
    ensure_webhooks_call(bed, &istiod).await?;
    let version = format!(":{ISTIO_TO}");
    let all = sidecars(bed).await?;
    let old: Vec<_> = all
        .iter()
        .filter(|(_, image)| !image.ends_with(&version))
        .collect();
    ensure!(!all.is_empty() && old.is_empty(), "old sidecars: {old:?}");
    let namespaces = [&NAMESPACES[..], &[VISITORS]].concat();
    let templates = rollouts(bed, &namespaces).await?;
    ensure!(
        templates.len() == WORKLOADS && templates.iter().all(|(_, n)| *n == 2),
        "not each restarted once: {templates:?}"
    );
    Ok(())
}
