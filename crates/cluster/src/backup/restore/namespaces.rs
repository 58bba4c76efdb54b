//! Labels of namespaces: those that Istio reads, and no others.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt};
use meshlift_api::labels::{DEFAULT_REVISION, ISTIO_INJECTION, ISTIO_REV};
use serde_json::json;

use super::super::plain::ObjectId;
use super::super::take::{injection_labels, resource};
use super::Comparing;
use super::objects::{Live, label_patch};
use crate::{Error, Result};

impl Comparing<'_> {
    /// Compares them; the names of all namespaces that are there.
    pub(super) async fn namespaces(&mut self) -> Result<BTreeSet<String>> {
        let kind = resource("", "v1", "Namespace", "namespaces");
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &kind);
        let listed = api.list_metadata(&ListParams::default()).await;
        let listed = listed.map_err(Error::kube("listing namespaces"))?.items;
        let names = listed.iter().map(ResourceExt::name_any).collect();
        for was in &self.backup.namespaces {
            let id = id(&was.name);
            if !(self.wanted)(&id) {
                continue;
            }
            let Some(found) = listed.iter().find(|ns| ns.name_any() == was.name) else {
                self.leave(&id, "it is not there: make it first".to_owned());
                continue;
            };
            let is = injection_labels(found.labels());
            if is == was.labels {
                self.result.same += 1;
            } else if let Some(label) = self.unanswered(&was.labels) {
                let why = format!(
                    "no injection webhook answers for its label {label}: bring back that istiod, or its tag, first"
                );
                self.leave(&id, why);
            } else {
                let forms = (json!({ "labels": is }), json!({ "labels": was.labels }));
                let live = Live {
                    id,
                    resource_version: found.resource_version().unwrap_or_default(),
                    object: serde_json::Value::Null,
                };
                self.patch(&live, forms, label_patch(&is, &was.labels), &kind);
            }
        }
        let known: BTreeSet<&str> = self
            .backup
            .namespaces
            .iter()
            .map(|ns| ns.name.as_str())
            .collect();
        for namespace in &listed {
            let id = id(&namespace.name_any());
            let labelled = !injection_labels(namespace.labels()).is_empty();
            if labelled && !known.contains(id.name.as_str()) && (self.wanted)(&id) {
                self.result.newer.push(id);
            }
        }
        Ok(names)
    }

    /// A label with which new pods would get no sidecar, because nobody answers for it.
    fn unanswered(&self, labels: &BTreeMap<String, String>) -> Option<String> {
        let answered = |revision: &str| self.answered.contains(revision);
        match (labels.get(ISTIO_INJECTION), labels.get(ISTIO_REV)) {
            (Some(word), _) if word == "enabled" && !answered(DEFAULT_REVISION) => {
                Some(format!("{ISTIO_INJECTION}={word}"))
            }
            (None, Some(revision)) if !answered(revision) => {
                Some(format!("{ISTIO_REV}={revision}"))
            }
            _ => None,
        }
    }
}

fn id(name: &str) -> ObjectId {
    ObjectId {
        kind: "Namespace".to_owned(),
        group: String::new(),
        namespace: None,
        name: name.to_owned(),
    }
}
