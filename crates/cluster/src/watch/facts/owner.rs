//! Which workload a pod belongs to.

use kube::ResourceExt;
use meshlift_model::view::WorkloadKind;

use super::PodObject;

/// Kind and name of the controller. A ReplicaSet made by a Deployment or a Rollout carries its name and the
/// hash that the pod has as a label, as istiod itself tells it (`pkg/kube/inject`).
pub(super) fn owner(pod: &PodObject) -> Option<(String, String)> {
    let reference = pod
        .owner_references()
        .iter()
        .find(|o| o.controller == Some(true))?;
    let (kind, name) = (reference.kind.as_str(), reference.name.as_str());
    let group = reference
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    let above = |label: &str| {
        let hash = pod.labels().get(label).filter(|_| kind == "ReplicaSet")?;
        Some(
            name.strip_suffix(hash.as_str())?
                .strip_suffix('-')?
                .to_owned(),
        )
    };
    if let Some(name) = above("pod-template-hash") {
        return Some((WorkloadKind::Deployment.to_string(), name));
    }
    if let Some(name) = above("rollouts-pod-template-hash") {
        return Some((WorkloadKind::Rollout.to_string(), name));
    }
    if let Some(name) = pod.labels().get("deploymentconfig")
        && kind == "ReplicationController"
    {
        return Some(("DeploymentConfig".to_owned(), name.clone()));
    }
    let kind = match WorkloadKind::of(group, kind) {
        Some(known) => known.to_string(),
        // Of the same name, and of another API.
        None if WorkloadKind::named(kind).is_some() => format!("{kind}.{group}"),
        None => kind.to_owned(),
    };
    Some((kind, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_controller_of_a_pod_is_told_as_istiod_tells_it() {
        for (api, kind, name, label, expected) in [
            (
                "apps/v1",
                "ReplicaSet",
                "cart-5d8f",
                "pod-template-hash",
                ("Deployment", "cart"),
            ),
            (
                "apps/v1",
                "ReplicaSet",
                "cart-5d8f",
                "rollouts-pod-template-hash",
                ("Rollout", "cart"),
            ),
            (
                "apps/v1",
                "ReplicaSet",
                "cart",
                "pod-template-hash",
                ("ReplicaSet", "cart"),
            ),
            ("apps/v1", "StatefulSet", "db", "app", ("StatefulSet", "db")),
            (
                "apps.kruise.io/v1beta1",
                "StatefulSet",
                "db",
                "app",
                ("AdvancedStatefulSet", "db"),
            ),
            (
                "apps.kruise.io/v1alpha1",
                "CloneSet",
                "pool",
                "app",
                ("CloneSet", "pool"),
            ),
            (
                "v1",
                "ReplicationController",
                "cart-1",
                "app",
                ("ReplicationController", "cart-1"),
            ),
            (
                "v1",
                "ReplicationController",
                "cart-1",
                "deploymentconfig",
                ("DeploymentConfig", "5d8f"),
            ),
            ("batch/v1", "Job", "backup-1", "app", ("Job", "backup-1")),
            (
                "example.org/v1",
                "Rollout",
                "cart",
                "app",
                ("Rollout.example.org", "cart"),
            ),
        ] {
            let pod = json!({ "metadata": {
                "name": "x", "labels": { label: "5d8f" },
                "ownerReferences": [{ "apiVersion": api, "kind": kind, "name": name, "uid": "u", "controller": true }],
            } });
            let pod: PodObject = serde_json::from_value(pod).expect("a pod");
            let expected = (expected.0.to_owned(), expected.1.to_owned());
            assert_eq!(owner(&pod), Some(expected), "{api} {kind} {label}");
        }
    }
}
