//! Configuration and the Services of tags: compared whole.

use std::collections::{BTreeMap, BTreeSet};

use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use meshlift_api::labels::{HELM_RELEASE_NAME, HELM_RELEASE_NAMESPACE, ISTIO_TAG};
use serde_json::{Map, Value, json};

use super::super::plain::ObjectId;
use super::super::take::{is_configuration, kind_of, resource, written};
use super::Comparing;
use crate::error::is_not_found;
use crate::{Error, Result};

/// So many objects come in one answer.
const PAGE: u32 = 500;

/// An object as it is now.
pub(super) struct Live {
    pub(super) id: ObjectId,
    pub(super) resource_version: String,
    pub(super) object: Value,
}

impl Comparing<'_> {
    /// Everything of a kind.
    pub(super) async fn live(
        &self,
        kind: &ApiResource,
        label: Option<&str>,
    ) -> Result<BTreeMap<ObjectId, Live>> {
        let api = Api::<DynamicObject>::all_with(self.client.clone(), kind);
        let mut parameters = ListParams::default().limit(PAGE);
        if let Some(label) = label {
            parameters = parameters.labels(label);
        }
        let mut all = BTreeMap::new();
        loop {
            let page = match api.list(&parameters).await {
                Ok(page) => page,
                Err(error) if is_not_found(&error) => return Ok(all),
                Err(error) => return Err(Error::kube(format!("listing {}", kind.plural))(error)),
            };
            let next = page.metadata.continue_.clone();
            for object in page.items {
                let resource_version = object.metadata.resource_version.clone();
                let object = written(object, kind)?;
                let live = Live {
                    id: ObjectId::of(&object),
                    resource_version: resource_version.unwrap_or_default(),
                    object,
                };
                all.insert(live.id.clone(), live);
            }
            match next.filter(|token| !token.is_empty()) {
                Some(next) => parameters = parameters.continue_token(&next),
                None => return Ok(all),
            }
        }
    }

    /// What the backup has of a kind, by the version that is served now.
    pub(super) fn backed_up(&self, kind: &ApiResource) -> Vec<(ObjectId, Value)> {
        let of_kind = |(id, _): &(ObjectId, Value)| {
            id.kind == kind.kind && id.group == kind.group && (self.wanted)(id)
        };
        let objects = self.backup.objects.iter();
        objects
            .map(|object| (ObjectId::of(object), object.clone()))
            .filter(of_kind)
            .map(|(id, mut object)| {
                object["apiVersion"] = kind.api_version.clone().into();
                (id, object)
            })
            .collect()
    }

    /// The Services of tags, but for those of a Helm release.
    pub(super) async fn tag_services(&mut self) -> Result<()> {
        let kind = resource("", "v1", "Service", "services");
        let mut live = self.live(&kind, Some(ISTIO_TAG)).await?;
        for (id, was) in self.backed_up(&kind) {
            let is = live.remove(&id);
            if is.as_ref().is_some_and(|is| is.object == was) {
                self.result.same += 1;
                continue;
            }
            match (helm_release(&was), is) {
                (Some(release), _) => self.leave(&id, of_release(&release)),
                (None, Some(is)) => self.patch_whole(&is, was, &kind),
                (None, None) => self.create(id, was, &kind),
            }
        }
        self.newer(live);
        Ok(())
    }

    /// Istio's configuration, where its namespace is `there`.
    pub(super) async fn configuration(&mut self, there: &BTreeSet<String>) -> Result<()> {
        let mut known = BTreeSet::new();
        for crd in self.crds.iter().filter(|crd| is_configuration(crd)) {
            let Some(kind) = kind_of(crd) else { continue };
            known.insert((kind.group.clone(), kind.kind.clone()));
            let mut live = self.live(&kind, None).await?;
            for (id, was) in self.backed_up(&kind) {
                match live.remove(&id) {
                    Some(is) if is.object == was => self.result.same += 1,
                    Some(is) => self.patch_whole(&is, was, &kind),
                    None => match &id.namespace {
                        Some(namespace) if !there.contains(namespace) => {
                            let why = format!("namespace {namespace} is not there: make it first");
                            self.leave(&id, why);
                        }
                        _ => self.create(id, was, &kind),
                    },
                }
            }
            self.newer(live);
        }
        let orphans: Vec<ObjectId> = self.backup.objects.iter().map(ObjectId::of).collect();
        for id in orphans {
            let builtin = id.group.is_empty() || id.group == "admissionregistration.k8s.io";
            if !builtin && !known.contains(&(id.group.clone(), id.kind.clone())) {
                let why = "its kind is not installed: bring back its CRD first".to_owned();
                self.leave(&id, why);
            }
        }
        Ok(())
    }

    fn newer(&mut self, rest: BTreeMap<ObjectId, Live>) {
        let ids = rest.into_keys().filter(|id| (self.wanted)(id));
        self.result.newer.extend(ids);
    }

    fn patch_whole(&mut self, is: &Live, was: Value, kind: &ApiResource) {
        let merge = difference(&is.object, &was);
        self.patch(is, (is.object.clone(), was), merge, kind);
    }
}

/// The merge patch that makes one of the other (RFC 7396).
pub(super) fn difference(is: &Value, was: &Value) -> Value {
    let (Value::Object(is), Value::Object(was)) = (is, was) else {
        return was.clone();
    };
    let mut patch = Map::new();
    for key in is.keys().filter(|key| !was.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, wanted) in was {
        match is.get(key) {
            Some(found) if found == wanted => {}
            Some(found) => drop(patch.insert(key.clone(), difference(found, wanted))),
            None => drop(patch.insert(key.clone(), wanted.clone())),
        }
    }
    patch.into()
}

/// The Helm release that an object belongs to, as `namespace/name`.
pub(super) fn helm_release(object: &Value) -> Option<String> {
    let annotations = &object["metadata"]["annotations"];
    let word = |key: &str| annotations[key].as_str();
    let (namespace, name) = (word(HELM_RELEASE_NAMESPACE)?, word(HELM_RELEASE_NAME)?);
    Some(format!("{namespace}/{name}"))
}

pub(super) fn of_release(release: &str) -> String {
    format!("it belongs to Helm release {release}, which brings it back")
}

/// An object of labels that are to be, where some are to go.
pub(super) fn label_patch(is: &BTreeMap<String, String>, was: &BTreeMap<String, String>) -> Value {
    json!({ "metadata": { "labels": difference(&json!(is), &json!(was)) } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_what_differs_and_takes_away_what_is_new() {
        let is = json!({ "spec": { "hosts": ["a"], "new": 1, "http": [1] }, "metadata": { "name": "x" } });
        let was = json!({ "spec": { "hosts": ["b"], "http": [1], "gone": {} }, "metadata": { "name": "x" } });
        let patch = difference(&is, &was);
        let wanted = json!({ "spec": { "hosts": ["b"], "new": null, "gone": {} } });
        assert_eq!(patch, wanted);
        assert_eq!(difference(&was, &was), json!({}));
    }
}
