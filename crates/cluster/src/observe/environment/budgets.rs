//! Disruption budgets.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_model::view::{Budget, BudgetRule};
use serde::{Deserialize, Serialize};

use super::Found;
use super::list::list;
use crate::Error;
use crate::slim::{helm_release, slim_resource};

slim_resource!(
    /// A PodDisruptionBudget.
    BudgetObject, "PodDisruptionBudget", "poddisruptionbudgets", "policy", NamespaceResourceScope,
    meta = "crate::slim::slim_meta", { spec: Spec, status: Status }
);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    selector: Option<LabelSelector>,
    #[serde(flatten)]
    rule: BudgetRule,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    disruptions_allowed: i32,
    expected_pods: i32,
}

pub(super) async fn look(client: Client) -> Result<Found<Budget>, Error> {
    list(&Api::<BudgetObject>::all(client), budget).await
}

/// Those of one namespace, as they are now.
pub(super) async fn look_in(client: Client, namespace: &str) -> Result<Found<Budget>, Error> {
    list(&Api::<BudgetObject>::namespaced(client, namespace), budget).await
}

/// A budget without a selector is for no pod; with an empty one it is for all.
/// Source: kubernetes `staging/src/k8s.io/api/policy/v1/types.go`.
fn budget(object: BudgetObject) -> Option<Budget> {
    Some(Budget {
        helm_release: helm_release(&object),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        selector: object.spec.selector?,
        allowed: object.status.disruptions_allowed,
        expected: object.status.expected_pods,
        rule: object.spec.rule,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use serde_json::{Value, json};

    fn read(spec: Value) -> Option<Budget> {
        let object = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": { "name": "cart", "namespace": "shop", "generation": 1 },
            "spec": spec,
            "status": { "currentHealthy": 2, "desiredHealthy": 2, "disruptionsAllowed": 0, "expectedPods": 2,
                "observedGeneration": 1 },
        });
        budget(serde_json::from_value(object).expect("a budget"))
    }

    #[test]
    fn selectors_are_kept_whole_and_none_is_for_no_pod() {
        let expressions = json!([{ "key": "tier", "operator": "NotIn", "values": ["test"] }]);
        let selector = json!({ "matchLabels": { "app": "cart" }, "matchExpressions": expressions });
        let found = read(json!({ "minAvailable": 2, "selector": selector })).expect("a budget");
        assert_eq!(
            (found.namespace.as_str(), found.name.as_str()),
            ("shop", "cart")
        );
        assert_eq!((found.allowed, found.expected), (0, 2));
        assert_eq!(
            serde_json::to_value(&found.selector).expect("JSON"),
            selector
        );
        assert_eq!(found.rule.min_available, Some(IntOrString::Int(2)));
        assert_eq!(found.helm_release, None);
        let all = read(json!({ "maxUnavailable": "25%", "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": {} }))
            .expect("a budget");
        let rule = BudgetRule {
            max_unavailable: Some(IntOrString::String("25%".into())),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..BudgetRule::default()
        };
        assert_eq!(all.rule, rule);
        assert_eq!(all.selector, LabelSelector::default());
        assert_eq!(read(json!({ "minAvailable": 1 })), None);
    }
}
