//! The fence around the operator's own account: each write it needs passes, everything near it does not.

use anyhow::Result;
use kube::api::{Api, DeleteParams, DynamicObject};
use serde_json::{Value, json};

use crate::environment::{Environment, ISTIO, NAMESPACE, refused_by, with_cluster};

/// Label and annotation of a Helm release in the namespace of istiod.
fn of_helm() -> (Value, Value) {
    (
        json!({ "app.kubernetes.io/managed-by": "Helm" }),
        json!({
            "meta.helm.sh/release-name": "istiod-1-31-0",
            "meta.helm.sh/release-namespace": ISTIO,
        }),
    )
}

fn object(api_version: &str, kind: &str, name: &str, namespace: Option<&str>) -> Value {
    let mut metadata = json!({ "name": name });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata })
}

fn helm_object(api_version: &str, kind: &str, name: &str, namespace: Option<&str>) -> Value {
    let mut object = object(api_version, kind, name, namespace);
    let (labels, annotations) = of_helm();
    object["metadata"]["labels"] = labels;
    object["metadata"]["annotations"] = annotations;
    object
}

fn merged(mut object: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

fn workload(kind: &str, name: &str, namespace: &str) -> Value {
    let pod = json!({
        "metadata": { "labels": { "app": name }, "annotations": { "team": "shop" } },
        "spec": { "containers": [{ "name": "app", "image": "shop:1" }] },
    });
    let mut spec = json!({ "selector": { "matchLabels": { "app": name } }, "template": pod });
    if kind == "StatefulSet" {
        spec["serviceName"] = json!(name);
    }
    let mut object = object("apps/v1", kind, name, Some(namespace));
    object["metadata"]["labels"] = json!({ "team": "shop" });
    object["spec"] = spec;
    object
}

impl Environment {
    /// Patches as the operator; each patch is a merge.
    async fn operator_patch(&self, object: &Value, patch: Value) -> Result<()> {
        self.merge(&self.operator, object, patch).await
    }

    async fn delete_as_operator(&self, object: &Value) -> Result<()> {
        let api: Api<DynamicObject> = self.api_of(&self.operator, object).await?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Creates as the operator, as a dry run: refused by `policy`.
    async fn create_refused(&self, policy: &str, what: &str, object: &Value) -> Result<()> {
        let result = self.create(&self.operator, object, true).await;
        refused_by(&format!("meshlift-operator-fence-{policy}"), what, result)?;
        Ok(())
    }

    async fn patch_refused(&self, policy: &str, object: &Value, patch: Value) -> Result<()> {
        let what = format!("{} {patch}", object["kind"]);
        let result = self.operator_patch(object, patch).await;
        refused_by(&format!("meshlift-operator-fence-{policy}"), &what, result)?;
        Ok(())
    }
}

#[test]
fn api_fence_pods_only_as_a_dry_run() -> Result<()> {
    with_cluster(async |env| {
        let pod = merged(
            object("v1", "Pod", "probe", Some("default")),
            json!({ "spec": { "containers": [{ "name": "app", "image": "none" }] } }),
        );
        crate::environment::eventually("the default service account is there", || async {
            Ok(env.create(&env.operator, &pod, true).await.is_ok())
        })
        .await?;
        let result = env.create(&env.operator, &pod, false).await;
        refused_by("meshlift-operator-fence-pods", "a real pod", result)?;
        // The fence is about the operator and nobody else.
        env.create(&env.admin, &pod, false).await
    })
}

#[test]
fn api_fence_namespaces_only_the_injection_labels() -> Result<()> {
    with_cluster(async |env| {
        let mut shop = object("v1", "Namespace", "fence-shop", None);
        shop["metadata"]["labels"] = json!({ "istio-injection": "enabled", "team": "shop" });
        shop["metadata"]["annotations"] = json!({ "owner": "us" });
        env.create(&env.admin, &shop, false).await?;
        let refused = [
            json!({ "metadata": { "labels": { "team": "mesh" } } }),
            json!({ "metadata": { "labels": { "team": null } } }),
            json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "privileged" } } }),
            json!({ "metadata": { "labels": { "istio.io/rev": "x", "other": "x" } } }),
            json!({ "metadata": { "annotations": { "owner": null } } }),
            json!({ "metadata": { "annotations": { "other": "x" } } }),
            json!({ "metadata": { "finalizers": ["example.com/hold"] } }),
        ];
        for patch in refused {
            env.patch_refused("namespaces", &shop, patch).await?;
        }
        let moved = json!({ "metadata": {
            "labels": { "istio-injection": null, "istio.io/rev": "1-31-0" },
            "annotations": { "meshlift.io/revision": "1-31-0" },
        } });
        env.operator_patch(&shop, moved).await?;
        let back = json!({ "metadata": {
            "labels": { "istio-injection": "enabled", "istio.io/rev": null },
            "annotations": { "meshlift.io/revision": null },
        } });
        env.operator_patch(&shop, back).await
    })
}

#[test]
fn api_fence_workloads_only_the_restart() -> Result<()> {
    with_cluster(async |env| {
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            let app = workload(kind, &format!("fence-{}", kind.to_lowercase()), "default");
            env.create(&env.admin, &app, false).await?;
            let restart = |revision: &str| {
                json!({
                    "metadata": { "annotations": { "meshlift.io/restarted-at": "2026-01-01T00:00:00Z" } },
                    "spec": { "template": { "metadata": { "annotations": { "meshlift.io/revision": revision } } } },
                })
            };
            env.operator_patch(&app, restart("1-31-0")).await?;
            env.operator_patch(&app, restart("1-32-0")).await?;
            let template = |fields: Value| json!({ "spec": { "template": fields } });
            let mut refused = vec![
                template(
                    json!({ "spec": { "containers": [{ "name": "app", "image": "evil:1" }] } }),
                ),
                template(json!({ "spec": { "serviceAccountName": "admin" } })),
                template(json!({ "spec": { "hostNetwork": true } })),
                template(json!({ "metadata": { "labels": { "new": "x" } } })),
                template(json!({ "metadata": { "annotations": { "team": null } } })),
                template(
                    json!({ "metadata": { "annotations": { "sidecar.istio.io/inject": "false" } } }),
                ),
                json!({ "metadata": { "labels": { "team": null } } }),
                json!({ "metadata": { "labels": { "new": "x" } } }),
                json!({ "metadata": { "annotations": { "new": "x" } } }),
                json!({ "metadata": { "finalizers": ["example.com/hold"] } }),
                json!({ "spec": { "minReadySeconds": 5 } }),
                json!({ "spec": { "revisionHistoryLimit": 0 } }),
            ];
            refused.extend(match kind {
                "Deployment" => vec![
                    json!({ "spec": { "replicas": 0 } }),
                    json!({ "spec": { "paused": true } }),
                    json!({ "spec": { "strategy": { "type": "Recreate", "rollingUpdate": null } } }),
                ],
                "StatefulSet" => vec![
                    json!({ "spec": { "replicas": 0 } }),
                    json!({ "spec": { "updateStrategy": { "rollingUpdate": { "partition": 1 } } } }),
                ],
                _ => vec![json!({ "spec": { "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } } })],
            });
            for patch in refused {
                env.patch_refused("workloads", &app, patch).await?;
            }
        }
        Ok(())
    })
}

#[test]
fn api_fence_deployments_of_istiod_only_through_its_release() -> Result<()> {
    with_cluster(async |env| {
        let foreign = workload("Deployment", "fence-foreign", ISTIO);
        env.create(&env.admin, &foreign, false).await?;
        let scale = json!({ "spec": { "replicas": 2 } });
        env.patch_refused("workloads", &foreign, scale.clone())
            .await?;
        env.create_refused(
            "workloads",
            "not of Helm",
            &workload("Deployment", "fence-new", ISTIO),
        )
        .await?;
        let mut istiod = workload("Deployment", "fence-istiod", ISTIO);
        let (labels, annotations) = of_helm();
        istiod["metadata"]["labels"] = labels;
        istiod["metadata"]["annotations"] = annotations;
        env.create(&env.operator, &istiod, false).await?;
        env.operator_patch(&istiod, scale).await?;
        // Taking a foreign one over by writing Helm's marks on it.
        let takeover = json!({ "metadata": istiod["metadata"].clone() });
        env.patch_refused("workloads", &foreign, json!({ "metadata": {
            "labels": takeover["metadata"]["labels"], "annotations": takeover["metadata"]["annotations"],
        } }))
        .await?;
        let result = env.delete_as_operator(&foreign).await;
        refused_by(
            "meshlift-operator-fence-workloads",
            "delete a foreign one",
            result,
        )?;
        env.delete_as_operator(&istiod).await
    })
}

#[test]
fn api_fence_roles_grant_what_istio_grants() -> Result<()> {
    let role = |rules: Value| {
        let role = helm_object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "istiod-fence",
            None,
        );
        merged(role, json!({ "rules": rules }))
    };
    let rule = |group: &str, resource: &str, verb: &str| json!([{ "apiGroups": [group], "resources": [resource], "verbs": [verb] }]);
    with_cluster(async |env| {
        env.create(
            &env.operator,
            &role(rule("networking.istio.io", "*", "get")),
            true,
        )
        .await?;
        env.create(
            &env.operator,
            &role(rule("networking.k8s.io", "ingresses/status", "*")),
            true,
        )
        .await?;
        for rules in [
            rule("*", "pods", "get"),
            rule("", "*", "get"),
            rule("", "serviceaccounts", "impersonate"),
            rule("", "secrets", "*"),
            rule("rbac.authorization.k8s.io", "clusterroles", "get"),
            rule("meshlift.io", "meshupgrades", "create"),
            json!([{ "nonResourceURLs": ["/metrics"], "verbs": ["get"] }]),
        ] {
            env.create_refused("rights", &rules.to_string(), &role(rules.clone()))
                .await?;
        }
        let aggregated = merged(
            role(json!([])),
            json!({
                "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] },
            }),
        );
        env.create_refused("rights", "aggregated", &aggregated)
            .await?;

        let plain = object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "fence-plain",
            None,
        );
        env.create_refused("releases", "not of Helm", &plain)
            .await?;
        env.create(&env.admin, &plain, false).await?;
        let (labels, annotations) = of_helm();
        let takeover = json!({ "metadata": { "labels": labels, "annotations": annotations } });
        env.patch_refused("releases", &plain, takeover).await?;
        let result = env.delete_as_operator(&plain).await;
        refused_by(
            "meshlift-operator-fence-releases",
            "delete a foreign role",
            result,
        )?;
        Ok(())
    })
}

#[test]
fn api_fence_bindings_only_for_the_control_plane() -> Result<()> {
    let binding = |role: &str, subject: Value| {
        let binding = helm_object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            "istiod-fence",
            None,
        );
        merged(
            binding,
            json!({
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
                "subjects": [subject],
            }),
        )
    };
    let account = |namespace: &str, name: &str| json!({ "kind": "ServiceAccount", "name": name, "namespace": namespace });
    let role = "istiod-clusterrole-1-31-0-istio-system";
    with_cluster(async |env| {
        env.create(
            &env.operator,
            &binding(role, account(ISTIO, "istiod-1-31-0")),
            true,
        )
        .await?;
        let reader = binding(
            "istio-reader-clusterrole-istio-system",
            account(ISTIO, "istio-reader"),
        );
        env.create(&env.operator, &reader, true).await?;
        for (what, object) in [
            ("itself", binding(role, account(NAMESPACE, "meshlift"))),
            ("elsewhere", binding(role, account("default", "default"))),
            (
                "a user",
                binding(role, json!({ "kind": "User", "name": "alice" })),
            ),
            (
                "a group",
                binding(
                    role,
                    json!({ "kind": "Group", "name": "system:authenticated" }),
                ),
            ),
            (
                "another role",
                binding("cluster-admin", account(ISTIO, "istiod-1-31-0")),
            ),
        ] {
            env.create_refused("bindings", what, &object).await?;
        }
        let mut foreign = binding(role, account(ISTIO, "istiod-1-31-0"));
        foreign["metadata"]["annotations"]["meta.helm.sh/release-namespace"] = json!("default");
        env.create_refused("releases", "a release elsewhere", &foreign)
            .await
    })
}

#[test]
fn api_fence_webhooks_only_of_istio() -> Result<()> {
    let webhook = |kind: &str, namespace: &str, group: &str, operation: &str, resource: &str| {
        let object = helm_object("admissionregistration.k8s.io/v1", kind, "istio-fence", None);
        merged(
            object,
            json!({ "webhooks": [{
            "name": "fence.istio.io", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Ignore",
            "clientConfig": { "service": { "name": "istiod", "namespace": namespace } },
            "objectSelector": { "matchLabels": { "never": "matches" } },
            "rules": [{ "apiGroups": [group], "apiVersions": ["v1"], "operations": [operation], "resources": [resource] }],
        }] }),
        )
    };
    let (mutating, validating) = (
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    );
    with_cluster(async |env| {
        for object in [
            webhook(mutating, ISTIO, "", "CREATE", "pods"),
            webhook(validating, ISTIO, "networking.istio.io", "*", "*"),
        ] {
            env.create(&env.operator, &object, true).await?;
        }
        for (what, object) in [
            ("secrets", webhook(mutating, ISTIO, "", "CREATE", "secrets")),
            ("updates", webhook(mutating, ISTIO, "", "UPDATE", "pods")),
            ("everything", webhook(mutating, ISTIO, "*", "*", "*")),
            (
                "elsewhere",
                webhook(mutating, "default", "", "CREATE", "pods"),
            ),
            (
                "deployments",
                webhook(validating, ISTIO, "apps", "CREATE", "deployments"),
            ),
        ] {
            env.create_refused("webhooks", what, &object).await?;
        }
        let mut outside = webhook(mutating, ISTIO, "", "CREATE", "pods");
        outside["webhooks"][0]["clientConfig"] = json!({ "url": "https://example.com/inject" });
        env.create_refused("webhooks", "a URL", &outside).await?;
        let plain = object(
            "admissionregistration.k8s.io/v1",
            mutating,
            "fence-plain",
            None,
        );
        env.create_refused("releases", "not of Helm", &plain).await
    })
}

#[test]
fn api_fence_crds_only_of_istio() -> Result<()> {
    let crd = |group: &str| {
        let name = format!("fences.{group}");
        let crd = object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            &name,
            None,
        );
        merged(
            crd,
            json!({ "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "kind": "Fence", "plural": "fences" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }],
        } }),
        )
    };
    with_cluster(async |env| {
        env.create(&env.operator, &crd("networking.istio.io"), true)
            .await?;
        env.create_refused("crds", "another group", &crd("example.com"))
            .await?;
        env.create_refused("crds", "a lookalike", &crd("notistio.io"))
            .await
    })
}

#[test]
fn api_fence_secrets_only_of_helm_and_records() -> Result<()> {
    let secret = |namespace: &str, name: &str, kind: &str| {
        merged(
            object("v1", "Secret", name, Some(namespace)),
            json!({ "type": kind }),
        )
    };
    let helm = "helm.sh/release.v1";
    with_cluster(async |env| {
        let release = secret(ISTIO, "sh.helm.release.v1.fence.v1", helm);
        env.create(&env.operator, &release, false).await?;
        env.delete_as_operator(&release).await?;
        env.create(
            &env.operator,
            &secret(NAMESPACE, "upgrade-fence", "Opaque"),
            false,
        )
        .await?;
        let mut token = secret(ISTIO, "token", "kubernetes.io/service-account-token");
        token["metadata"]["annotations"] =
            json!({ "kubernetes.io/service-account.name": "istiod" });
        for (what, object) in [
            ("a token", token),
            ("cacerts", secret(ISTIO, "cacerts", "Opaque")),
            (
                "a name of Helm",
                secret(ISTIO, "sh.helm.release.v1.x.v1", "Opaque"),
            ),
            ("another name here", secret(NAMESPACE, "other", "Opaque")),
        ] {
            env.create_refused("secrets", what, &object).await?;
        }
        let key = secret(ISTIO, "istio-ca-secret", "istio.io/ca-root");
        env.create(&env.admin, &key, false).await?;
        let result = env.delete_as_operator(&key).await;
        refused_by(
            "meshlift-operator-fence-secrets",
            "delete the key of the mesh",
            result,
        )?;
        Ok(())
    })
}
