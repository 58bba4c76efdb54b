//! Disruption budgets of the new control plane.

use std::collections::BTreeMap;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use meshlift_api::labels::{FIELD_MANAGER, ISTIO_REV, MANAGED_BY};
use meshlift_model::Effect;

use crate::{Error, Result};

/// Creates the copy of a budget. Another one of its name is a conflict: the next look shows whether it does the same.
pub(super) async fn copy(client: &Client, effect: &Effect) -> Result<()> {
    let (Effect::CopyBudget { namespace, of, .. }, Some(budget)) = (effect, budget(effect)) else {
        return Ok(());
    };
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let api = Api::<PodDisruptionBudget>::namespaced(client.clone(), namespace);
    let what = format!("copying PodDisruptionBudget {namespace}/{of}");
    api.create(&params, &budget)
        .await
        .map(|_| ())
        .map_err(Error::kube(what))
}

/// What is created. The Deployment of istiod owns it, so that the garbage collector removes it with istiod.
fn budget(effect: &Effect) -> Option<PodDisruptionBudget> {
    let Effect::CopyBudget {
        name,
        revision,
        owner,
        owner_uid,
        rule,
        ..
    } = effect
    else {
        return None;
    };
    let of_revision = |first: (&str, &str)| {
        let labels = [first, (ISTIO_REV, revision.as_str())];
        BTreeMap::from(labels.map(|(key, value)| (key.to_owned(), value.to_owned())))
    };
    Some(PodDisruptionBudget {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(of_revision((MANAGED_BY, FIELD_MANAGER))),
            owner_references: Some(vec![OwnerReference {
                api_version: "apps/v1".to_owned(),
                kind: "Deployment".to_owned(),
                name: owner.clone(),
                uid: owner_uid.clone(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(PodDisruptionBudgetSpec {
            min_available: rule.min_available.clone(),
            max_unavailable: rule.max_unavailable.clone(),
            unhealthy_pod_eviction_policy: rule.unhealthy_pod_eviction_policy.clone(),
            selector: Some(LabelSelector {
                match_labels: Some(of_revision(("app", "istiod"))),
                ..LabelSelector::default()
            }),
        }),
        ..PodDisruptionBudget::default()
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use meshlift_model::view::BudgetRule;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_copy_selects_the_new_control_plane_and_goes_with_it() {
        let effect = Effect::CopyBudget {
            namespace: "istio-system".into(),
            name: "istiod-1-31-0-copy".into(),
            of: "by-hand".into(),
            revision: "1-31-0".into(),
            owner: "istiod-1-31-0".into(),
            owner_uid: "u".into(),
            rule: BudgetRule {
                max_unavailable: Some(IntOrString::Int(1)),
                ..BudgetRule::default()
            },
        };
        let made = serde_json::to_value(budget(&effect)).expect("JSON");
        let expected = json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {
                "name": "istiod-1-31-0-copy",
                "labels": { "app.kubernetes.io/managed-by": "meshlift", "istio.io/rev": "1-31-0" },
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": "istiod-1-31-0", "uid": "u",
                }],
            },
            "spec": {
                "maxUnavailable": 1,
                "selector": { "matchLabels": { "app": "istiod", "istio.io/rev": "1-31-0" } },
            },
        });
        assert_eq!(made, expected);
    }
}
