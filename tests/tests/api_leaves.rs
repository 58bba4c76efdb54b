//! Every leaf of our kinds, changed to what nobody meant, on a real API server with the operator at work: it is refused,
//! or the object says what became of it; nothing ends the operator, and a good object is served all the while.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_api::{Mesh, MeshUpgrade, Phase, ReleaseCatalog};
use meshlift_testbed::Options;
use meshlift_tests::bed::Bed;
use meshlift_tests::leaves::{Changed, catalog, changed, mesh, upgrade};
use meshlift_tests::operator::Operator;
use meshlift_tests::upgrades::{wait_phase, wait_status};
use meshlift_tests::wait::until;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);
/// How many requests are under way at once.
const AT_ONCE: usize = 8;

fn api<K: Resource<DynamicType = ()>>(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<K>(&()))
}

/// Creates an object for each; the names of those that the API server took. Everything else must be a refusal.
async fn create<K: Resource<DynamicType = ()>>(
    client: &Client,
    prefix: &str,
    all: Vec<Changed>,
) -> Result<Vec<String>> {
    let api = api::<K>(client);
    let each = |(n, Changed { place, spec }): (usize, Changed)| {
        let api = api.clone();
        let name = format!("{prefix}-{n}");
        async move {
            let object = json!({
                "apiVersion": "meshlift.io/v1alpha1", "kind": K::kind(&()),
                "metadata": { "name": name }, "spec": spec,
            });
            let object: DynamicObject = serde_json::from_value(object)?;
            match api.create(&PostParams::default(), &object).await {
                Ok(_) => Ok(Some(name)),
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Ok(None),
                Err(error) => Err(error).with_context(|| format!("{place}: {:?}", object.data)),
            }
        }
    };
    let answers = stream::iter(all.into_iter().enumerate().map(each));
    let answers: Vec<Result<Option<String>>> = answers.buffer_unordered(AT_ONCE).collect().await;
    let mut taken = Vec::new();
    for answer in answers {
        taken.extend(answer?);
    }
    Ok(taken)
}

/// Those of whose status nothing has been written, with what they hold.
async fn silent<K: Resource<DynamicType = ()>>(
    client: &Client,
    names: &[String],
) -> Result<Vec<DynamicObject>> {
    let all = api::<K>(client).list(&Default::default()).await?;
    let said = |object: &DynamicObject| {
        let conditions = object.data.pointer("/status/conditions");
        conditions
            .and_then(Value::as_array)
            .is_some_and(|all| !all.is_empty())
    };
    let taken = |object: &DynamicObject| names.contains(&object.name_any());
    let silent = all
        .items
        .into_iter()
        .filter(|object| taken(object) && !said(object));
    Ok(silent.collect())
}

async fn all_say_something<K: Resource<DynamicType = ()>>(
    client: &Client,
    names: &[String],
) -> Result<()> {
    let what = format!("every {} says what became of it", K::kind(&()));
    until(&what, LIMIT, || async {
        let silent = silent::<K>(client, names).await?;
        Ok(if silent.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "{} say nothing, among them {:?}",
                silent.len(),
                silent
                    .iter()
                    .map(|object| object.data.to_string())
                    .take(5)
                    .collect::<Vec<_>>()
            ))
        })
    })
    .await
}

/// Upgrades of one mesh are looked at one after the other, and this is not about that.
fn of_its_own_mesh(n: usize, mut changed: Changed) -> Changed {
    if changed.place != "/mesh" {
        changed.spec["mesh"] = json!(format!("nowhere-{n}"));
    }
    changed
}

#[tokio::test(flavor = "multi_thread")]
async fn api_no_leaf_of_our_kinds_ends_the_operator() -> Result<()> {
    let bed = Bed::up(Options::api("leaves")).await?;
    let mut operator = Operator::start(&bed).await?;
    let upgrades: Vec<Changed> = changed(&upgrade())
        .into_iter()
        .enumerate()
        .map(|(n, changed)| of_its_own_mesh(n, changed))
        .collect();
    let count = upgrades.len();
    let taken = create::<MeshUpgrade>(&bed.client, "u", upgrades).await?;
    println!("{count} MeshUpgrades, of which {} were taken", taken.len());
    ensure!(count > 1_000 && taken.len() > 50 && taken.len() < count);
    all_say_something::<MeshUpgrade>(&bed.client, &taken).await?;
    operator.check()?;

    let meshes = create::<Mesh>(&bed.client, "m", changed(&mesh())).await?;
    ensure!(meshes.len() > 10, "{meshes:?}");
    all_say_something::<Mesh>(&bed.client, &meshes).await?;
    // Of catalogs one counts, by its name: the others must only do no harm.
    create::<ReleaseCatalog>(&bed.client, "c", changed(&catalog())).await?;
    operator.check()?;

    bed.create_upgrade("good", json!({ "targetVersion": "1.99.0" }))
        .await?;
    wait_phase(&bed, "good", Phase::Detecting, LIMIT).await?;
    operator.check()
}

/// What the schema of today refuses was taken by the one of before, or is of a version to come.
#[tokio::test(flavor = "multi_thread")]
async fn api_what_is_stored_and_cannot_be_read_is_named_in_its_status() -> Result<()> {
    let bed = Bed::up(Options::api("stored")).await?;
    loosen(&bed.client).await?;
    let mut operator = Operator::start(&bed).await?;
    let absurd = json!({ "targetVersion": "1.99.0", "retire": { "after": "5124095576030431h" } });
    // The API server takes up a changed schema a moment later.
    until("an absurd duration is stored", LIMIT, || async {
        let object = json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgrade",
            "metadata": { "name": "absurd" }, "spec": absurd.clone(),
        });
        let object: DynamicObject = serde_json::from_value(object)?;
        let upgrades = api::<MeshUpgrade>(&bed.client);
        let created = upgrades.create(&PostParams::default(), &object).await;
        Ok(created.map(drop).map_err(|error| error.to_string()))
    })
    .await?;
    bed.create_upgrade("good", json!({ "targetVersion": "1.99.0" }))
        .await?;
    wait_phase(&bed, "good", Phase::Detecting, LIMIT).await?;
    let upgrades = api::<MeshUpgrade>(&bed.client);
    named(&upgrades, "absurd", "spec.retire.after").await?;

    // A phase of a newer version, after a downgrade.
    let phase = json!({ "status": { "phase": "Levitating" } });
    let patch = Patch::Merge(&phase);
    upgrades
        .patch_status("good", &PatchParams::default(), &patch)
        .await?;
    named(&upgrades, "good", "status.phase").await?;
    let stored = upgrades.get("good").await?;
    let kept = stored.data.pointer("/status/phase").and_then(Value::as_str);
    ensure!(kept == Some("Levitating"), "{:?}", stored.data);
    operator.check()?;

    // Once it can be read, it goes on.
    let corrected = json!({ "spec": { "retire": { "after": "1h" } } });
    upgrades
        .patch("absurd", &PatchParams::default(), &Patch::Merge(&corrected))
        .await?;
    wait_status(&bed, "absurd", "it goes on", LIMIT, |status| {
        status.phase.is_some() && !status.message.contains("cannot be read")
    })
    .await?;
    operator.check()
}

async fn named(upgrades: &Api<DynamicObject>, name: &str, field: &str) -> Result<()> {
    let what = format!("{name} names {field}");
    until(&what, LIMIT, || async {
        let status = upgrades.get(name).await?.data["status"].clone();
        let message = status["message"].as_str().unwrap_or_default();
        let stalled = status["conditions"].as_array().into_iter().flatten();
        let stalled = stalled
            .filter(|condition| condition["type"] == "Stalled")
            .any(|condition| condition["status"] == "True");
        Ok(if message.contains(field) && stalled {
            Ok(())
        } else {
            Err(status.to_string())
        })
    })
    .await
}

/// Takes the schema of MeshUpgrades away, as if another version had written what is stored.
async fn loosen(client: &Client) -> Result<()> {
    let crds: Api<DynamicObject> = Api::all_with(client.clone(), &crd());
    let name = "meshupgrades.meshlift.io";
    let mut definition = crds.get(name).await?;
    let schema = definition
        .data
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .context("the CRD has no schema")?;
    *schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    crds.replace(name, &PostParams::default(), &definition)
        .await?;
    Ok(())
}

fn crd() -> ApiResource {
    let kind =
        kube::core::GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    ApiResource::from_gvk(&kind)
}
