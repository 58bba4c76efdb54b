//! Resource quotas beside istiod.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_model::view::Quota;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Found;
use super::list::list;
use crate::Error;
use crate::quantity::{Cpu, Memory};
use crate::slim::slim_resource;

slim_resource!(
    /// A ResourceQuota.
    QuotaObject, "ResourceQuota", "resourcequotas", "", NamespaceResourceScope,
    meta = "crate::slim::slim_meta", { spec: Spec, status: Status }
);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    scopes: Vec<String>,
    scope_selector: Option<IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    hard: BTreeMap<String, serde_json::Value>,
    used: BTreeMap<String, serde_json::Value>,
}

pub(super) async fn look(client: Client, home: &str) -> Result<Found<Quota>, Error> {
    list(&Api::<QuotaObject>::namespaced(client, home), quota).await
}

/// A quota with scopes counts some pods only. Those of istiod run until they are deleted; whether they are among others
/// depends on their priority and requests, and a quota that is taken for one too many would block an upgrade.
fn quota(object: QuotaObject) -> Option<Quota> {
    let spec = &object.spec;
    let counts = spec.scopes.iter().all(|scope| scope == "NotTerminating");
    (counts && spec.scope_selector.is_none()).then(|| Quota {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        pods: object
            .status
            .left(&["pods", "count/pods"], |Cpu(milli)| milli / 1000),
        cpu: object
            .status
            .left(&["requests.cpu", "cpu"], |Cpu(milli)| milli),
        memory: object
            .status
            .left(&["requests.memory", "memory"], |Memory(bytes)| bytes),
    })
}

impl Status {
    /// What is left of a resource by whichever name is the scarcest; none where no name of it is limited.
    fn left<Q>(&self, names: &[&str], amount: impl Fn(Q) -> i64) -> Option<i64>
    where
        Q: for<'de> Deserialize<'de>,
    {
        let read = |of: &BTreeMap<String, serde_json::Value>, name: &str| {
            let quantity = Q::deserialize(of.get(name)?).ok()?;
            Some(amount(quantity))
        };
        let limited = names.iter().filter_map(|name| {
            let hard = read(&self.hard, name)?;
            Some(hard.saturating_sub(read(&self.used, name).unwrap_or_default()))
        });
        limited.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(spec: Value) -> Option<Quota> {
        let object = json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": { "name": "mesh", "namespace": "istio-system" },
            "spec": spec,
            "status": {
                "hard": { "pods": "10", "requests.cpu": "4", "cpu": "3", "requests.memory": "8Gi", "services": "5" },
                "used": { "pods": "7", "requests.cpu": "1500m", "cpu": "1500m", "requests.memory": "6Gi" },
            },
        });
        quota(serde_json::from_value(object).expect("a quota"))
    }

    #[test]
    fn what_is_left_of_a_quota_that_counts_istiod() {
        let expected = Quota {
            namespace: "istio-system".into(),
            name: "mesh".into(),
            pods: Some(3),
            cpu: Some(1500),
            memory: Some(2 << 30),
        };
        assert_eq!(read(json!({})), Some(expected.clone()));
        assert_eq!(
            read(json!({ "scopes": ["NotTerminating"] })),
            Some(expected)
        );
        assert_eq!(read(json!({ "scopes": ["BestEffort"] })), None);
        let selector =
            json!({ "matchExpressions": [{ "scopeName": "PriorityClass", "operator": "Exists" }] });
        assert_eq!(read(json!({ "scopeSelector": selector })), None);
        let services = json!({
            "metadata": { "name": "services", "namespace": "istio-system" },
            "spec": {}, "status": { "hard": { "services": "5" }, "used": { "services": "5" } },
        });
        let found = quota(serde_json::from_value(services).expect("a quota")).expect("counted");
        assert_eq!((found.pods, found.cpu, found.memory), (None, None, None));
    }
}
