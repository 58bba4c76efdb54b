//! Webhooks: compared by whom they call, and brought back where no Helm release owns them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use meshlift_api::labels::{ISTIO_REV, ISTIO_TAG};
use serde_json::{Map, Value, json};

use super::super::take::resource;
use super::Comparing;
use super::objects::{Live, helm_release, of_release};
use crate::{Error, Result};

const KINDS: [(&str, &str); 2] = [
    (
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    ),
    (
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    ),
];

impl Comparing<'_> {
    /// The webhook configurations of Istio. What istiod writes into them (CA bundles, failure policies) is its own.
    pub(super) async fn webhooks(&mut self) -> Result<()> {
        for (kind, plural) in KINDS {
            let kind = resource("admissionregistration.k8s.io", "v1", kind, plural);
            let mut live = self.live(&kind, None).await?;
            for is in live.values() {
                self.answered.extend(answers_for(&is.object));
            }
            for (id, was) in self.backed_up(&kind) {
                let is = live.remove(&id);
                let forms = is.as_ref().map(|is| (calls(&is.object), calls(&was)));
                if forms.as_ref().is_some_and(|(is, was)| is == was) {
                    self.result.same += 1;
                    continue;
                }
                if let Some(release) = helm_release(&was) {
                    self.leave(&id, of_release(&release));
                } else if let Some(missing) = self.missing_service(&was).await? {
                    let why = format!(
                        "it calls Service {missing}, which is not there: bring back that istiod first"
                    );
                    self.leave(&id, why);
                } else {
                    self.answered.extend(answers_for(&was));
                    match (is, forms) {
                        (Some(is), Some(forms)) => {
                            let merge = pointed(&is, &was);
                            self.patch(&is, forms, merge, &kind);
                        }
                        _ => self.create(id, was, &kind),
                    }
                }
            }
        }
        Ok(())
    }

    /// A Service that the webhooks call and that is not there: whoever waits for it could start no pod.
    async fn missing_service(&self, object: &Value) -> Result<Option<String>> {
        let services: BTreeSet<(String, String)> = webhooks(object)
            .filter_map(|webhook| {
                let service = &webhook["clientConfig"]["service"];
                let word = |key: &str| service[key].as_str().map(str::to_owned);
                Some((word("namespace")?, word("name")?))
            })
            .collect();
        for (namespace, name) in services {
            let api = Api::<Service>::namespaced(self.client.clone(), &namespace);
            let what = format!("looking for Service {namespace}/{name}");
            if api
                .get_opt(&name)
                .await
                .map_err(Error::kube(what))?
                .is_none()
            {
                return Ok(Some(format!("{namespace}/{name}")));
            }
        }
        Ok(None)
    }
}

fn webhooks(object: &Value) -> impl Iterator<Item = &Value> {
    object["webhooks"].as_array().into_iter().flatten()
}

/// The revision and the tag of a webhook configuration that injects.
fn answers_for(object: &Value) -> Option<String> {
    let labels = &object["metadata"]["labels"];
    let injects = object["kind"] == "MutatingWebhookConfiguration";
    let name = labels[ISTIO_TAG].as_str().or(labels[ISTIO_REV].as_str());
    name.filter(|_| injects).map(str::to_owned)
}

/// Whom a configuration calls, and for which revision and tag: what is compared of it.
fn calls(object: &Value) -> Value {
    let labels = &object["metadata"]["labels"];
    let called = |webhook: &Value| {
        let config = &webhook["clientConfig"];
        match &config["url"] {
            Value::Null => config["service"].clone(),
            url => url.clone(),
        }
    };
    let name = |webhook: &Value| webhook["name"].as_str().unwrap_or_default().to_owned();
    let all: Map<String, Value> = webhooks(object)
        .map(|webhook| (name(webhook), called(webhook)))
        .collect();
    json!({ "labels": { (ISTIO_REV): labels[ISTIO_REV], (ISTIO_TAG): labels[ISTIO_TAG] }, "webhooks": all })
}

/// Labels and services as they were, in one write; everything else of each webhook stays as it is now, and one
/// that is missing comes back whole.
fn pointed(is: &Live, was: &Value) -> Value {
    let now: Vec<&Value> = webhooks(&is.object).collect();
    let all: Vec<Value> = webhooks(was)
        .map(
            |was| match now.iter().find(|is| is["name"] == was["name"]) {
                None => was.clone(),
                Some(is) => {
                    let mut webhook = (*is).clone();
                    let bundle = webhook["clientConfig"]["caBundle"].clone();
                    webhook["clientConfig"] = was["clientConfig"].clone();
                    if !bundle.is_null() {
                        webhook["clientConfig"]["caBundle"] = bundle;
                    }
                    webhook
                }
            },
        )
        .collect();
    let labels = &was["metadata"]["labels"];
    json!({
        "metadata": { "labels": { (ISTIO_REV): labels[ISTIO_REV], (ISTIO_TAG): labels[ISTIO_TAG] } },
        "webhooks": all,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::plain::ObjectId;
    use super::*;

    fn tag(revision: &str, istiod: &str, bundle: &str) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": "istio-revision-tag-prod",
                "labels": { (ISTIO_REV): revision, (ISTIO_TAG): "prod" } },
            "webhooks": [{
                "name": "rev.namespace.sidecar-injector.istio.io", "failurePolicy": "Fail",
                "clientConfig": { "caBundle": bundle, "service": { "name": istiod, "namespace": "istio-system" } },
            }],
        })
    }

    #[test]
    fn a_tag_is_pointed_back_and_keeps_its_ca_bundle() {
        let (is, was) = (
            tag("1-31-0", "istiod-1-31-0", "new"),
            tag("default", "istiod", "old"),
        );
        assert_ne!(calls(&is), calls(&was));
        assert_eq!(calls(&tag("default", "istiod", "new")), calls(&was));
        assert_eq!(answers_for(&was).as_deref(), Some("prod"));
        let live = Live {
            id: ObjectId::of(&is),
            resource_version: "7".into(),
            object: is,
        };
        let patch = pointed(&live, &was);
        assert_eq!(patch["metadata"]["labels"][ISTIO_REV], "default");
        let webhook = &patch["webhooks"][0];
        assert_eq!(webhook["clientConfig"]["service"]["name"], "istiod");
        assert_eq!(webhook["clientConfig"]["caBundle"], "new");
        assert_eq!(webhook["failurePolicy"], "Fail");
    }
}
