//! A change freeze on a real API server: what it refuses is remembered with who refused it, and the others go on.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt};
use meshlift_model::view::{WorkloadKey, WorkloadKind};
use meshlift_model::{Effect, Executed, Refusal};
use meshlift_testbed::Options;
use meshlift_tests::bed::Bed;
use meshlift_tests::freeze::FREEZE;
use meshlift_tests::hands::Hands;
use meshlift_tests::wait::{SOON, until};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const FROZEN: [&str; 6] = ["aaa-0", "aaa-1", "aaa-2", "aaa-3", "aaa-4", "aaa-5"];

#[test]
fn api_workloads_of_frozen_namespaces_hold_nobody() -> Result<()> {
    Runtime::new()?.block_on(async {
        let bed = Bed::up(Options::api("refusals")).await?;
        let hands = Hands::of(&bed, "refusals").await?;
        for namespace in FROZEN {
            idle(&bed, namespace, &json!({ "freeze": "true" })).await?;
        }
        idle(&bed, "shop", &json!({})).await?;
        bed.cluster.apply_yaml(FREEZE).await?;
        let namespaces: Vec<&str> = FROZEN.into_iter().chain(["shop"]).collect();
        until(
            "the freeze is in force, and the others restart",
            SOON,
            || async {
                let mut batch = Vec::new();
                for namespace in &namespaces {
                    batch.push(restart(&hands, namespace).await?);
                }
                let executed = hands.execute(hands.look().await, batch).await?;
                Ok(match &executed {
                    Executed::Refused(refused) if refused.len() == FROZEN.len() => Ok(()),
                    other => Err(format!("{other:?}")),
                })
            },
        )
        .await?;
        for namespace in namespaces {
            let mark = "/spec/template/metadata/annotations/meshlift.io~1revision";
            let object = serde_json::to_value(deployment(&hands, namespace).await?)?;
            let view = hands.look().await;
            let uid = object["metadata"]["uid"].as_str().context("a UID")?;
            let refusal: Option<&Refusal> = view.refusals.get(uid);
            match namespace {
                "shop" => {
                    ensure!(refusal.is_none(), "{refusal:?}");
                    ensure!(object.pointer(mark) == Some(&json!("1-31-0")), "{object}");
                }
                _ => {
                    let why = refusal.map(|refusal| refusal.why.as_str());
                    let wanted = "ValidatingAdmissionPolicy change-freeze: the namespace is frozen";
                    ensure!(why == Some(wanted), "{namespace}: {why:?}");
                }
            }
        }
        bed.cluster.down().await
    })
}

async fn idle(bed: &Bed, namespace: &str, labels: &Value) -> Result<()> {
    for object in [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace, "labels": labels } }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "idle", "namespace": namespace },
            "spec": {
                "selector": { "matchLabels": { "app": "idle" } },
                "template": {
                    "metadata": { "labels": { "app": "idle" } },
                    "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
                },
            },
        }),
    ] {
        bed.cluster
            .apply_yaml(&serde_json::to_string(&object)?)
            .await?;
    }
    Ok(())
}

async fn deployment(hands: &Hands, namespace: &str) -> Result<Deployment> {
    let api = Api::<Deployment>::namespaced(hands.client.clone(), namespace);
    Ok(api.get("idle").await?)
}

async fn restart(hands: &Hands, namespace: &str) -> Result<Effect> {
    let object = deployment(hands, namespace).await?;
    Ok(Effect::RestartWorkload {
        key: WorkloadKey {
            namespace: namespace.into(),
            kind: WorkloadKind::Deployment,
            name: "idle".into(),
        },
        uid: object.uid().context("a UID")?,
        resource_version: object.resource_version().context("a version")?,
        mark: "1-31-0".into(),
        template_revision: None,
        at: Timestamp::now(),
    })
}
