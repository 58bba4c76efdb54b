//! HelmReleases of Flux, where the kind is served: each keeps a Helm release as it says.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};
use meshlift_model::view::HelmRelease;
use serde_json::Value;

use super::Found;
use super::crds::CrdFact;
use super::list::Right;
use crate::Error;

/// Name of the CRD. Source: fluxcd/helm-controller `api/v2`.
pub(super) const HELM_RELEASES: &str = "helmreleases.helm.toolkit.fluxcd.io";

pub(super) async fn look(client: &Client, crds: &[CrdFact]) -> Result<Found<HelmRelease>, Error> {
    let crd = crds.iter().find(|crd| crd.crd.name == HELM_RELEASES);
    let served = crd.and_then(|crd| Some((crd, crd.crd.served_versions.last()?)));
    let Some((crd, version)) = served else {
        return Ok(None);
    };
    let kind = GroupVersionKind::gvk(&crd.group, version, &crd.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &crd.plural);
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let right = Right::of(&crd.plural, &crd.group);
    let listed = right.answer("list", api.list(&ListParams::default()).await)?;
    Ok(listed.map(|list| list.items.iter().filter_map(helm_release).collect()))
}

/// One for this cluster; a HelmRelease may be for another.
fn helm_release(object: &DynamicObject) -> Option<HelmRelease> {
    let spec = object.data.get("spec").unwrap_or(&Value::Null);
    let text = |key: &str| spec.get(key)?.as_str().filter(|text| !text.is_empty());
    if spec.get("kubeConfig").is_some_and(|of| !of.is_null()) {
        return None;
    }
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    // Source: helm-controller `api/v2/helmrelease_types.go` (`GetReleaseName`, `GetStorageNamespace`).
    let release = match (text("releaseName"), text("targetNamespace")) {
        (Some(release), _) => release.to_owned(),
        (None, Some(target)) => format!("{target}-{name}"),
        (None, None) => name.clone(),
    };
    let storage = text("storageNamespace").unwrap_or(&namespace);
    let suspended = spec.get("suspend").and_then(Value::as_bool);
    Some(HelmRelease {
        release: format!("{storage}/{release}"),
        suspended: suspended.unwrap_or(false),
        namespace,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(spec: Value) -> Option<(String, bool)> {
        let metadata = json!({ "name": "istiod", "namespace": "flux-system" });
        let object = json!({ "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": metadata, "spec": spec });
        let object = serde_json::from_value(object).expect("an object");
        helm_release(&object).map(|found| (found.release, found.suspended))
    }

    #[test]
    fn a_helm_release_names_its_release_as_its_controller_does() {
        for (spec, expected) in [
            (json!({}), Some(("flux-system/istiod", false))),
            (
                json!({ "suspend": true }),
                Some(("flux-system/istiod", true)),
            ),
            (
                json!({ "targetNamespace": "istio-system" }),
                Some(("flux-system/istio-system-istiod", false)),
            ),
            (
                json!({ "releaseName": "istiod", "targetNamespace": "istio-system", "storageNamespace": "istio-system" }),
                Some(("istio-system/istiod", false)),
            ),
            (
                json!({ "kubeConfig": { "secretRef": { "name": "east" } } }),
                None,
            ),
        ] {
            let expected = expected.map(|(name, suspended)| (name.to_owned(), suspended));
            assert_eq!(read(spec.clone()), expected, "{spec}");
        }
    }
}
