//! A mesh with a revision, in which namespaces are bound to tags: one of the istiod release's own values, and one
//! that no release owns. The API server fails at every write of the operator, and each object is written once all the same.

use anyhow::{Context, Result, ensure};
use meshlift_api::Phase;
use meshlift_testbed::istio::{self, Injection, IstioOptions};
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use meshlift_tests::bed::Bed;
use meshlift_tests::faulty::{Faulty, INJECTED, Spares};
use meshlift_tests::operator::{Operator, Settings};
use meshlift_tests::upgrades::{Followed, wait_phase};
use serde_json::Value;

use crate::fixture::{UPGRADE, ensure_upgraded, kubectl_json, with_mesh_of};
use crate::street::{
    Street, accepting, all_namespaces, bindings, ensure_at, ensure_lost_but_at_the_door,
    generations, restarts_since,
};

const NAME: &str = "by-tags";
/// In the values of the istiod release.
const PROD: &str = "prod";
/// Of no release.
const TRIAL: &str = "trial";
/// What is written, and tried, of which kind of object: from the dry runs of the detection to the removal of the old release.
const WRITES: usize = 20;

#[test]
fn mesh_tags_move_and_outlive_the_old_release_and_nothing_is_lost() -> Result<()> {
    let options = IstioOptions {
        revision: Some("1-30-2".into()),
        tags: vec![PROD.into()],
        ..IstioOptions::default()
    };
    with_mesh_of("mesh_tags", options, async |bed| {
        istio::apply_tag(&bed.cluster, ISTIO_FROM, TRIAL, "1-30-2").await?;
        let street = Street {
            shop: Injection::Revision(PROD.into()),
            neighbours: Injection::Revision(TRIAL.into()),
        };
        let load = street.open(&bed).await?;
        ensure_at(&bed, ISTIO_FROM, &all_namespaces()).await?;
        let bound = bindings(&bed).await?;
        let before = generations(&bed).await?;
        let bundles = [bundle(&bed, PROD).await?, bundle(&bed, TRIAL).await?];

        let faulty = Faulty::start(&bed, Spares::Reads).await?;
        let settings = Settings {
            kubeconfig: Some(faulty.kubeconfig().to_owned()),
            ..Settings::default()
        };
        let operator = Operator::start_with(&bed, settings).await?;
        bed.create_upgrade(NAME, accepting()).await?;
        let followed = Followed::follow(&bed, NAME);
        let status = wait_phase(&bed, NAME, Phase::Done, UPGRADE).await;
        let status = status
            .with_context(|| operator.log_tail())
            .with_context(|| faulty.disturbed().to_string())?;
        faulty.ensure_disturbed(WRITES)?;
        followed.ensure_said(INJECTED)?;
        ensure!(status.blocked.is_empty(), "{:?}", status.blocked);
        ensure_upgraded(&bed).await?;
        ensure_at(&bed, ISTIO_TO, &all_namespaces()).await?;
        for (tag, bundle_before) in [PROD, TRIAL].iter().zip(&bundles) {
            let revision = istio::tag_revision(&bed.cluster, tag).await?;
            ensure!(revision == "1-31-0", "tag {tag} points to {revision}");
            let bundle = bundle(&bed, tag).await?;
            ensure!(bundle == *bundle_before, "the caBundle of {tag} changed");
        }
        let mut after = bindings(&bed).await?;
        // The Gateway may be told its revision; the namespaces keep their tags.
        after.insert("Gateway".to_owned(), bound["Gateway"].clone());
        ensure!(after == bound, "labels were {bound:?}, and are {after:?}");
        let restarts = restarts_since(&bed, &before).await?;
        ensure!(
            restarts.len() == 9 && restarts.values().all(|count| *count == 1),
            "not each restarted once: {restarts:?}"
        );
        ensure_lost_but_at_the_door(load).await.map(drop)
    })
}

async fn bundle(bed: &Bed, tag: &str) -> Result<Vec<Value>> {
    let name = format!("istio-revision-tag-{tag}");
    let webhooks = kubectl_json(bed, &["get", "mutatingwebhookconfiguration", &name]).await?;
    let webhooks = webhooks["webhooks"].as_array().into_iter().flatten();
    Ok(webhooks
        .map(|webhook| webhook["clientConfig"]["caBundle"].clone())
        .collect())
}
