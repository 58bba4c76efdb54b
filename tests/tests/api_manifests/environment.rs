//! The cluster that the tests share, with the chart installed, and the words they have in common.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, discovery};
use meshlift_api::MeshUpgrade;
use meshlift_testbed::{Cluster, Options};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

pub(crate) const NAMESPACE: &str = "meshlift-system";
/// The chart has no image of its own; no pod of it is started here.
pub(crate) const IMAGE: &str = "image.repository=none.example.org/meshlift-operator";
pub(crate) const ISTIO: &str = "istio-system";
/// The user name of the operator's account.
pub(crate) const OPERATOR: &str = "system:serviceaccount:meshlift-system:meshlift";

/// A test that makes an upgrade run, or that needs none to run, holds this: the guard of the CRD
/// looks at every MeshUpgrade.
pub(crate) static RUNNING_UPGRADES: Mutex<()> = Mutex::const_new(());

/// One runtime for all tests: a client belongs to the runtime that made it.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("a runtime needs only threads"));
static ENVIRONMENT: OnceCell<Environment> = OnceCell::const_new();

pub(crate) struct Environment {
    pub(crate) cluster: Cluster,
    /// Speaks as administrator.
    pub(crate) admin: Client,
    /// Speaks as the operator, with a token of its service account.
    pub(crate) operator: Client,
    /// The kubeconfig with that token.
    pub(crate) operator_kubeconfig: PathBuf,
}

/// Runs one test on the shared cluster.
pub(crate) fn with_cluster<F: Future<Output = Result<()>>>(
    test: impl FnOnce(&'static Environment) -> F,
) -> Result<()> {
    RUNTIME.block_on(async {
        let environment = ENVIRONMENT.get_or_try_init(Environment::start).await?;
        test(environment).await
    })
}

/// Runs one test on a cluster of its own: an operator at work would meddle with the other tests.
pub(crate) fn with_own_cluster<F: Future<Output = Result<()>>>(
    test: impl FnOnce(Environment) -> F,
) -> Result<()> {
    RUNTIME.block_on(async { test(Environment::start().await?).await })
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the repository")
}

/// The path of the chart.
pub(crate) fn chart() -> String {
    repository().join("charts/meshlift").display().to_string()
}

impl Environment {
    async fn start() -> Result<Self> {
        let cluster = Cluster::up(Options::api("manifests").audit()).await?;
        cluster.kubectl(&["create", "namespace", ISTIO]).await?;
        let chart = chart();
        let install = [
            "install",
            "meshlift",
            &chart,
            "-n",
            NAMESPACE,
            "--create-namespace",
            "--set",
            IMAGE,
        ];
        cluster.helm(&install).await?;
        let kinds = ["meshupgrades", "meshes", "releasecatalogs"];
        let crds = kinds.map(|n| format!("crd/{n}.meshlift.io"));
        cluster
            .kubectl(&[
                "wait",
                "--for=condition=Established",
                "--timeout=30s",
                &crds[0],
                &crds[1],
                &crds[2],
            ])
            .await?;
        let operator_kubeconfig =
            service_account_kubeconfig(&cluster, NAMESPACE, "meshlift").await?;
        let operator = client(&operator_kubeconfig).await?;
        let admin = cluster.client();
        let environment = Self {
            cluster,
            admin,
            operator,
            operator_kubeconfig,
        };
        environment.wait_for_policies().await?;
        Ok(environment)
    }

    /// A policy holds shortly after it was created, so the last one is asked until it answers.
    async fn wait_for_policies(&self) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "not-a-record", "namespace": NAMESPACE },
        });
        eventually("the admission policies hold", || async {
            match self.create(&self.operator, &secret, true).await {
                Err(error) if denied_by(&error, "meshlift-operator-fence") => Ok(true),
                _ => Ok(false),
            }
        })
        .await?;
        let name = "waits-for-policies";
        self.upgrade_in_phase(name, "Upgrading").await?;
        let api = Api::<MeshUpgrade>::all(self.admin.clone());
        let dry = kube::api::DeleteParams {
            dry_run: true,
            ..Default::default()
        };
        eventually("the deletion policy holds", || async {
            Ok(api.delete(name, &dry).await.is_err())
        })
        .await?;
        self.set_phase(name, "Done").await?;
        api.delete(name, &Default::default()).await?;
        Ok(())
    }

    /// The API of whatever kind `object` has.
    pub(crate) async fn api_of(
        &self,
        client: &Client,
        object: &Value,
    ) -> Result<Api<DynamicObject>> {
        let version = object["apiVersion"].as_str().context("no apiVersion")?;
        let kind = object["kind"].as_str().context("no kind")?;
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let gvk = kube::core::GroupVersionKind::gvk(group, version, kind);
        let (resource, _) = discovery::pinned_kind(&self.admin, &gvk).await?;
        Ok(match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        })
    }

    /// Creates `object` as the user of `client`.
    pub(crate) async fn create(
        &self,
        client: &Client,
        object: &Value,
        dry_run: bool,
    ) -> Result<()> {
        let api = self.api_of(client, object).await?;
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        api.create(
            &PostParams {
                dry_run,
                ..Default::default()
            },
            &object,
        )
        .await?;
        Ok(())
    }

    /// Merges `patch` into `object` as the user of `client`.
    pub(crate) async fn merge(&self, client: &Client, object: &Value, patch: Value) -> Result<()> {
        let api = self.api_of(client, object).await?;
        let name = object["metadata"]["name"].as_str().context("no name")?;
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Makes a MeshUpgrade and puts it into `phase`, as the operator would.
    pub(crate) async fn upgrade_in_phase(&self, name: &str, phase: &str) -> Result<MeshUpgrade> {
        self.create(&self.admin, &upgrade(name), false).await?;
        self.set_phase(name, phase).await
    }

    /// Writes the phase of a MeshUpgrade.
    pub(crate) async fn set_phase(&self, name: &str, phase: &str) -> Result<MeshUpgrade> {
        let api = Api::<MeshUpgrade>::all(self.operator.clone());
        let status = Patch::Merge(json!({ "status": { "phase": phase } }));
        Ok(api
            .patch_status(name, &PatchParams::default(), &status)
            .await?)
    }

    /// Runs Helm as the operator.
    pub(crate) async fn helm_as_operator(&self, arguments: &[&str]) -> Result<String> {
        let home = self.cluster.scratch().join("operator-helm");
        let output = Command::new(self.cluster.tools().program("helm")?)
            .args(arguments)
            .env("KUBECONFIG", &self.operator_kubeconfig)
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .stdin(Stdio::null())
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("helm {} failed: {}", arguments.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The smallest useful MeshUpgrade.
pub(crate) fn upgrade(name: &str) -> Value {
    json!({
        "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgrade",
        "metadata": { "name": name },
        "spec": { "targetVersion": "1.31" },
    })
}

/// Writes a kubeconfig with a token of a service account.
pub(crate) async fn service_account_kubeconfig(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<PathBuf> {
    let token = cluster
        .kubectl(&["create", "token", name, "-n", namespace])
        .await?;
    let mut config = Kubeconfig::read_from(cluster.kubeconfig())?;
    let user = json!({ "token": token.trim() });
    for auth in &mut config.auth_infos {
        auth.auth_info = Some(serde_json::from_value(user.clone())?);
    }
    let mut text = serde_json::to_value(&config)?;
    // kube-rs hides tokens when it writes a kubeconfig.
    text["users"] = json!([{ "name": config.auth_infos[0].name, "user": user }]);
    let path = cluster
        .scratch()
        .join(format!("{namespace}-{name}.kubeconfig"));
    std::fs::write(&path, serde_yaml_ng::to_string(&text)?)?;
    Ok(path)
}

/// A client from a kubeconfig.
pub(crate) async fn client(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    Ok(Client::try_from(
        Config::from_custom_kubeconfig(kubeconfig, &options).await?,
    )?)
}

/// Asks until `condition` holds, at most 30 seconds.
pub(crate) async fn eventually<F: Future<Output = Result<bool>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> Result<()> {
    let waiting = async {
        while !condition().await? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .with_context(|| format!("not within 30 s: {what}"))?
}

/// Whether `error` is a refusal by an admission policy whose name begins with `policy`.
pub(crate) fn denied_by(error: &anyhow::Error, policy: &str) -> bool {
    format!("{error:#}").contains(&format!("ValidatingAdmissionPolicy '{policy}"))
}

/// Fails unless `result` was refused by `policy`, and returns what the API server said.
pub(crate) fn refused_by<T>(policy: &str, what: &str, result: Result<T>) -> Result<String> {
    match result {
        Ok(_) => bail!("{what}: not refused"),
        Err(error) if denied_by(&error, policy) => Ok(format!("{error:#}")),
        Err(error) => Err(error.context(format!("{what}: refused, but not by {policy}"))),
    }
}

/// Fails unless `result` was refused with all of `words`.
pub(crate) fn refused_with<T>(words: &[&str], what: &str, result: Result<T>) -> Result<()> {
    let Err(error) = result else {
        bail!("{what}: not refused")
    };
    let said = format!("{error:#}");
    for word in words {
        anyhow::ensure!(
            said.contains(word),
            "{what}: {word:?} is missing in: {said}"
        );
    }
    Ok(())
}
