//! The fence around the operator's own account: each write it needs passes, everything near it does
//! not. Here pods, evictions, namespaces and workloads.

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::environment::{Environment, ISTIO, refused_by, with_cluster};

/// Label and annotation of a Helm release in the namespace of istiod.
pub(crate) fn of_helm() -> (Value, Value) {
    (
        json!({ "app.kubernetes.io/managed-by": "Helm" }),
        json!({
            "meta.helm.sh/release-name": "istiod-1-31-0",
            "meta.helm.sh/release-namespace": ISTIO,
        }),
    )
}

pub(crate) fn object(api_version: &str, kind: &str, name: &str, namespace: Option<&str>) -> Value {
    let mut metadata = json!({ "name": name });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata })
}

pub(crate) fn helm_object(
    api_version: &str,
    kind: &str,
    name: &str,
    namespace: Option<&str>,
) -> Value {
    let mut object = object(api_version, kind, name, namespace);
    let (labels, annotations) = of_helm();
    object["metadata"]["labels"] = labels;
    object["metadata"]["annotations"] = annotations;
    object
}

pub(crate) fn merged(mut object: Value, fields: Value) -> Value {
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

/// A Deployment as Istio's chart renders it, as far as the fence looks at it.
pub(crate) fn istiod(name: &str) -> Value {
    let mut istiod = workload("Deployment", name, ISTIO);
    istiod["spec"]["template"]["spec"] = json!({
        "serviceAccountName": "istiod-1-31-0",
        "containers": [{ "name": "discovery", "image": "docker.io/istio/pilot:1.31.0" }],
    });
    istiod
}

impl Environment {
    /// Patches as the operator; each patch is a merge.
    async fn operator_patch(&self, object: &Value, patch: Value) -> Result<()> {
        self.merge(&self.operator, object, patch).await
    }

    pub(crate) async fn delete_as_operator(&self, object: &Value) -> Result<()> {
        let api: Api<DynamicObject> = self.api_of(&self.operator, object).await?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Creates as the operator, as a dry run: refused by `policy`.
    pub(crate) async fn create_refused(
        &self,
        policy: &str,
        what: &str,
        object: &Value,
    ) -> Result<()> {
        let result = self.create(&self.operator, object, true).await;
        refused_by(&format!("meshlift-operator-fence-{policy}"), what, result)?;
        Ok(())
    }

    pub(crate) async fn patch_refused(
        &self,
        policy: &str,
        object: &Value,
        patch: Value,
    ) -> Result<()> {
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

/// Asks for the eviction of a pod that is there, with these preconditions.
async fn evict(env: &Environment, pod: &Value, preconditions: Value) -> Result<()> {
    let metadata = &pod["metadata"];
    let (Some(name), Some(namespace)) = (metadata["name"].as_str(), metadata["namespace"].as_str())
    else {
        bail!("no name or namespace: {pod}");
    };
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": { "name": name, "namespace": namespace },
        "deleteOptions": { "preconditions": preconditions },
    });
    let pods = Api::<Pod>::namespaced(env.operator.clone(), namespace);
    let params = PostParams::default();
    pods.create_subresource::<_, Value>("eviction", name, &params, &eviction)
        .await?;
    Ok(())
}

#[test]
fn api_fence_evictions_only_by_uid_and_none_of_kubernetes() -> Result<()> {
    with_cluster(async |env| {
        for namespace in ["default", "kube-system"] {
            let pod = merged(
                object("v1", "Pod", "evicted", Some(namespace)),
                json!({ "spec": { "containers": [{ "name": "app", "image": "none" }] } }),
            );
            crate::environment::eventually("the default service account is there", || async {
                Ok(env.create(&env.admin, &pod, true).await.is_ok())
            })
            .await?;
            env.create(&env.admin, &pod, false).await?;
            let there = Api::<Pod>::namespaced(env.admin.clone(), namespace);
            let uid = there.get("evicted").await?.metadata.uid;
            let by_name = evict(env, &pod, json!({})).await;
            refused_by("meshlift-operator-fence-evictions", "by name", by_name)?;
            let by_uid = evict(env, &pod, json!({ "uid": uid })).await;
            match namespace {
                "default" => by_uid?,
                _ => {
                    let what = "a pod of Kubernetes";
                    refused_by("meshlift-operator-fence-evictions", what, by_uid)?;
                }
            }
        }
        Ok(())
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
            json!({ "metadata": { "labels": { "istio.io/rev": "x", "admission.gatekeeper.sh/ignore": "x" } } }),
            json!({ "metadata": { "annotations": { "owner": null } } }),
            json!({ "metadata": { "annotations": { "scheduler.alpha.kubernetes.io/node-selector": "x" } } }),
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
                template(
                    json!({ "metadata": { "labels": { "istio.io/dataplane-mode": "none" } } }),
                ),
                template(json!({ "metadata": { "labels": { "app.kubernetes.io/name": "x" } } })),
                template(
                    json!({ "metadata": { "annotations": { "vault.hashicorp.com/agent-inject": "true" } } }),
                ),
                template(
                    json!({ "spec": { "containers": [{ "name": "app", "image": "evil@sha256:0123456789012345678901234567890123456789012345678901234567890123" }] } }),
                ),
                template(
                    json!({ "spec": { "containers": [{ "name": "app", "image": "shop:1", "command": ["sh"] }] } }),
                ),
                template(
                    json!({ "spec": { "containers": [{ "name": "app", "image": "shop:1", "securityContext": { "privileged": true } }] } }),
                ),
                template(
                    json!({ "spec": { "initContainers": [{ "name": "first", "image": "shop:1" }] } }),
                ),
                template(
                    json!({ "spec": { "volumes": [{ "name": "root", "hostPath": { "path": "/" } }] } }),
                ),
                template(json!({ "metadata": { "annotations": { "team": null } } })),
                template(
                    json!({ "metadata": { "annotations": { "sidecar.istio.io/inject": "false" } } }),
                ),
                json!({ "metadata": { "labels": { "team": null } } }),
                json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": "Helm" } } }),
                json!({ "metadata": { "annotations": { "meta.helm.sh/release-name": "x" } } }),
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
        let mut istiod = istiod("fence-istiod");
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
