//! Everything ends or waits for a person it names: metrics, what appears late, requests after the end, waves.

use meshlift_api::{Approval, RollbackStatus, Soak, Wave, WaveState};
use meshlift_model::decision::Decision;
use meshlift_model::example::{labels, pod, record};
use meshlift_model::record::RecordedWave;
use meshlift_model::view::{Namespace, Tag};

use super::*;

fn later(seconds: i64) -> jiff::Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

/// A decision, and the status after it.
fn tell(at: jiff::Timestamp, upgrade: &mut Upgrade, view: &MeshView) -> Decision {
    let decision = decide(at, upgrade, view);
    let executed = if decision.mutates() {
        Executed::Done
    } else {
        Executed::Nothing
    };
    upgrade.status = fold(at, upgrade, &decision, &executed);
    decision
}

fn acts(decision: &Decision, kind: &str) -> bool {
    matches!(&decision.next, Next::Act(batch) if batch[0].kind() == kind)
}

fn soaking(since: i64) -> Soak {
    Soak {
        passed_at: None,
        ..passed(since)
    }
}

const ACCEPT: &str =
    "kubectl annotate mup to-1-31 --overwrite meshlift.io/accept=METRICS-UNREADABLE";

/// Expects that a person is asked for metrics when they could not be read for long, and that what they were needed for
/// goes on once that is accepted.
fn asks_for_metrics(mut upgrade: Upgrade, view: &MeshView) -> Decision {
    let early = tell(now(), &mut upgrade, view);
    assert!(!early.waits_for_person(), "{early:?}");
    tell(later(300), &mut upgrade, view);
    let late = tell(later(601), &mut upgrade, view);
    assert!(matches!(&late.next, Next::Wait(w) if w.on == WaitingOn::Unreadable));
    assert!(late.waits_for_person());
    assert!(
        late.report.message.contains(ACCEPT),
        "{}",
        late.report.message
    );
    upgrade.accepts = Some("OTHER, METRICS-UNREADABLE".into());
    let on = tell(later(602), &mut upgrade, view);
    assert_eq!(crate::lint(&upgrade, view, &on), Ok(()));
    on
}

#[test]
fn a_soak_without_metrics_is_for_a_person_to_accept() {
    let mut view = moved();
    planes(&mut view)[1].live = why();
    let on = asks_for_metrics(upgrade(Phase::HealthChecking), &view);
    assert!(matches!(&on.next, Next::Wait(w) if w.on == WaitingOn::Soak));
    let message = on.report.message;
    assert!(message.contains("injections are not watched"), "{message}");
}

#[test]
fn a_retirement_without_metrics_is_for_a_person_to_accept() {
    let (mut upgrade, mut view) = (upgrade(Phase::HealthChecking), moved());
    retiring(&mut upgrade, &mut view);
    planes(&mut view)[0].live = why();
    let on = asks_for_metrics(upgrade.clone(), &view);
    assert!(acts(&on, "retire_revision"), "{on:?}");
    let message = on.report.message;
    assert!(message.contains("connections cannot be read"), "{message}");
    // What is seen counts all the same.
    view.loose_pods.push(pod("debug", "default").into());
    upgrade.accepts = Some("METRICS-UNREADABLE".into());
    let used = decide(now(), &upgrade, &view);
    assert_eq!(used.next, Next::Enter(Phase::Done), "the old one stays");
}

#[test]
fn the_way_back_without_metrics_is_for_a_person_to_accept() {
    let mut upgrade = upgrade(Phase::Upgrading);
    upgrade.status.step = Some(Step::RemovingNewControlPlane);
    upgrade.status.rollback = Some(RollbackStatus {
        reason: "a person asks for it".into(),
        since: Time(ago(600)),
        soak: Some(passed(30)),
    });
    let mut view = moved();
    namespace(&mut view).labels = labels(&[("istio-injection", "enabled")]);
    namespace(&mut view).moved_to = None;
    *cart(&mut view) = workload("cart", "default");
    cart(&mut view).restarted_at = Some(ago(300));
    planes(&mut view)[1].live = why();
    let on = asks_for_metrics(upgrade.clone(), &view);
    assert!(acts(&on, "retire_revision"), "{on:?}");

    upgrade.status.step = Some(Step::ProvingBack);
    upgrade.status.rollback.as_mut().expect("a rollback").soak = None;
    planes(&mut view)[0].live = why();
    let on = asks_for_metrics(upgrade, &view);
    assert!(matches!(&on.next, Next::Wait(w) if w.on == WaitingOn::Soak));
}

/// Another namespace, whose one workload runs the old sidecar.
fn appears(view: &mut MeshView, name: &str) {
    if let (Seen::Present(namespaces), Seen::Present(workloads)) =
        (&mut view.namespaces, &mut view.workloads)
    {
        namespaces.push(Namespace {
            name: name.into(),
            uid: format!("uid-{name}"),
            resource_version: "7".into(),
            labels: labels(&[("istio-injection", "enabled")]),
            ..Namespace::default()
        });
        let mut late = workload("late", "default");
        late.key.namespace = name.into();
        for pod in &mut late.pods {
            std::sync::Arc::make_mut(pod).namespace = name.into();
        }
        workloads.push(late);
    }
}

fn late(view: &mut MeshView) -> (&mut Namespace, &mut meshlift_model::view::Workload) {
    let (Seen::Present(namespaces), Seen::Present(workloads)) =
        (&mut view.namespaces, &mut view.workloads)
    else {
        panic!("no lists")
    };
    (&mut namespaces[1], &mut workloads[1])
}

#[test]
fn what_appears_in_the_soak_moves_and_stops_no_clock() {
    for soak in [soaking(100), passed(100)] {
        let (mut upgrade, mut view) = (upgrade(Phase::HealthChecking), moved());
        upgrade.status.soak = Some(soak.clone());
        appears(&mut view, "pr-1");
        let moves = tell(now(), &mut upgrade, &view);
        assert!(acts(&moves, "move_namespace"), "{moves:?}");
        late(&mut view).0.labels = labels(&[("istio.io/rev", TARGET)]);
        late(&mut view).0.moved_to = Some(TARGET.into());
        view.probes
            .insert("pr-1".into(), view.probes["shop"].clone());
        let restarts = tell(later(1), &mut upgrade, &view);
        assert!(acts(&restarts, "restart_workload"), "{restarts:?}");
        assert_eq!(upgrade.status.soak, Some(soak));
    }
}

#[test]
fn what_does_not_come_up_in_the_soak_is_named_and_nothing_is_rolled_back() {
    let (mut upgrade, mut view) = (upgrade(Phase::HealthChecking), moved());
    upgrade.status.soak = Some(soaking(100));
    appears(&mut view, "pr-1");
    let (namespace, _) = late(&mut view);
    namespace.labels = labels(&[("istio.io/rev", TARGET)]);
    namespace.moved_to = Some(TARGET.into());
    // New pods of it are refused.
    view.probes
        .insert("pr-1".into(), Probe::Failed("exceeded quota".into()));
    let goes_on = decide(now(), &upgrade, &view);
    assert!(matches!(&goes_on.next, Next::Wait(w) if w.on == WaitingOn::Soak));
    let blocked = goes_on.report.blocked.expect("a list");
    assert!(blocked[0].reference.contains("pr-1/late"), "{blocked:?}");
    // Or it crashes.
    let (_, workload) = late(&mut view);
    workload.mark = Some(TARGET.into());
    workload.settled = false;
    workload.restarted_at = Some(ago(1200));
    let goes_on = decide(now(), &upgrade, &view);
    assert!(matches!(&goes_on.next, Next::Wait(w) if w.on == WaitingOn::Soak));
    let blocked = goes_on.report.blocked.expect("a list");
    assert!(blocked[0].reference.contains("pr-1/late"), "{blocked:?}");
}

#[test]
fn what_git_owns_is_named_in_the_soak_and_not_waited_for() {
    let (mut upgrade, mut view) = (upgrade(Phase::HealthChecking), moved());
    upgrade.status.soak = Some(soaking(100));
    appears(&mut view, "pr-1");
    late(&mut view).0.label_owner = Some("argocd-controller".into());
    let goes_on = decide(now(), &upgrade, &view);
    assert!(matches!(&goes_on.next, Next::Wait(w) if w.on == WaitingOn::Soak));
    let blocked = goes_on.report.blocked.expect("a list");
    assert!(blocked[0].message.contains("(Git?)"), "{blocked:?}");
    let counts = goes_on.report.workloads.expect("counts");
    assert_eq!((counts.pending, counts.blocked), (0, 1));
}

fn asked_back(spoil: Spoil) -> Decision {
    let (mut upgrade, mut view) = (upgrade(Phase::Detecting), moved());
    upgrade.spec.request_rollback = true;
    spoil(&mut upgrade, &mut view);
    decide(now(), &upgrade, &view)
}

#[test]
fn a_request_after_the_end_moves_back_or_says_why_not() {
    let begins = asked_back(|_, _| ());
    assert_eq!(begins.next, Next::Enter(Phase::Upgrading));
    assert!(begins.report.rollback.is_some());
    let held = asked_back(|upgrade, _| upgrade.held = false);
    assert!(acts(&held, "hold_deletion"), "{held:?}");
    let cannot: [(&str, Spoil); 4] = [
        ("nothing can be moved back", |_, view| {
            planes(view).remove(0);
        }),
        ("nothing can be moved back", |_, view| {
            planes(view)[0].version = Some("1.30.5".parse().expect("a version"));
        }),
        ("does not serve", |_, view| planes(view)[0].ready = 0),
        // It never began, and the mesh is where it should go.
        ("set it to false", |_, view| {
            view.record = Seen::Absent;
            planes(view).remove(0);
        }),
    ];
    for (says, spoil) in cannot {
        let waits = asked_back(spoil);
        assert!(waits.waits_for_person(), "{says}: {waits:?}");
        let message = waits.report.message;
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_rollback_after_the_end_waits_for_no_window() {
    let closed = |upgrade: &mut Upgrade, _: &mut MeshView| {
        upgrade.spec.windows = vec![meshlift_api::Window {
            days: Vec::new(),
            start: "04:00".into(),
            end: "05:00".into(),
            time_zone: "UTC".into(),
        }];
    };
    assert_eq!(asked_back(closed).next, Next::Enter(Phase::Upgrading));
}

/// Namespace shop is a wave that a person approved, and nothing of it has moved.
fn approved() -> (Upgrade, MeshView) {
    let (mut upgrade, mut view) = (upgrade(Phase::Upgrading), moved());
    upgrade.spec.data_plane.waves = vec![Wave {
        name: "prod".into(),
        approval: Approval::Required,
        ..Wave::default()
    }];
    upgrade.spec.approvals = vec!["prod".into()];
    let mut record = record();
    record.waves = ["prod", "rest"]
        .map(|name| RecordedWave {
            name: name.into(),
            namespaces: if name == "prod" {
                vec!["shop".into()]
            } else {
                Vec::new()
            },
        })
        .into();
    view.record = Seen::Present(record);
    namespace(&mut view).labels = labels(&[("istio-injection", "enabled")]);
    namespace(&mut view).moved_to = None;
    *cart(&mut view) = workload("cart", "default");
    (upgrade, view)
}

#[test]
fn an_approval_that_is_taken_back_before_the_wave_begins_holds_it() {
    let held: [Spoil; 3] = [
        |upgrade, _| upgrade.spec.paused = true,
        |upgrade, _| {
            upgrade.spec.windows = vec![meshlift_api::Window {
                days: Vec::new(),
                start: "04:00".into(),
                end: "05:00".into(),
                time_zone: "UTC".into(),
            }];
        },
        |_, view| namespace(view).label_owner = Some("argocd-controller".into()),
    ];
    for spoil in held {
        let (mut upgrade, mut view) = approved();
        spoil(&mut upgrade, &mut view);
        tell(now(), &mut upgrade, &view);
        let wave = &upgrade.status.waves[0];
        assert_eq!(
            (wave.state, wave.started_at.as_ref()),
            (WaveState::Pending, None)
        );
        upgrade.spec.approvals.clear();
        upgrade.spec.paused = false;
        upgrade.spec.windows.clear();
        tell(later(1), &mut upgrade, &view);
        let asks = tell(later(2), &mut upgrade, &view);
        assert!(
            matches!(&asks.next, Next::Wait(w) if w.on == WaitingOn::Approval),
            "{asks:?}"
        );
    }
}

fn tagged(upgrade: &mut Upgrade, view: &mut MeshView, tag: &str) {
    let mut record = record();
    record.source_revision = "1-30-2".into();
    record
        .waves
        .clone_from(&view.record.present().expect("a record").waves);
    view.record = Seen::Present(record);
    planes(view)[0] = istiod("1-30-2", "1.30.2");
    *view.tags_mut() = vec![Tag {
        name: tag.into(),
        revision: "1-30-2".into(),
        ..Tag::default()
    }];
    namespace(view).labels.clear();
    *cart(view) = workload("cart", "1-30-2");
    upgrade.status.started_at = Some(Time(ago(1800)));
}

#[test]
fn a_wave_of_pods_that_follow_a_tag_asks_and_then_moves_the_tag() {
    let (mut upgrade, mut view) = approved();
    tagged(&mut upgrade, &mut view, "prod");
    cart(&mut view).template_labels = labels(&[("istio.io/rev", "prod")]);
    upgrade.spec.approvals.clear();
    let asks = tell(now(), &mut upgrade, &view);
    assert!(
        matches!(&asks.next, Next::Wait(w) if w.on == WaitingOn::Approval),
        "{asks:?}"
    );
    upgrade.spec.approvals = vec!["prod".into()];
    tell(later(1), &mut upgrade, &view);
    let moves = tell(later(2), &mut upgrade, &view);
    assert!(acts(&moves, "point_tag"), "{moves:?}");
    view.tags_mut()[0].revision = TARGET.into();
    view.tags_mut()[0].moved_to = Some(TARGET.into());
    let restarts = tell(later(3), &mut upgrade, &view);
    assert!(acts(&restarts, "restart_workload"), "{restarts:?}");
}

#[test]
fn tag_default_waits_for_pods_that_only_ask_for_a_sidecar() {
    let (mut upgrade, mut view) = approved();
    tagged(&mut upgrade, &mut view, "default");
    cart(&mut view).template_labels = labels(&[("sidecar.istio.io/inject", "true")]);
    upgrade.spec.approvals.clear();
    let asks = tell(now(), &mut upgrade, &view);
    assert!(
        matches!(&asks.next, Next::Wait(w) if w.on == WaitingOn::Approval),
        "{asks:?}"
    );
    // What opts out, or names a revision, follows no tag.
    for template in [
        labels(&[("sidecar.istio.io/inject", "false")]),
        labels(&[("istio.io/rev", "1-30-2")]),
    ] {
        cart(&mut view).template_labels = template;
        cart(&mut view).pods.clear();
        let mut fresh = upgrade.clone();
        fresh.status.waves.clear();
        fresh.spec.data_plane.waves[0].approval = Approval::Automatic;
        tell(now(), &mut fresh, &view);
        tell(later(1), &mut fresh, &view);
        let moves = tell(later(2), &mut fresh, &view);
        assert!(acts(&moves, "point_tag"), "{moves:?}");
    }
}

#[test]
fn a_label_of_git_on_a_tag_that_stays_is_for_git_to_change() {
    let (mut upgrade, mut view) = (upgrade(Phase::Upgrading), moved());
    tagged(&mut upgrade, &mut view, "prod");
    namespace(&mut view).labels = labels(&[("istio.io/rev", "prod")]);
    namespace(&mut view).moved_to = None;
    namespace(&mut view).label_owner = Some("argocd-controller".into());
    // The tag moves, and the label is right with it.
    let moves = decide(now(), &upgrade, &view);
    assert!(acts(&moves, "point_tag"), "{moves:?}");
    // It never moves, because another namespace on it is left out.
    let legacy = labels(&[("istio.io/rev", "prod"), ("team", "legacy")]);
    upgrade.spec.data_plane.exclude = Some(
        k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
            match_labels: Some(labels(&[("team", "legacy")])),
            ..Default::default()
        },
    );
    if let Seen::Present(namespaces) = &mut view.namespaces {
        namespaces.push(Namespace {
            name: "blog".into(),
            labels: legacy,
            ..Namespace::default()
        });
    }
    let waits = decide(now(), &upgrade, &view);
    assert!(
        matches!(&waits.next, Next::Wait(w) if w.on == WaitingOn::Git),
        "{waits:?}"
    );
    let message = waits.report.message;
    assert!(message.contains("Namespace shop"), "{message}");
}

#[test]
fn a_gateway_that_does_not_come_back_holds_nobody() {
    use meshlift_model::view::{Gateway, WorkloadKey, WorkloadKind};
    let (mut upgrade, mut view) = (upgrade(Phase::Upgrading), moved());
    upgrade.status.step = Some(Step::MovingBack);
    upgrade.status.rollback = Some(RollbackStatus {
        reason: "a person asks for it".into(),
        since: Time(ago(700)),
        soak: None,
    });
    namespace(&mut view).labels = labels(&[("istio-injection", "enabled")]);
    namespace(&mut view).moved_to = None;
    view.probes.insert(
        "shop".into(),
        Probe::Injected {
            revision: "default".into(),
            image: "example.org/proxyv2:1.30.2".into(),
        },
    );
    view.gateways = Seen::Present(vec![Gateway {
        namespace: "shop".into(),
        name: "public".into(),
        class: "istio".into(),
        asked_at: Some(ago(60)),
        ..Gateway::default()
    }]);
    let mut rendered = workload("public-istio", TARGET);
    rendered.key = WorkloadKey {
        namespace: "shop".into(),
        kind: WorkloadKind::Deployment,
        name: "public-istio".into(),
    };
    rendered.managed_gateway = true;
    rendered.labels = labels(&[("gateway.networking.k8s.io/gateway-name", "public")]);
    rendered.settled = false;
    if let Seen::Present(workloads) = &mut view.workloads {
        workloads.push(rendered);
    }
    // While it is waited for, workloads go back.
    let goes_on = decide(now(), &upgrade, &view);
    assert!(acts(&goes_on, "restart_workload"), "{goes_on:?}");
    // They are back, and it is not: it is named.
    *cart(&mut view) = workload("cart", "default");
    let waits = decide(now(), &upgrade, &view);
    assert!(
        matches!(&waits.next, Next::Wait(w) if w.on == WaitingOn::Gateways),
        "{waits:?}"
    );
    if let Seen::Present(gateways) = &mut view.gateways {
        gateways[0].asked_at = Some(ago(601));
    }
    let goes_on = decide(now(), &upgrade, &view);
    assert!(
        matches!(&goes_on.next, Next::Wait(w) if w.on == WaitingOn::Soak),
        "{goes_on:?}"
    );
    let blocked = goes_on.report.blocked.expect("a list");
    assert!(
        blocked[0].message.contains("did not come up on default"),
        "{blocked:?}"
    );
}
