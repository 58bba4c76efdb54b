//! What the operator may not do, of all that it will have to: asked before anything is touched.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, ResourceRule, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use meshlift_api::permissions::{PERMISSIONS, Permission, Scope};

use crate::Error;

/// Names what is missing: `patch namespaces`, `create secrets in istio-system`.
pub(super) async fn missing(
    client: &Client,
    control_plane: &str,
    own: &str,
) -> Result<Vec<String>, Error> {
    let at_control_plane = rules(client, control_plane).await?;
    let at_own = rules(client, own).await?;
    let mut missing = Vec::new();
    for permission in PERMISSIONS {
        let (rules, namespace) = match permission.scope {
            Scope::OperatorNamespace => (&at_own, Some(own)),
            Scope::ControlPlaneNamespace => (&at_control_plane, Some(control_plane)),
            Scope::Cluster => (&at_control_plane, None),
        };
        for verb in permission.verbs {
            if allowed(rules, permission, verb)
                || asked(client, permission, verb, namespace).await?
            {
                continue;
            }
            let place = namespace.map(|ns| format!(" in {ns}")).unwrap_or_default();
            missing.push(format!("{verb} {}{place}", permission.resource));
        }
    }
    Ok(missing)
}

/// All that we may do in a namespace, in one request.
async fn rules(client: &Client, namespace: &str) -> Result<Vec<ResourceRule>, Error> {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(namespace.to_owned()),
        },
        ..SelfSubjectRulesReview::default()
    };
    let answer = Api::<SelfSubjectRulesReview>::all(client.clone())
        .create(&PostParams::default(), &review)
        .await
        .map_err(Error::kube("asking for our own permissions"))?;
    Ok(answer
        .status
        .map(|status| status.resource_rules)
        .unwrap_or_default())
}

fn allowed(rules: &[ResourceRule], permission: &Permission, verb: &str) -> bool {
    let any = |list: Option<&Vec<String>>, wanted: &str| {
        list.is_some_and(|list| list.iter().any(|item| item == wanted || item == "*"))
    };
    rules.iter().any(|rule| {
        rule.verbs.iter().any(|v| v == verb || v == "*")
            && any(rule.api_groups.as_ref(), permission.group)
            && any(rule.resources.as_ref(), permission.resource)
            && names_covered(
                rule.resource_names.as_deref().unwrap_or_default(),
                permission.names,
            )
    })
}

fn names_covered(granted: &[String], wanted: &[&str]) -> bool {
    granted.is_empty()
        || (!wanted.is_empty() && wanted.iter().all(|name| granted.iter().any(|g| g == name)))
}

/// Other authorizers than RBAC do not list their rules; what is not listed is asked for.
async fn asked(
    client: &Client,
    permission: &Permission,
    verb: &str,
    namespace: Option<&str>,
) -> Result<bool, Error> {
    let (resource, subresource) = permission.split_resource();
    let attributes = ResourceAttributes {
        group: Some(permission.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(str::to_owned),
        verb: Some(verb.to_owned()),
        namespace: namespace.map(str::to_owned),
        name: permission.names.first().map(|name| (*name).to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = Api::<SelfSubjectAccessReview>::all(client.clone())
        .create(&PostParams::default(), &review)
        .await
        .map_err(Error::kube("asking for our own permissions"))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
