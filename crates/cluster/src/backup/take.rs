//! Takes a backup: reads the cluster page by page, and keeps no more of it in memory than a page and a chunk.

use std::future::Future;

use kube::api::{ApiResource, DynamicObject, ListParams, ObjectList, PartialObjectMeta};
use kube::core::{GroupVersionKind, Version};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels::{ISTIO_INJECTION, ISTIO_REV, ISTIO_TAG};
use meshlift_model::view::Release;
use serde_json::Value;

use super::content::{BackedUpCrd, BackedUpNamespace, BackedUpRelease, Entry, Header};
use super::format::{Index, Packer};
use super::plain::plain;
use crate::error::is_not_found;
use crate::observe::environment::crds::{CrdFact, Crds};
use crate::watch::NamespaceObject;
use crate::{Error, Result};

/// So many objects are in memory at once.
const PAGE: u32 = 100;
/// The groups of Istio's configuration, all kinds of which are backed up.
const ISTIO: [&str; 4] = [
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
];
/// The group of the Gateway API, and its kinds that are backed up.
const GATEWAY_API: (&str, [&str; 2]) = ("gateway.networking.k8s.io", ["Gateway", "HTTPRoute"]);

/// Where chunks go as they are ready. Nobody reads them before the index is there, which comes last.
pub trait ChunkSink {
    /// Takes the next chunk.
    fn chunk(&mut self, bytes: Vec<u8>) -> impl Future<Output = Result<()>> + Send;
    /// Takes the index: now the backup is whole.
    fn index(&mut self, index: &Index) -> impl Future<Output = Result<()>> + Send;
}

/// Takes a backup of the whole mesh. A kind that is not installed has no objects; one that may not be read
/// is an error that names the right, because half a backup is none.
pub async fn take<S: ChunkSink + Send>(
    client: &Client,
    header: Header,
    releases: &[Release],
    sink: &mut S,
) -> Result<Index> {
    let mut taking = Taking {
        client,
        packer: Packer::new(header)?,
        sink,
    };
    let crds = taking.crds().await?;
    for release in releases {
        taking.packer.add(&Entry::Release(backed_up(release)))?;
    }
    taking.namespaces().await?;
    for kind in [
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ] {
        let plural = format!("{}s", kind.to_lowercase());
        let kind = resource("admissionregistration.k8s.io", "v1", kind, &plural);
        taking.objects(&kind, None, is_of_istio).await?;
    }
    let services = resource("", "v1", "Service", "services");
    taking.objects(&services, Some(ISTIO_TAG), |_| true).await?;
    for crd in crds.iter().filter(|crd| is_configuration(crd)) {
        if let Some(kind) = kind_of(crd) {
            taking.objects(&kind, None, |_| true).await?;
        }
    }
    let (rest, index) = taking.packer.finish()?;
    for chunk in rest {
        taking.sink.chunk(chunk).await?;
    }
    taking.sink.index(&index).await?;
    Ok(index)
}

struct Taking<'a, S> {
    client: &'a Client,
    packer: Packer,
    sink: &'a mut S,
}

impl<S: ChunkSink + Send> Taking<'_, S> {
    async fn crds(&mut self) -> Result<Vec<CrdFact>> {
        let looked = Crds::new(self.client.clone()).look().await;
        let found = looked.map_err(Error::Unreadable)?.unwrap_or_default();
        for fact in &found {
            self.packer.add(&Entry::Crd(BackedUpCrd {
                name: fact.crd.name.clone(),
                served: fact.crd.served_versions.clone(),
                stored: fact.crd.stored_versions.clone(),
            }))?;
        }
        Ok(found)
    }

    async fn namespaces(&mut self) -> Result<()> {
        let api = Api::<NamespaceObject>::all(self.client.clone());
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = api.list_metadata(&parameters).await;
            let page = page.map_err(|error| refused("namespaces", error))?;
            for namespace in &page.items {
                let labels = injection_labels(namespace.labels());
                if !labels.is_empty() {
                    let name = namespace.name_any();
                    let entry = BackedUpNamespace { name, labels };
                    self.packer.add(&Entry::Namespace(entry))?;
                }
            }
            match next_page::<PartialObjectMeta<NamespaceObject>>(&page) {
                Some(next) => parameters = parameters.continue_token(&next),
                None => return self.flush().await,
            }
        }
    }

    /// All objects of a kind that `keep` keeps.
    async fn objects(
        &mut self,
        kind: &ApiResource,
        label: Option<&str>,
        keep: impl Fn(&DynamicObject) -> bool,
    ) -> Result<()> {
        let api = Api::<DynamicObject>::all_with(self.client.clone(), kind);
        let mut parameters = ListParams::default().limit(PAGE);
        if let Some(label) = label {
            parameters = parameters.labels(label);
        }
        loop {
            let page = match api.list(&parameters).await {
                Ok(page) => page,
                // The kind went away since its CRD was read.
                Err(error) if is_not_found(&error) => return Ok(()),
                Err(error) => return Err(refused(&right(kind), error)),
            };
            let next = next_page(&page);
            for object in page.items.into_iter().filter(&keep) {
                self.packer.add(&Entry::Object(written(object, kind)?))?;
            }
            self.flush().await?;
            match next {
                Some(next) => parameters = parameters.continue_token(&next),
                None => return Ok(()),
            }
        }
    }

    async fn flush(&mut self) -> Result<()> {
        while let Some(chunk) = self.packer.full_chunk() {
            self.sink.chunk(chunk).await?;
        }
        Ok(())
    }
}

fn next_page<K: Clone>(page: &ObjectList<K>) -> Option<String> {
    let next = page.metadata.continue_.clone();
    next.filter(|token| !token.is_empty())
}

/// The object as a person wrote it. Lists of built-in kinds do not say their kind for each object.
pub(super) fn written(object: DynamicObject, kind: &ApiResource) -> Result<Value> {
    let mut value = serde_json::to_value(object)
        .map_err(|error| Error::Unreadable(format!("reading a {}: {error}", kind.kind)))?;
    value["apiVersion"] = kind.api_version.clone().into();
    value["kind"] = kind.kind.clone().into();
    Ok(plain(value))
}

pub(super) fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk(group, version, kind);
    ApiResource::from_gvk_with_plural(&kind, plural)
}

/// What is missing when a list is refused.
fn refused(resource: &str, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) if status.code == 403 => Error::Forbidden {
            verb: "list",
            resource: resource.to_owned(),
        },
        error => Error::kube(format!("listing {resource}"))(error),
    }
}

fn right(kind: &ApiResource) -> String {
    if kind.group.is_empty() {
        kind.plural.clone()
    } else {
        format!("{}.{}", kind.plural, kind.group)
    }
}

pub(super) fn is_configuration(crd: &CrdFact) -> bool {
    let (group, kinds) = GATEWAY_API;
    ISTIO.contains(&crd.group.as_str())
        || (crd.group == group && kinds.contains(&crd.kind.as_str()))
}

/// In the newest version that is served, after Kubernetes' own order of versions.
pub(super) fn kind_of(crd: &CrdFact) -> Option<ApiResource> {
    let served = crd.crd.served_versions.iter();
    let newest = served.max_by_key(|version| Version::parse(version).priority())?;
    Some(resource(&crd.group, newest, &crd.kind, &crd.plural))
}

/// Whether a webhook configuration is one of Istio: of a revision, of a tag, or the default validator.
pub(super) fn is_of_istio(object: &DynamicObject) -> bool {
    let labels = object.labels();
    let app = labels.get("app").map(String::as_str);
    labels.contains_key(ISTIO_REV)
        || labels.contains_key(ISTIO_TAG)
        || matches!(app, Some("istiod" | "sidecar-injector"))
}

/// The labels of a namespace that Istio reads.
pub(super) fn injection_labels(
    labels: &std::collections::BTreeMap<String, String>,
) -> std::collections::BTreeMap<String, String> {
    let read = |key: &str| key == ISTIO_INJECTION || key.starts_with("istio.io/");
    let kept = labels.iter().filter(|(key, _)| read(key));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn backed_up(release: &Release) -> BackedUpRelease {
    BackedUpRelease {
        name: release.name.clone(),
        namespace: release.namespace.clone(),
        chart: release.chart.clone(),
        version: release.version.as_ref().map(ToString::to_string),
        values: release.values.clone(),
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use meshlift_model::ErrorClass;
    use serde_json::json;

    use super::super::FORMAT;
    use super::*;

    /// A server with the CRDs of ProxyConfigs, which may not be listed, and of a kind that is not served.
    fn server(code: u16) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let (code, body) = answer(request.uri().path(), code);
            let body = Body::from(body.to_string().into_bytes());
            async move { Response::builder().status(code).body(body) }
        });
        Client::new(service, "default")
    }

    fn answer(path: &str, code: u16) -> (u16, Value) {
        let crd = |plural: &str, kind: &str, served: bool| {
            json!({
                "metadata": { "name": format!("{plural}.networking.istio.io"), "uid": plural, "resourceVersion": "1" },
                "spec": { "group": "networking.istio.io", "names": { "kind": kind, "plural": plural },
                    "versions": [{ "name": "v1beta1", "served": served }, { "name": "v1alpha1", "served": served }] },
                "status": { "storedVersions": ["v1beta1"] },
            })
        };
        let [configs, gone] = [
            crd("proxyconfigs", "ProxyConfig", true),
            crd("things", "Thing", false),
        ];
        let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        match path.strip_prefix(crds) {
            Some("") => return (200, json!({ "metadata": {}, "items": [configs, gone] })),
            Some("/proxyconfigs.networking.istio.io") => return (200, configs),
            Some(_) => return (200, gone),
            None => {}
        }
        match path {
            "/apis/networking.istio.io/v1beta1/proxyconfigs" if code == 200 => {
                let config = json!({ "metadata": { "name": "a", "namespace": "shop", "uid": "u" }, "spec": {} });
                (200, json!({ "metadata": {}, "items": [config] }))
            }
            "/apis/networking.istio.io/v1beta1/proxyconfigs" => {
                let why =
                    json!({ "kind": "Status", "status": "Failure", "code": code, "message": "no" });
                (code, why)
            }
            path if path.contains("things") => (500, json!({})),
            _ => (200, json!({ "metadata": {}, "items": [] })),
        }
    }

    #[derive(Default)]
    struct Memory {
        chunks: Vec<Vec<u8>>,
        index: Option<Index>,
    }

    impl ChunkSink for Memory {
        async fn chunk(&mut self, bytes: Vec<u8>) -> Result<()> {
            assert!(self.index.is_none(), "the index comes last");
            self.chunks.push(bytes);
            Ok(())
        }

        async fn index(&mut self, index: &Index) -> Result<()> {
            self.index = Some(index.clone());
            Ok(())
        }
    }

    async fn taken(code: u16) -> (Result<Index>, Memory) {
        let header = Header {
            format: FORMAT,
            name: "b".into(),
            mesh: "default".into(),
            upgrade: None,
            from: None,
            to: None,
            taken_at: jiff::Timestamp::UNIX_EPOCH,
            meshlift: "0.1.0".into(),
        };
        let mut memory = Memory::default();
        let index = take(&server(code), header, &[], &mut memory).await;
        (index, memory)
    }

    #[tokio::test]
    async fn what_is_served_is_read_in_its_newest_version() {
        let (index, memory) = taken(200).await;
        let index = index.expect("it is taken");
        assert_eq!(memory.index.as_ref(), Some(&index));
        assert_eq!(index.counts["networking.istio.io/v1beta1 ProxyConfig"], 1);
        let contents = super::super::read(memory.chunks.concat().as_slice()).expect("it is whole");
        let wanted = json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "ProxyConfig",
            "metadata": { "name": "a", "namespace": "shop" }, "spec": {},
        });
        assert_eq!(contents.objects, [wanted]);
        assert_eq!(contents.crds.len(), 2);
    }

    #[tokio::test]
    async fn a_kind_that_may_not_be_read_is_an_error_that_a_person_mends() {
        let (index, memory) = taken(403).await;
        let error = index.expect_err("half a backup is none");
        assert_eq!(error.class(), ErrorClass::Blocked);
        let said = error.to_string();
        assert!(
            said.contains("list proxyconfigs.networking.istio.io"),
            "{said}"
        );
        assert!(memory.index.is_none());
        let (index, _) = taken(404).await;
        assert!(index.is_ok(), "what went away has no objects");
        let (index, _) = taken(500).await;
        assert_eq!(index.expect_err("it failed").class(), ErrorClass::Transient);
    }
}
