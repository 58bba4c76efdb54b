//! The fence, where Helm writes for a control plane: roles, bindings, webhooks, CRDs, Secrets.

use anyhow::Result;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::environment::{ISTIO, NAMESPACE, refused_by, with_cluster};
use crate::fence::{helm_object, merged, object, of_helm};

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
fn api_fence_budgets_only_for_the_istiod_of_a_revision() -> Result<()> {
    let budget = |namespace: &str, labels: Value, selector: Value| {
        let mut budget = object(
            "policy/v1",
            "PodDisruptionBudget",
            "istiod-1-31-0-copy",
            Some(namespace),
        );
        budget["metadata"]["labels"] = labels;
        merged(
            budget,
            json!({ "spec": { "maxUnavailable": 1, "selector": { "matchLabels": selector } } }),
        )
    };
    let ours = || json!({ "app.kubernetes.io/managed-by": "meshlift", "istio.io/rev": "1-31-0" });
    let istiod = || json!({ "app": "istiod", "istio.io/rev": "1-31-0" });
    with_cluster(async |env| {
        let copy = budget(ISTIO, ours(), istiod());
        env.create(&env.operator, &copy, true).await?;
        for (what, object) in [
            (
                "not marked as ours",
                budget(ISTIO, json!({ "istio.io/rev": "1-31-0" }), istiod()),
            ),
            (
                "for every istiod",
                budget(ISTIO, ours(), json!({ "app": "istiod" })),
            ),
            ("for all pods", budget(ISTIO, ours(), json!({}))),
            (
                "for another revision",
                budget(
                    ISTIO,
                    ours(),
                    json!({ "app": "istiod", "istio.io/rev": "default" }),
                ),
            ),
            (
                "for something else",
                budget(
                    ISTIO,
                    ours(),
                    json!({ "app": "grafana", "istio.io/rev": "1-31-0" }),
                ),
            ),
        ] {
            env.create_refused("releases", what, &object).await?;
        }
        // What is there is not written again, nor removed.
        env.create(&env.admin, &copy, false).await?;
        let loose = json!({ "spec": { "maxUnavailable": "100%" } });
        env.patch_refused("releases", &copy, loose).await?;
        let result = env.delete_as_operator(&copy).await;
        refused_by("meshlift-operator-fence-releases", "delete a copy", result)?;
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
fn api_fence_secrets_only_of_helm_and_what_an_upgrade_keeps() -> Result<()> {
    let secret = |namespace: &str, name: &str, kind: &str| {
        merged(
            object("v1", "Secret", name, Some(namespace)),
            json!({ "type": kind }),
        )
    };
    let helm = "helm.sh/release.v1";
    with_cluster(async |env| {
        let release = secret(ISTIO, "sh.helm.release.v1.istiod-fence.v1", helm);
        env.create(&env.operator, &release, false).await?;
        env.delete_as_operator(&release).await?;
        let record = secret(NAMESPACE, "upgrade-fence", "Opaque");
        env.create(&env.operator, &record, false).await?;
        let again = serde_json::from_value(record.clone())?;
        let api = env.api_of(&env.operator, &record).await?;
        api.replace("upgrade-fence", &PostParams::default(), &again)
            .await?;
        for name in ["meshlift-plan-fence", "meshlift-backup-fence-0"] {
            let kept = secret(NAMESPACE, name, "Opaque");
            env.create(&env.operator, &kept, false).await?;
            env.delete_as_operator(&kept).await?;
        }
        let map = |name: &str| object("v1", "ConfigMap", name, Some(NAMESPACE));
        let log = map("meshlift-log-fence");
        env.create(&env.operator, &log, false).await?;
        env.delete_as_operator(&log).await?;
        env.create_refused("releases", "a ConfigMap of others", &map("other"))
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
        let credentials = secret(NAMESPACE, "credentials", "Opaque");
        env.create(&env.admin, &credentials, false).await?;
        refused_by(
            "meshlift-operator-fence-secrets",
            "delete what is not its own",
            env.delete_as_operator(&credentials).await,
        )?;
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
