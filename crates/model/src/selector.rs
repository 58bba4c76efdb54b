//! Label selectors, as the API server understands them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether a selector matches these labels. An empty one matches everything.
/// Source: Kubernetes `apimachinery/pkg/labels/selector.go`.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let mut equal = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    equal.all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|wanted| {
            let values = wanted.values.as_deref().unwrap_or_default();
            match (wanted.operator.as_str(), labels.get(&wanted.key)) {
                ("In", Some(value)) => values.contains(value),
                ("NotIn", Some(value)) => !values.contains(value),
                ("NotIn" | "DoesNotExist", None) | ("Exists", Some(_)) => true,
                _ => false,
            }
        })
}

/// Whether a selector asks for nothing.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.iter().flatten().next().is_none()
        && selector.match_expressions.iter().flatten().next().is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::example::{labels, selector};

    #[test]
    fn an_empty_selector_matches_everything() {
        for of in [
            json!({}),
            json!({ "matchLabels": {}, "matchExpressions": [] }),
        ] {
            assert!(is_empty(&selector(of.clone())));
            assert!(matches(&selector(of), &labels(&[("a", "b")])));
        }
        assert!(!is_empty(&selector(json!({ "matchLabels": { "a": "b" } }))));
    }

    /// The webhook `object.sidecar-injector.istio.io` as chart istiod renders it.
    #[test]
    fn selectors_of_the_chart_are_understood() {
        let namespaces = selector(json!({ "matchExpressions": [
            { "key": "istio-injection", "operator": "DoesNotExist" },
            { "key": "istio.io/rev", "operator": "DoesNotExist" },
        ] }));
        let pods = selector(json!({ "matchExpressions": [
            { "key": "sidecar.istio.io/inject", "operator": "In", "values": ["true"] },
            { "key": "istio.io/rev", "operator": "DoesNotExist" },
        ] }));
        let name = ("kubernetes.io/metadata.name", "shop");
        assert!(matches(&namespaces, &labels(&[name])));
        assert!(!matches(
            &namespaces,
            &labels(&[name, ("istio-injection", "disabled")])
        ));
        let asks = ("sidecar.istio.io/inject", "true");
        assert!(matches(&pods, &labels(&[asks, ("app", "cart")])));
        assert!(!matches(&pods, &labels(&[asks, ("istio.io/rev", "prod")])));
        assert!(!matches(
            &pods,
            &labels(&[("sidecar.istio.io/inject", "false")])
        ));
        // Labels and expressions both have to hold.
        let both = selector(json!({
            "matchLabels": { "app": "istiod" },
            "matchExpressions": [{ "key": "istio.io/rev", "operator": "NotIn", "values": ["1-30-2"] }],
        }));
        assert!(matches(&both, &labels(&[("app", "istiod")])));
        assert!(!matches(
            &both,
            &labels(&[("app", "istiod"), ("istio.io/rev", "1-30-2")])
        ));
        assert!(!matches(&both, &labels(&[("istio.io/rev", "1-31-0")])));
    }
}
