//! An upgrade whose mesh has another cluster: held while that one does not fit, and goes on by itself.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use meshlift_api::{Phase, conditions, labels};
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_tests::bed::Bed;
use meshlift_tests::blocked::{ensure_untouched, is_blocked};
use meshlift_tests::operator::Operator;
use meshlift_tests::repository::Index;
use meshlift_tests::upgrades::{condition, wait_status};
use meshlift_tests::wait::SOON;
use serde_json::json;

use crate::fixture::{EAST, Two, clear, named, run};

/// What was asked is known for a minute, and a blocked upgrade looks again within half a minute.
const BY_ITSELF: Duration = Duration::from_secs(180);
/// Much shorter than what was asked is known.
const AT_ONCE: Duration = Duration::from_secs(15);
const NAME: &str = "to-1-31";

async fn redetect(bed: &Bed, value: &str) -> Result<()> {
    let annotations = json!({ labels::REDETECT: value });
    bed.patch_upgrade(NAME, json!({ "metadata": { "annotations": annotations } }))
        .await?;
    Ok(())
}

#[test]
fn api_clusters_too_old_blocks_until_that_cluster_is_upgraded() -> Result<()> {
    run(async {
        let mut two = Two::with_istio("1.31.4").await?;
        let bed = &two.bed;
        // Nothing in the Mesh names the other cluster: istiod's own secret does.
        two.mesh(json!([])).await?;
        bed.cluster.remote_secret(&two.east, EAST).await?;
        let audit = bed.audit()?;
        let mut operator = Operator::start(bed).await?;
        let spec = json!({ "mesh": "shop", "targetVersion": "1.31" });
        bed.create_upgrade(NAME, spec).await?;
        let words = [
            "Kubernetes 1.31 of cluster east is too old for Istio 1.31.0",
            "1.32 to 1.37",
            "upgrade cluster east to 1.32 first",
            "detection then runs again by itself",
        ];
        is_blocked(bed, NAME, "KubernetesTooOld", &words, SOON).await?;
        ensure_untouched(&audit)?;

        // Upgraded too far, and told so: seen at once.
        two.east.restart_api_server("1.40.0").await?;
        let bed = &two.bed;
        let asked = Instant::now();
        redetect(bed, "upgraded").await?;
        let words = [
            "Kubernetes 1.40 of cluster east is too new for Istio 1.31.0",
            "1.32 to 1.37",
        ];
        is_blocked(bed, NAME, "KubernetesTooNew", &words, AT_ONCE).await?;
        println!(
            "seen {:.1} s after it was asked for",
            asked.elapsed().as_secs_f32()
        );
        ensure_untouched(&audit)?;

        // As it should be, and nobody says so.
        two.east.restart_api_server("1.33.2").await?;
        let bed = &two.bed;
        let upgraded = Instant::now();
        let status = wait_status(bed, NAME, "it goes on", BY_ITSELF, |status| {
            status.phase == Some(Phase::Upgrading)
        })
        .await?;
        println!(
            "went on by itself after {:.1} s",
            upgraded.elapsed().as_secs_f32()
        );
        let (is, reason, _) = condition(&status, conditions::DETECTED)?;
        ensure!(is == "True", "{is} {reason}");
        operator.check()?;
        operator.kill()?;
        two.down().await
    })
}

#[test]
fn api_clusters_too_new_names_the_istio_that_fits_all() -> Result<()> {
    run(async {
        let two = Two::with_istio("1.37.0").await?;
        let bed = &two.bed;
        // A patch of the minor that runs, which ends at Kubernetes 1.36; the next one takes 1.37.
        let index = Index::serve(&[ISTIO_FROM, "1.30.5", "1.31.0"]).await?;
        let charts = json!({ "repository": index.url() });
        bed.create_mesh(
            "shop",
            json!({ "charts": charts, "clusters": named("east") }),
        )
        .await?;
        two.secret(
            "east",
            json!({ "value": two.kubeconfig().await?.to_string() }),
        )
        .await?;
        let audit = bed.audit()?;
        let _operator = Operator::start(bed).await?;
        let spec = json!({ "mesh": "shop", "targetVersion": "1.30.5" });
        bed.create_upgrade(NAME, spec).await?;
        let words = [
            "Kubernetes 1.37 of cluster east is too new for Istio 1.30.5",
            "1.32 to 1.36",
            "only Istio 1.31 fits every cluster",
        ];
        is_blocked(bed, NAME, "KubernetesTooNew", &words, SOON).await?;
        ensure_untouched(&audit)?;
        clear(bed).await?;
        two.down().await
    })
}

#[test]
fn api_clusters_that_are_away_block_and_say_so() -> Result<()> {
    run(async {
        let two = Two::with_istio("1.33.2").await?;
        let bed = &two.bed;
        two.mesh(named("east")).await?;
        let audit = bed.audit()?;
        let _operator = Operator::start(bed).await?;
        let spec = json!({ "mesh": "shop", "targetVersion": "1.31" });
        bed.create_upgrade(NAME, spec).await?;
        let unreachable = async |words: &[&str]| {
            let limit = Duration::from_secs(60);
            is_blocked(bed, NAME, "ClusterUnreachable", words, limit).await?;
            ensure_untouched(&audit)
        };
        unreachable(&["cluster east", "no Secret meshlift-system/east"]).await?;
        let kubeconfig = two.kubeconfig().await?.to_string();
        two.east.stop_api_server()?;
        two.secret("east", json!({ "kubeconfig": kubeconfig }))
            .await?;
        redetect(bed, "there is a Secret now").await?;
        unreachable(&["cluster east", "refused"]).await?;
        clear(bed).await?;
        two.down().await
    })
}
