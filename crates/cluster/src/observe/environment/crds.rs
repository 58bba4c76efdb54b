//! CRDs of Istio, of the Gateway API, and of other installers of Istio.
//!
//! Their schemas are megabytes, and nobody asks for them. So all CRDs are listed by their metadata, and only
//! those that matter are read, once for each change of theirs.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{ObjectMeta, PartialObjectMeta};
use kube::core::ClusterResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_model::view::{Crd, Seen};
use serde::{Deserialize, Serialize};

use super::helm_releases::HELM_RELEASES;
use super::list::{Right, list_metadata};
use super::{AGE, Found};
use crate::Error;
use crate::observe::cached::Cached;
use crate::slim::{helm_release, slim_resource};

/// So many are read at a time.
const AT_ONCE: usize = 8;
/// Annotation with the version of the Gateway API. Source: gateway-api `pkg/consts/consts.go`.
const BUNDLE_VERSION: &str = "gateway.networking.k8s.io/bundle-version";
/// Kinds of which each object is an installation of Istio. Source: sail-operator `api/v1`, istio
/// `operator/pkg/apis` up to 1.23.
const INSTALLERS: [&str; 3] = [
    "istios.sailoperator.io",
    "istiorevisions.sailoperator.io",
    "istiooperators.install.istio.io",
];

slim_resource!(
    /// A CustomResourceDefinition without its schemas.
    CrdObject, "CustomResourceDefinition", "customresourcedefinitions", "apiextensions.k8s.io",
    ClusterResourceScope, meta = "crate::slim::slim_meta", { spec: Spec, status: Status }
);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    group: String,
    names: Names,
    versions: Vec<Version>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    kind: String,
    plural: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Version {
    name: String,
    served: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    stored_versions: Vec<String>,
}

/// What is kept of a CRD.
#[derive(Clone, Debug)]
pub(crate) struct CrdFact {
    pub(crate) crd: Crd,
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
}

impl CrdFact {
    /// Whether each object of it is an installation of Istio.
    pub(super) fn is_installer(&self) -> bool {
        INSTALLERS.contains(&self.crd.name.as_str())
    }
}

pub(crate) struct Crds {
    client: Client,
    all: Cached<(), Found<CrdFact>>,
    /// By UID and resource version: what was read of it holds until it changes.
    read: Cached<(String, String), CrdFact>,
}

impl Crds {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            all: Cached::new(AGE),
            read: Cached::new(Duration::from_secs(3600)),
        }
    }

    pub(super) fn forget(&self) {
        self.all.forget_all();
    }

    pub(crate) async fn look(&self) -> Result<Found<CrdFact>, String> {
        self.all.get(&(), self.ask()).await
    }

    async fn ask(&self) -> Result<Found<CrdFact>, Error> {
        let api = Api::<CrdObject>::all(self.client.clone());
        let right = Right::of("customresourcedefinitions", "apiextensions.k8s.io");
        let keep = |crd: PartialObjectMeta<CrdObject>| matters(&crd.name_any()).then_some(crd);
        let Some(wanted) = list_metadata(&api, &right, keep).await? else {
            return Ok(None);
        };
        let read = async |crd: PartialObjectMeta<CrdObject>| {
            let key = (
                crd.uid().unwrap_or_default(),
                crd.resource_version().unwrap_or_default(),
            );
            let read = self.read.get(&key, self.read(&api, &right, &crd)).await;
            read.map_err(Error::Unreadable)
        };
        let mut all: Vec<CrdFact> = stream::iter(wanted)
            .map(read)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        all.sort_by(|a, b| a.crd.name.cmp(&b.crd.name));
        Ok(Some(all))
    }

    async fn read(
        &self,
        api: &Api<CrdObject>,
        right: &Right,
        listed: &PartialObjectMeta<CrdObject>,
    ) -> Result<CrdFact, Error> {
        let name = listed.name_any();
        let object = right.answer("get", api.get(&name).await)?;
        let gone = || Error::Unreadable(format!("the CRD {name} went away while it was read"));
        object.map(crd).ok_or_else(gone)
    }
}

/// Whether a CRD is of Istio, of the Gateway API, or of another installer.
fn matters(name: &str) -> bool {
    let group = name.split_once('.').map_or("", |(_, group)| group);
    group.ends_with(".istio.io")
        || group == "gateway.networking.k8s.io"
        || INSTALLERS.contains(&name)
        || name == HELM_RELEASES
}

fn crd(object: CrdObject) -> CrdFact {
    let annotation = |key: &str| object.annotations().get(key).cloned();
    let served = object.spec.versions.iter().filter(|version| version.served);
    CrdFact {
        crd: Crd {
            name: object.name_any(),
            stored_versions: object.status.stored_versions.clone(),
            served_versions: served.map(|version| version.name.clone()).collect(),
            labels: object.labels().clone(),
            helm_release: helm_release(&object),
            bundle_version: annotation(BUNDLE_VERSION),
        },
        group: object.spec.group.clone(),
        kind: object.spec.names.kind.clone(),
        plural: object.spec.names.plural.clone(),
    }
}

/// Those of Istio and of the Gateway API.
pub(super) fn seen(looked: Result<Found<CrdFact>, String>) -> Seen<Vec<Crd>> {
    super::found(looked).map(|all| {
        let others = |fact: &CrdFact| {
            fact.group.ends_with("sailoperator.io") || fact.crd.name == HELM_RELEASES
        };
        all.into_iter()
            .filter(|fact| !others(fact))
            .map(|fact| fact.crd)
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_kinds_of_istio_and_the_gateway_api_are_read() {
        for (name, expected) in [
            ("virtualservices.networking.istio.io", true),
            ("telemetries.telemetry.istio.io", true),
            ("istiooperators.install.istio.io", true),
            ("gateways.gateway.networking.k8s.io", true),
            ("istios.sailoperator.io", true),
            ("helmreleases.helm.toolkit.fluxcd.io", true),
            ("ztunnels.sailoperator.io", false),
            ("xbackends.gateway.networking.x-k8s.io", false),
            ("gateways.networking.fakeistio.io", false),
            ("certificates.cert-manager.io", false),
        ] {
            assert_eq!(matters(name), expected, "{name}");
        }
    }

    #[test]
    fn a_crd_keeps_its_versions_and_its_owner_and_no_schema() {
        let schema = json!({ "openAPIV3Schema": { "type": "object" } });
        let version = |name: &str, served| json!({ "name": name, "served": served, "storage": name == "v1", "schema": schema });
        let object = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {
                "name": "virtualservices.networking.istio.io", "uid": "u", "resourceVersion": "7",
                "labels": { "app.kubernetes.io/part-of": "istio" },
                "annotations": {
                    "helm.sh/resource-policy": "keep",
                    "meta.helm.sh/release-name": "istio-base",
                    "meta.helm.sh/release-namespace": "istio-system",
                },
            },
            "spec": {
                "group": "networking.istio.io", "scope": "Namespaced",
                "names": { "kind": "VirtualService", "plural": "virtualservices", "shortNames": ["vs"] },
                "versions": [version("v1", true), version("v1beta1", true), version("v1alpha3", false)],
            },
            "status": { "storedVersions": ["v1beta1", "v1"], "conditions": [] },
        });
        let fact = crd(serde_json::from_value(object).expect("a CRD"));
        let expected = Crd {
            name: "virtualservices.networking.istio.io".into(),
            stored_versions: vec!["v1beta1".into(), "v1".into()],
            served_versions: vec!["v1".into(), "v1beta1".into()],
            labels: [("app.kubernetes.io/part-of".into(), "istio".into())].into(),
            helm_release: Some("istio-system/istio-base".into()),
            bundle_version: None,
        };
        assert_eq!(fact.crd, expected);
        assert!(!fact.is_installer());
    }

    #[test]
    fn the_gateway_api_says_its_version_and_nobody_its_owner() {
        let object = json!({
            "metadata": { "name": "gateways.gateway.networking.k8s.io",
                "annotations": { "gateway.networking.k8s.io/bundle-version": "v1.4.0",
                    "gateway.networking.k8s.io/channel": "standard" } },
            "spec": { "group": "gateway.networking.k8s.io" },
        });
        let crd = crd(serde_json::from_value(object).expect("a CRD")).crd;
        assert_eq!(crd.bundle_version.as_deref(), Some("v1.4.0"));
        assert_eq!(crd.helm_release, None);
    }
}
