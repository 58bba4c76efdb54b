//! Gateways of the Gateway API that istiod renders.

use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use meshlift_api::labels as l;
use meshlift_model::view::Gateway;
use serde::{Deserialize, Serialize};

use super::others::label_owner;
use crate::slim::slim_resource;
use crate::watch::table::Fact;

/// What of its spec says whether istiod renders it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct GatewaySpec {
    gateway_class_name: String,
}

slim_resource!(
    /// A Gateway; with its managed fields, which tell who writes its labels.
    pub GatewayObject, "Gateway", "gateways", "gateway.networking.k8s.io", NamespaceResourceScope, {
        spec: GatewaySpec,
    }
);

/// The classes that istiod makes by itself and renders a Deployment for.
/// Source: istio `pilot/pkg/config/kube/gatewaycommon/conditions.go`, `pkg/config/constants`; `istio-remote` has no
/// Deployment.
const RENDERED: &[&str] = &[
    "istio",
    "istio-waypoint",
    "istio-east-west",
    "istio-agentgateway",
    "istio-agentgateway-waypoint",
];

impl Fact<GatewayObject> for Gateway {
    fn of(object: &GatewayObject) -> Option<Self> {
        let class = object.spec.gateway_class_name.as_str();
        let meta = &object.metadata;
        // What goes is moved no more.
        if !RENDERED.contains(&class) || meta.deletion_timestamp.is_some() {
            return None;
        }
        let annotation = |key: &str| object.annotations().get(key);
        Some(Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            class: class.to_owned(),
            label: object.labels().get(l::ISTIO_REV).cloned(),
            moved_to: annotation(l::MOVED_TO).cloned(),
            asked_at: annotation(l::RESTARTED_AT).and_then(|at| at.parse().ok()),
            owner: label_owner(object.managed_fields(), &[l::ISTIO_REV]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn gateway(class: &str, more: Value) -> Option<Gateway> {
        let mut object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": { "namespace": "shop", "name": "front", "uid": "u", "resourceVersion": "7" },
            "spec": { "gatewayClassName": class, "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }] },
        });
        for (key, value) in more.as_object().expect("fields") {
            object["metadata"][key] = value.clone();
        }
        Gateway::of(&serde_json::from_value(object).expect("a Gateway"))
    }

    #[test]
    fn only_classes_that_istiod_renders_count() {
        for (class, counts) in [
            ("istio", true),
            ("istio-waypoint", true),
            ("istio-remote", false),
            ("nginx", false),
        ] {
            assert_eq!(gateway(class, json!({})).is_some(), counts, "{class}");
        }
        let going = json!({ "deletionTimestamp": "2026-11-02T02:00:00Z" });
        assert_eq!(gateway("istio", going), None);
    }

    #[test]
    fn its_label_who_wrote_it_and_what_was_asked_of_it() {
        let found = gateway(
            "istio",
            json!({
                "labels": { "istio.io/rev": "1-31-0" },
                "annotations": { "meshlift.io/revision": "1-31-0", "meshlift.io/restarted-at": "2026-11-02T02:00:00Z" },
                "managedFields": [
                    { "manager": "argocd-controller", "operation": "Apply", "time": "2026-11-02T01:00:00Z",
                      "fieldsV1": { "f:spec": {} } },
                    { "manager": "meshlift", "operation": "Update", "time": "2026-11-02T02:00:00Z",
                      "fieldsV1": { "f:metadata": { "f:labels": { "f:istio.io/rev": {} } } } },
                ],
            }),
        )
        .expect("a Gateway");
        assert_eq!(found.label.as_deref(), Some("1-31-0"));
        assert_eq!(found.moved_to.as_deref(), Some("1-31-0"));
        assert_eq!(found.owner.as_deref(), Some("meshlift"));
        assert!(found.asked_at.is_some());
    }
}
