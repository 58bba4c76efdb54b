//! A cluster with Meshlift's chart installed: CRDs, policies and the operator's account. The operator
//! itself runs outside, as a process that a test can kill.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, Client};
use meshlift_api::{Mesh, MeshUpgrade};
use meshlift_testbed::{Cluster, Options};
use serde_json::{Value, json};

use crate::audit::Audit;
use crate::wait::until;

/// Namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "meshlift-system";
/// Namespace of istiod.
pub const ISTIO: &str = "istio-system";
/// The user name of the operator's account.
pub const OPERATOR_USER: &str = "system:serviceaccount:meshlift-system:meshlift";

/// A cluster to test the operator on.
pub struct Bed {
    /// The cluster.
    pub cluster: Cluster,
    /// Speaks as administrator.
    pub client: Client,
    /// Kubeconfig with a token of the operator's account.
    pub operator_kubeconfig: PathBuf,
}

impl Bed {
    /// Starts a cluster that writes an audit log and installs the chart on it, with no replica.
    pub async fn up(options: Options) -> Result<Self> {
        let cluster = Cluster::up(options.audit()).await?;
        cluster.kubectl(&["create", "namespace", ISTIO]).await?;
        let chart = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../charts/meshlift")
            .display()
            .to_string();
        let install = ["install", "meshlift", &chart, "-n", OPERATOR_NAMESPACE];
        let set = [
            "--create-namespace",
            "--set=replicas=0",
            "--set=image.repository=none.example.org/meshlift-operator",
        ];
        cluster.helm(&[&install[..], &set].concat()).await?;
        let operator_kubeconfig = token_kubeconfig(&cluster).await?;
        let client = cluster.client();
        let bed = Self {
            cluster,
            client,
            operator_kubeconfig,
        };
        until("the CRDs are served", Duration::from_secs(30), || async {
            let listed = bed.upgrades().list(&Default::default()).await;
            let meshes = bed.meshes().list(&Default::default()).await;
            Ok(listed.and(meshes.map(drop)).map_err(|e| e.to_string()))
        })
        .await?;
        bed.wait_for_policies().await?;
        Ok(bed)
    }

    /// A policy holds only shortly after it was created.
    async fn wait_for_policies(&self) -> Result<()> {
        let name = "waits-for-policies";
        self.create_upgrade(name, json!({ "targetVersion": "1.31" }))
            .await?;
        self.set_phase(name, "Upgrading").await?;
        let dry = DeleteParams {
            dry_run: true,
            ..Default::default()
        };
        until("the policies hold", Duration::from_secs(30), || async {
            let refused = self.upgrades().delete(name, &dry).await.is_err();
            Ok(refused.then_some(()).ok_or("deletion goes through".into()))
        })
        .await?;
        self.set_phase(name, "Done").await?;
        self.upgrades().delete(name, &Default::default()).await?;
        Ok(())
    }

    /// MeshUpgrades, as administrator.
    pub fn upgrades(&self) -> Api<MeshUpgrade> {
        Api::all(self.client.clone())
    }

    /// Meshes, as administrator.
    pub fn meshes(&self) -> Api<Mesh> {
        Api::all(self.client.clone())
    }

    /// The audit log from now on.
    pub fn audit(&self) -> Result<Audit> {
        Audit::from_now(&self.cluster)
    }

    /// Creates a MeshUpgrade.
    ///
    /// Where no node runs pods nobody serves the metrics of istiod: that is accepted, as a person would have to.
    pub async fn create_upgrade(&self, name: &str, mut spec: Value) -> Result<MeshUpgrade> {
        if !self.cluster.has_node() {
            accept(&mut spec, "METRICS-UNREADABLE");
        }
        let object = json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgrade",
            "metadata": { "name": name }, "spec": spec,
        });
        // As it is: the types write durations in their own way.
        let kind = ApiResource::erase::<MeshUpgrade>(&());
        let upgrades = Api::<DynamicObject>::all_with(self.client.clone(), &kind);
        let object = serde_json::from_value(object)?;
        let created = upgrades.create(&PostParams::default(), &object).await?;
        Ok(serde_json::from_value(serde_json::to_value(created)?)?)
    }

    /// Writes a Mesh, as a person's `kubectl apply` does: the operator may have made one of that name.
    pub async fn create_mesh(&self, name: &str, spec: Value) -> Result<()> {
        let object = json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "Mesh",
            "metadata": { "name": name }, "spec": spec,
        });
        let person = PatchParams::apply("person").force();
        self.meshes()
            .patch(name, &person, &Patch::Apply(object))
            .await?;
        Ok(())
    }

    /// Merges a patch into a MeshUpgrade, as a person would.
    pub async fn patch_upgrade(&self, name: &str, patch: Value) -> kube::Result<MeshUpgrade> {
        let patch = Patch::Merge(patch);
        self.upgrades()
            .patch(name, &PatchParams::default(), &patch)
            .await
    }

    /// Annotates a MeshUpgrade with a new value of the retry annotation.
    pub async fn retry(&self, name: &str, value: &str) -> Result<()> {
        let annotations = json!({ meshlift_api::labels::RETRY: value });
        self.patch_upgrade(name, json!({ "metadata": { "annotations": annotations } }))
            .await?;
        Ok(())
    }

    /// Writes the phase of a MeshUpgrade, as the operator would.
    pub async fn set_phase(&self, name: &str, phase: &str) -> Result<()> {
        let status = Patch::Merge(json!({ "status": { "phase": phase } }));
        self.upgrades()
            .patch_status(name, &PatchParams::default(), &status)
            .await?;
        Ok(())
    }

    /// Deletes a MeshUpgrade and waits until it is gone.
    pub async fn delete_upgrade(&self, name: &str) -> Result<()> {
        self.upgrades().delete(name, &Default::default()).await?;
        self.wait_gone(name).await
    }

    /// Waits until a MeshUpgrade is gone.
    pub async fn wait_gone(&self, name: &str) -> Result<()> {
        let what = format!("MeshUpgrade {name} is gone");
        until(&what, Duration::from_secs(20), || async {
            let found = self.upgrades().get_opt(name).await?;
            Ok(match found {
                None => Ok(()),
                Some(there) => Err(format!("{:?}", there.metadata)),
            })
        })
        .await
    }
}

/// Adds a code to `acceptRisks`.
fn accept(spec: &mut Value, code: &str) {
    let accepted = spec["acceptRisks"].as_array().cloned().unwrap_or_default();
    spec["acceptRisks"] = accepted.into_iter().chain([json!(code)]).collect();
}

async fn token_kubeconfig(cluster: &Cluster) -> Result<PathBuf> {
    let account = ["create", "token", "meshlift", "-n", OPERATOR_NAMESPACE];
    let token = cluster.kubectl(&account).await?;
    let config = Kubeconfig::read_from(cluster.kubeconfig())?;
    let user = config
        .auth_infos
        .first()
        .context("a kubeconfig without a user")?;
    let mut text = serde_json::to_value(&config)?;
    // kube-rs hides tokens when it writes a kubeconfig.
    text["users"] = json!([{ "name": user.name, "user": { "token": token.trim() } }]);
    let path = cluster.scratch().join("operator.kubeconfig");
    std::fs::write(&path, serde_yaml_ng::to_string(&text)?)?;
    Ok(path)
}
