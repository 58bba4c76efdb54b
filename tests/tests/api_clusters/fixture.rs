//! The two clusters, each test its own: what is upgraded stays upgraded.

use std::future::Future;

use anyhow::{Context, Result};
use kube::{Client, ResourceExt};
use meshlift_cluster::helm::Helm;
use meshlift_cluster::{Observer, Settings, Watches};
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_testbed::{Cluster, Options};
use meshlift_tests::bed::{Bed, OPERATOR_NAMESPACE};
use meshlift_tests::istio;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Name of the second cluster in the mesh.
pub(crate) const EAST: &str = "east";

/// The operator's cluster and another one.
pub(crate) struct Two {
    /// Where the operator is.
    pub(crate) bed: Bed,
    /// The other one.
    pub(crate) east: Cluster,
}

impl Two {
    /// Starts both; the second says that it is of `kubernetes`.
    pub(crate) async fn up(kubernetes: &str) -> Result<Self> {
        let (bed, east) = tokio::try_join!(
            Bed::up(Options::api("clusters")),
            Cluster::up(Options::api(EAST).kubernetes(kubernetes))
        )?;
        Ok(Self { bed, east })
    }

    /// The same with an Istio on the first that could be upgraded.
    pub(crate) async fn with_istio(kubernetes: &str) -> Result<Self> {
        let two = Self::up(kubernetes).await?;
        istio::install(&two.bed, ISTIO_FROM).await?;
        istio::make_ready(&two.bed, "default").await?;
        Ok(two)
    }

    /// Writes a Secret into the operator's namespace.
    pub(crate) async fn secret(&self, name: &str, data: Value) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "namespace": OPERATOR_NAMESPACE }, "stringData": data,
        });
        self.bed.cluster.apply_yaml(&secret.to_string()).await
    }

    /// The kubeconfig that istiod would be given for the second cluster.
    pub(crate) async fn kubeconfig(&self) -> Result<Value> {
        self.east.reader_kubeconfig(EAST).await
    }

    /// Makes the Mesh `shop`, with charts from the test repository and these other clusters.
    pub(crate) async fn mesh(&self, clusters: Value) -> Result<()> {
        let charts = json!({ "repository": self.bed.cluster.charts_url_host()? });
        let spec = json!({ "charts": charts, "clusters": clusters });
        self.bed.create_mesh("shop", spec).await
    }

    /// Ends both.
    pub(crate) async fn down(self) -> Result<()> {
        self.east.down().await?;
        self.bed.cluster.down().await
    }

    /// Looks as the operator does, with its account.
    pub(crate) async fn observer(&self) -> Result<Observer> {
        let kubeconfig = kube::config::Kubeconfig::read_from(&self.bed.operator_kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        let client = Client::try_from(config)?;
        // Clusters of a mesh are asked for, not watched.
        let (watches, _) = Watches::start(&client);
        let settings = Settings {
            namespace: OPERATOR_NAMESPACE.to_owned(),
            default_charts_repository: self.bed.cluster.charts_url_host()?,
            keep_backups: 0,
            helm: Helm::new(self.bed.cluster.tools().program("helm")?, None),
        };
        Ok(Observer::new(client, settings, watches)?)
    }
}

/// Runs one test, on a runtime of its own.
pub(crate) fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    Runtime::new().context("a runtime")?.block_on(test)
}

/// `spec.clusters` with the second cluster, whose kubeconfig is in this Secret.
pub(crate) fn named(secret: &str) -> Value {
    json!([{ "name": EAST, "role": "Primary", "kubeconfig": { "secretRef": { "name": secret } } }])
}

/// Removes every MeshUpgrade that is not under way.
pub(crate) async fn clear(bed: &Bed) -> Result<()> {
    for upgrade in bed.upgrades().list(&Default::default()).await? {
        bed.delete_upgrade(&upgrade.name_any()).await?;
    }
    Ok(())
}
