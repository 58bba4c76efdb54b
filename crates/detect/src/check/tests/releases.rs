//! Helm releases, their values, the CRDs they own, and where images come from.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use meshlift_api::Move;
use meshlift_model::example::{
    ago, cart, labels, namespace, planes, pod, release, releases, version,
};
use meshlift_model::view::{
    Crd, HelmRunner, MeshView, NodeAgent, NodeAgentKind, ReleaseState, Seen, Tag,
};
use serde_json::{Map, Value, json};

use super::table::{Row, fine, unknown, wrong};
use super::{mesh, present, why};

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

/// The values of a release: of `base` at 0, of istiod at 1.
fn values(view: &mut MeshView, at: usize, values: Value) {
    releases(view)[at].values = object(values);
}

fn crd<'v>(view: &'v mut MeshView, name: &str) -> &'v mut Crd {
    let all = present(&mut view.environment.crds);
    all.iter_mut().find(|crd| crd.name == name).expect("a CRD")
}

fn runs(view: &mut MeshView, of: &str) {
    planes(view)[0].version = Some(version(of));
    for release in releases(view) {
        release.version = Some(version(of));
    }
    view.catalog = Seen::Present(["1.23.6", "1.24.6", "1.31.0"].map(version).into());
}

const GATEWAYS: &str = "gateways.networking.istio.io";

pub(super) fn rows() -> Vec<Row> {
    let mut rows = states();
    rows.extend(given());
    rows.extend(crds());
    rows.extend(gateway_api());
    rows.extend(hubs());
    rows.extend(images());
    rows
}

fn images() -> Vec<Row> {
    const PINNED: &str = "IMAGE-PINNED";
    const UNKNOWN: &str = "IMAGE-UNKNOWN";
    const DIGEST: &str = "reg.corp/istio/pilot@sha256:11";
    vec![
        wrong(
            PINNED,
            &["value pilot.image"],
            r#"kubectl patch mesh default --type merge -p '{"spec":{"values":{"istiod":{"pilot":{"image":"reg.corp/istio/pilot:1.31.0"}}}}}'"#,
            |_, v| {
                let image = "reg.corp/istio/pilot:1.30.2@sha256:11";
                values(v, 1, json!({ "pilot": { "image": image } }));
            },
        ),
        wrong(
            PINNED,
            &["value global.proxy.image"],
            "reg.corp:5000/proxyv2:1.31.0-distroless",
            |_, v| {
                let image = "reg.corp:5000/proxyv2:1.30.2-distroless";
                values(v, 1, json!({ "global": { "proxy": { "image": image } } }));
            },
        ),
        wrong(
            PINNED,
            &["value _internal_defaults_do_not_set.global.proxy_init.image"],
            "and it is 1.30.2",
            |_, v| {
                let init = json!({ "proxy_init": { "image": "reg.corp/proxyv2:1.30.2" } });
                values(
                    v,
                    1,
                    json!({ "_internal_defaults_do_not_set": { "global": init } }),
                );
            },
        ),
        wrong(
            PINNED,
            &["value image"],
            "upgrade one version at a time (spec.targetVersion: 1.30.5)",
            |_, v| {
                values(v, 1, json!({ "image": "reg.corp/pilot:1.29.8" }));
                planes(v)[0].version = Some(version("1.29.8"));
                v.catalog = Seen::Present(["1.30.5", "1.31.0"].map(version).into());
            },
        ),
        fine(PINNED, |_, v| {
            values(v, 1, json!({ "image": "reg.corp/pilot:1.30.2" }));
            mesh(v).values.istiod = object(json!({ "image": "reg.corp/pilot:1.31.0" }));
        }),
        fine(PINNED, |_, v| {
            values(v, 1, json!({ "image": "pilot", "tag": "1.30.2" }));
        }),
        wrong(
            UNKNOWN,
            &["value image"],
            "set spec.values.istiod.image of Mesh default to the image of Istio 1.31.0",
            |_, v| values(v, 1, json!({ "image": DIGEST })),
        ),
        wrong(UNKNOWN, &["value image"], "accept IMAGE-UNKNOWN", |_, v| {
            values(v, 1, json!({ "image": DIGEST }));
            mesh(v).values.istiod = object(json!({ "image": DIGEST }));
        }),
        fine(UNKNOWN, |_, v| {
            values(v, 1, json!({ "image": DIGEST }));
            let other = "reg.corp/istio/pilot@sha256:22";
            mesh(v).values.istiod = object(json!({ "image": other }));
        }),
    ]
}

fn states() -> Vec<Row> {
    vec![
        wrong(
            "HELM-PENDING",
            &["release istio-system/istiod"],
            "rollback istiod",
            |_, v| {
                let since = ago(60);
                releases(v)[1].state = ReleaseState::Pending {
                    since,
                    by: HelmRunner::Foreign,
                };
            },
        ),
        wrong(
            "HELM-FAILED",
            &["release istio-system/istiod"],
            "history istiod",
            |_, v| {
                releases(v)[1].state = ReleaseState::Failed;
            },
        ),
        wrong(
            "HELM-FAILED",
            &["release istio-system/istio-base"],
            "calls it uninstalling",
            |_, v| {
                releases(v)[0].state = ReleaseState::Other("uninstalling".into());
            },
        ),
        wrong(
            "HELM-FAILED",
            &["release istio-system/istiod-1-31-0"],
            "uninstall istiod-1-31-0",
            |_, v| {
                let mut left = release("istiod-1-31-0", "istiod", "1.31.0");
                left.state = ReleaseState::Other("uninstalling".into());
                releases(v).push(left);
            },
        ),
        fine("HELM-FAILED", |_, v| {
            let mut left = release("istiod-1-31-0", "istiod", "1.31.0");
            left.state = ReleaseState::Failed;
            releases(v).push(left);
        }),
        wrong(
            "BASE-VERSION",
            &["release istio-system/istio-base"],
            "is of 1.29.8",
            |_, v| {
                releases(v)[0].version = Some(version("1.29.8"));
            },
        ),
        fine("BASE-VERSION", |_, v| {
            releases(v)[0].version = Some(version("1.31.0"))
        }),
        wrong(
            "BASE-NEWER",
            &["release istio-system/istio-base"],
            "set targetVersion to 1.31.1",
            |_, v| releases(v)[0].version = Some(version("1.31.1")),
        ),
        fine("BASE-NEWER", |_, v| {
            releases(v)[0].version = Some(version("1.31.0"))
        }),
    ]
}

fn given() -> Vec<Row> {
    vec![
        wrong(
            "VALUES-NOT-CARRIED",
            &[],
            "spec.values.istiod of the Mesh",
            |_, v| {
                values(v, 1, json!({ "global": { "tag": "our-own" } }));
            },
        ),
        wrong(
            "VALUES-REFUSED",
            &[],
            "chart istiod have the key",
            |_, v| {
                values(v, 1, json!({ "defaults": { "hub": "example.org" } }));
            },
        ),
        wrong("VALUES-REFUSED", &[], "chart base have the key", |_, v| {
            mesh(v).values.base = object(json!({ "defaults": { "a": 1 } }));
        }),
        fine("VALUES-REFUSED", |_, v| {
            values(v, 1, json!({ "defaults": {} }))
        }),
        wrong(
            "COMPATIBILITY-VERSION",
            &[],
            "compatibilityVersion \"1.24\"",
            |_, v| {
                values(v, 1, json!({ "compatibilityVersion": "1.24" }));
            },
        ),
        // As YAML reads it without quotes.
        wrong("COMPATIBILITY-VERSION", &[], "chart base ask", |_, v| {
            values(v, 0, json!({ "compatibilityVersion": 1.3 }));
        }),
        fine("COMPATIBILITY-VERSION", |_, v| {
            values(v, 1, json!({ "compatibilityVersion": "1.30" }));
        }),
        fine("COMPATIBILITY-VERSION", |_, v| {
            values(v, 1, json!({ "compatibilityVersion": "1.24" }));
            mesh(v).values.istiod = object(json!({ "compatibilityVersion": "" }));
        }),
        wrong(
            "TAGS-STAY",
            &["tag prod"],
            "istioctl tag set <tag> --revision 1-31-0",
            |u, v| {
                u.spec.data_plane.by = Move::Labels;
                *v.tags_mut() = vec![tag("default")];
            },
        ),
        wrong("TAGS-STAY", &["tag prod"], "istioctl tag set", |_, v| {
            *v.tags_mut() = vec![Tag {
                by_url: true,
                ..tag("default")
            }];
        }),
        wrong("TAGS-STAY", &["tag prod"], "istioctl tag set", |u, v| {
            *v.tags_mut() = vec![tag("default")];
            namespace(v).labels = labels(&[("istio.io/rev", "prod"), ("team", "legacy")]);
            u.spec.data_plane.exclude = Some(LabelSelector {
                match_labels: Some(labels(&[("team", "legacy")])),
                ..LabelSelector::default()
            });
        }),
        // It is pointed at the new one.
        fine("TAGS-STAY", |_, v| *v.tags_mut() = vec![tag("default")]),
        fine("TAGS-STAY", |_, v| {
            *v.tags_mut() = vec![Tag {
                name: "prod".into(),
                revision: "1-31-0".into(),
                ..Tag::default()
            }];
        }),
    ]
}

fn tag(revision: &str) -> Tag {
    Tag {
        name: "prod".into(),
        revision: revision.into(),
        ..Tag::default()
    }
}

fn crds() -> Vec<Row> {
    const GATEWAY: &[&str] = &["CustomResourceDefinition gateways.networking.istio.io"];
    vec![
        wrong(
            "CRD-NOT-OWNED",
            GATEWAY,
            "release-name=istio-base",
            |_, v| {
                crd(v, GATEWAYS).helm_release = None;
                crd(v, GATEWAYS).labels.clear();
            },
        ),
        wrong(
            "CRD-NOT-OWNED",
            GATEWAY,
            "app.kubernetes.io/managed-by=Helm",
            |_, v| {
                crd(v, GATEWAYS).labels.clear();
            },
        ),
        wrong(
            "CRD-NOT-OWNED",
            GATEWAY,
            "Helm release old/base owns 1 CRD of Istio",
            |_, v| {
                crd(v, GATEWAYS).helm_release = Some("old/base".into());
            },
        ),
        unknown("CRD-NOT-OWNED", |_, v| v.environment.crds = why()),
        // Nobody renders these with the release.
        fine("CRD-NOT-OWNED", |_, v| {
            crd(v, GATEWAYS).helm_release = None;
            values(v, 0, json!({ "base": { "excludedCRDs": [GATEWAYS] } }));
        }),
        fine("CRD-NOT-OWNED", |_, v| {
            crd(v, GATEWAYS).helm_release = None;
            values(v, 0, json!({ "global": { "resourceScope": "namespace" } }));
        }),
        fine("CRD-NOT-OWNED", |u, v| {
            runs(v, "1.22.8");
            u.spec.target_version = "1.23.6".into();
            crd(v, GATEWAYS).helm_release = None;
        }),
        wrong(
            "CRD-BY-HAND",
            &[],
            "apply --server-side --force-conflicts -f manifests/charts/base/crds",
            |u, v| {
                runs(v, "1.22.8");
                u.spec.target_version = "1.23.6".into();
            },
        ),
        wrong("CRD-BY-HAND", &[], "files/crd-all.gen.yaml", |_, v| {
            values(v, 0, json!({ "global": { "resourceScope": "namespace" } }));
        }),
        fine("CRD-BY-HAND", |u, v| {
            runs(v, "1.23.1");
            u.spec.target_version = "1.23.6".into();
        }),
        wrong(
            "CRD-STORED-VERSION",
            GATEWAY,
            "in a version that Istio 1.31.0 does not have (v2)",
            |_, v| {
                crd(v, GATEWAYS).stored_versions.push("v2".into());
            },
        ),
        // v1 came with 1.22.
        wrong(
            "CRD-STORED-VERSION",
            &[
                "CustomResourceDefinition destinationrules.networking.istio.io",
                "CustomResourceDefinition gateways.networking.istio.io",
                "CustomResourceDefinition serviceentries.networking.istio.io",
                "CustomResourceDefinition sidecars.networking.istio.io",
                "CustomResourceDefinition virtualservices.networking.istio.io",
            ],
            "CRDs cannot go back",
            |u, v| {
                runs(v, "1.20.8");
                u.spec.target_version = "1.21.6".into();
                v.catalog = Seen::Present(vec![version("1.21.6")]);
            },
        ),
        unknown("CRD-STORED-VERSION", |_, v| v.environment.crds = why()),
        wrong("CRD-MISSING", GATEWAY, "excludedCRDs", |_, v| {
            present(&mut v.environment.crds).retain(|crd| crd.name != GATEWAYS);
        }),
        fine("CRD-MISSING", |_, v| {
            present(&mut v.environment.crds).retain(|crd| crd.name != GATEWAYS);
            values(v, 0, json!({ "base": { "excludedCRDs": [GATEWAYS] } }));
        }),
        unknown("CRD-MISSING", |_, v| v.environment.crds = why()),
        fine("CRD-MISSING", |_, v| v.environment.crds = Seen::Absent),
    ]
}

fn gateway_api() -> Vec<Row> {
    const TCP: &str = "tcproutes.gateway.networking.k8s.io";
    const OBJECT: &[&str] = &["CustomResourceDefinition tcproutes.gateway.networking.k8s.io"];
    vec![
        wrong(
            "GATEWAY-API-TOO-OLD",
            OBJECT,
            "is of v1.4.1 and has to be of v1.6.0",
            |_, v| {
                crd(v, TCP).bundle_version = Some("v1.4.1".into());
            },
        ),
        // istiod ignores those too.
        wrong("GATEWAY-API-TOO-OLD", OBJECT, "is of no version", |_, v| {
            crd(v, TCP).bundle_version = None;
        }),
        wrong("GATEWAY-API-TOO-OLD", OBJECT, "is of main", |_, v| {
            crd(v, TCP).bundle_version = Some("main".into());
        }),
        fine("GATEWAY-API-TOO-OLD", |_, v| {
            crd(v, TCP).bundle_version = Some("v1.6.0-rc.1".into());
        }),
        // 1.31.0 already does not see them.
        fine("GATEWAY-API-TOO-OLD", |u, v| {
            runs(v, "1.31.0");
            u.spec.target_version = "1.31.1".into();
            v.catalog = Seen::Present(vec![version("1.31.1")]);
            crd(v, TCP).bundle_version = Some("v1.4.1".into());
        }),
        unknown("GATEWAY-API-TOO-OLD", |_, v| v.environment.crds = why()),
        wrong(
            "GATEWAY-API-UNSERVED",
            &["CustomResourceDefinition grpcroutes.gateway.networking.k8s.io"],
            "v1 of grpcroutes is not served",
            |_, v| {
                let routes = crd(v, "grpcroutes.gateway.networking.k8s.io");
                routes.served_versions = vec!["v1alpha2".into()];
            },
        ),
        wrong(
            "GATEWAY-API-UNSERVED",
            &["CustomResourceDefinition referencegrants.gateway.networking.k8s.io"],
            "v1beta1 of referencegrants is not served",
            |_, v| {
                let grants = crd(v, "referencegrants.gateway.networking.k8s.io");
                grants.served_versions = vec!["v1alpha2".into()];
            },
        ),
        unknown("GATEWAY-API-UNSERVED", |_, v| v.environment.crds = why()),
    ]
}

fn hubs() -> Vec<Row> {
    vec![
        wrong(
            "HUB-WITHOUT-TARGET",
            &[],
            "set spec.hub of the Mesh",
            |_, v| {
                values(v, 1, json!({ "global": { "hub": "gcr.io/istio-release" } }));
            },
        ),
        wrong(
            "HUB-WITHOUT-TARGET",
            &[],
            "set hub under spec.values.istiod",
            |_, v| {
                values(v, 1, json!({ "hub": "registry.istio.io/release" }));
            },
        ),
        fine("HUB-WITHOUT-TARGET", |_, v| {
            values(v, 1, json!({ "global": { "hub": "gcr.io/istio-release" } }));
            mesh(v).hub = Some("docker.io/istio".into());
        }),
        fine("HUB-WITHOUT-TARGET", |_, v| {
            values(v, 1, json!({ "hub": "gcr.io/istio-release-mirror" }));
        }),
        wrong(
            "HUB-RETIRED",
            &["Deployment istio-system/istiod"],
            "December 2026",
            |_, v| {
                planes(v)[0].image = "registry.istio.io/release/pilot:1.30.2".into();
            },
        ),
        wrong(
            "HUB-RETIRED",
            &["Deployment shop/cart"],
            "gcr.io/istio-release",
            |_, v| {
                let image = Some("gcr.io/istio-release/proxyv2:1.30.2".into());
                let mut with = pod("cart-1", "default");
                with.proxy_image = image;
                cart(v).pods = vec![Arc::new(with)];
            },
        ),
        wrong(
            "HUB-RETIRED",
            &["DaemonSet kube-system/istio-cni-node"],
            "for what it does not upgrade",
            |_, v| {
                present(&mut v.environment.node_agents).push(NodeAgent {
                    kind: NodeAgentKind::Cni,
                    namespace: "kube-system".into(),
                    name: "istio-cni-node".into(),
                    version: Some(version("1.30.2")),
                    image: "gcr.io/istio-release/install-cni:1.30.2".into(),
                    desired: 2,
                    ready: 2,
                });
            },
        ),
        // Charts of 1.30 have such a hub by themselves.
        wrong(
            "HUB-RETIRED",
            &["images of Istio 1.30.5 (registry.istio.io/release)"],
            "spec.hub",
            |u, v| {
                runs(v, "1.30.2");
                u.spec.target_version = "1.30.5".into();
                v.catalog = Seen::Present(vec![version("1.30.5")]);
            },
        ),
    ]
}
