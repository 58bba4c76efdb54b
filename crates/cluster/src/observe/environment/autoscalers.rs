//! Autoscalers beside istiod.

use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_model::view::Autoscaler;
use serde::{Deserialize, Serialize};

use super::Found;
use super::list::list;
use crate::Error;
use crate::slim::slim_resource;

slim_resource!(
    /// A HorizontalPodAutoscaler; the oldest version says all that matters here.
    AutoscalerObject, "HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling",
    NamespaceResourceScope, meta = "crate::slim::slim_meta", { spec: Spec }
);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    scale_target_ref: Target,
    min_replicas: Option<u32>,
    max_replicas: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    kind: String,
    name: String,
}

pub(super) async fn look(client: Client, home: &str) -> Result<Found<Autoscaler>, Error> {
    list(
        &Api::<AutoscalerObject>::namespaced(client, home),
        autoscaler,
    )
    .await
}

fn autoscaler(object: AutoscalerObject) -> Option<Autoscaler> {
    let spec = &object.spec;
    (spec.scale_target_ref.kind == "Deployment").then(|| Autoscaler {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        target: spec.scale_target_ref.name.clone(),
        min: spec.min_replicas.unwrap_or(1),
        max: spec.max_replicas,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(spec: Value) -> Option<Autoscaler> {
        let metadata = json!({ "name": "istiod", "namespace": "istio-system" });
        let object =
            json!({ "metadata": metadata, "spec": spec, "status": { "currentReplicas": 1 } });
        autoscaler(serde_json::from_value(object).expect("an autoscaler"))
    }

    #[test]
    fn only_autoscalers_of_deployments_count() {
        let target =
            |kind: &str| json!({ "apiVersion": "apps/v1", "kind": kind, "name": "istiod" });
        let found = read(json!({ "scaleTargetRef": target("Deployment"), "maxReplicas": 5 }));
        let expected = Autoscaler {
            namespace: "istio-system".into(),
            name: "istiod".into(),
            target: "istiod".into(),
            min: 1,
            max: 5,
        };
        assert_eq!(found, Some(expected.clone()));
        let more =
            json!({ "scaleTargetRef": target("Deployment"), "minReplicas": 2, "maxReplicas": 5 });
        assert_eq!(read(more), Some(Autoscaler { min: 2, ..expected }));
        assert_eq!(
            read(json!({ "scaleTargetRef": target("StatefulSet"), "maxReplicas": 5 })),
            None
        );
    }
}
