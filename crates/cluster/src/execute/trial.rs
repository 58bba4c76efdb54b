//! Effects on objects of others, sent as dry runs: the same patches, of which the API server keeps nothing.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};
use meshlift_model::Effect;
use meshlift_model::view::WorkloadKey;
use serde_json::Value;

use super::{gateways, patches, tags};

/// Sends an effect as a dry run; an effect of another kind is not sent at all.
pub(crate) async fn dry_run(client: &Client, effect: &Effect) -> Result<(), kube::Error> {
    match effect {
        Effect::MoveNamespace {
            name,
            uid,
            resource_version,
            revision,
            labels,
            mark,
        } => {
            let mark = mark.then_some(revision.as_str());
            let patch = patches::namespace((uid, resource_version), labels, mark);
            let kind = kind("v1", "Namespace", "namespaces");
            send(Api::all_with(client.clone(), &kind), name, patch).await
        }
        Effect::RestartWorkload {
            key,
            uid,
            resource_version,
            mark,
            template_revision,
            at,
        } => {
            let asks = (mark.as_str(), template_revision.as_ref());
            let patch = patches::restarted(key, (uid, resource_version), asks, *at);
            send(workload(client, key), &key.name, patch).await
        }
        Effect::LabelGateway {
            namespace, name, ..
        } => {
            let kind = kind("gateway.networking.k8s.io/v1", "Gateway", "gateways");
            let api = Api::namespaced_with(client.clone(), namespace, &kind);
            send(api, name, gateways::patch(effect)).await
        }
        Effect::PointTag { configuration, .. } => {
            let typed = Api::<MutatingWebhookConfiguration>::all(client.clone());
            let object = typed.get(configuration).await?;
            let kind = kind(
                "admissionregistration.k8s.io/v1",
                "MutatingWebhookConfiguration",
                "mutatingwebhookconfigurations",
            );
            let api = Api::all_with(client.clone(), &kind);
            send(api, configuration, tags::patch(effect, object)).await
        }
        _ => Ok(()),
    }
}

async fn send(api: Api<DynamicObject>, name: &str, patch: Value) -> Result<(), kube::Error> {
    let params = PatchParams {
        dry_run: true,
        ..patches::params()
    };
    api.patch(name, &params, &Patch::Merge(patch)).await?;
    Ok(())
}

fn workload(client: &Client, key: &WorkloadKey) -> Api<DynamicObject> {
    let resource = key.kind.resource();
    let (singular, _) = resource.split_once('.').unwrap_or((resource, ""));
    let kind = kind(
        key.kind.api_version(),
        key.kind.kind(),
        &format!("{singular}s"),
    );
    Api::namespaced_with(client.clone(), &key.namespace, &kind)
}

fn kind(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
