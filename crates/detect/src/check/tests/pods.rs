//! Sidecars and the workloads they are in.

use std::sync::Arc;

use meshlift_api::RestartMethod;
use meshlift_model::example::{TARGET, ago, cart, labels, pod, selector, workload};
use meshlift_model::view::{
    Budget, EnvoyFilter, MeshView, Seen, UndecodedObject, UpdateStrategy, WorkloadKind,
};
use serde_json::json;

use super::table::{Row, fine, unknown, wrong};
use super::{present, why};

const CART: &[&str] = &["Deployment shop/cart"];

fn proxy(view: &mut MeshView, image: &str) {
    let mut with = pod("cart-1", "default");
    with.proxy_image = Some(image.into());
    cart(view).pods = vec![Arc::new(with)];
}

fn budget(view: &mut MeshView, allowed: i32) {
    cart(view).template_labels = labels(&[("app", "cart")]);
    present(&mut view.environment.budgets).push(Budget {
        namespace: "shop".into(),
        name: "cart".into(),
        selector: selector(json!({ "matchLabels": { "app": "cart" } })),
        allowed,
        expected: 1,
        ..Budget::default()
    });
}

fn filter(view: &mut MeshView, versions: &[&str]) {
    present(&mut view.environment.envoy_filters).push(EnvoyFilter {
        namespace: "shop".into(),
        name: "lua".into(),
        proxy_versions: versions.iter().map(|v| (*v).to_owned()).collect(),
    });
}

fn ill(view: &mut MeshView) {
    let mut ill = pod("cart-1", "default");
    ill.ready = false;
    ill.trouble = Some("container app: CrashLoopBackOff".into());
    cart(view).pods = vec![Arc::new(ill)];
    cart(view).settled = false;
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = proxies();
    rows.extend(readiness());
    rows.extend(not_moved());
    rows.extend(budgets());
    rows.extend(envoy_filters());
    rows.push(undecoded());
    rows
}

fn undecoded() -> Row {
    wrong(
        "OBJECT-UNREADABLE",
        &["Rollout shop/cart"],
        "1 object cannot be read, and is left alone: Rollout shop/cart (spec.replicas: invalid type)",
        |_, v| {
            v.undecoded.push(UndecodedObject {
                reference: "Rollout shop/cart".into(),
                why: "spec.replicas: invalid type".into(),
            });
        },
    )
}

fn proxies() -> Vec<Row> {
    vec![
        wrong("PROXY-TOO-OLD", CART, "1 sidecar of 1.28.4", |_, v| {
            proxy(v, "example.org/proxyv2:1.28.4-distroless");
        }),
        fine("PROXY-TOO-OLD", |_, v| {
            proxy(v, "example.org/proxyv2:1.29.8")
        }),
        wrong("PROXY-NEWER", CART, "1 sidecar of 1.31.0", |_, v| {
            proxy(v, "example.org:5000/istio/proxyv2:1.31.0");
        }),
        fine("PROXY-NEWER", |_, v| proxy(v, "example.org/proxyv2:1.30.9")),
        wrong("PROXY-VERSION-UNKNOWN", CART, "1 sidecar", |_, v| {
            proxy(v, "example.org:5000/proxyv2@sha256:0123");
        }),
        fine("PROXY-VERSION-UNKNOWN", |_, v| {
            proxy(v, "example.org/proxyv2:1.30.2@sha256:0123");
        }),
    ]
}

fn readiness() -> Vec<Row> {
    vec![
        wrong(
            "POD-NOT-READY",
            &["Pod shop/cart-1"],
            "cart-1: container app: CrashLoopBackOff",
            |_, v| ill(v),
        ),
        // It is being restarted for this target.
        fine("POD-NOT-READY", |_, v| {
            ill(v);
            cart(v).mark = Some(TARGET.into());
        }),
        wrong("ROLLOUT-UNFINISHED", CART, "rollout status", |_, v| {
            cart(v).settled = false
        }),
        fine("ROLLOUT-UNFINISHED", |_, v| ill(v)),
        fine("ROLLOUT-UNFINISHED", |_, v| {
            cart(v).settled = false;
            cart(v).mark = Some(TARGET.into());
            cart(v).restarted_at = Some(ago(5));
        }),
        wrong("SINGLE-REPLICA", CART, "1 workload with one pod", |_, _| {}),
        wrong(
            "SINGLE-REPLICA",
            &["StatefulSet shop/db", "Deployment shop/cart"],
            "away meanwhile: StatefulSet shop/db",
            |_, v| {
                let mut db = workload("db", "default");
                db.key.kind = WorkloadKind::StatefulSet;
                present(&mut v.workloads).push(db);
            },
        ),
        wrong(
            "SINGLE-REPLICA",
            CART,
            "away meanwhile: Deployment shop/cart",
            |u, _| {
                u.spec.data_plane.restart.method = RestartMethod::Evict;
            },
        ),
        // All of them at once.
        wrong(
            "SINGLE-REPLICA",
            CART,
            "away meanwhile: Deployment shop/cart",
            |_, v| {
                cart(v).strategy = UpdateStrategy::Recreate;
                cart(v).pods.push(Arc::new(pod("cart-2", "default")));
            },
        ),
        fine("SINGLE-REPLICA", |u, v| {
            u.spec.data_plane.restart.method = RestartMethod::Evict;
            cart(v).strategy = UpdateStrategy::Recreate;
            cart(v).pods.push(Arc::new(pod("cart-2", "default")));
        }),
        fine("SINGLE-REPLICA", |_, v| {
            cart(v).key.kind = WorkloadKind::DaemonSet
        }),
        fine("SINGLE-REPLICA", |_, v| {
            cart(v).pods.push(Arc::new(pod("cart-2", "default")));
        }),
    ]
}

fn not_moved() -> Vec<Row> {
    const CODE: &str = "NOT-MOVED";
    const LONELY: &[&str] = &["Pod shop/lonely"];
    fn loose(view: &mut MeshView, owner: Option<&str>) {
        let mut lonely = pod("lonely", "default");
        lonely.owner_kind = owner.map(str::to_owned);
        view.loose_pods = vec![Arc::new(lonely)];
    }
    vec![
        unknown(CODE, |_, v| v.workloads = why()),
        wrong(CODE, LONELY, "kubectl -n shop get pod lonely", |_, v| {
            loose(v, None)
        }),
        wrong(CODE, LONELY, "run to their end", |_, v| {
            loose(v, Some("Job"))
        }),
        wrong(CODE, LONELY, "controllers that this operator", |_, v| {
            loose(v, Some("GameServer"));
        }),
        wrong(CODE, CART, "delete its pods one by one", |_, v| {
            cart(v).strategy = UpdateStrategy::OnDelete;
        }),
        wrong(CODE, CART, "set the partition to 0", |_, v| {
            cart(v).strategy = UpdateStrategy::Partition(2);
        }),
        wrong(CODE, CART, "rollout resume deployment/cart", |_, v| {
            cart(v).paused = true
        }),
        wrong(CODE, CART, "remove the label", |u, v| {
            cart(v).labels = labels(&[("team", "legacy")]);
            let legacy = selector(json!({ "matchLabels": { "team": "legacy" } }));
            u.spec.data_plane.exclude = Some(legacy);
        }),
        wrong(
            CODE,
            &["ReplicaSet shop/cart"],
            "without a Deployment",
            |_, v| {
                cart(v).key.kind = WorkloadKind::ReplicaSet;
            },
        ),
        wrong(CODE, &["CloneSet shop/cart"], "in place", |_, v| {
            cart(v).key.kind = WorkloadKind::CloneSet;
            cart(v).strategy = UpdateStrategy::InPlace;
        }),
        // What does not roll is evicted.
        fine(CODE, |u, v| {
            u.spec.data_plane.restart.method = RestartMethod::Evict;
            cart(v).strategy = UpdateStrategy::OnDelete;
        }),
        // It moves, which another check tells more of.
        fine(CODE, |_, v| cart(v).own_proxy_image = true),
        wrong("PROXY-IMAGE-PINNED", CART, "keeps that proxy", |_, v| {
            cart(v).own_proxy_image = true;
        }),
        wrong(CODE, CART, "gateways that istiod rolls itself", |_, v| {
            cart(v).managed_gateway = true;
        }),
        wrong(CODE, CART, "out of the mesh", |_, v| {
            cart(v).template_labels = labels(&[("sidecar.istio.io/inject", "false")]);
        }),
    ]
}

fn budgets() -> Vec<Row> {
    const BUDGET: &[&str] = &["PodDisruptionBudget shop/cart"];
    vec![
        wrong("PDB-BLOCKS", BUDGET, "accept PDB-BLOCKS", |_, v| {
            budget(v, 0)
        }),
        wrong(
            "PDB-BLOCKS",
            BUDGET,
            "are not evicted until it does",
            |u, v| {
                budget(v, 0);
                u.spec.data_plane.restart.method = RestartMethod::Evict;
            },
        ),
        fine("PDB-BLOCKS", |_, v| budget(v, 1)),
        // Of pods without a sidecar.
        fine("PDB-BLOCKS", |_, v| {
            budget(v, 0);
            cart(v).template_labels = labels(&[("app", "web")]);
        }),
        wrong("PDB-BLOCKS", BUDGET, "allows no disruption", |_, v| {
            budget(v, 0);
            present(&mut v.environment.budgets)[1].selector = selector(json!({}));
        }),
        unknown("PDB-BLOCKS", |_, v| v.environment.budgets = why()),
        fine("PDB-BLOCKS", |_, v| v.environment.budgets = Seen::Absent),
    ]
}

fn envoy_filters() -> Vec<Row> {
    const CODE: &str = "ENVOYFILTER-PINNED";
    const LUA: &[&str] = &["EnvoyFilter shop/lua"];
    vec![
        wrong(
            CODE,
            LUA,
            "sidecars of 1.31.0 lose what 1 EnvoyFilter",
            |_, v| filter(v, &[r"^1\.30.*"]),
        ),
        wrong(CODE, LUA, "proxyVersion", |_, v| {
            filter(v, &["", r"1\.(29|30)\.\d+"])
        }),
        fine(CODE, |_, v| filter(v, &[r"^1\.3\d.*"])),
        // It does not apply now.
        fine(CODE, |_, v| filter(v, &[r"^1\.29.*"])),
        fine(CODE, |_, v| filter(v, &[r"^1\.30.*", r"^1\.31.*"])),
        fine(CODE, |_, v| filter(v, &["(["])),
        unknown(CODE, |_, v| v.environment.envoy_filters = why()),
    ]
}
