//! The clusters of a mesh besides the one we run in, and the Kubernetes of each: those that the
//! Mesh names, and those that istiod reaches by remote secrets. What cannot be asked is told as
//! such, cluster by cluster.
//! Source: istio `pkg/kube/multicluster/secretcontroller.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use meshlift_api::{ClusterRole, MeshCluster, MeshSpec, labels};
use meshlift_istio::version::KubernetesVersion;
use meshlift_model::view::{Cluster, Release, Seen};

use super::cached::Cached;
use super::{kubernetes, seen};
use crate::Error;
use crate::kubeconfig::Kubeconfig;

/// The name of a cluster that was given none (`global.multiCluster.clusterName`).
/// Source: istio `manifests/charts/istio-control/istio-discovery/templates/deployment.yaml`.
const UNNAMED: &str = "Kubernetes";
/// The keys a kubeconfig is usually under in a Secret.
const KEYS: [&str; 3] = ["kubeconfig", "value", "config"];
/// An API server that takes longer is as good as down.
const LIMIT: Duration = Duration::from_secs(5);
/// So many are asked at the same time.
const AT_ONCE: usize = 64;

pub(super) struct Clusters {
    client: Client,
    /// Namespace of the operator.
    own: String,
    versions: Cached<Place, KubernetesVersion>,
}

/// Where a kubeconfig was found, and in which state, so that a new one is used at once: Secret as
/// `namespace/name`, its resource version, key.
type Place = (String, String, String);

/// A cluster and how it is reached.
struct Found {
    name: String,
    role: ClusterRole,
    access: Result<(Place, ByteString), String>,
}

impl Clusters {
    pub(super) fn new(client: Client, own: String) -> Self {
        Self {
            client,
            own,
            versions: Cached::new(Duration::from_secs(60)),
        }
    }

    /// Asks every cluster anew at the next look.
    pub(super) fn forget(&self) {
        self.versions.forget_all();
    }

    /// The clusters of a mesh besides the local one, by name. `releases` are those in the namespace
    /// of istiod: they say how the local cluster is called.
    pub(super) async fn look(
        &self,
        mesh: &MeshSpec,
        releases: &Seen<Vec<Release>>,
    ) -> Seen<Vec<Cluster>> {
        seen(self.all(mesh, releases).await.map_err(|e| e.to_string()))
    }

    async fn all(
        &self,
        mesh: &MeshSpec,
        releases: &Seen<Vec<Release>>,
    ) -> Result<Vec<Cluster>, Error> {
        let mut found = BTreeMap::new();
        for found_ in self.of_istiod(&mesh.control_plane_namespace).await? {
            // istiod takes the first of two, and so do we.
            found.entry(found_.name.clone()).or_insert(found_);
        }
        for name in local_names(releases) {
            found.remove(&name);
        }
        // What a person wrote down wins over what was found.
        for named in &mesh.clusters {
            found.insert(named.name.clone(), self.of_mesh(named).await);
        }
        let mut clusters: Vec<Cluster> = stream::iter(found.into_values())
            .map(|found| self.ask(found))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(clusters)
    }

    /// The remote secrets of istiod. Whether another istiod runs in such a cluster would take more
    /// rights there than to ask for its version: it counts as remote unless the Mesh says otherwise.
    async fn of_istiod(&self, namespace: &str) -> Result<Vec<Found>, Error> {
        let marked = ListParams::default().labels(&format!("{}=true", labels::MULTI_CLUSTER));
        let what = format!("listing the remote secrets of istiod in namespace {namespace}");
        let mut secrets = Api::<Secret>::namespaced(self.client.clone(), namespace)
            .list(&marked)
            .await
            .map_err(Error::kube(what))?
            .items;
        secrets.sort_by_key(ResourceExt::name_any);
        let found = |secret: Secret| {
            let place = place(namespace, &secret);
            let data = secret.data.unwrap_or_default();
            data.into_iter().map(move |(name, kubeconfig)| Found {
                access: Ok((place(&name), kubeconfig)),
                role: ClusterRole::Remote,
                name,
            })
        };
        Ok(secrets.into_iter().flat_map(found).collect())
    }

    async fn of_mesh(&self, cluster: &MeshCluster) -> Found {
        let secret = &cluster.kubeconfig.secret_ref.name;
        Found {
            name: cluster.name.clone(),
            role: cluster.role,
            access: self.named(secret).await,
        }
    }

    async fn named(&self, name: &str) -> Result<(Place, ByteString), String> {
        let own = &self.own;
        let found = Api::<Secret>::namespaced(self.client.clone(), own)
            .get_opt(name)
            .await
            .map_err(|error| {
                Error::kube(format!("reading Secret {own}/{name}"))(error).to_string()
            })?;
        let Some(secret) = found else {
            return Err(format!(
                "there is no Secret {own}/{name}, which should hold its kubeconfig: create it (kubectl -n {own} create secret generic {name} --from-file=kubeconfig=FILE)"
            ));
        };
        let place = place(own, &secret);
        let data = secret.data.unwrap_or_default();
        match key(&data) {
            Some(key) => Ok((place(key), data[key].clone())),
            None => Err(format!(
                "Secret {own}/{name} has none of the keys {}, and not only one key: write the kubeconfig under {}",
                KEYS.join(", "),
                KEYS[0]
            )),
        }
    }

    async fn ask(&self, found: Found) -> Cluster {
        let kubernetes = match found.access {
            Ok((place, kubeconfig)) => {
                let look = ask(&place, &kubeconfig);
                seen(self.versions.get(&place, look).await)
            }
            Err(why) => Seen::Unreadable(why),
        };
        Cluster {
            name: found.name,
            role: found.role,
            kubernetes,
        }
    }
}

async fn ask(
    (secret, _, key): &Place,
    kubeconfig: &ByteString,
) -> Result<KubernetesVersion, Error> {
    let refused = |why: String| Error::Unreadable(format!("Secret {secret}, key {key}: {why}"));
    let kubeconfig =
        Kubeconfig::parse(&kubeconfig.0).map_err(|error| refused(error.to_string()))?;
    let server = kubeconfig.server().to_string();
    let server = server.trim_end_matches('/');
    let client = Client::try_from(kubeconfig.config()).map_err(|_| {
        refused(
            "the certificates or the key in the kubeconfig are of no use: write it again"
                .to_owned(),
        )
    })?;
    let why = match tokio::time::timeout(LIMIT, kubernetes::version(&client)).await {
        Ok(Ok(version)) => return Ok(version),
        Ok(Err(error)) => error.to_string(),
        Err(_) => kubernetes::SILENT.to_owned(),
    };
    Err(Error::Http(format!(
        "API server {server} (Secret {secret}, key {key}): {why}"
    )))
}

fn place(namespace: &str, secret: &Secret) -> impl Fn(&str) -> Place + use<> {
    let name = format!("{namespace}/{}", secret.name_any());
    let version = secret.resource_version().unwrap_or_default();
    move |key| (name.clone(), version.clone(), key.to_owned())
}

fn key(data: &BTreeMap<String, ByteString>) -> Option<&str> {
    let usual = KEYS.into_iter().find(|key| data.contains_key(*key));
    usual.or_else(|| match data.len() {
        1 => data.keys().next().map(String::as_str),
        _ => None,
    })
}

/// How istiod calls the cluster it runs in; while two of them run, they may differ.
fn local_names(releases: &Seen<Vec<Release>>) -> BTreeSet<String> {
    let releases = releases.present().into_iter().flatten();
    let mut names: BTreeSet<String> = releases
        .filter(|release| release.chart == "istiod")
        .map(|release| {
            let values = serde_json::Value::Object(release.values.clone());
            let name = values.pointer("/global/multiCluster/clusterName");
            let name = name.and_then(|name| name.as_str()).unwrap_or_default();
            if name.is_empty() { UNNAMED } else { name }.to_owned()
        })
        .collect();
    if names.is_empty() {
        names.insert(UNNAMED.to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_is_under_a_usual_key_or_the_only_one() {
        let of = |keys: &[&str]| {
            let data = keys
                .iter()
                .map(|key| ((*key).to_owned(), ByteString::default()));
            key(&data.collect()).map(str::to_owned)
        };
        assert_eq!(of(&["east"]).as_deref(), Some("east"));
        assert_eq!(of(&["a", "value"]).as_deref(), Some("value"));
        assert_eq!(
            of(&["config", "kubeconfig", "value"]).as_deref(),
            Some("kubeconfig")
        );
        assert_eq!(of(&["a", "b"]), None);
        assert_eq!(of(&[]), None);
    }
}
