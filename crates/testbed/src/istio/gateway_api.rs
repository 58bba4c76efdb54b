//! A Gateway of the Gateway API, whose Deployment istiod renders and rolls by itself.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::spawn_blocking;

use super::Injection;
use crate::shop::wait_ready_in;
use crate::{Cluster, tools, versions};

/// A Gateway that istiod manages, with two replicas and a route to the shop.
#[derive(Clone, Debug)]
pub struct ManagedGateway {
    /// Its name; Deployment and Service are `<name>-istio`.
    pub name: String,
    /// Its namespace, which is made if it is not there.
    pub namespace: String,
    /// How its namespace asks for injection, if it does; that decides which istiod manages it too.
    pub injection: Option<Injection>,
    /// The label `istio.io/rev` of the Gateway itself.
    pub revision: Option<String>,
}

impl ManagedGateway {
    /// Where it answers, for who is in the cluster.
    pub fn url(&self) -> String {
        format!("http://{}-istio.{}/", self.name, self.namespace)
    }

    fn manifests(&self) -> String {
        let label = |label: Option<String>| label.unwrap_or_default();
        let namespace = label(self.injection.as_ref().map(Injection::label));
        let gateway = label(self.revision.as_ref().map(|r| format!("istio.io/rev: {r}")));
        include_str!("gateway_api.yaml")
            .replace("NAMESPACE_LABEL", &namespace)
            .replace("GATEWAY_LABEL", &gateway)
            .replace("NAMESPACE", &self.namespace)
            .replace("NAME", &self.name)
    }
}

/// Installs the CRDs of the Gateway API, standard channel, of the version that the older Istio is built with.
pub async fn install_gateway_api(cluster: &Cluster) -> Result<()> {
    let sources = spawn_blocking(|| tools::gateway_api_sources(versions::ISTIO_FROM)).await??;
    let crds = sources.join("config/crd/standard").display().to_string();
    let apply = ["apply", "--server-side", "--field-manager=testbed"];
    cluster
        .kubectl(&[&apply[..], &["-f", &crds]].concat())
        .await
        .context("installing the CRDs of the Gateway API")?;
    let names = ["gateways", "gatewayclasses", "httproutes"]
        .map(|name| format!("crd/{name}.gateway.networking.k8s.io"));
    let wait = ["wait", "--for=condition=Established", "--timeout=30s"];
    let names = names.iter().map(String::as_str);
    let arguments: Vec<&str> = wait.into_iter().chain(names).collect();
    cluster.kubectl(&arguments).await.map(drop)
}

/// Creates a Gateway and its route, and waits until the Deployment that istiod renders is ready.
pub async fn managed_gateway(cluster: &Cluster, gateway: &ManagedGateway) -> Result<()> {
    cluster
        .apply_yaml(&gateway.manifests())
        .await
        .context("applying a Gateway")?;
    let limit = Duration::from_secs(120);
    wait_ready_in(&cluster.client(), &[&gateway.namespace], limit).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_only_where_they_are_wanted() {
        let mut gateway = ManagedGateway {
            name: "door".into(),
            namespace: "edge".into(),
            injection: None,
            revision: None,
        };
        assert_eq!(gateway.url(), "http://door-istio.edge/");
        let plain = gateway.manifests();
        assert!(plain.contains("name: edge, labels: {  }"), "{plain}");
        assert!(plain.contains("namespace: edge, labels: {  }"), "{plain}");
        gateway.injection = Some(Injection::Enabled);
        gateway.revision = Some("1-31-0".into());
        let labelled = gateway.manifests();
        assert!(
            labelled.contains("name: edge, labels: { istio-injection: enabled }"),
            "{labelled}"
        );
        assert!(
            labelled.contains("labels: { istio.io/rev: 1-31-0 }"),
            "{labelled}"
        );
    }
}
