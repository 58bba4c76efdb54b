//! What holds of every detection, whatever there is around the mesh.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use meshlift_api::{CheckResult, ClusterRole};
use meshlift_detect::check::{explain, find};
use meshlift_detect::detect;
use meshlift_istio::version::{KubernetesVersion, Version};
use meshlift_model::view::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::any::{upgrade, view};

fn text(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

fn seen<T: std::fmt::Debug + Clone>(
    value: impl Strategy<Value = Vec<T>>,
) -> impl Strategy<Value = Seen<Vec<T>>> {
    prop_oneof![
        8 => value.prop_map(Seen::Present),
        1 => Just(Seen::Absent),
        1 => Just(Seen::Unreadable("the server is on fire".into())),
    ]
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -10_i64..10_000, 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
}

fn version() -> impl Strategy<Value = Version> {
    let farthest = "1.4294967295.0";
    select(vec!["1.28.4", "1.30.2", "1.31.0", "1.31.0-x", farthest])
        .prop_map(|v| v.parse().expect("a version"))
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    let key = text(&["istio-injection", "istio.io/rev", "team"]);
    let operator = text(&["In", "NotIn", "Exists", "DoesNotExist", "Perhaps"]);
    let term = (key, operator, text(&["enabled", "default", "legacy"]));
    vec(term, 0..3).prop_map(|terms| {
        let terms: Vec<_> = terms
            .into_iter()
            .map(|(key, operator, value)| json!({ "key": key, "operator": operator, "values": [value] }))
            .collect();
        serde_json::from_value(json!({ "matchExpressions": terms })).expect("a selector")
    })
}

fn namespace() -> impl Strategy<Value = String> {
    text(&["istio-system", "shop", "kube-system"])
}

prop_compose! {
    fn crd()(
        name in text(&["gateways.networking.istio.io", "tcproutes.gateway.networking.k8s.io", "httproutes.gateway.networking.k8s.io"]),
        stored_versions in vec(text(&["v1", "v1beta1", "v9"]), 0..3),
        served_versions in vec(text(&["v1", "v1alpha3"]), 0..3),
        helm_release in option::of(text(&["istio-system/istio-base", "a/b"])),
        bundle_version in option::of(text(&["v1.6.0", "v1.0.0-rc.1", "", "main"])),
    ) -> Crd {
        Crd { name, stored_versions, served_versions, helm_release, bundle_version, ..Crd::default() }
    }
}

prop_compose! {
    fn node()(schedulable in any::<bool>(), free_cpu in number(), free_memory in number()) -> Node {
        Node { name: "a".into(), schedulable, kubelet: None, free_cpu, free_memory }
    }
}

prop_compose! {
    pub fn budget()(namespace in namespace(), selector in selector(), allowed in -1_i32..3, expected in -1_i32..3) -> Budget {
        Budget { namespace, name: "b".into(), selector, allowed, expected, ..Budget::default() }
    }
}

prop_compose! {
    fn quota()(namespace in namespace(), left in option::of((number(), number(), number()))) -> Quota {
        let of = |n: fn((i64, i64, i64)) -> i64| left.map(n);
        Quota { namespace, name: "q".into(), pods: of(|l| l.0), cpu: of(|l| l.1), memory: of(|l| l.2) }
    }
}

prop_compose! {
    fn autoscaler()(target in text(&["istiod", "web"]), min in any::<u32>()) -> Autoscaler {
        Autoscaler { namespace: "istio-system".into(), name: "h".into(), target, min, max: min }
    }
}

prop_compose! {
    fn rule()(
        configuration in text(&["a", "b"]),
        revision in option::of(text(&["default", "gone"])),
        tag in option::of(text(&["prod", "default"])),
        service in option::of(text(&["istio-system/istiod", "a/b"])),
        service_exists in any::<bool>(),
        namespaces in selector(),
        pods in selector(),
    ) -> InjectionRule {
        InjectionRule { configuration, webhook: "w".into(), revision, tag, service, service_exists, namespaces, pods }
    }
}

prop_compose! {
    fn agent()(
        cni in any::<bool>(),
        namespace in namespace(),
        version in option::of(version()),
        desired in 0_u32..3,
        ready in 0_u32..3,
    ) -> NodeAgent {
        let kind = if cni { NodeAgentKind::Cni } else { NodeAgentKind::Ztunnel };
        NodeAgent { kind, namespace, name: "n".into(), version, image: "gcr.io/istio-release/n".into(), desired, ready }
    }
}

prop_compose! {
    fn filter()(namespace in namespace(), proxy_versions in vec(text(&["^1\\.30.*", "([", "", "(a*)*b"]), 0..3)) -> EnvoyFilter {
        EnvoyFilter { namespace, name: "f".into(), proxy_versions }
    }
}

prop_compose! {
    fn cluster()(remote in any::<bool>(), minor in option::of(any::<u32>())) -> Cluster {
        let role = if remote { ClusterRole::Remote } else { ClusterRole::Primary };
        let kubernetes = match minor {
            Some(minor) => Seen::Present(KubernetesVersion { major: 1, minor }),
            None => Seen::Unreadable("no route to host".into()),
        };
        Cluster { name: "east".into(), role, kubernetes }
    }
}

fn risks() -> impl Strategy<Value = Seen<std::collections::BTreeMap<String, RiskMatch>>> {
    let found = (any::<u32>(), any::<bool>()).prop_map(|(total, blind)| RiskMatch {
        objects: vec!["Sidecar shop/cart".into()],
        total,
        unreadable: blind.then(|| "forbidden".into()),
    });
    btree_map(
        text(&["R131-ENVOYFILTER", "R131-GATEWAY-MERGE"]),
        found,
        0..3,
    )
    .prop_map(Seen::Present)
}

fn helm_release() -> impl Strategy<Value = HelmRelease> {
    (text(&["istiod", "istio-base"]), any::<bool>()).prop_map(|(name, suspended)| HelmRelease {
        namespace: "istio-system".into(),
        release: format!("istio-system/{name}"),
        name,
        suspended,
    })
}

fn drift() -> impl Strategy<Value = Drift> {
    text(&["istio-system/istiod", "istio-b/istiod"]).prop_map(|release| Drift {
        release,
        object: "ConfigMap istio-system/istio".into(),
        what: "mesh.accessLogFile".into(),
    })
}

fn selection() -> impl Strategy<Value = Selection> {
    let label = (
        text(&["istio-injection", "istio.io/rev"]),
        text(&["enabled", "default", ""]),
    );
    vec(label, 0..3).prop_map(|labels| Selection {
        kind: "NetworkPolicy".into(),
        namespace: Some("shop".into()),
        name: "door".into(),
        labels,
    })
}

prop_compose! {
    fn trial()(tried in 0..3_usize, refused in vec(text(&["Namespace a", "Deployment a/b"]), 0..3), blind in any::<bool>()) -> Trial {
        let refused: Vec<RefusedTrial> = refused.into_iter().map(|object| RefusedTrial { object, why: "policy: no".into() }).collect();
        Trial { tried: tried + refused.len(), refused, unknown: blind.then(|| "RBAC: no".into()) }
    }
}

prop_compose! {
    fn environment()(
        clusters in seen(vec(cluster(), 0..2)),
        crds in seen(vec(crd(), 0..4)),
        nodes in seen(vec(node(), 0..3)),
        budgets in seen(vec(budget(), 0..3)),
        autoscalers in seen(vec(autoscaler(), 0..2)),
        injectors in seen(vec(rule(), 0..5)),
        node_agents in seen(vec(agent(), 0..3)),
        envoy_filters in seen(vec(filter(), 0..3)),
        other_installers in seen(vec(text(&["Istio a (sailoperator.io)"]), 0..2)),
        risks in risks(),
        quotas in seen(vec(quota(), 0..2)),
        (helm_releases, drift, selections) in (seen(vec(helm_release(), 0..2)), seen(vec(drift(), 0..2)), seen(vec(selection(), 0..2))),
        (trial, unfenced) in (trial().prop_map(Seen::Present), seen(vec(text(&["ValidatingAdmissionPolicy x"]), 0..2))),
    ) -> Environment {
        Environment {
            clusters, crds, nodes, budgets, autoscalers, injectors, node_agents, envoy_filters, other_installers, risks,
            helm_releases, drift, selections, trial, unfenced, quotas,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_detection_is_told_in_full(
        upgrade in upgrade(),
        mut view in view(),
        environment in environment(),
        versions in vec(version(), 4),
        requests in (number(), number()),
    ) {
        view.environment = environment;
        if let Seen::Present(planes) = &mut view.control_planes {
            for (plane, version) in planes.iter_mut().zip(versions) {
                plane.version = Some(version);
                plane.requests = Requests { cpu: requests.0, memory: requests.1 };
            }
        }
        if let Seen::Present(workloads) = &mut view.workloads {
            for pod in workloads.iter_mut().flat_map(|workload| &mut workload.pods) {
                Arc::make_mut(pod).proxy_image = Some("gcr.io/istio-release/proxyv2:1.4294967295.0".into());
            }
        }
        let detection = detect(&upgrade, &view);
        prop_assert_eq!(&detection, &detect(&upgrade, &view));
        for told in &detection.checks {
            prop_assert!(explain(&told.code, &view.knowledge).is_some(), "{}", told.code);
            prop_assert!(!told.message.is_empty(), "{}", told.code);
            prop_assert!(told.objects.len() <= 5 && told.objects.len() <= told.objects_total as usize, "{told:?}");
            prop_assert_eq!(told.result == CheckResult::Failed && told.fix.is_empty(), false, "{:?}", told);
            let acceptable = find(&told.code).is_none_or(|check| check.acceptable);
            prop_assert!(told.result != CheckResult::Accepted || acceptable, "{}", told.code);
        }
        prop_assert_eq!(meshlift_detect::detect::reason(&detection).is_some(), detection.is_blocked());
    }
}
