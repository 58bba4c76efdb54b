//! What a person, and the controllers that this cluster lacks, write.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{
    ApiResource, DynamicObject, EvictParams, GroupVersionKind, ListParams, Patch, PatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt};
use meshlift_model::view;
use meshlift_tests::bed::Bed;
use meshlift_tests::wait::{SOON, until};
use serde_json::{Value, json};

pub(crate) const NAMESPACE: &str = "shop";

pub(crate) struct Objects<'b> {
    bed: &'b Bed,
}

/// A template of pods that say that they were injected.
fn template(app: &str, more: Value) -> Value {
    let mut labels = json!({ "app": app });
    for (key, value) in more.as_object().into_iter().flatten() {
        labels[key] = value.clone();
    }
    json!({
        "metadata": {
            "labels": labels,
            "annotations": { "sidecar.istio.io/status": "{\"revision\":\"default\"}" },
        },
        "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
    })
}

impl<'b> Objects<'b> {
    pub(crate) fn new(bed: &'b Bed) -> Self {
        Self { bed }
    }

    async fn apply(&self, object: Value) -> Result<()> {
        self.bed
            .cluster
            .apply_yaml(&serde_json::to_string(&object)?)
            .await
    }

    pub(crate) async fn namespace(&self) -> Result<()> {
        self.apply(
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } }),
        )
        .await?;
        // Pods wait for it.
        until("the default account of the namespace", SOON, || async {
            let asked = ["get", "serviceaccount", "default", "-n", NAMESPACE];
            Ok(self
                .bed
                .cluster
                .kubectl(&asked)
                .await
                .map(drop)
                .map_err(|e| e.to_string()))
        })
        .await
    }

    pub(crate) async fn crds(&self) -> Result<()> {
        let cluster = &self.bed.cluster;
        cluster.apply_yaml(include_str!("kinds.yaml")).await?;
        let wait = ["wait", "--for=condition=Established", "--timeout=30s"];
        let kinds = ["crd/rollouts.argoproj.io", "crd/clonesets.apps.kruise.io"];
        cluster
            .kubectl(&[&wait[..], &kinds].concat())
            .await
            .map(drop)
    }

    pub(crate) async fn without_crds(&self) -> Result<()> {
        let delete = ["delete", "crd", "clonesets.apps.kruise.io"];
        self.bed.cluster.kubectl(&delete).await.map(drop)
    }

    /// A Rollout with the ReplicaSet that its controller would make.
    pub(crate) async fn rollout(&self, name: &str) -> Result<()> {
        let hash = json!({ "rollouts-pod-template-hash": "5d8f" });
        self.apply(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "replicas": 1, "strategy": { "canary": { "steps": [{ "setWeight": 50 }] } },
                "template": template(name, json!({})) },
        }))
        .await?;
        let uid = self.uid("argoproj.io/v1alpha1", "Rollout", name).await?;
        let labels = template(name, hash.clone())["metadata"]["labels"].clone();
        self.apply(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": { "name": format!("{name}-5d8f"), "namespace": NAMESPACE, "labels": labels,
                "ownerReferences": [{ "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": name,
                    "uid": uid, "controller": true }] },
            "spec": { "replicas": 1, "selector": { "matchLabels": labels }, "template": template(name, hash) },
        }))
        .await?;
        self.all_ready(name, 1).await?;
        self.status(
            "argoproj.io/v1alpha1",
            "Rollout",
            name,
            json!({
                "observedGeneration": "1", "phase": "Healthy", "replicas": 1, "updatedReplicas": 1,
                "readyReplicas": 1, "availableReplicas": 1,
            }),
        )
        .await
    }

    /// A CloneSet with the pod that its controller would make.
    pub(crate) async fn clone_set(&self, name: &str) -> Result<()> {
        let version = "apps.kruise.io/v1alpha1";
        self.apply(json!({
            "apiVersion": version, "kind": "CloneSet",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "replicas": 1, "updateStrategy": { "type": "ReCreate" }, "template": template(name, json!({})) },
        }))
        .await?;
        let uid = self.uid(version, "CloneSet", name).await?;
        let mut pod = template(name, json!({}));
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = format!("{name}-1").into();
        pod["metadata"]["namespace"] = NAMESPACE.into();
        pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": version, "kind": "CloneSet", "name": name,
            "uid": uid, "controller": true }]);
        self.apply(pod).await?;
        self.all_ready(name, 1).await?;
        self.status(version, "CloneSet", name, json!({
            "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        }))
        .await
    }

    pub(crate) async fn replica_set(&self, name: &str, replicas: u32) -> Result<()> {
        self.workload("ReplicaSet", name, replicas).await
    }

    pub(crate) async fn deployment(&self, name: &str) -> Result<()> {
        self.workload("Deployment", name, 1).await
    }

    /// Puts the pods of a Deployment on the network of their hosts.
    pub(crate) async fn onto_the_host(&self, name: &str) -> Result<()> {
        let patch =
            json!({ "spec": { "template": { "spec": { "hostNetwork": true } } } }).to_string();
        let command = ["patch", "deployment", name, "-n", NAMESPACE, "-p", &patch];
        self.bed.cluster.kubectl(&command).await.map(drop)
    }

    async fn workload(&self, kind: &str, name: &str, replicas: u32) -> Result<()> {
        self.apply(json!({
            "apiVersion": "apps/v1", "kind": kind,
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": name } },
                "template": template(name, json!({ "sidecar.istio.io/inject": "true" })) },
        }))
        .await
    }

    pub(crate) async fn budget(&self, name: &str, least: u32) -> Result<()> {
        self.apply(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "minAvailable": least, "selector": { "matchLabels": { "app": name } } },
        }))
        .await?;
        let allowed = i64::from(2 - least);
        until(&format!("budget {name} allows {allowed}"), SOON, || async {
            let budget = self.get("policy/v1", "PodDisruptionBudget", name).await?;
            let said = budget
                .pointer("/status/disruptionsAllowed")
                .and_then(Value::as_i64);
            let counted = budget
                .pointer("/status/currentHealthy")
                .and_then(Value::as_i64);
            let seen = said == Some(allowed) && counted == Some(2);
            Ok(seen.then_some(()).ok_or(budget.to_string()))
        })
        .await
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.bed.client.clone(), NAMESPACE)
    }

    /// Makes every pod of an app ready, as a kubelet would, until there are so many.
    pub(crate) async fn all_ready(&self, app: &str, wanted: usize) -> Result<()> {
        until(&format!("{wanted} ready pods of {app}"), SOON, || async {
            let ours = ListParams::default().labels(&format!("app={app}"));
            let pods = self.pods().list(&ours).await?;
            for pod in &pods.items {
                let status = json!({ "status": { "phase": "Running",
                    "conditions": [{ "type": "Ready", "status": "True" }] } });
                self.pods()
                    .patch_status(
                        &pod.name_any(),
                        &PatchParams::default(),
                        &Patch::Merge(status),
                    )
                    .await
                    .or_else(|error| match error {
                        // Gone meanwhile.
                        kube::Error::Api(ref status) if status.code == 404 => Ok(pod.clone()),
                        error => Err(error),
                    })?;
            }
            let n = pods.items.len();
            Ok((n == wanted).then_some(()).ok_or(format!("{n}")))
        })
        .await
    }

    /// What its kubelet says of one that fails its probe.
    pub(crate) async fn not_ready(&self, pod: &view::Pod) -> Result<()> {
        let conditions = json!([{ "type": "Ready", "status": "False" }]);
        let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
        let params = PatchParams::default();
        self.pods().patch_status(&pod.name, &params, &patch).await?;
        Ok(())
    }

    pub(crate) async fn still_there(&self, pod: &view::Pod) -> Result<()> {
        let found = self.pods().get(&pod.name).await?;
        ensure!(
            found.uid().as_deref() == Some(&pod.uid),
            "another pod of its name"
        );
        ensure!(
            found.metadata.deletion_timestamp.is_none(),
            "it is being deleted"
        );
        Ok(())
    }

    async fn operator(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.bed.operator_kubeconfig)?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(Client::try_from(config)?)
    }

    pub(crate) async fn evicted_without_uid_is_refused(&self, pod: &view::Pod) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.operator().await?, NAMESPACE);
        match pods.evict(&pod.name, &EvictParams::default()).await {
            Ok(_) => bail!("a pod was evicted by its name"),
            Err(error) => {
                ensure!(error.to_string().contains("fence-evictions"), "{error}");
                Ok(())
            }
        }
    }

    /// The operator's account may not write this to the object that a kind has here.
    pub(crate) async fn refused_to_the_operator(&self, plural: &str, patch: Value) -> Result<()> {
        let (version, kind, name) = match plural {
            "rollouts" => ("argoproj.io/v1alpha1", "Rollout", "front"),
            _ => ("apps.kruise.io/v1alpha1", "CloneSet", "pool"),
        };
        let api = self.api(self.operator().await?, version, kind)?;
        let patched = api
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        let error = patched
            .err()
            .with_context(|| format!("{plural} took {patch}"))?;
        ensure!(error.to_string().contains("fence-workloads"), "{error}");
        Ok(())
    }

    fn api(&self, client: Client, version: &str, kind: &str) -> Result<Api<DynamicObject>> {
        let (group, version) = version.split_once('/').context("a group")?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Ok(Api::namespaced_with(client, NAMESPACE, &resource))
    }

    pub(crate) async fn get(&self, version: &str, kind: &str, name: &str) -> Result<Value> {
        let api = self.api(self.bed.client.clone(), version, kind)?;
        Ok(serde_json::to_value(api.get(name).await?)?)
    }

    async fn uid(&self, version: &str, kind: &str, name: &str) -> Result<String> {
        let object = self.get(version, kind, name).await?;
        let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
        Ok(uid.context("a UID")?.to_owned())
    }

    async fn status(&self, version: &str, kind: &str, name: &str, status: Value) -> Result<()> {
        let api = self.api(self.bed.client.clone(), version, kind)?;
        let patch = Patch::Merge(json!({ "status": status }));
        api.patch_status(name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }
}
