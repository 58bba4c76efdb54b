//! What other admission plugins add to a request of the operator is not held against it. The API server shows a policy
//! only the sum of both.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use serde_json::{Value, json};

use crate::environment::{Environment, eventually, refused_by, with_cluster};
use crate::fence::object;

/// Somebody else's rule that writes into every object whose name begins with `foreign-`.
async fn rule(
    env: &Environment,
    name: &str,
    target: &str,
    resource: (&str, &str),
    paths: Value,
) -> Result<()> {
    let (group, resource) = resource;
    let patches: Vec<String> = paths
        .as_object()
        .into_iter()
        .flatten()
        .map(|(path, value)| {
            let value = value.as_str().unwrap_or_default();
            format!("JSONPatch{{op: \"add\", path: \"{path}\", value: \"{value}\"}}")
        })
        .collect();
    let version = "admissionregistration.k8s.io/v1";
    let mut policy = object(version, "MutatingAdmissionPolicy", name, None);
    policy["spec"] = json!({
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": { "resourceRules": [{
            "apiGroups": [group], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": [resource],
        }] },
        "matchConditions": [{ "name": "mine", "expression": format!("object.metadata.name == '{target}'") }],
        "mutations": [{
            "patchType": "JSONPatch",
            "jsonPatch": { "expression": format!("[{}]", patches.join(", ")) },
        }],
    });
    env.create(&env.admin, &policy, false).await?;
    let mut binding = object(version, "MutatingAdmissionPolicyBinding", name, None);
    binding["spec"] = json!({ "policyName": name });
    env.create(&env.admin, &binding, false).await
}

fn app(name: &str) -> Value {
    let mut app = object("apps/v1", "Deployment", name, Some("default"));
    app["metadata"]["annotations"] = json!({ "team": "shop" });
    app["metadata"]["labels"] = json!({ "team": "shop" });
    app["spec"] = json!({
        "selector": { "matchLabels": { "app": name } },
        "template": {
            "metadata": { "labels": { "app": name }, "annotations": { "team": "shop" } },
            "spec": { "containers": [{ "name": "app", "image": "registry.example:5000/shop:1" }] },
        },
    });
    app
}

fn restart(revision: &str) -> Value {
    json!({
        "metadata": { "annotations": { "meshlift.io/restarted-at": "2026-01-01T00:00:00Z" } },
        "spec": { "template": { "metadata": { "annotations": { "meshlift.io/revision": revision } } } },
    })
}

const DIGEST: &str = "sha256:0123456789012345678901234567890123456789012345678901234567890123";

#[test]
fn api_fence_tolerates_what_other_plugins_add_to_a_restart() -> Result<()> {
    with_cluster(async |env| {
        let (app, evil) = (app("foreign-app"), app("foreign-evil"));
        env.create(&env.admin, &app, false).await?;
        env.create(&env.admin, &evil, false).await?;
        let image = "/spec/template/spec/containers/0/image";
        let digest = format!("registry.example:5000/shop@{DIGEST}");
        let added = json!({
            "/metadata/annotations/costs.example.org~1centre": "4711",
            "/metadata/labels/costs.example.org~1centre": "4711",
            "/spec/template/metadata/annotations/costs.example.org~1centre": "4711",
            "/spec/template/metadata/labels/costs.example.org~1centre": "4711",
            image: digest,
        });
        rule(
            env,
            "fence-foreign-adds",
            "foreign-app",
            ("apps", "deployments"),
            added,
        )
        .await?;
        let deployments = Api::<Deployment>::namespaced(env.admin.clone(), "default");
        eventually("the operator's restart carries their change", || async {
            env.merge(&env.operator, &app, restart("1-31-0")).await?;
            let now = deployments.get("foreign-app").await?;
            let labels = now.metadata.labels.unwrap_or_default();
            Ok(labels.contains_key("costs.example.org/centre"))
        })
        .await?;
        env.merge(&env.operator, &app, restart("1-32-0")).await?;

        let other = json!({ image: format!("registry.example:5000/evil@{DIGEST}") });
        rule(
            env,
            "fence-foreign-evil",
            "foreign-evil",
            ("apps", "deployments"),
            other,
        )
        .await?;
        eventually("another image is refused, whoever wrote it", || async {
            let tried = env.merge(&env.operator, &evil, restart("1-31-0")).await;
            Ok(refused_by("meshlift-operator-fence-workloads", "another image", tried).is_ok())
        })
        .await
    })
}

#[test]
fn api_fence_tolerates_what_other_plugins_add_to_a_namespace() -> Result<()> {
    with_cluster(async |env| {
        let mut shop = object("v1", "Namespace", "foreign-shop", None);
        shop["metadata"]["labels"] = json!({ "istio-injection": "enabled" });
        shop["metadata"]["annotations"] = json!({ "owner": "us" });
        env.create(&env.admin, &shop, false).await?;
        let added = json!({
            "/metadata/annotations/costs.example.org~1centre": "4711",
            "/metadata/labels/costs.example.org~1centre": "4711",
        });
        rule(
            env,
            "fence-foreign-namespaces",
            "foreign-shop",
            ("", "namespaces"),
            added,
        )
        .await?;
        let namespaces = Api::<Namespace>::all(env.admin.clone());
        eventually("the operator's label carries their change", || async {
            let moved = json!({ "metadata": {
                "labels": { "istio-injection": null, "istio.io/rev": "1-31-0" },
                "annotations": { "meshlift.io/revision": "1-31-0" },
            } });
            env.merge(&env.operator, &shop, moved).await?;
            let now = namespaces.get("foreign-shop").await?;
            let labels = now.metadata.labels.unwrap_or_default();
            Ok(labels.contains_key("costs.example.org/centre"))
        })
        .await
    })
}
