//! Namespaces, webhooks and our own kinds.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::ObjectMeta;
use kube::core::ClusterResourceScope;
use kube::{Resource, ResourceExt};
use meshlift_api::labels as l;
use meshlift_api::{Mesh, MeshUpgrade, ReleaseCatalog};
use meshlift_model::view::Namespace;
use serde::{Deserialize, Serialize};

use crate::slim::{helm_release, slim_resource};
use crate::watch::table::Fact;

slim_resource!(
    /// A Namespace; with its managed fields, which tell who writes its labels.
    pub NamespaceObject, "Namespace", "namespaces", "", ClusterResourceScope, {}
);

impl Fact<NamespaceObject> for Namespace {
    fn of(object: &NamespaceObject) -> Option<Self> {
        let meta = &object.metadata;
        Some(Self {
            name: object.name_any(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            moved_to: object.annotations().get(l::MOVED_TO).cloned(),
            label_owner: label_owner(object.managed_fields(), &[l::ISTIO_INJECTION, l::ISTIO_REV]),
            terminating: meta.deletion_timestamp.is_some(),
            labels: object.labels().clone(),
        })
    }
}

/// Who last wrote one of these labels.
pub(super) fn label_owner(entries: &[ManagedFieldsEntry], labels: &[&str]) -> Option<String> {
    entries
        .iter()
        .filter(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            let written = fields.and_then(|f| f.get("f:metadata")?.get("f:labels"));
            labels
                .iter()
                .any(|label| written.is_some_and(|w| w.get(format!("f:{label}")).is_some()))
        })
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
        .and_then(|entry| entry.manager.clone())
}

/// A webhook configuration of Istio.
#[derive(Clone, Debug)]
pub struct WebhookFact {
    /// Name.
    pub name: String,
    /// Revision it serves.
    pub revision: Option<String>,
    /// Tag it represents, if it does.
    pub tag: Option<String>,
    /// Service it calls, and its namespace.
    pub service: Option<(String, String)>,
    /// Whether every webhook has a CA bundle.
    pub has_ca_bundle: bool,
    /// Whether one of them calls an address instead of a Service.
    pub by_url: bool,
    /// UID.
    pub uid: String,
    /// Resource version.
    pub resource_version: String,
    /// The revision this operator pointed it at, from its annotation.
    pub moved_to: Option<String>,
    /// Who last wrote the label with its revision, from managedFields.
    pub owner: Option<String>,
    /// The Helm release that it is part of, as `namespace/name`.
    pub helm_release: Option<String>,
    /// Whether Helm leaves it alone when its release no longer has it.
    pub kept: bool,
}

impl Fact<MutatingWebhookConfiguration> for WebhookFact {
    fn of(object: &MutatingWebhookConfiguration) -> Option<Self> {
        let configs = object
            .webhooks
            .iter()
            .flatten()
            .map(|webhook| &webhook.client_config);
        // Without the label it belongs to no revision and to no tag.
        let named = object.labels().contains_key(l::ISTIO_REV);
        named.then(|| webhook(object, configs.collect()))
    }
}

impl Fact<ValidatingWebhookConfiguration> for WebhookFact {
    fn of(object: &ValidatingWebhookConfiguration) -> Option<Self> {
        let configs = object
            .webhooks
            .iter()
            .flatten()
            .map(|webhook| &webhook.client_config);
        Some(webhook(object, configs.collect()))
    }
}

fn webhook<K: ResourceExt>(object: &K, configs: Vec<&WebhookClientConfig>) -> WebhookFact {
    let service = configs.iter().find_map(|config| config.service.as_ref());
    let annotation = |key: &str| object.annotations().get(key);
    WebhookFact {
        by_url: configs.iter().any(|config| config.url.is_some()),
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        moved_to: annotation(l::MOVED_TO).cloned(),
        owner: label_owner(object.managed_fields(), &[l::ISTIO_REV]),
        kept: annotation(l::HELM_RESOURCE_POLICY).is_some_and(|policy| policy == "keep"),
        helm_release: helm_release(object),
        name: object.name_any(),
        revision: object.labels().get(l::ISTIO_REV).cloned(),
        tag: object.labels().get(l::ISTIO_TAG).cloned(),
        service: service.map(|service| (service.name.clone(), service.namespace.clone())),
        has_ca_bundle: !configs.is_empty()
            && configs
                .iter()
                .all(|c| c.ca_bundle.as_ref().is_some_and(|ca| !ca.0.is_empty())),
    }
}

impl Fact<Mesh> for Mesh {
    fn of(object: &Mesh) -> Option<Self> {
        Some(object.clone())
    }
}

impl Fact<MeshUpgrade> for MeshUpgrade {
    fn of(object: &MeshUpgrade) -> Option<Self> {
        let mut object = object.clone();
        object.metadata.managed_fields = None;
        Some(object)
    }
}

impl Fact<ReleaseCatalog> for ReleaseCatalog {
    fn of(object: &ReleaseCatalog) -> Option<Self> {
        Some(Self {
            metadata: ObjectMeta {
                managed_fields: None,
                ..object.metadata.clone()
            },
            spec: object.spec.clone(),
        })
    }
}
