//! The surroundings of the healthy mesh.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::labels;
use crate::view::*;

/// A selector as YAML would have it.
pub fn selector(of: Value) -> LabelSelector {
    serde_json::from_value(of).expect("a selector")
}

fn crd(name: &str, versions: &[&str]) -> Crd {
    let versions: Vec<String> = versions.iter().map(|v| (*v).to_owned()).collect();
    Crd {
        name: name.into(),
        stored_versions: versions.last().cloned().into_iter().collect(),
        served_versions: versions,
        labels: labels(&[("app.kubernetes.io/managed-by", "Helm")]),
        helm_release: Some("istio-system/istio-base".into()),
        bundle_version: None,
    }
}

fn gateway_api(kind: &str, versions: &[&str]) -> Crd {
    Crd {
        labels: BTreeMap::new(),
        helm_release: None,
        bundle_version: Some("v1.6.0".into()),
        ..crd(&format!("{kind}.gateway.networking.k8s.io"), versions)
    }
}

/// CRDs of Istio 1.30 and of the Gateway API 1.6.
fn crds() -> Vec<Crd> {
    let networking = [
        "destinationrules",
        "gateways",
        "serviceentries",
        "sidecars",
        "virtualservices",
        "workloadentries",
        "workloadgroups",
    ];
    let security = [
        "authorizationpolicies",
        "peerauthentications",
        "requestauthentications",
    ];
    let networking = networking.map(|kind| {
        crd(
            &format!("{kind}.networking.istio.io"),
            &["v1alpha3", "v1beta1", "v1"],
        )
    });
    let security =
        security.map(|kind| crd(&format!("{kind}.security.istio.io"), &["v1beta1", "v1"]));
    let others = [
        crd("envoyfilters.networking.istio.io", &["v1alpha3"]),
        crd("proxyconfigs.networking.istio.io", &["v1beta1"]),
        crd("telemetries.telemetry.istio.io", &["v1", "v1alpha1"]),
        crd("trafficextensions.extensions.istio.io", &["v1alpha1"]),
        crd("wasmplugins.extensions.istio.io", &["v1alpha1"]),
        gateway_api("gatewayclasses", &["v1beta1", "v1"]),
        gateway_api("gateways", &["v1beta1", "v1"]),
        gateway_api("grpcroutes", &["v1"]),
        gateway_api("httproutes", &["v1beta1", "v1"]),
        gateway_api("referencegrants", &["v1beta1"]),
        gateway_api("tcproutes", &["v1"]),
    ];
    networking
        .into_iter()
        .chain(security)
        .chain(others)
        .collect()
}

/// The webhooks of a configuration that the chart makes: by labels of the namespace, and of the pod.
pub fn injector(name: &str, revision: &str, tag: Option<&str>) -> Vec<InjectionRule> {
    let answers_to = tag.unwrap_or(revision);
    let suffix = match revision {
        "default" => String::new(),
        revision => format!("-{revision}"),
    };
    let rule = |webhook: &str, namespaces: Value, pods: Value| InjectionRule {
        configuration: name.into(),
        webhook: format!("{webhook}.sidecar-injector.istio.io"),
        revision: Some(revision.into()),
        tag: tag.map(str::to_owned),
        service: Some(format!("istio-system/istiod{suffix}")),
        service_exists: true,
        namespaces: selector(json!({ "matchExpressions": namespaces })),
        pods: selector(json!({ "matchExpressions": pods })),
    };
    let key = |key: &str, operator: &str| json!({ "key": key, "operator": operator });
    let one = |key: &str, operator: &str, value: &str| json!({ "key": key, "operator": operator, "values": [value] });
    let no_rev = key("istio.io/rev", "DoesNotExist");
    let no_injection = key("istio-injection", "DoesNotExist");
    let not_refused = one("sidecar.istio.io/inject", "NotIn", "false");
    let named = one("istio.io/rev", "In", answers_to);
    let mut rules = vec![
        rule(
            "rev.namespace",
            json!([named, no_injection]),
            json!([not_refused]),
        ),
        rule(
            "rev.object",
            json!([no_rev, no_injection]),
            json!([not_refused, named]),
        ),
    ];
    if answers_to == "default" {
        let enabled = one("istio-injection", "In", "enabled");
        let asked = one("sidecar.istio.io/inject", "In", "true");
        rules.push(rule("namespace", json!([enabled]), json!([not_refused])));
        rules.push(rule(
            "object",
            json!([no_injection, no_rev]),
            json!([asked, no_rev]),
        ));
    }
    rules
}

fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        schedulable: true,
        kubelet: None,
        free_cpu: 1500,
        free_memory: 4 << 30,
    }
}

/// Everything around the mesh is looked at, and well.
pub(crate) fn surroundings() -> Environment {
    Environment {
        trial: Seen::Present(Trial {
            tried: 3,
            ..Trial::default()
        }),
        clusters: Seen::Present(Vec::new()),
        crds: Seen::Present(crds()),
        nodes: Seen::Present(vec![node("a"), node("b")]),
        budgets: Seen::Present(vec![Budget {
            namespace: "istio-system".into(),
            name: "istiod".into(),
            selector: selector(json!({ "matchLabels": { "app": "istiod", "istio": "pilot" } })),
            allowed: 1,
            expected: 2,
            helm_release: Some("istio-system/istiod".into()),
            ..Budget::default()
        }]),
        quotas: Seen::Present(Vec::new()),
        autoscalers: Seen::Present(vec![Autoscaler {
            namespace: "istio-system".into(),
            name: "istiod".into(),
            target: "istiod".into(),
            min: 2,
            max: 5,
        }]),
        injectors: Seen::Present(injector("istio-sidecar-injector", "default", None)),
        node_agents: Seen::Present(Vec::new()),
        envoy_filters: Seen::Present(Vec::new()),
        other_installers: Seen::Present(Vec::new()),
        helm_releases: Seen::Absent,
        selections: Seen::Present(Vec::new()),
        drift: Seen::Present(Vec::new()),
        unfenced: Seen::Present(Vec::new()),
        risks: Seen::Present(BTreeMap::new()),
    }
}
