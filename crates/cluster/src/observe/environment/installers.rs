//! Objects of other installers of Istio, where their kinds are there.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt};

use super::crds::CrdFact;
use super::list::{Right, list_metadata};
use crate::Error;

/// Each as `Istio shop (sailoperator.io)`, with its namespace where it has one.
pub(super) async fn look(client: &Client, crds: &[CrdFact]) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    for crd in crds.iter().filter(|crd| crd.is_installer()) {
        all.extend(objects(client, crd).await?);
    }
    all.sort();
    Ok(all)
}

async fn objects(client: &Client, crd: &CrdFact) -> Result<Vec<String>, Error> {
    let Some(version) = crd.crd.served_versions.first() else {
        return Ok(Vec::new());
    };
    let kind = GroupVersionKind::gvk(&crd.group, version, &crd.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &crd.plural);
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let name = |object: kube::api::PartialObjectMeta<DynamicObject>| {
        let name = object.name_any();
        let full = object
            .namespace()
            .map(|namespace| format!("{namespace}/{name}"));
        Some(format!(
            "{} {} ({})",
            crd.kind,
            full.unwrap_or(name),
            crd.group
        ))
    };
    let right = Right::of(&crd.plural, &crd.group);
    let found = list_metadata(&api, &right, name).await?;
    Ok(found.unwrap_or_default())
}
