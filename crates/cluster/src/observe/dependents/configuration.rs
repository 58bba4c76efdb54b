//! Configuration with the label `istio.io/rev`. The API server selects it, and only its metadata is read.

use futures::future;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels::ISTIO_REV;
use meshlift_model::view::Labelled;

use crate::Error;
use crate::observe::environment::crds::CrdFact;
use crate::observe::environment::list::{Right, list_labelled};
use crate::slim::helm_release;

/// The groups of Istio's configuration.
const ISTIO: [&str; 4] = [
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
];
/// istiod filters the routes of the Gateway API in the same way.
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";

pub(super) async fn look(client: &Client, crds: &[CrdFact]) -> Result<Vec<Labelled>, Error> {
    let kinds = crds.iter().filter(|crd| is_configuration(crd));
    let looks: Vec<_> = kinds.map(|crd| labelled(client, crd)).collect();
    let mut all = Vec::new();
    // Always the same error of several, or each look would say something new.
    for found in future::join_all(looks).await {
        all.extend(found?);
    }
    all.sort_by(|a: &Labelled, b: &Labelled| {
        (&a.namespace, &a.kind, &a.name).cmp(&(&b.namespace, &b.kind, &b.name))
    });
    Ok(all)
}

fn is_configuration(crd: &CrdFact) -> bool {
    ISTIO.contains(&crd.group.as_str()) || crd.crd.name == ROUTES
}

async fn labelled(client: &Client, crd: &CrdFact) -> Result<Vec<Labelled>, Error> {
    let Some(version) = crd.crd.served_versions.first() else {
        return Ok(Vec::new());
    };
    let kind = GroupVersionKind::gvk(&crd.group, version, &crd.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &crd.plural);
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let keep = |object: PartialObjectMeta<DynamicObject>| {
        // What is being deleted is read by nobody soon.
        let stays = object.metadata.deletion_timestamp.is_none();
        let revision = object.labels().get(ISTIO_REV).filter(|_| stays)?;
        Some(Labelled {
            kind: crd.kind.clone(),
            resource: crd.crd.name.clone(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            revision: revision.clone(),
            helm_release: helm_release(&object),
        })
    };
    let right = Right::of(&crd.plural, &crd.group);
    let found = list_labelled(&api, &right, ISTIO_REV, keep).await?;
    Ok(found.unwrap_or_default())
}
