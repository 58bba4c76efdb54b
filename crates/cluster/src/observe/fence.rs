//! Whether the admission policies that bound the operator's own account are installed and in force.

use futures::future;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};
use meshlift_api::permissions::FENCE;

use crate::Error;

/// The policies and bindings that are not there or not in force; none where the account is not one of the operator's
/// namespace, as that of a person with the command line.
pub(super) async fn gaps(client: &Client, namespace: &str) -> Result<Option<Vec<String>>, Error> {
    let account = account(client).await?;
    if !account.starts_with(&format!("system:serviceaccount:{namespace}:")) {
        return Ok(None);
    }
    let parts = FENCE.iter().map(|name| part(client, name, &account));
    let parts = future::try_join_all(parts).await?;
    Ok(Some(parts.into_iter().flatten().collect()))
}

/// Who we are to the API server, which everybody may ask.
async fn account(client: &Client) -> Result<String, Error> {
    let answer = Api::<SelfSubjectReview>::all(client.clone())
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .map_err(Error::kube("asking for our own account"))?;
    let user = answer.status.and_then(|status| status.user_info);
    Ok(user.and_then(|user| user.username).unwrap_or_default())
}

/// What is amiss with one policy of the fence and its binding.
async fn part(client: &Client, name: &str, account: &str) -> Result<Vec<String>, Error> {
    let policies = Api::<ValidatingAdmissionPolicy>::all(client.clone());
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(client.clone());
    let (policy, binding) = future::try_join(policies.get_opt(name), bindings.get_opt(name))
        .await
        .map_err(Error::kube(format!("reading the admission policy {name}")))?;
    let mut gaps = Vec::new();
    if !policy.is_some_and(|policy| is_for(&policy, account)) {
        gaps.push(format!("ValidatingAdmissionPolicy {name}"));
    }
    if !binding.is_some_and(|binding| denies(&binding, name)) {
        gaps.push(format!("ValidatingAdmissionPolicyBinding {name}"));
    }
    Ok(gaps)
}

/// Whether a policy judges this account, also when it cannot be evaluated. That of another release, or of one that was
/// installed under another name, judges somebody else.
fn is_for(policy: &ValidatingAdmissionPolicy, account: &str) -> bool {
    let Some(spec) = &policy.spec else {
        return false;
    };
    let named = format!("'{account}'");
    let conditions = spec.match_conditions.iter().flatten();
    let mut named = conditions.map(|condition| condition.expression.contains(&named));
    spec.failure_policy.as_deref() != Some("Ignore") && named.all(|named| named)
}

/// Whether a binding lets its policy refuse what it finds wrong.
fn denies(binding: &ValidatingAdmissionPolicyBinding, policy: &str) -> bool {
    let spec = binding.spec.as_ref();
    spec.is_some_and(|spec| {
        let mut actions = spec.validation_actions.iter().flatten();
        spec.policy_name.as_deref() == Some(policy) && actions.any(|action| action == "Deny")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ACCOUNT: &str = "system:serviceaccount:meshlift-system:meshlift";

    #[test]
    fn a_policy_for_somebody_else_is_no_fence() {
        let policy = |account: &str, failure: &str| -> ValidatingAdmissionPolicy {
            let policy = json!({ "metadata": {}, "spec": {
                "failurePolicy": failure,
                "matchConditions": [{ "name": "the-operator-itself",
                    "expression": format!("request.userInfo.username == '{account}'") }],
            } });
            serde_json::from_value(policy).expect("a policy")
        };
        assert!(is_for(&policy(ACCOUNT, "Fail"), ACCOUNT));
        assert!(!is_for(&policy(ACCOUNT, "Ignore"), ACCOUNT));
        assert!(!is_for(&policy(&format!("{ACCOUNT}-2"), "Fail"), ACCOUNT));
        assert!(!is_for(&ValidatingAdmissionPolicy::default(), ACCOUNT));
    }

    #[test]
    fn a_binding_that_only_warns_is_no_fence() {
        let binding = |policy: &str, action: &str| -> ValidatingAdmissionPolicyBinding {
            let binding = json!({ "metadata": {}, "spec": { "policyName": policy, "validationActions": [action] } });
            serde_json::from_value(binding).expect("a binding")
        };
        assert!(denies(&binding("fence", "Deny"), "fence"));
        assert!(!denies(&binding("fence", "Warn"), "fence"));
        assert!(!denies(&binding("other", "Deny"), "fence"));
    }
}
