//! Slim forms of objects: everything that is not asked for is skipped while decoding.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference, Time};
use kube::ResourceExt;
use kube::api::ObjectMeta;
use meshlift_api::labels::{HELM_RELEASE_NAME, HELM_RELEASE_NAMESPACE};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Metadata without managed fields, which are most of its size, or with the few `M` of them that matter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(
    rename_all = "camelCase",
    default,
    bound(deserialize = "M: Default + Deserialize<'de>")
)]
struct SlimMeta<M> {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    deletion_timestamp: Option<Time>,
    managed_fields: M,
}

impl<M> SlimMeta<M> {
    fn whole(self, fields: impl FnOnce(M) -> Option<Vec<ManagedFieldsEntry>>) -> ObjectMeta {
        ObjectMeta {
            name: self.name,
            namespace: self.namespace,
            uid: self.uid,
            resource_version: self.resource_version,
            generation: self.generation,
            creation_timestamp: self.creation_timestamp,
            labels: self.labels,
            annotations: self.annotations,
            owner_references: self.owner_references,
            deletion_timestamp: self.deletion_timestamp,
            managed_fields: fields(self.managed_fields),
            ..ObjectMeta::default()
        }
    }
}

/// The Helm release that an object says it is part of, as `namespace/name`.
pub(crate) fn helm_release(object: &impl ResourceExt) -> Option<String> {
    let annotation = |key: &str| object.annotations().get(key);
    let namespace = annotation(HELM_RELEASE_NAMESPACE)?;
    let name = annotation(HELM_RELEASE_NAME)?;
    Some(format!("{namespace}/{name}"))
}

pub(crate) fn slim_meta<'de, D: serde::Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    Ok(SlimMeta::<IgnoredAny>::deserialize(from)?.whole(|_| None))
}

/// Metadata with those managed fields that say who wrote the label `istio.io/rev` of a pod template.
pub(crate) fn workload_meta<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<ObjectMeta, D::Error> {
    let slim = SlimMeta::<Option<Vec<TemplateLabelEntry>>>::deserialize(from)?;
    Ok(slim.whole(|entries| {
        let wrote = |entry: &TemplateLabelEntry| {
            entry
                .fields_v1
                .spec
                .template
                .metadata
                .labels
                .revision
                .is_some()
        };
        let entries = entries.into_iter().flatten().filter(wrote);
        let kept: Vec<_> = entries
            .map(|entry| ManagedFieldsEntry {
                manager: entry.manager,
                time: entry.time,
                ..ManagedFieldsEntry::default()
            })
            .collect();
        (!kept.is_empty()).then_some(kept)
    }))
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TemplateLabelEntry {
    manager: Option<String>,
    time: Option<Time>,
    fields_v1: InSpec,
}

macro_rules! path {
    ($($name:ident: $key:literal $field:ident: $next:ty;)*) => {$(
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default)]
        struct $name {
            #[serde(rename = $key)]
            $field: $next,
        }
    )*};
}
path! {
    InSpec: "f:spec" spec: InTemplate;
    InTemplate: "f:template" template: InMetadata;
    InMetadata: "f:metadata" metadata: InLabels;
    InLabels: "f:labels" labels: InRevision;
    InRevision: "f:istio.io/rev" revision: Option<IgnoredAny>;
}

macro_rules! slim_resource {
    ($(#[$doc:meta])* $vis:vis $name:ident, $kind:literal, $plural:literal, $group:literal, $scope:ty,
     $(version = $version:literal,)? $(meta = $meta:literal,)? { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(rename_all = "camelCase", default)]
        $vis struct $name {
            $(#[serde(deserialize_with = $meta)])?
            metadata: ObjectMeta,
            $(#[serde(skip_serializing)] $field: $type,)*
        }

        impl Resource for $name {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                ["v1", $($version)?].last().copied().unwrap_or("v1").into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(crate) use slim_resource;
