//! EnvoyFilters that apply only to some versions of the proxy.

use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_model::view::EnvoyFilter;
use serde::{Deserialize, Serialize};

use super::Found;
use super::list::list;
use crate::Error;
use crate::slim::slim_resource;

slim_resource!(
    /// An EnvoyFilter; there is no other version of it in any Istio.
    EnvoyFilterObject, "EnvoyFilter", "envoyfilters", "networking.istio.io", NamespaceResourceScope,
    version = "v1alpha3", meta = "crate::slim::slim_meta", { spec: Spec }
);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    config_patches: Vec<ConfigPatch>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigPatch {
    #[serde(rename = "match")]
    matched: Match,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Match {
    proxy: Proxy,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Proxy {
    proxy_version: String,
}

pub(super) async fn look(client: Client) -> Result<Found<EnvoyFilter>, Error> {
    list(&Api::<EnvoyFilterObject>::all(client), envoy_filter).await
}

fn envoy_filter(object: EnvoyFilterObject) -> Option<EnvoyFilter> {
    let patches = &object.spec.config_patches;
    let mut proxy_versions: Vec<String> = patches
        .iter()
        .map(|patch| patch.matched.proxy.proxy_version.clone())
        .filter(|version| !version.is_empty())
        .collect();
    proxy_versions.dedup();
    (!proxy_versions.is_empty()).then(|| EnvoyFilter {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        proxy_versions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(matches: Value) -> Option<EnvoyFilter> {
        let matches = matches.as_array().expect("a list").iter();
        let patches: Vec<Value> = matches
            .map(|matched| {
                let value = json!({ "name": "envoy.filters.http.lua", "typed_config": { "inline_code": "..." } });
                let patch = json!({ "operation": "INSERT_BEFORE", "value": value });
                json!({ "applyTo": "HTTP_FILTER", "match": matched, "patch": patch })
            })
            .collect();
        let metadata = json!({ "name": "lua", "namespace": "istio-system" });
        let object = json!({ "metadata": metadata, "spec": { "configPatches": patches } });
        envoy_filter(serde_json::from_value(object).expect("an EnvoyFilter"))
    }

    #[test]
    fn only_filters_with_a_proxy_version_count() {
        let pinned =
            json!({ "context": "SIDECAR_INBOUND", "proxy": { "proxyVersion": "^1\\.30.*" } });
        let free = json!({ "context": "GATEWAY", "proxy": { "metadata": { "a": "b" } } });
        let found = read(json!([pinned, free, pinned])).expect("a pinned filter");
        assert_eq!(found.proxy_versions, ["^1\\.30.*"]);
        assert_eq!(read(json!([free, {}])), None);
        let empty = json!({ "metadata": { "name": "empty" } });
        assert_eq!(
            envoy_filter(serde_json::from_value(empty).expect("an EnvoyFilter")),
            None
        );
    }
}
