use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use meshlift_api::{GatewayOrder, NamespaceSelector, Phase, RollbackStatus};
use serde_json::json;

use super::*;
use crate::example::{before, istiod, labels, now, planes, pod, record, upgrade, workload};
use crate::record::{RecordedNamespace, RecordedWave};
use crate::view::{MeshView, Namespace, Seen};

fn namespace(name: &str, pairs: &[(&str, &str)]) -> Namespace {
    Namespace {
        name: name.into(),
        labels: labels(pairs),
        ..Namespace::default()
    }
}

/// Four injected namespaces, and one that is not.
fn view() -> MeshView {
    let injected = |name, tier| namespace(name, &[("istio-injection", "enabled"), ("tier", tier)]);
    MeshView {
        namespaces: Seen::Present(vec![
            injected("shop", "prod"),
            injected("blog", "prod"),
            injected("staging", "test"),
            injected("wiki", "prod"),
            namespace("plain", &[("tier", "prod")]),
        ]),
        ..before()
    }
}

fn wave(name: &str, namespaces: serde_json::Value) -> Wave {
    Wave {
        name: name.into(),
        namespaces: serde_json::from_value(namespaces).expect("a selector"),
        ..Wave::default()
    }
}

fn with(waves: Vec<Wave>) -> Upgrade {
    let mut upgrade = upgrade(Phase::Upgrading);
    upgrade.spec.data_plane.waves = waves;
    upgrade
}

fn names(upgrade: &Upgrade, view: &MeshView) -> Vec<(String, Vec<String>)> {
    let pinned = pinned(upgrade, &Candidates::of(upgrade, view));
    let pair = |wave: RecordedWave| (wave.name, wave.namespaces);
    pinned.into_iter().map(pair).collect()
}

fn expected(waves: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    let owned = |(name, of): &(&str, &[&str])| {
        let of = of.iter().map(|ns| (*ns).to_owned()).collect();
        ((*name).to_owned(), of)
    };
    waves.iter().map(owned).collect()
}

#[test]
fn without_waves_and_gateways_all_moves_at_once() {
    assert_eq!(names(&with(Vec::new()), &view()), Vec::new());
}

#[test]
fn waves_take_by_name_and_label_and_the_first_that_fits() {
    let upgrade = with(vec![
        wave(
            "one",
            json!({ "names": ["wiki", "nowhere", "plain"], "matchLabels": { "tier": "test" } }),
        ),
        wave(
            "two",
            json!({ "matchExpressions": [{ "key": "tier", "operator": "Exists" }] }),
        ),
        wave("none", json!({})),
    ]);
    let two = &["blog", "shop"];
    let all: [(&str, &[&str]); 4] = [
        ("one", &["staging", "wiki"]),
        ("two", two),
        ("none", &[]),
        (REST, &[]),
    ];
    assert_eq!(names(&upgrade, &view()), expected(&all));
}

#[test]
fn a_percentage_is_of_all_rounded_up_and_takes_what_is_left() {
    let upgrade = with(vec![
        wave("named", json!({ "names": ["blog"] })),
        wave("some", json!({ "percent": 26 })),
        wave(
            "one",
            json!({ "matchLabels": { "tier": "prod" }, "percent": 1 }),
        ),
        wave("all", json!({ "percent": 100 })),
    ]);
    let all: [(&str, &[&str]); 5] = [
        ("named", &["blog"]),
        ("some", &["shop", "staging"]),
        ("one", &["wiki"]),
        ("all", &[]),
        (REST, &[]),
    ];
    assert_eq!(names(&upgrade, &view()), expected(&all));
}

#[test]
fn what_is_left_alone_goes_or_is_of_another_mesh_takes_no_place() {
    let mut view = view();
    planes(&mut view).push(crate::view::ControlPlane {
        namespace: "istio-b".into(),
        ..istiod("team-b", "1.30.2")
    });
    let Seen::Present(all) = &mut view.namespaces else {
        panic!("no namespaces");
    };
    all[1].terminating = true;
    all[3].labels = labels(&[("istio.io/rev", "team-b")]);
    all[4].labels = labels(&[("istio.io/rev", "nothing")]);
    let mut upgrade = with(vec![wave("half", json!({ "percent": 50 }))]);
    assert_eq!(names(&upgrade, &view)[0].1, ["shop"]);
    upgrade.spec.data_plane.exclude = Some(LabelSelector {
        match_labels: Some(labels(&[("tier", "prod")])),
        ..LabelSelector::default()
    });
    assert_eq!(names(&upgrade, &view)[0].1, ["staging"]);
}

fn gateway(namespace: &str) -> Workload {
    let mut workload = workload("ingress", "default");
    workload.key.namespace = namespace.into();
    workload.injected_gateway = true;
    workload
}

#[test]
fn gateways_are_a_stage_where_the_spec_puts_them() {
    let mut view = view();
    view.workloads = Seen::Present(vec![
        gateway("ingress"),
        gateway("shop"),
        workload("cart", "default"),
    ]);
    let Seen::Present(all) = &mut view.namespaces else {
        panic!("no namespaces");
    };
    all.push(namespace("ingress", &[("istio-injection", "enabled")]));
    let mut upgrade = with(vec![wave("all", json!({ "percent": 100 }))]);
    let wave = ("all", &["blog", "shop", "staging", "wiki"][..]);
    let gateways = (GATEWAYS, &["ingress"][..]);
    let rest = (REST, &[][..]);
    assert_eq!(names(&upgrade, &view), expected(&[wave, rest, gateways]));
    upgrade.spec.gateways.order = GatewayOrder::First;
    assert_eq!(names(&upgrade, &view), expected(&[gateways, wave, rest]));
    upgrade.spec.gateways.order = GatewayOrder::None;
    assert_eq!(names(&upgrade, &view), expected(&[wave, rest]));
    upgrade.spec.data_plane.waves.clear();
    assert_eq!(names(&upgrade, &view), Vec::new());
}

#[test]
fn a_namespace_whose_templates_ask_for_injection_belongs_to_its_wave() {
    let mut view = view();
    let mut plain = workload("cart", "default");
    plain.key.namespace = "plain".into();
    view.workloads = Seen::Present(vec![plain]);
    let upgrade = with(vec![wave("one", json!({ "names": ["plain"] }))]);
    assert_eq!(names(&upgrade, &view)[0].1, ["plain"]);
}

/// Waves `one` (shop) and `two` (blog, approval required), and the rest, with these states.
fn row(states: &[(WaveState, bool)], approvals: &[&str]) -> (Upgrade, Record) {
    let mut two = wave("two", json!({ "names": ["blog"] }));
    two.approval = Approval::Required;
    let mut upgrade = with(vec![wave("one", json!({ "names": ["shop"] })), two]);
    upgrade.spec.approvals = approvals.iter().map(|name| (*name).to_owned()).collect();
    let recorded = |name: &str, of: &[&str]| RecordedWave {
        name: name.into(),
        namespaces: of.iter().map(|ns| (*ns).to_owned()).collect(),
    };
    let waves = vec![
        recorded("one", &["shop"]),
        recorded("two", &["blog"]),
        recorded(REST, &[]),
        recorded(GATEWAYS, &["ingress"]),
    ];
    let status = |(wave, (state, begun)): (&RecordedWave, &(WaveState, bool))| WaveStatus {
        state: *state,
        started_at: begun.then(|| Time(now())),
        ..WaveStatus::pending(&wave.name)
    };
    upgrade.status.waves = waves.iter().zip(states).map(status).collect();
    let record = Record { waves, ..record() };
    (upgrade, record)
}

fn openness(states: &[(WaveState, bool)], approvals: &[&str]) -> Vec<bool> {
    let (upgrade, record) = row(states, approvals);
    let stages = Stages::of(&upgrade, &record);
    (0..4).map(|stage| stages.is_open(stage)).collect()
}

#[test]
fn a_wave_opens_when_the_one_before_is_verified_and_a_person_lets_it() {
    use WaveState::{Moving, Pending, Verified, WaitingForApproval};
    let done = (Verified, true);
    assert_eq!(openness(&[], &[]), [true, false, false, false]);
    assert_eq!(
        openness(&[(Moving, true)], &["two"]),
        [true, false, false, false]
    );
    assert_eq!(openness(&[done], &[]), [true, false, false, false]);
    assert_eq!(
        openness(&[done, (WaitingForApproval, false)], &["two"]),
        [true, true, false, false]
    );
    // What has begun goes on without its approval.
    assert_eq!(
        openness(&[done, (Moving, true)], &[]),
        [true, true, false, false]
    );
    assert_eq!(
        openness(&[done, done, (Pending, false)], &[]),
        [true, true, true, false]
    );
    // One that was passed over because it had nothing to move still needs its approval.
    assert_eq!(
        openness(&[done, (Verified, false)], &[]),
        [true, false, true, false]
    );
    assert_eq!(
        openness(&[done, (Verified, false), done, done], &[]),
        [true, false, true, true]
    );
}

#[test]
fn back_goes_everything_at_once() {
    let (mut upgrade, record) = row(&[], &[]);
    upgrade.status.rollback = Some(RollbackStatus {
        reason: "x".into(),
        since: Time(now()),
        soak: None,
    });
    let stages = Stages::of(&upgrade, &record);
    assert!((0..4).all(|stage| stages.is_open(stage)));
}

#[test]
fn what_appears_later_belongs_to_the_rest_and_gateways_to_their_own_stage() {
    let (upgrade, mut record) = row(&[], &[]);
    let stages = Stages::of(&upgrade, &record);
    assert_eq!(stages.of_namespace("blog"), 1);
    assert_eq!(stages.of_namespace("new"), 2);
    assert_eq!(stages.of_workload(&gateway("shop")), 3);
    assert_eq!(stages.of_workload(&workload("cart", "default")), 0);
    let seen = |name: &str| RecordedNamespace {
        name: name.into(),
        labels: BTreeMap::new(),
    };
    record.namespaces = vec![seen("shop"), seen("wiki")];
    let (cart, ingress) = (workload("cart", "default"), gateway("shop"));
    let stages = Stages::of(&upgrade, &record);
    let of = stages.namespaces(&record, [&cart, &ingress].into_iter());
    let names: Vec<Vec<&str>> = of.iter().map(|of| of.iter().copied().collect()).collect();
    assert_eq!(
        names,
        [
            vec!["shop"],
            vec!["blog"],
            vec!["wiki"],
            vec!["ingress", "shop"]
        ]
    );
}

#[test]
fn a_record_without_waves_has_everything_open() {
    let (upgrade, record) = (upgrade(Phase::Upgrading), record());
    let stages = Stages::of(&upgrade, &record);
    assert!(stages.is_open(0) && stages.is_open(7) && stages.current().is_none());
    let mut pod = pod("a", "default");
    pod.namespace = "anywhere".into();
    assert_eq!(stages.of_namespace(&pod.namespace), 0);
    assert_eq!(NamespaceSelector::default().labels(), None);
}
