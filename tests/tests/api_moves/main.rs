//! Revision tags and Gateways on a real API server, with the account of the chart: how they are seen, what a move
//! writes, and that the fence lets through nothing else.

mod hands;

use anyhow::{Context, Result, ensure};
use hands::{Hands, Object};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::config::Kubeconfig;
use meshlift_model::view::{BudgetRule, Gateway, MeshView, Tag};
use meshlift_model::{Effect, ErrorClass, Executed};
use meshlift_testbed::Options;
use meshlift_tests::bed::{Bed, ISTIO};
use meshlift_tests::wait::{SOON, until};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const WEBHOOKS: Object = Object {
    group: "admissionregistration.k8s.io",
    kind: "MutatingWebhookConfiguration",
    namespace: None,
    name: "istio-revision-tag-prod",
};
const SERVICE: Object = Object {
    group: "",
    kind: "Service",
    namespace: Some(ISTIO),
    name: "istiod-revision-tag-prod",
};
const ISTIOD: Object = Object {
    group: "",
    kind: "Service",
    namespace: Some(ISTIO),
    name: "istiod-1-31-0",
};
const OWNER: Object = Object {
    group: "apps",
    kind: "Deployment",
    namespace: Some(ISTIO),
    name: "istiod-1-31-0",
};
const BUDGET: Object = Object {
    group: "policy",
    kind: "PodDisruptionBudget",
    namespace: Some(ISTIO),
    name: "istiod-1-31-0-copy",
};
const GATEWAY: Object = Object {
    group: "gateway.networking.k8s.io",
    kind: "Gateway",
    namespace: Some("default"),
    name: "front",
};

#[test]
fn api_moves_write_what_they_say_and_nothing_else() -> Result<()> {
    Runtime::new()?.block_on(async {
        let bed = Bed::up(Options::api("moves")).await?;
        let hands = Hands::of(&bed).await?;
        prepare(&bed).await?;
        let pointed = a_tag_is_pointed(&hands).await?;
        a_tag_of_another_look_is_left_alone(&hands, &pointed).await?;
        a_tag_is_kept(&hands).await?;
        a_gateway_is_moved_and_let_go(&hands).await?;
        a_budget_is_copied_once(&hands).await?;
        the_fence_holds(&hands).await?;
        bed.cluster.down().await
    })
}

async fn prepare(bed: &Bed) -> Result<()> {
    let kubeconfig = Kubeconfig::read_from(&bed.operator_kubeconfig)?;
    let cluster = kubeconfig
        .clusters
        .into_iter()
        .find_map(|named| named.cluster);
    let ca = cluster.and_then(|cluster| cluster.certificate_authority_data);
    let ca = ca.context("a kubeconfig without the cluster's CA")?;
    let objects = include_str!("objects.yaml").replace("CA_BUNDLE", &ca);
    bed.cluster.apply_yaml(&objects).await?;
    let crd = "crd/gateways.gateway.networking.k8s.io";
    let wait = ["wait", "--for=condition=Established", "--timeout=30s", crd];
    bed.cluster.kubectl(&wait).await?;
    bed.cluster.apply_yaml(include_str!("gateway.yaml")).await
}

/// What a look shows, once it is there.
async fn seen<T>(hands: &Hands, what: &str, find: impl Fn(&MeshView) -> Option<T>) -> Result<T> {
    until(what, SOON, || async {
        let view = hands.look().await;
        let found = find(&view);
        Ok(found.ok_or_else(|| format!("{:?} {:?}", view.tags, view.gateways)))
    })
    .await
}

fn prod(view: &MeshView) -> Option<Tag> {
    view.tags().iter().find(|tag| tag.name == "prod").cloned()
}

fn front(view: &MeshView) -> Option<Gateway> {
    view.gateways
        .present()?
        .iter()
        .find(|g| g.name == "front")
        .cloned()
}

fn point(tag: &Tag) -> Effect {
    Effect::PointTag {
        tag: tag.name.clone(),
        configuration: tag.configuration.clone(),
        uid: tag.uid.clone(),
        resource_version: tag.resource_version.clone(),
        revision: "1-31-0".into(),
        namespace: ISTIO.into(),
        istiod: "istiod-1-31-0".into(),
        mark: true,
    }
}

async fn a_tag_is_pointed(hands: &Hands) -> Result<Tag> {
    let tag = seen(hands, "the tag", prod).await?;
    ensure!(
        tag.revision == "default" && tag.namespace == ISTIO && !tag.by_url && !tag.kept,
        "{tag:?}"
    );
    ensure!(
        tag.helm_release.as_deref() == Some("istio-system/istiod"),
        "{tag:?}"
    );
    ensure!(tag.owner.is_some() && tag.moved_to.is_none(), "{tag:?}");
    let before = hands.stored(&WEBHOOKS).await?;

    let executed = hands.execute(point(&tag)).await?;
    ensure!(executed == Executed::Done, "{executed:?}");
    // A look right after it does not act on what was before.
    let moved = prod(&hands.look().await).context("the tag")?;
    ensure!(
        moved.revision == "1-31-0" && moved.moved_to.as_deref() == Some("1-31-0"),
        "{moved:?}"
    );
    ensure!(moved.owner.as_deref() == Some("meshlift"), "{moved:?}");

    let mut wanted = before["webhooks"].clone();
    for webhook in wanted.as_array_mut().context("webhooks")? {
        webhook["clientConfig"]["service"]["name"] = json!("istiod-1-31-0");
    }
    let after = hands.stored(&WEBHOOKS).await?;
    ensure!(after["webhooks"] == wanted, "{after}");
    let service = hands.stored(&SERVICE).await?;
    let selector = json!({ "app": "istiod", "istio.io/rev": "1-31-0" });
    ensure!(service["spec"]["selector"] == selector, "{service}");
    ensure!(
        service["metadata"]["labels"]["istio.io/rev"] == "1-31-0",
        "{service}"
    );
    ensure!(service["spec"]["ports"][0]["port"] == 443, "{service}");
    Ok(tag)
}

async fn a_tag_of_another_look_is_left_alone(hands: &Hands, then: &Tag) -> Result<()> {
    let before = hands.stored(&WEBHOOKS).await?;
    let executed = hands.execute(point(then)).await?;
    ensure_conflict(&executed)?;
    let after = hands.stored(&WEBHOOKS).await?;
    ensure!(
        before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"],
        "{after}"
    );
    Ok(())
}

async fn a_tag_is_kept(hands: &Hands) -> Result<()> {
    let tag = prod(&hands.look().await).context("the tag")?;
    let keep = Effect::KeepTag {
        tag: tag.name.clone(),
        configuration: tag.configuration.clone(),
        uid: tag.uid.clone(),
        resource_version: tag.resource_version.clone(),
        namespace: ISTIO.into(),
    };
    let executed = hands.execute(keep).await?;
    ensure!(executed == Executed::Done, "{executed:?}");
    ensure!(prod(&hands.look().await).is_some_and(|tag| tag.kept));
    for object in [&WEBHOOKS, &SERVICE] {
        let stored = hands.stored(object).await?;
        let annotations = &stored["metadata"]["annotations"];
        ensure!(annotations["helm.sh/resource-policy"] == "keep", "{stored}");
    }
    Ok(())
}

async fn a_gateway_is_moved_and_let_go(hands: &Hands) -> Result<()> {
    let gateway = seen(hands, "the Gateway", front).await?;
    ensure!(
        gateway.class == "istio" && gateway.label.is_none(),
        "{gateway:?}"
    );
    let view = hands.look().await;
    let others = view.gateways.present().map_or(0, Vec::len);
    ensure!(others == 1, "a class of others counts: {:?}", view.gateways);
    let before = hands.stored(&GATEWAY).await?;

    let label = |gateway: &Gateway, label: Option<&str>| Effect::LabelGateway {
        namespace: gateway.namespace.clone(),
        name: gateway.name.clone(),
        uid: gateway.uid.clone(),
        resource_version: gateway.resource_version.clone(),
        revision: "1-31-0".into(),
        label: label.map(str::to_owned),
        mark: label.is_some(),
        at: Timestamp::now(),
    };
    let executed = hands.execute(label(&gateway, Some("1-31-0"))).await?;
    ensure!(executed == Executed::Done, "{executed:?}");
    let moved = front(&hands.look().await).context("the Gateway")?;
    ensure!(
        moved.label.as_deref() == Some("1-31-0") && moved.moved_to == moved.label,
        "{moved:?}"
    );
    ensure!(moved.asked_at.is_some(), "{moved:?}");
    ensure!(moved.owner.as_deref() == Some("meshlift"), "{moved:?}");

    let executed = hands.execute(label(&gateway, Some("1-32-0"))).await?;
    ensure_conflict(&executed)?;
    let executed = hands.execute(label(&moved, None)).await?;
    ensure!(executed == Executed::Done, "{executed:?}");
    let after = hands.stored(&GATEWAY).await?;
    ensure!(after["spec"] == before["spec"], "{after}");
    ensure!(
        after["metadata"]["labels"] == before["metadata"]["labels"],
        "{after}"
    );
    Ok(())
}

async fn a_budget_is_copied_once(hands: &Hands) -> Result<()> {
    let owner = hands.stored(&OWNER).await?;
    let uid = owner["metadata"]["uid"].as_str().context("no uid")?;
    let copy = || Effect::CopyBudget {
        namespace: ISTIO.into(),
        name: BUDGET.name.into(),
        of: "by-hand".into(),
        revision: "1-31-0".into(),
        owner: OWNER.name.into(),
        owner_uid: uid.into(),
        rule: BudgetRule {
            max_unavailable: Some(IntOrString::Int(1)),
            ..BudgetRule::default()
        },
    };
    let executed = hands.execute(copy()).await?;
    ensure!(executed == Executed::Done, "{executed:?}");
    let stored = hands.stored(&BUDGET).await?;
    let selector = json!({ "matchLabels": { "app": "istiod", "istio.io/rev": "1-31-0" } });
    ensure!(
        stored["spec"] == json!({ "maxUnavailable": 1, "selector": selector }),
        "{stored}"
    );
    let owner = &stored["metadata"]["ownerReferences"][0];
    ensure!(
        owner["kind"] == "Deployment" && owner["name"] == "istiod-1-31-0",
        "{stored}"
    );
    let executed = hands.execute(copy()).await?;
    ensure_conflict(&executed)?;
    hands
        .refused(&BUDGET, json!({ "spec": { "maxUnavailable": "100%" } }))
        .await
}

async fn the_fence_holds(hands: &Hands) -> Result<()> {
    let stored = hands.stored(&WEBHOOKS).await?;
    let webhooks = |change: fn(&mut Value)| {
        let mut webhooks = stored["webhooks"].clone();
        change(&mut webhooks[0]);
        json!({ "webhooks": webhooks })
    };
    for patch in [
        webhooks(|webhook| webhook["failurePolicy"] = json!("Ignore")),
        webhooks(|webhook| webhook["timeoutSeconds"] = json!(1)),
        webhooks(|webhook| webhook["clientConfig"]["caBundle"] = Value::Null),
        webhooks(|webhook| webhook["clientConfig"]["service"]["path"] = json!("/other")),
        webhooks(|webhook| webhook["clientConfig"]["service"]["namespace"] = json!("default")),
        webhooks(|webhook| webhook["namespaceSelector"] = json!({})),
        webhooks(|webhook| webhook["rules"][0]["resources"] = json!(["*"])),
        json!({ "webhooks": [stored["webhooks"][0]] }),
        json!({ "metadata": { "labels": { "istio.io/tag": "other" } } }),
        json!({ "metadata": { "labels": { "other": "x" } } }),
        json!({ "metadata": { "annotations": { "other": "x" } } }),
        json!({ "metadata": { "finalizers": ["example.com/hold"] } }),
    ] {
        hands.refused(&WEBHOOKS, patch).await?;
    }
    for patch in [
        json!({ "spec": { "ports": [{ "name": "https-webhook", "port": 444, "targetPort": 15017 }] } }),
        json!({ "spec": { "type": "NodePort" } }),
        json!({ "metadata": { "labels": { "istio.io/tag": null } } }),
    ] {
        hands.refused(&SERVICE, patch).await?;
    }
    // Of a Service that is no tag's nothing at all.
    let selector = json!({ "spec": { "selector": { "app": "other" } } });
    hands.refused(&ISTIOD, selector).await?;
    for patch in [
        json!({ "spec": { "gatewayClassName": "other" } }),
        json!({ "metadata": { "labels": { "team": "x" } } }),
        json!({ "metadata": { "annotations": { "owner": null } } }),
        json!({ "metadata": { "finalizers": ["example.com/hold"] } }),
    ] {
        hands.refused(&GATEWAY, patch).await?;
    }
    Ok(())
}

/// What another look has decided meets an object that changed meanwhile.
fn ensure_conflict(executed: &Executed) -> Result<()> {
    let conflict = ErrorClass::Conflict;
    let met = matches!(executed, Executed::Failed { class, .. } if *class == conflict);
    ensure!(met, "{executed:?}");
    Ok(())
}
