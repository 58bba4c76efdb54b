//! Objects as a person wrote them: without what only the API server and its controllers write.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

/// Metadata that is kept: what a person writes. Owners and finalizers are of the moment: an owner that was made
/// anew has another UID, and the garbage collector would take what names the old one.
const KEPT: [&str; 4] = ["name", "namespace", "labels", "annotations"];
/// Written by `kubectl apply`, and a copy of the rest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What the API server chooses for a Service, if nobody else does.
const CHOSEN: [&str; 4] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"];

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectId {
    /// Kind.
    pub kind: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Namespace; none for what has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A Gateway is one of Istio or of the Gateway API.
        let group = match (self.kind.as_str(), self.group.as_str()) {
            ("Gateway", group) => format!(".{group}"),
            _ => String::new(),
        };
        match &self.namespace {
            Some(namespace) => write!(f, "{}{group} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{}{group} {}", self.kind, self.name),
        }
    }
}

impl ObjectId {
    /// Of an object.
    pub fn of(object: &Value) -> Self {
        let word = |value: &Value| value.as_str().map(str::to_owned);
        let version = object["apiVersion"].as_str().unwrap_or_default();
        Self {
            kind: word(&object["kind"]).unwrap_or_default(),
            group: version
                .split_once('/')
                .map_or("", |(group, _)| group)
                .to_owned(),
            namespace: word(&object["metadata"]["namespace"]),
            name: word(&object["metadata"]["name"]).unwrap_or_default(),
        }
    }
}

/// The object as a person wrote it.
pub(super) fn plain(mut object: Value) -> Value {
    let Some(fields) = object.as_object_mut() else {
        return object;
    };
    fields.remove("status");
    let metadata = fields.remove("metadata").unwrap_or_default();
    let mut kept = Map::new();
    for key in KEPT {
        match metadata.get(key).cloned() {
            Some(Value::Object(mut map)) => {
                map.remove(LAST_APPLIED);
                if !map.is_empty() {
                    kept.insert(key.to_owned(), map.into());
                }
            }
            Some(value) => {
                kept.insert(key.to_owned(), value);
            }
            None => {}
        }
    }
    fields.insert("metadata".to_owned(), kept.into());
    if fields["kind"] == "Service"
        && let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut)
    {
        CHOSEN.iter().for_each(|key| drop(spec.remove(*key)));
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_a_person_writes_is_kept() {
        let seen = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {
                "name": "cart", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}],
                "ownerReferences": [{ "uid": "o" }], "finalizers": ["x/y"], "labels": { "a": "b" },
                "annotations": { LAST_APPLIED: "{}" },
            },
            "spec": { "hosts": ["cart"] }, "status": { "observedGeneration": 2 },
        });
        let wanted = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "name": "cart", "namespace": "shop", "labels": { "a": "b" } },
            "spec": { "hosts": ["cart"] },
        });
        assert_eq!(plain(seen), wanted);
        let id = ObjectId::of(&wanted);
        assert_eq!(id.to_string(), "VirtualService shop/cart");
        let gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": { "name": "g", "namespace": "shop" },
        });
        let id = ObjectId::of(&gateway);
        assert_eq!(id.to_string(), "Gateway.gateway.networking.k8s.io shop/g");
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" },
            "spec": { "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "selector": { "a": "b" } },
        });
        assert_eq!(plain(service)["spec"], json!({ "selector": { "a": "b" } }));
    }
}
