//! Values and webhooks that name the Service of the running control plane, which goes with it.

use meshlift_api::Severity;
use meshlift_istio::values;
use serde_json::Value;

use super::{Check, Finding, Look, Subject};

pub(super) static SERVICE: Check = Check {
    code: "SERVICE-NAMED",
    reason: "ServiceNamed",
    severity: Severity::Blocking,
    acceptable: true,
    title: "nothing that stays names the Service of the running istiod",
    explanation: "Values such as global.caAddress or meshConfig.defaultConfig.discoveryAddress are carried over to the new control plane. If they name the Service of the running revision, the new sidecars ask the old istiod for certificates and configuration, and are cut off when it is removed. The old control plane stays as long as the values name it.",
    fix: "Set the value in the Mesh to the Service of the new revision, by the command in the message.",
    source: "istio manifests/charts/istio-control/istio-discovery/values.yaml",
    look: Look::Hop(service),
};

fn service(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    let Some(to_come) = subject.istiod_values() else {
        return Vec::new();
    };
    let new = format!("istiod-{}", subject.revision());
    let found = values::naming_service(&to_come, &plane.name, &plane.namespace);
    found
        .into_iter()
        .map(|(path, text)| {
            let old = format!("{}.{}", plane.name, plane.namespace);
            let renamed = text.replace(&old, &format!("{new}.{}", plane.namespace));
            let patch = nested(&path, renamed);
            let patch = serde_json::json!({ "spec": { "values": { "istiod": patch } } });
            Finding::wrong(
                format!(
                    "value {path} names the Service of the running istiod ({text}), and the new sidecars would depend on it"
                ),
                format!(
                    "kubectl patch mesh {} --type merge -p '{patch}'",
                    subject.upgrade.spec.mesh
                ),
            )
            .about([format!("value {path}")])
        })
        .collect()
}

/// `{"global":{"caAddress":...}}` from `global.caAddress`.
fn nested(path: &str, value: String) -> Value {
    path.rsplit('.').fold(Value::String(value), |inner, key| {
        Value::Object([(key.to_owned(), inner)].into_iter().collect())
    })
}
