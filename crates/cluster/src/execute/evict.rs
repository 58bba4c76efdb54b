//! Evictions: one pod, by its UID, within its disruption budget.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::api::PostParams;
use kube::{Api, Client};
use meshlift_api::labels::FIELD_MANAGER;
use meshlift_model::Upgrade;
use meshlift_model::view::WorkloadKey;
use serde_json::Value;

use super::patches::note_eviction;
use crate::error::is_not_found;
use crate::watch::Watches;
use crate::{Error, Result};

/// A pod to evict.
pub(super) struct Evicted<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
    /// Who replaces it, and its UID.
    pub(super) workload: (&'a WorkloadKey, &'a str),
    /// When. A new pod that had its time is evicted without one: that is not remembered, and is right only
    /// while it is not ready.
    pub(super) at: Option<Timestamp>,
}

/// Asks for the eviction. That a budget does not allow it is no failure: the refusal is remembered
/// for a moment, and the next look tells of it. (The client must not try again by itself: to it, a budget
/// looks like a busy API server.)
pub(super) async fn evict(
    client: &Client,
    watches: &Watches,
    upgrade: &Upgrade,
    pod: &Evicted<'_>,
) -> Result<()> {
    let api = Api::<Pod>::namespaced(client.clone(), pod.namespace);
    let resource_version = match pod.at {
        Some(_) => None,
        None => match version_while_not_ready(&api, pod).await? {
            None => return Ok(()),
            version => version,
        },
    };
    // By hand: kube 5.0 writes the delete options under a name that the API server does not know, and
    // without them any pod of this name would do.
    let eviction = Eviction {
        metadata: ObjectMeta {
            name: Some(pod.name.to_owned()),
            namespace: Some(pod.namespace.to_owned()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.to_owned()),
                resource_version,
            }),
            ..DeleteOptions::default()
        }),
    };
    let parameters = PostParams {
        dry_run: false,
        field_manager: Some(FIELD_MANAGER.to_owned()),
    };
    let what = || format!("evicting pod {}/{}", pod.namespace, pod.name);
    let asked = api.create_subresource::<_, Value>("eviction", pod.name, &parameters, &eviction);
    match asked.await {
        Ok(_) => {}
        // Gone meanwhile, and another pod of its name may be there.
        Err(error) if is_not_found(&error) || is_conflict(&error) => return Ok(()),
        Err(error) => {
            let Some(why) = refusal(&error) else {
                return Err(Error::kube(what())(error));
            };
            watches.refusals.note_budget(upgrade, pod.uid, why);
            return Ok(());
        }
    }
    watches.pods.gone(Some(pod.namespace), pod.name);
    let (key, uid) = pod.workload;
    match pod.at {
        Some(at) => note_eviction(client, watches, key, uid, at).await,
        None => Ok(()),
    }
}

/// The version of a pod that is there and not ready; what the watch shows may be older than that.
async fn version_while_not_ready(api: &Api<Pod>, pod: &Evicted<'_>) -> Result<Option<String>> {
    let what = format!("reading pod {}/{}", pod.namespace, pod.name);
    let found = api.get_opt(pod.name).await.map_err(Error::kube(what))?;
    let same = |found: &Pod| found.metadata.uid.as_deref() == Some(pod.uid);
    let here = found.filter(|found| same(found) && !is_ready(found));
    Ok(here.and_then(|found| found.metadata.resource_version))
}

fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// The API server's words where a disruption budget, or that there are two of them, is the reason.
/// Source: kubernetes `pkg/registry/core/pod/storage/eviction.go`.
fn refusal(error: &kube::Error) -> Option<String> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let two = status.code == 500 && status.message.contains("more than one PodDisruptionBudget");
    if status.code != 429 && !two {
        return None;
    }
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let budget = causes.map(|cause| &cause.message).find(|m| !m.is_empty());
    Some(budget.unwrap_or(&status.message).clone())
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn said(code: u16, message: &str, causes: serde_json::Value) -> Option<String> {
        let status = json!({
            "status": "Failure", "code": code, "reason": "x", "message": message, "details": { "causes": causes },
        });
        let status: Status = serde_json::from_value(status).expect("a status");
        refusal(&kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_budget_is_no_failure_and_says_its_name() {
        let cause = "The disruption budget cart needs 2 healthy pods and has 2 currently";
        let causes = json!([{ "reason": "DisruptionBudget", "message": cause }]);
        assert_eq!(
            said(429, "Cannot evict pod", causes).as_deref(),
            Some(cause)
        );
        let busy = said(429, "too many requests", json!([]));
        assert_eq!(busy.as_deref(), Some("too many requests"));
        let two = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert_eq!(said(500, two, json!([])).as_deref(), Some(two));
        assert_eq!(said(500, "etcd is away", json!([])), None);
        assert_eq!(said(403, "forbidden", json!([])), None);
    }
}
