//! Disruption budgets of a control plane.

use std::collections::BTreeMap;

use meshlift_api::labels::{DEFAULT_REVISION, ISTIO_REV};

use crate::record::RecordedBudget;
use crate::selector;
use crate::view::{Budget, ControlPlane};

/// Labels that the chart gives the pods of a control plane, as far as budgets select by them.
/// Source: istio chart `istio-discovery/templates/deployment.yaml`.
fn pod_labels(revision: &str) -> BTreeMap<String, String> {
    let istio = if revision == DEFAULT_REVISION {
        "pilot"
    } else {
        "istiod"
    };
    [
        ("app", "istiod"),
        ("app.kubernetes.io/name", "istiod"),
        ("istio", istio),
        (ISTIO_REV, revision),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The budgets that select the pods of the control plane of a revision.
pub fn of_revision<'a>(
    budgets: &'a [Budget],
    namespace: &'a str,
    revision: &str,
) -> impl Iterator<Item = &'a Budget> {
    let labels = pod_labels(revision);
    budgets
        .iter()
        .filter(move |budget| budget.namespace == namespace)
        .filter(move |budget| selector::matches(&budget.selector, &labels))
}

/// The budget that a person made for this control plane alone: the next one has none of it. What the release itself
/// renders, the next one renders too. Of several the first is taken: the API server evicts no pod that two select.
pub fn to_copy(
    budgets: &[Budget],
    plane: &ControlPlane,
    release: &str,
    next: &str,
) -> Option<RecordedBudget> {
    let release = format!("{}/{release}", plane.namespace);
    let covers_next = of_revision(budgets, &plane.namespace, next)
        .next()
        .is_some();
    let mut own = of_revision(budgets, &plane.namespace, &plane.revision)
        .filter(|budget| budget.helm_release.as_ref() != Some(&release));
    let budget = own.next().filter(|_| !covers_next)?;
    Some(RecordedBudget {
        name: budget.name.clone(),
        rule: budget.rule.clone(),
    })
}

/// Name of the copy for a revision. The chart calls its own `istiod-1-31-0`: of the same name, Helm would refuse to render it
/// later.
pub fn copy_name(revision: &str) -> String {
    format!("istiod-{revision}-copy")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::example::{TARGET, istiod, selector};

    fn budget(name: &str, labels: Value, release: Option<&str>) -> Budget {
        Budget {
            namespace: "istio-system".into(),
            name: name.into(),
            selector: selector(json!({ "matchLabels": labels })),
            helm_release: release.map(str::to_owned),
            ..Budget::default()
        }
    }

    #[test]
    fn only_a_budget_for_the_old_control_plane_alone_is_copied() {
        let by_hand = || budget("by-hand", json!({ "istio": "pilot" }), None);
        let copied = |budgets: &[Budget]| {
            let plane = istiod("default", "1.30.2");
            to_copy(budgets, &plane, "istiod", TARGET).map(|budget| budget.name)
        };
        assert_eq!(copied(&[by_hand()]).as_deref(), Some("by-hand"));
        let of_other_release = Budget {
            helm_release: Some("istio-system/extras".into()),
            ..by_hand()
        };
        assert_eq!(copied(&[of_other_release]).as_deref(), Some("by-hand"));
        for (what, budgets) in [
            ("none", vec![]),
            (
                "the chart renders it",
                vec![budget(
                    "istiod",
                    json!({ "istio": "pilot" }),
                    Some("istio-system/istiod"),
                )],
            ),
            (
                "for every istiod",
                vec![budget("all", json!({ "app": "istiod" }), None)],
            ),
            (
                "another covers the new one",
                vec![
                    by_hand(),
                    budget("new", json!({ "istio.io/rev": TARGET }), None),
                ],
            ),
            (
                "another namespace",
                vec![Budget {
                    namespace: "shop".into(),
                    ..by_hand()
                }],
            ),
        ] {
            assert_eq!(copied(&budgets), None, "{what}");
        }
    }
}
