//! Somebody holds a token of the operator: what of it leads to a node, to other rights, or into other people's releases.

use anyhow::{Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use crate::environment::{ISTIO, refused_by, with_cluster};
use crate::fence::{helm_object, istiod, merged, object, of_helm};

/// A Deployment with the marks of Istio's Helm release and this in its pod.
fn as_istiod(name: &str, pod: Value) -> Value {
    let (labels, annotations) = of_helm();
    let mut made = istiod(name);
    made["metadata"]["labels"] = labels;
    made["metadata"]["annotations"] = annotations;
    let spec = &mut made["spec"]["template"]["spec"];
    *spec = merged(spec.take(), pod);
    made
}

#[test]
fn api_attack_a_deployment_in_the_namespace_of_istiod_is_no_way_to_a_node() -> Result<()> {
    let container = |fields: Value| {
        let plain = json!({ "name": "discovery", "image": "docker.io/istio/pilot:1.31.0" });
        json!({ "containers": [merged(plain, fields)] })
    };
    with_cluster(async |env| {
        let plain = as_istiod("attack-plain", json!({}));
        env.create(&env.operator, &plain, true).await?;
        let attacks = [
            (
                "a path of the node",
                json!({ "volumes": [{ "name": "root", "hostPath": { "path": "/" } }] }),
            ),
            (
                "a driver of the node",
                json!({ "volumes": [{ "name": "x", "csi": { "driver": "x.example.org" } }] }),
            ),
            ("the network of the node", json!({ "hostNetwork": true })),
            ("the processes of the node", json!({ "hostPID": true })),
            ("the memory of the node", json!({ "hostIPC": true })),
            (
                "the account of somebody else",
                json!({ "serviceAccountName": "kiali" }),
            ),
            ("the default account", json!({ "serviceAccountName": null })),
            (
                "a privileged container",
                container(json!({ "securityContext": { "privileged": true } })),
            ),
            (
                "more rights later",
                container(json!({ "securityContext": { "allowPrivilegeEscalation": true } })),
            ),
            (
                "a capability",
                container(
                    json!({ "securityContext": { "capabilities": { "add": ["SYS_ADMIN"] } } }),
                ),
            ),
            (
                "a port of the node",
                container(json!({ "ports": [{ "containerPort": 80, "hostPort": 80 }] })),
            ),
            (
                "another program",
                container(json!({ "image": "evil.example.org/shell:1" })),
            ),
            (
                "a name that only looks like it",
                container(json!({ "image": "evil.example.org/not-pilot:1" })),
            ),
            (
                "another program before it",
                json!({ "initContainers": [{ "name": "first", "image": "evil.example.org/shell:1" }] }),
            ),
        ];
        for (what, pod) in attacks {
            env.create_refused("workloads", what, &as_istiod("attack", pod))
                .await?;
        }
        let mut of_another = as_istiod("attack", json!({}));
        of_another["metadata"]["annotations"]["meta.helm.sh/release-name"] = json!("kiali");
        env.create_refused("workloads", "a release that is not Istio's", &of_another)
            .await
    })
}

#[test]
fn api_attack_no_role_grants_what_istio_does_not_need() -> Result<()> {
    let role = |kind: &str, group: &str, resource: &str, verb: &str| {
        let namespace = (kind == "Role").then_some(ISTIO);
        let role = helm_object(
            "rbac.authorization.k8s.io/v1",
            kind,
            "istiod-attack",
            namespace,
        );
        let rule = json!({ "apiGroups": [group], "resources": [resource], "verbs": [verb] });
        merged(role, json!({ "rules": [rule] }))
    };
    with_cluster(async |env| {
        for (kind, group, resource, verb) in [
            ("ClusterRole", "", "serviceaccounts/token", "create"),
            ("ClusterRole", "", "pods/exec", "create"),
            ("ClusterRole", "", "pods/ephemeralcontainers", "patch"),
            ("ClusterRole", "", "nodes/proxy", "get"),
            ("ClusterRole", "", "pods", "create"),
            ("ClusterRole", "", "secrets", "create"),
            ("ClusterRole", "apps", "daemonsets", "create"),
            ("ClusterRole", "batch", "jobs", "create"),
            (
                "ClusterRole",
                "certificates.k8s.io",
                "certificatesigningrequests/approval",
                "update",
            ),
            (
                "ClusterRole",
                "admissionregistration.k8s.io",
                "validatingadmissionpolicybindings",
                "delete",
            ),
            (
                "ClusterRole",
                "admissionregistration.k8s.io",
                "validatingadmissionpolicies",
                "update",
            ),
            ("Role", "", "pods/exec", "create"),
            ("Role", "", "serviceaccounts/token", "create"),
        ] {
            let what = format!("{verb} {group}/{resource}");
            env.create_refused("rights", &what, &role(kind, group, resource, verb))
                .await?;
        }
        // What Istio's Role may do in its namespace, its ClusterRole may not do everywhere.
        env.create(&env.operator, &role("Role", "", "secrets", "create"), true)
            .await?;
        let binding = helm_object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            "istiod-attack",
            None,
        );
        let to = |name: &str| {
            merged(
                binding.clone(),
                json!({
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": "istiod-clusterrole-istio-system" },
                    "subjects": [{ "kind": "ServiceAccount", "namespace": ISTIO, "name": name }],
                }),
            )
        };
        env.create_refused("bindings", "to the default account", &to("default"))
            .await?;
        env.create_refused("bindings", "to the account of a neighbour", &to("kiali"))
            .await
    })
}

#[test]
fn api_attack_the_token_takes_no_other_account_and_no_other_release() -> Result<()> {
    with_cluster(async |env| {
        let accounts = Api::<ServiceAccount>::namespaced(env.operator.clone(), ISTIO);
        let request = TokenRequest {
            spec: TokenRequestSpec::default(),
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let token = accounts
            .create_token_request("default", &params, &request)
            .await;
        ensure!(
            is_forbidden(token),
            "the operator was given the token of another account"
        );
        for namespace in ["kube-system", "default"] {
            let secrets = Api::<Secret>::namespaced(env.operator.clone(), namespace);
            let listed = secrets.list(&ListParams::default()).await;
            ensure!(
                is_forbidden(listed),
                "the operator reads the Secrets of {namespace}"
            );
        }

        // A neighbour of istiod, with a release of its own.
        let mut kiali = object("v1", "Service", "attack-kiali", Some(ISTIO));
        let (labels, mut annotations) = of_helm();
        annotations["meta.helm.sh/release-name"] = json!("kiali");
        kiali["metadata"]["labels"] = labels;
        kiali["metadata"]["annotations"] = annotations;
        kiali["spec"] = json!({ "selector": { "app": "kiali" }, "ports": [{ "port": 80 }] });
        env.create(&env.admin, &kiali, false).await?;
        let selector = json!({ "spec": { "selector": { "app": "mine" } } });
        env.patch_refused("releases", &kiali, selector).await?;
        let deleted = env.delete_as_operator(&kiali).await;
        refused_by(
            "meshlift-operator-fence-releases",
            "delete of a neighbour",
            deleted,
        )?;
        let mut storage = object("v1", "Secret", "sh.helm.release.v1.kiali.v1", Some(ISTIO));
        storage["type"] = json!("helm.sh/release.v1");
        env.create(&env.admin, &storage, false).await?;
        let deleted = env.delete_as_operator(&storage).await;
        refused_by(
            "meshlift-operator-fence-secrets",
            "the release of a neighbour",
            deleted,
        )?;
        Ok(())
    })
}

fn is_forbidden<T>(answer: kube::Result<T>) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == 403)
}
