//! Label selectors, as the API server understands them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether a selector matches these labels. An empty one matches everything.
/// Source: Kubernetes `apimachinery/pkg/labels/selector.go`.
pub(crate) fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
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
pub(crate) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.iter().flatten().next().is_none()
        && selector.match_expressions.iter().flatten().next().is_none()
}
