//! Looks and acts as the operator does, with its account and inside its fence.

use anyhow::{Context, Result, ensure};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use meshlift_model::view::MeshView;
use meshlift_model::{Effect, Executed};
use meshlift_tests::bed::Bed;
use meshlift_tests::hands;
use serde_json::Value;

pub(crate) struct Hands {
    admin: Client,
    own: hands::Hands,
}

impl Hands {
    pub(crate) async fn of(bed: &Bed) -> Result<Self> {
        Ok(Self {
            admin: bed.client.clone(),
            own: hands::Hands::of(bed, "moves").await?,
        })
    }

    pub(crate) async fn look(&self) -> MeshView {
        self.own.look().await
    }

    pub(crate) async fn execute(&self, effect: Effect) -> Result<Executed> {
        self.own.execute(self.look().await, vec![effect]).await
    }

    /// The object as it is stored.
    pub(crate) async fn stored(&self, object: &Object) -> Result<Value> {
        let found = object.api(&self.admin).get(object.name).await?;
        Ok(serde_json::to_value(found)?)
    }

    /// A merge patch that the fence refuses to the operator.
    pub(crate) async fn refused(&self, object: &Object, patch: Value) -> Result<()> {
        let merge = Patch::Merge(&patch);
        let api = object.api(&self.own.client);
        let answer = api
            .patch(object.name, &PatchParams::default(), &merge)
            .await;
        let error = answer
            .err()
            .with_context(|| format!("{patch} went through"))?;
        let words = error.to_string();
        ensure!(
            words.contains("meshlift-operator-fence"),
            "{patch}: {words}"
        );
        Ok(())
    }
}

/// Where an object is.
pub(crate) struct Object {
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespace: Option<&'static str>,
    pub(crate) name: &'static str,
}

impl Object {
    fn api(&self, client: &Client) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(self.group, "v1", self.kind);
        let resource = ApiResource::from_gvk(&kind);
        match self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    }
}
