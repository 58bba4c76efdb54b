//! Objects of others that select by the injection labels: what an upgrade relabels, they select no more.

use kube::api::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_api::labels::{ISTIO_INJECTION, ISTIO_REV, ISTIO_TAG};
use meshlift_model::view::Selection;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::list::list;
use crate::Error;
use crate::slim::slim_resource;

slim_resource!(
    /// A NetworkPolicy.
    PolicyObject, "NetworkPolicy", "networkpolicies", "networking.k8s.io", NamespaceResourceScope,
    meta = "crate::slim::slim_meta", { spec: Value }
);
slim_resource!(
    /// A MutatingWebhookConfiguration.
    MutatingObject, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations",
    "admissionregistration.k8s.io", ClusterResourceScope, meta = "crate::slim::slim_meta", { webhooks: Value }
);
slim_resource!(
    /// A ValidatingWebhookConfiguration.
    ValidatingObject, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations",
    "admissionregistration.k8s.io", ClusterResourceScope, meta = "crate::slim::slim_meta", { webhooks: Value }
);

pub(super) async fn look(client: Client) -> Result<Vec<Selection>, Error> {
    let policies = Api::<PolicyObject>::all(client.clone());
    let mutating = Api::<MutatingObject>::all(client.clone());
    let validating = Api::<ValidatingObject>::all(client);
    let (policies, mutating, validating) = tokio::join!(
        list(&policies, |object| selection(&object, &object.spec)),
        list(&mutating, |object| selection(&object, &object.webhooks)),
        list(&validating, |object| selection(&object, &object.webhooks)),
    );
    let all = [policies?, mutating?, validating?];
    Ok(all.into_iter().flatten().flatten().collect())
}

/// What an object selects by the injection labels; none for those of Istio itself, which come and go with a revision.
fn selection<K: Resource<DynamicType = ()>>(object: &K, spec: &Value) -> Option<Selection> {
    let of_istio = |label: &str| object.labels().contains_key(label);
    if of_istio(ISTIO_REV) || of_istio(ISTIO_TAG) {
        return None;
    }
    let mut labels = Vec::new();
    find(spec, &mut labels);
    labels.sort();
    labels.dedup();
    (!labels.is_empty()).then(|| Selection {
        kind: K::kind(&()).into_owned(),
        namespace: object.namespace(),
        name: object.name_any(),
        labels,
    })
}

/// Every selector in an object, wherever it stands.
fn find(value: &Value, labels: &mut Vec<(String, String)>) {
    let known = |key: &str| [ISTIO_INJECTION, ISTIO_REV].contains(&key);
    let text = |value: Option<&Value>| {
        let text = value.and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    match value {
        Value::Array(items) => items.iter().for_each(|item| find(item, labels)),
        Value::Object(fields) => {
            let equal = fields.get("matchLabels").and_then(Value::as_object);
            for (key, wanted) in equal.into_iter().flatten().filter(|(key, _)| known(key)) {
                labels.push((key.clone(), text(Some(wanted))));
            }
            let expressions = fields.get("matchExpressions").and_then(Value::as_array);
            for expression in expressions.into_iter().flatten() {
                let key = text(expression.get("key"));
                let values = expression.get("values").and_then(Value::as_array);
                match values.filter(|values| !values.is_empty()) {
                    _ if !known(&key) => {}
                    None => labels.push((key, String::new())),
                    Some(values) => {
                        let all = values.iter().map(|value| (key.clone(), text(Some(value))));
                        labels.extend(all);
                    }
                }
            }
            fields.values().for_each(|field| find(field, labels));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(object: Value) -> Option<Vec<(String, String)>> {
        let object: PolicyObject = serde_json::from_value(object).expect("a NetworkPolicy");
        selection(&object, &object.spec).map(|found| found.labels)
    }

    #[test]
    fn selectors_on_the_injection_labels_are_found_wherever_they_stand() {
        let injected = json!({ "matchLabels": { "istio-injection": "enabled", "team": "a" } });
        let policy = |metadata: Value, from: Value| {
            json!({ "metadata": metadata,
                "spec": { "podSelector": {}, "ingress": [{ "from": [{ "namespaceSelector": from }] }] } })
        };
        let name = json!({ "name": "door", "namespace": "shop" });
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            read(policy(name.clone(), injected.clone())),
            Some(vec![pair("istio-injection", "enabled")])
        );
        let expressions = json!({ "matchExpressions": [
            { "key": "istio.io/rev", "operator": "In", "values": ["default", "prod"] },
            { "key": "istio-injection", "operator": "DoesNotExist" },
        ] });
        assert_eq!(
            read(policy(name.clone(), expressions)),
            Some(vec![
                pair("istio-injection", ""),
                pair("istio.io/rev", "default"),
                pair("istio.io/rev", "prod")
            ])
        );
        assert_eq!(
            read(policy(name, json!({ "matchLabels": { "team": "a" } }))),
            None
        );
        let own = json!({ "name": "istiod", "labels": { "istio.io/rev": "default" } });
        assert_eq!(read(policy(own, injected)), None, "those of Istio");
    }
}
