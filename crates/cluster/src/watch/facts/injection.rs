//! Webhooks that inject sidecars, whether or not they say for which revision.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, WebhookClientConfig,
};
use kube::ResourceExt;
use meshlift_api::labels as l;
use meshlift_model::view::InjectionRule;

use crate::watch::table::Fact;

/// The webhooks of a MutatingWebhookConfiguration that inject sidecars.
#[derive(Clone, Debug, PartialEq)]
pub struct InjectionFact {
    /// Its rules; whether their Services exist is not known here.
    pub rules: Vec<InjectionRule>,
}

impl Fact<MutatingWebhookConfiguration> for InjectionFact {
    fn of(object: &MutatingWebhookConfiguration) -> Option<Self> {
        let webhooks = object.webhooks.iter().flatten().filter(|w| injects(w));
        let rules: Vec<_> = webhooks.map(|webhook| rule(object, webhook)).collect();
        (!rules.is_empty()).then_some(Self { rules })
    }
}

fn rule(object: &MutatingWebhookConfiguration, webhook: &MutatingWebhook) -> InjectionRule {
    let service = webhook.client_config.service.as_ref();
    InjectionRule {
        configuration: object.name_any(),
        webhook: webhook.name.clone(),
        revision: object.labels().get(l::ISTIO_REV).cloned(),
        tag: object.labels().get(l::ISTIO_TAG).cloned(),
        service: service.map(|service| format!("{}/{}", service.namespace, service.name)),
        service_exists: false,
        // None is the same as an empty one: everything.
        namespaces: webhook.namespace_selector.clone().unwrap_or_default(),
        pods: webhook.object_selector.clone().unwrap_or_default(),
    }
}

/// By its name, or by what istiod serves as `/inject/...`, also behind another address.
/// Source: istio `pkg/kube/inject/webhook.go`, `pkg/webhooks/webhookpatch.go`.
fn injects(webhook: &MutatingWebhook) -> bool {
    let path = path(&webhook.client_config).unwrap_or_default();
    webhook.name.ends_with("sidecar-injector.istio.io") || path.split('/').any(|p| p == "inject")
}

fn path(config: &WebhookClientConfig) -> Option<&str> {
    if let Some(service) = &config.service {
        return service.path.as_deref();
    }
    let (_, address) = config.url.as_deref()?.split_once("://")?;
    address.find('/').map(|at| &address[at..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn configuration(labels: Value, webhooks: Value) -> Option<InjectionFact> {
        let object = json!({ "metadata": { "name": "m", "labels": labels }, "webhooks": webhooks });
        InjectionFact::of(&serde_json::from_value(object).expect("a configuration"))
    }

    fn webhook(name: &str, config: Value) -> Value {
        json!({ "name": name, "clientConfig": config, "sideEffects": "None", "admissionReviewVersions": ["v1"] })
    }

    fn service(path: &str) -> Value {
        json!({ "service": { "name": "istiod", "namespace": "istio-system", "path": path } })
    }

    #[test]
    fn injectors_are_known_by_name_or_path_with_or_without_a_revision() {
        for (name, config, injects) in [
            (
                "rev.namespace.sidecar-injector.istio.io",
                service("/inject"),
                true,
            ),
            (
                "sidecar-injector.istio.io",
                json!({ "url": "https://istiod.example/" }),
                true,
            ),
            (
                "injector.example",
                service("/inject/cluster/east/net/one"),
                true,
            ),
            (
                "injector.example",
                json!({ "url": "https://istiod.example:15017/mesh/inject/cluster/east" }),
                true,
            ),
            (
                "injector.example",
                json!({ "url": "https://inject" }),
                false,
            ),
            ("injector.example", service("/inject-other"), false),
            ("vault.hashicorp.com", service("/mutate"), false),
        ] {
            let found = configuration(json!({}), json!([webhook(name, config.clone())]));
            assert_eq!(found.is_some(), injects, "{name} {config}");
            if let Some(found) = found {
                assert_eq!(
                    (&found.rules[0].revision, &found.rules[0].tag),
                    (&None, &None)
                );
            }
        }
    }

    #[test]
    fn selectors_are_kept_as_they_are() {
        let mut injector = webhook(
            "rev.namespace.sidecar-injector.istio.io",
            service("/inject"),
        );
        injector["namespaceSelector"] = json!({ "matchExpressions": [
            { "key": "istio.io/rev", "operator": "In", "values": ["prod"] },
            { "key": "istio-injection", "operator": "DoesNotExist" },
        ] });
        let labels = json!({ "istio.io/rev": "1-30-2", "istio.io/tag": "prod" });
        let other = webhook("other.example", service("/mutate"));
        let found = configuration(labels, json!([injector, other])).expect("an injector");
        let [rule] = &found.rules[..] else {
            panic!("{found:?}")
        };
        assert_eq!(rule.service.as_deref(), Some("istio-system/istiod"));
        assert_eq!(rule.revision.as_deref(), Some("1-30-2"));
        assert_eq!(rule.tag.as_deref(), Some("prod"));
        let expressions = rule
            .namespaces
            .match_expressions
            .as_ref()
            .expect("expressions");
        assert_eq!(expressions[0].values, Some(vec!["prod".to_owned()]));
        assert_eq!(expressions[1].operator, "DoesNotExist");
        assert_eq!(rule.pods, Default::default());
    }
}
