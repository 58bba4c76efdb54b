//! The operator's account has the rights of the table, and no other.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use meshlift_api::permissions::{PERMISSIONS, Permission, Scope, in_scope};
use serde_json::json;

use crate::environment::{
    Environment, ISTIO, NAMESPACE, OPERATOR, client, service_account_kubeconfig, with_cluster,
};

/// Asks whether the operator may do something.
async fn may(env: &Environment, attributes: ResourceAttributes) -> Result<bool> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(OPERATOR.into()),
            groups: Some(vec![
                "system:serviceaccounts".into(),
                "system:authenticated".into(),
            ]),
            resource_attributes: Some(attributes),
            ..Default::default()
        },
        ..Default::default()
    };
    let api = Api::<SubjectAccessReview>::all(env.admin.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer
        .status
        .context("an access review without an answer")?
        .allowed)
}

fn attributes(group: &str, resource: &str, verb: &str, namespace: &str) -> ResourceAttributes {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    ResourceAttributes {
        group: Some(group.into()),
        resource: Some(resource.into()),
        subresource,
        verb: Some(verb.into()),
        namespace: Some(namespace.into()).filter(|n: &String| !n.is_empty()),
        ..Default::default()
    }
}

fn namespace_of(scope: Scope) -> &'static str {
    match scope {
        Scope::Cluster => "",
        Scope::ControlPlaneNamespace => ISTIO,
        Scope::OperatorNamespace => NAMESPACE,
    }
}

#[test]
fn api_every_right_of_the_table_is_granted() -> Result<()> {
    with_cluster(async |env| {
        for permission in PERMISSIONS {
            let namespace = namespace_of(permission.scope);
            for verb in permission.verbs {
                let asked = attributes(permission.group, permission.resource, verb, namespace);
                let name = permission.names.first().map(|name| (*name).to_owned());
                let asked = ResourceAttributes { name, ..asked };
                ensure!(
                    may(env, asked).await?,
                    "{verb} is not granted: {permission:?}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn api_what_must_not_be_is_not_granted() -> Result<()> {
    let cases = [
        ("", "secrets", "get", ""),
        ("", "secrets", "list", ""),
        ("", "secrets", "watch", ISTIO),
        ("", "secrets", "get", "default"),
        ("", "secrets", "watch", NAMESPACE),
        ("", "secrets", "deletecollection", NAMESPACE),
        ("", "pods", "delete", "default"),
        ("", "pods", "patch", "default"),
        ("", "pods/exec", "create", ISTIO),
        ("", "pods/proxy", "get", "default"),
        ("", "pods/proxy", "create", ISTIO),
        ("", "configmaps", "get", "default"),
        ("", "serviceaccounts/token", "create", ISTIO),
        ("", "serviceaccounts", "impersonate", ""),
        ("", "users", "impersonate", ""),
        ("", "namespaces", "create", ""),
        ("", "namespaces", "delete", ""),
        ("", "nodes", "get", ""),
        ("", "nodes", "patch", ""),
        ("", "nodes/proxy", "get", ""),
        ("", "services", "watch", ""),
        ("", "services", "patch", "default"),
        ("policy", "poddisruptionbudgets", "patch", "default"),
        ("networking.istio.io", "envoyfilters", "patch", "default"),
        ("apps", "deployments", "create", "default"),
        ("apps", "deployments", "delete", "default"),
        ("apps", "statefulsets", "delete", ISTIO),
        ("coordination.k8s.io", "leases", "get", "kube-system"),
        ("meshlift.io", "meshupgrades", "create", ""),
        ("meshlift.io", "meshupgrades", "delete", ""),
        ("meshlift.io", "meshes", "patch", ""),
        (
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            "delete",
            "",
        ),
        (
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            "patch",
            "",
        ),
        ("rbac.authorization.k8s.io", "roles", "create", "default"),
        ("rbac.authorization.k8s.io", "rolebindings", "create", ""),
        (
            "admissionregistration.k8s.io",
            "validatingadmissionpolicies",
            "delete",
            "",
        ),
        (
            "admissionregistration.k8s.io",
            "validatingadmissionpolicybindings",
            "patch",
            "",
        ),
    ];
    with_cluster(async |env| {
        for (group, resource, verb, namespace) in cases {
            let asked = attributes(group, resource, verb, namespace);
            let granted = may(env, asked).await?;
            ensure!(
                !granted,
                "{verb} {group}/{resource} in {namespace:?} is granted"
            );
        }
        Ok(())
    })
}

/// A right as RBAC lists it, one verb at a time.
type Right = (String, String, String, Vec<String>);

fn rights_of(permissions: impl Iterator<Item = &'static Permission>) -> BTreeSet<Right> {
    let one = |p: &'static Permission| {
        let names: Vec<String> = p.names.iter().map(|name| (*name).to_owned()).collect();
        p.verbs.iter().map(move |v| {
            (
                p.group.into(),
                p.resource.into(),
                (*v).into(),
                names.clone(),
            )
        })
    };
    permissions.flat_map(one).collect()
}

async fn rights_in(client: &kube::Client, namespace: &str) -> Result<BTreeSet<Right>> {
    let review: SelfSubjectRulesReview =
        serde_json::from_value(json!({ "spec": { "namespace": namespace } }))?;
    let api = Api::<SelfSubjectRulesReview>::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    let mut rights = BTreeSet::new();
    for rule in answer
        .status
        .context("a rules review without an answer")?
        .resource_rules
    {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    let names = rule.resource_names.clone().unwrap_or_default();
                    rights.insert((group.clone(), resource.clone(), verb.clone(), names));
                }
            }
        }
    }
    Ok(rights)
}

#[test]
fn api_nothing_beyond_the_table_is_granted() -> Result<()> {
    with_cluster(async |env| {
        env.cluster
            .kubectl(&["create", "serviceaccount", "nobody", "-n", "default"])
            .await?;
        let nobody = service_account_kubeconfig(&env.cluster, "default", "nobody").await?;
        let nobody = client(&nobody).await?;
        let everywhere = rights_of(in_scope(Scope::Cluster));
        for (namespace, scope) in [
            ("default", None),
            (ISTIO, Some(Scope::ControlPlaneNamespace)),
            (NAMESPACE, Some(Scope::OperatorNamespace)),
        ] {
            let mut expected = everywhere.clone();
            expected.extend(
                scope
                    .into_iter()
                    .flat_map(|scope| rights_of(in_scope(scope))),
            );
            let anyone = rights_in(&nobody, namespace).await?;
            let granted = rights_in(&env.operator, namespace).await?;
            let granted: BTreeSet<Right> = granted.difference(&anyone).cloned().collect();
            assert_eq!(granted, expected, "in {namespace}");
        }
        Ok(())
    })
}
