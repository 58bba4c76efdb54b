//! What is only asked where the control plane is upgraded in place, and what is not asked then.

use meshlift_api::{InPlace, Phase, Strategy};
use meshlift_model::example::{cart, planes, surrounded, upgrade};
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{MeshView, Seen};

use super::table::{Row, fine, unknown, wrong};
use super::{present, releases, why};
use crate::detect::detect;

const ISTIOD: &[&str] = &["Deployment istio-system/istiod"];

fn in_place(upgrade: &mut Upgrade, view: &mut MeshView) {
    upgrade.spec.strategy = Strategy::InPlace;
    for pod in &mut cart(view).pods {
        std::sync::Arc::make_mut(pod).proxy_image = Some("example.org/proxyv2:1.30.2".into());
    }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = control_plane();
    rows.extend(workloads());
    rows
}

fn control_plane() -> Vec<Row> {
    vec![
        wrong("IN-PLACE-REPLICAS", ISTIOD, "autoscaleMin=2", |u, v| {
            in_place(u, v);
            present(&mut v.environment.autoscalers)[0].min = 1;
        }),
        wrong("IN-PLACE-REPLICAS", ISTIOD, "replicaCount=2", |u, v| {
            in_place(u, v);
            v.environment.autoscalers = Seen::Absent;
            planes(v)[0].desired = 1;
        }),
        fine("IN-PLACE-REPLICAS", in_place),
        fine("IN-PLACE-REPLICAS", |u, v| {
            in_place(u, v);
            present(&mut v.environment.autoscalers)[0].min = 1;
            u.spec.in_place = Some(InPlace {
                ensure_replicas: Some(2),
            });
        }),
        unknown("IN-PLACE-REPLICAS", |u, v| {
            in_place(u, v);
            v.environment.autoscalers = why();
        }),
        wrong(
            "IN-PLACE-BUDGET",
            ISTIOD,
            "defaultPodDisruptionBudget",
            |u, v| {
                in_place(u, v);
                present(&mut v.environment.budgets)[0].namespace = "shop".into();
            },
        ),
        fine("IN-PLACE-BUDGET", in_place),
    ]
}

fn workloads() -> Vec<Row> {
    vec![
        // It is being restarted for this target, and the mark says so by the version.
        fine("ROLLOUT-UNFINISHED", |u, v| {
            in_place(u, v);
            cart(v).settled = false;
            cart(v).mark = Some("1-31-0".into());
        }),
        wrong(
            "IN-PLACE-VERSIONS",
            &["Deployment shop/cart"],
            "Canary",
            |u, v| {
                in_place(u, v);
                std::sync::Arc::make_mut(&mut cart(v).pods[0]).proxy_image =
                    Some("example.org/proxyv2@sha256:abc".into());
            },
        ),
        // That stays what it is, and is named as such.
        fine("IN-PLACE-VERSIONS", |u, v| {
            in_place(u, v);
            cart(v).own_proxy_image = true;
            std::sync::Arc::make_mut(&mut cart(v).pods[0]).proxy_image = None;
        }),
        wrong(
            "IN-PLACE-GATEWAYS",
            &["Deployment shop/cart"],
            "two replicas",
            |u, v| {
                in_place(u, v);
                cart(v).managed_gateway = true;
            },
        ),
    ]
}

#[test]
fn what_a_second_control_plane_needs_is_not_asked_in_place() {
    let (mut upgrade, mut view) = (upgrade(Phase::Detecting), surrounded());
    for node in present(&mut view.environment.nodes) {
        node.schedulable = false;
    }
    assert!(detect(&upgrade, &view).is_blocked());
    in_place(&mut upgrade, &mut view);
    let detection = detect(&upgrade, &view);
    assert!(!detection.is_blocked(), "{}", detection.summary());
    let target = detection.target.expect("a target");
    assert_eq!(target.revision.as_deref(), Some("default"), "it stays");
}

#[test]
fn the_upgrade_raises_the_minimum_only_where_there_is_an_autoscaler() {
    let (mut upgrade, mut view) = (upgrade(Phase::Detecting), surrounded());
    in_place(&mut upgrade, &mut view);
    let fix = |view: &MeshView| {
        let checks = detect(&upgrade, view).checks;
        let found = checks.into_iter().find(|c| c.code == "IN-PLACE-REPLICAS");
        found.expect("one replica is too few").fix
    };
    present(&mut view.environment.autoscalers)[0].min = 1;
    let autoscaled = fix(&view);
    assert!(autoscaled.contains("--ensure-replicas 2"), "{autoscaled}");

    view.environment.autoscalers = Seen::Absent;
    planes(&mut view)[0].desired = 1;
    releases(&mut view)[1]
        .values
        .insert("autoscaleEnabled".into(), false.into());
    let fixed = fix(&view);
    assert!(fixed.starts_with("scale istiod first"), "{fixed}");
}
