//! How istiod of one cluster is let into another.
//! Source: istio `istioctl/pkg/multicluster/remote_secret.go`.

use anyhow::{Context, Result};
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use super::Cluster;

const NAMESPACE: &str = "istio-system";
const READER: &str = "istio-reader-service-account";

impl Cluster {
    /// Writes what `istioctl create-remote-secret --name NAME` of `other` prints: the Secret by which
    /// istiod of this cluster reaches that one, as its account for readers.
    pub async fn remote_secret(&self, other: &Cluster, name: &str) -> Result<()> {
        let kubeconfig = other.reader_kubeconfig(name).await?;
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": format!("istio-remote-secret-{}", name.to_lowercase()),
                "namespace": NAMESPACE,
                "labels": { "istio/multiCluster": "true" },
                "annotations": { "networking.istio.io/cluster": name },
            },
            "stringData": { name: kubeconfig.to_string() },
        });
        self.apply_yaml(&format!("{}\n---\n{secret}", namespace()))
            .await
    }

    /// A kubeconfig with a token of this cluster's `istio-reader-service-account`, as istioctl writes it;
    /// the account is made if it is not there.
    pub async fn reader_kubeconfig(&self, name: &str) -> Result<Value> {
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": READER, "namespace": NAMESPACE },
        });
        self.apply_yaml(&format!("{}\n---\n{account}", namespace()))
            .await?;
        let token = self
            .kubectl(&["create", "token", READER, "-n", NAMESPACE])
            .await?;
        let own = Kubeconfig::read_from(self.kubeconfig())?;
        let authority = own
            .clusters
            .into_iter()
            .find_map(|named| named.cluster?.certificate_authority_data)
            .context("the cluster's own kubeconfig has no certificate authority: this is a bug")?;
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": name, "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority-data": authority,
            } }],
            "users": [{ "name": name, "user": { "token": token.trim() } }],
            "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
            "current-context": name,
            "preferences": {},
        }))
    }
}

fn namespace() -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } })
}
