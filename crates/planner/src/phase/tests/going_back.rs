//! What is waited for on the way back, and how it ends.

use meshlift_api::{Outcome, Rollback, RollbackStatus};
use meshlift_model::example::{labels, version};

use super::*;

/// Expects this wait, with this piece in its sentence.
fn waits(upgrade: &Upgrade, view: &MeshView, on: WaitingOn, says: &str) {
    let decision = decide(now(), upgrade, view);
    let Next::Wait(waiting) = &decision.next else {
        panic!("{says}: {decision:?}");
    };
    assert_eq!(waiting.on, on, "{says}");
    let message = &decision.report.message;
    assert!(message.contains(says), "{says}: {message}");
}

/// Everything is on the old control plane again, a workload was restarted for it, and the soak has passed.
fn back() -> (Upgrade, MeshView) {
    let mut upgrade = upgrade(Phase::Upgrading);
    upgrade.status.step = Some(Step::RemovingNewControlPlane);
    upgrade.status.step_started_at = Some(Time(ago(30)));
    upgrade.status.rollback = Some(RollbackStatus {
        reason: "a person asks for it".into(),
        since: Time(ago(600)),
        soak: Some(passed(30)),
    });
    let mut view = moved();
    namespace(&mut view).labels = labels(&[("istio-injection", "enabled")]);
    namespace(&mut view).moved_to = None;
    *cart(&mut view) = workload("cart", "default");
    cart(&mut view).mark = Some("default".into());
    cart(&mut view).restarted_at = Some(ago(300));
    (upgrade, view)
}

fn proving(began: i64) -> (Upgrade, MeshView) {
    let (mut upgrade, view) = back();
    upgrade.status.step = Some(Step::ProvingBack);
    upgrade.status.step_started_at = Some(Time(ago(began)));
    if let Some(rollback) = &mut upgrade.status.rollback {
        rollback.soak = Some(meshlift_api::Soak {
            passed_at: None,
            ..passed(30)
        });
    }
    (upgrade, view)
}

#[test]
fn nobody_uses_the_new_control_plane_and_it_goes() {
    let (upgrade, view) = back();
    let decision = decide(now(), &upgrade, &view);
    let Next::Act(batch) = &decision.next else {
        panic!("{decision:?}");
    };
    assert!(
        matches!(&batch[..], [Effect::RetireRevision { release, revision, .. }]
            if release == "istiod-1-31-0" && revision == TARGET),
        "{batch:?}"
    );
    assert_eq!(crate::lint(&upgrade, &view, &decision), Ok(()));
}

#[test]
fn before_the_new_control_plane_goes() {
    let (upgrade, view) = back();
    let check = |on, says, spoil: fn(&mut MeshView)| {
        let mut view = view.clone();
        spoil(&mut view);
        waits(&upgrade, &view, on, says);
    };
    check(
        WaitingOn::ControlPlane,
        "waiting for the old control plane (1.30.2)",
        |v| {
            planes(v)[0].ready = 1;
        },
    );
    check(WaitingOn::ControlPlane, "istiod default is gone", |v| {
        planes(v).remove(0);
    });
    check(WaitingOn::Unreadable, "the Helm releases", |v| {
        v.releases = Seen::Unreadable("no".into());
    });
    check(WaitingOn::Unreadable, "the validating webhook", |v| {
        v.validator = Seen::Unreadable("no".into());
    });
    check(WaitingOn::ForeignHelm, "someone else started", |v| {
        releases(v)[2].state = ReleaseState::Pending {
            since: ago(5),
            by: HelmRunner::Foreign,
        };
    });
    check(WaitingOn::ForeignHelm, "our Helm operation on", |v| {
        releases(v)[2].state = ReleaseState::Pending {
            since: ago(5),
            by: HelmRunner::Before,
        };
    });
    check(
        WaitingOn::Retirement,
        "waiting for 2 proxies to leave the new",
        |v| {
            planes(v)[1].live = Seen::Present(LiveCounters {
                connected: 2,
                injection_failures: 0,
                ..LiveCounters::default()
            });
        },
    );
    check(WaitingOn::Unreadable, "metrics of the new istiod", |v| {
        planes(v)[1].live = Seen::Unreadable("no route".into());
    });
    check(WaitingOn::Unreadable, "metrics of the new istiod", |v| {
        planes(v)[1].live = Seen::Absent;
    });
    check(
        WaitingOn::Retirement,
        "waiting for the removal of istiod-1-31-0",
        |v| {
            releases(v).remove(2);
        },
    );
    check(WaitingOn::Retirement, "to appear", |v| {
        planes(v).remove(1);
    });
}

#[test]
fn what_never_got_ready_has_no_connections_to_wait_for() {
    let (upgrade, mut view) = back();
    planes(&mut view)[1].ready = 0;
    planes(&mut view)[1].live = Seen::Unreadable("no ready pod".into());
    let decision = decide(now(), &upgrade, &view);
    assert!(matches!(decision.next, Next::Act(_)), "{decision:?}");
}

#[test]
fn a_removal_that_was_cut_off_is_ended() {
    let (upgrade, mut view) = back();
    planes(&mut view).remove(1);
    for state in [
        ReleaseState::Other("uninstalling".into()),
        ReleaseState::Pending {
            since: ago(60),
            by: HelmRunner::Before,
        },
    ] {
        releases(&mut view)[2].state = state;
        let decision = decide(now(), &upgrade, &view);
        assert!(matches!(decision.next, Next::Act(_)), "{decision:?}");
    }
    releases(&mut view).remove(2);
    let decision = decide(now(), &upgrade, &view);
    assert_eq!(decision.next, Next::Enter(Phase::Failed));
    assert_eq!(decision.report.outcome, Some(Outcome::RolledBack));
    assert!(
        decision
            .report
            .message
            .contains("new control plane is gone")
    );
}

#[test]
fn who_uses_the_new_control_plane_keeps_it_and_is_named() {
    let (mut upgrade, view) = back();
    let ends = |upgrade: &Upgrade, view: &MeshView, says: &str| {
        let decision = decide(now(), upgrade, view);
        assert_eq!(decision.next, Next::Enter(Phase::Failed), "{says}");
        assert_eq!(decision.report.outcome, Some(Outcome::RolledBack));
        let message = decision.report.message;
        assert!(message.contains("stays"), "{message}");
        assert!(message.contains(says), "{message}");
    };
    let mut used = view.clone();
    used.loose_pods
        .push(meshlift_model::example::pod("debug", TARGET).into());
    ends(&upgrade, &used, "pod shop/debug");
    upgrade.status.step_started_at = Some(Time(ago(601)));
    let mut used = view.clone();
    planes(&mut used)[1].live = Seen::Present(LiveCounters {
        connected: 2,
        injection_failures: 0,
        ..LiveCounters::default()
    });
    ends(&upgrade, &used, "2 connected proxies");
    let mut orphan = view;
    releases(&mut orphan).remove(2);
    ends(&upgrade, &orphan, "delete deployment istiod-1-31-0");
}

/// Another mesh at the same version wrote the same mark on its own namespaces.
#[test]
fn a_namespace_that_another_mesh_has_marked_is_left_alone() {
    let moves = |other_mesh: bool| {
        let (mut upgrade, mut view) = back();
        upgrade.status.step = Some(Step::MovingBack);
        let mut theirs = namespace(&mut view).clone();
        theirs.name = "theirs".into();
        theirs.labels = labels(&[("istio.io/rev", TARGET)]);
        theirs.moved_to = Some(TARGET.into());
        if let Seen::Present(namespaces) = &mut view.namespaces {
            namespaces.push(theirs);
        }
        if other_mesh {
            let mut other = planes(&mut view)[1].clone();
            other.namespace = "istio-b".into();
            planes(&mut view).push(other);
        }
        let decision = decide(now(), &upgrade, &view);
        let Next::Act(batch) = decision.next else {
            return false;
        };
        batch
            .iter()
            .any(|e| matches!(e, Effect::MoveNamespace { name, .. } if name == "theirs"))
    };
    assert!(moves(false), "it came later, and is ours");
    assert!(!moves(true));
}

#[test]
fn the_default_revision_goes_back_first() {
    let (mut upgrade, mut view) = back();
    upgrade.status.step = Some(Step::MovingBack);
    namespace(&mut view).labels = labels(&[("istio.io/rev", TARGET)]);
    namespace(&mut view).moved_to = Some(TARGET.into());
    let base = serde_json::json!({ "defaultRevision": TARGET });
    releases(&mut view)[0].values = base.as_object().cloned().expect("an object");
    let validator = |service: &str, has_ca_bundle| {
        Seen::Present(Validator {
            namespace: "istio-system".into(),
            service: service.into(),
            has_ca_bundle,
        })
    };
    view.validator = validator("istiod-1-31-0", true);
    let decision = decide(now(), &upgrade, &view);
    let Next::Act(batch) = &decision.next else {
        panic!("{decision:?}");
    };
    let [Effect::PointDefaultRevision(target)] = &batch[..] else {
        panic!("{batch:?}");
    };
    assert_eq!(target.version, version("1.31.0"), "CRDs never go back");
    assert!(
        target.values.is_empty(),
        "as it was found: {:?}",
        target.values
    );

    // Helm has ended, and the watch does not show it yet.
    releases(&mut view)[0].values.clear();
    waits(&upgrade, &view, WaitingOn::Validator, "calls istiod again");
    view.validator = validator("istiod", false);
    waits(&upgrade, &view, WaitingOn::Validator, "CA bundle");
    view.validator = validator("istiod", true);
    let decision = decide(now(), &upgrade, &view);
    assert!(
        matches!(&decision.next, Next::Act(batch) if matches!(batch[..], [Effect::MoveNamespace { mark: false, .. }])),
        "{decision:?}"
    );
}

#[test]
fn a_validator_that_lacked_its_bundle_before_holds_nobody_up() {
    let (upgrade, mut view) = back();
    view.validator = Seen::Present(Validator {
        namespace: "istio-system".into(),
        service: "istiod".into(),
        has_ca_bundle: false,
    });
    let decision = decide(now(), &upgrade, &view);
    assert!(matches!(decision.next, Next::Act(_)), "{decision:?}");
}

#[test]
fn for_its_own_soak() {
    let (upgrade, mut view) = proving(30);
    waits(
        &upgrade,
        &view,
        WaitingOn::Soak,
        "1/1 sidecars on default; healthy",
    );
    planes(&mut view)[0].live = Seen::Unreadable("no route".into());
    waits(
        &upgrade,
        &view,
        WaitingOn::Unreadable,
        "the metrics of istiod",
    );
    planes(&mut view)[0].live = Seen::Present(LiveCounters {
        connected: 1,
        injection_failures: 3,
        ..LiveCounters::default()
    });
    waits(
        &upgrade,
        &view,
        WaitingOn::Soak,
        "failed injections went up by 3",
    );
}

#[test]
fn what_is_not_well_again_in_time_stops_with_the_new_control_plane_there() {
    let (upgrade, mut view) = proving(901);
    planes(&mut view)[0].live = Seen::Present(LiveCounters {
        connected: 1,
        injection_failures: 3,
        ..LiveCounters::default()
    });
    let decision = decide(now(), &upgrade, &view);
    assert_eq!(decision.next, Next::Enter(Phase::Failed));
    assert_eq!(decision.report.outcome, Some(Outcome::Stopped));
    let message = decision.report.message;
    assert!(
        message.contains("everything is back, but not healthy within 15m"),
        "{message}"
    );
    assert!(
        message.contains("new control plane (1.31.0) stays"),
        "{message}"
    );
}

#[test]
fn a_failure_goes_back_holds_or_stops_as_the_spec_says() {
    let fails = |rollback| {
        let mut upgrade = upgrade(Phase::Upgrading);
        upgrade.spec.rollback = rollback;
        let mut view = moved();
        let cart = cart(&mut view);
        cart.mark = Some(TARGET.into());
        cart.settled = false;
        // Not one of its pods has been ready since.
        cart.whole = false;
        std::sync::Arc::make_mut(&mut cart.pods[0]).ready = false;
        cart.restarted_at = Some(ago(1200));
        decide(now(), &upgrade, &view)
    };
    let decision = fails(Rollback::Automatic);
    assert_eq!(decision.next, Next::Enter(Phase::Upgrading));
    assert!(
        decision
            .report
            .rollback
            .is_some_and(|r| r.reason.contains("Deployment shop/cart"))
    );
    let decision = fails(Rollback::Manual);
    assert!(matches!(&decision.next, Next::Wait(w) if w.on == WaitingOn::Person));
    assert!(decision.report.message.contains("requestRollback"));
    let decision = fails(Rollback::Never);
    assert_eq!(decision.next, Next::Enter(Phase::Failed));
    assert_eq!(decision.report.outcome, Some(Outcome::Stopped));
}

#[test]
fn a_request_is_heard_until_the_old_control_plane_goes() {
    let ask = |spoil: fn(&mut MeshView)| {
        let mut upgrade = upgrade(Phase::HealthChecking);
        upgrade.spec.request_rollback = true;
        upgrade.status.soak = Some(passed(0));
        let mut view = moved();
        spoil(&mut view);
        decide(now(), &upgrade, &view)
    };
    assert_eq!(ask(|_| ()).next, Next::Enter(Phase::Upgrading));
    let blind = ask(|v| v.releases = Seen::Unreadable("no".into()));
    assert!(
        matches!(&blind.next, Next::Wait(w) if w.on == WaitingOn::Unreadable),
        "{blind:?}"
    );
    let late: [fn(&mut MeshView); 3] = [
        |v| releases(v)[1].state = ReleaseState::Other("uninstalling".into()),
        |v| {
            releases(v).remove(1);
        },
        |v| {
            planes(v).remove(0);
        },
    ];
    for spoil in late {
        let decision = ask(spoil);
        assert_ne!(decision.next, Next::Enter(Phase::Upgrading));
        let message = decision.report.message;
        assert!(message.contains("came too late"), "{message}");
    }
}

/// Restarted toward a control plane that does not serve, nothing would come up again.
#[test]
fn nothing_goes_back_to_a_control_plane_that_does_not_serve() {
    let (mut upgrade, mut view) = (upgrade(Phase::HealthChecking), moved());
    upgrade.status.step = Some(Step::Soaking);
    upgrade.status.step_started_at = Some(Time(ago(99_999)));
    planes(&mut view)[1].ready = 0;
    planes(&mut view)[0].ready = 1;
    let back = decide(now(), &upgrade, &view);
    assert_eq!(back.next, Next::Enter(Phase::Upgrading), "it serves");
    planes(&mut view)[0].ready = 0;
    let stops = decide(now(), &upgrade, &view);
    assert_eq!(stops.next, Next::Enter(Phase::Failed));
    let message = &stops.report.message;
    assert!(message.contains("nothing is rolled back"), "{message}");
    assert!(message.contains("istiod has 0 of 2"), "{message}");

    upgrade.spec.request_rollback = true;
    let waits = decide(now(), &upgrade, &view);
    assert!(matches!(&waits.next, Next::Wait(w) if w.on == WaitingOn::Person));
    let message = &waits.report.message;
    assert!(message.contains("\"requestRollback\":false"), "{message}");
}

/// A decision and the status after it, as often as it takes: the time goes on, the world does not.
fn told(mut at: jiff::Timestamp, upgrade: &mut Upgrade, view: &MeshView, seconds: i64) -> String {
    let end = at + SignedDuration::from_secs(seconds);
    while at <= end && !upgrade.phase().is_terminal() {
        let decision = decide(at, upgrade, view);
        upgrade.status = fold(at, upgrade, &decision, &Executed::Nothing);
        at += SignedDuration::from_secs(30);
    }
    upgrade.status.message.clone()
}

#[test]
fn a_rollback_whose_old_control_plane_does_not_come_up_ends() {
    for gone in [false, true] {
        let (mut upgrade, mut view) = back();
        if gone {
            planes(&mut view).remove(0);
        } else {
            planes(&mut view)[0].ready = 0
        }
        told(now(), &mut upgrade, &view, 570);
        assert_eq!(upgrade.phase(), Phase::Upgrading);
        told(
            now() + SignedDuration::from_secs(600),
            &mut upgrade,
            &view,
            0,
        );
        assert_eq!(upgrade.phase(), Phase::Failed);
        assert_eq!(upgrade.status.outcome, Some(Outcome::Stopped));
        let message = &upgrade.status.message;
        assert!(message.contains("did not serve for 10m"), "{message}");
        assert!(
            message.contains("1 of 1 workloads are on 1.30.2"),
            "{message}"
        );
        assert!(message.contains("meshlift.io/retry"), "{message}");
    }
}

#[test]
fn a_wait_without_a_deadline_asks_a_person() {
    let (mut upgrade, mut view) = back();
    view.validator = why();
    let message = told(now(), &mut upgrade, &view, 599);
    assert!(!message.contains("lasted"), "{message}");
    let message = told(
        now() + SignedDuration::from_secs(630),
        &mut upgrade,
        &view,
        0,
    );
    assert!(
        message.contains("This has lasted since 2026-11-02 02:00:00"),
        "{message}"
    );
    assert_eq!(upgrade.phase(), Phase::Upgrading);
    let decision = decide(now() + SignedDuration::from_secs(660), &upgrade, &view);
    assert!(decision.waits_for_person());
    // Readable for a moment, it is another wait.
    let mut seen = view.clone();
    seen.validator = Seen::Absent;
    told(
        now() + SignedDuration::from_secs(690),
        &mut upgrade,
        &seen,
        0,
    );
    let message = told(
        now() + SignedDuration::from_secs(720),
        &mut upgrade,
        &view,
        0,
    );
    assert!(!message.contains("lasted"), "{message}");
}

#[test]
fn no_clock_runs_in_a_pause() {
    // The image of the new control plane cannot be pulled, and a person pauses to fix that.
    let (mut upgrade, mut view) = (upgrade(Phase::Upgrading), moved());
    upgrade.status.step = Some(Step::ProvingControlPlane);
    upgrade.status.step_started_at = Some(Time(ago(500)));
    planes(&mut view)[1].ready = 0;
    upgrade.spec.paused = true;
    let message = told(now(), &mut upgrade, &view, 7200);
    assert!(upgrade.status.rollback.is_none(), "{message}");
    assert!(message.starts_with("paused"), "{message}");
    upgrade.spec.paused = false;
    let resumed = now() + SignedDuration::from_secs(7260);
    told(resumed, &mut upgrade, &view, 570);
    assert!(upgrade.status.rollback.is_none(), "it has its whole time");
    told(
        resumed + SignedDuration::from_secs(660),
        &mut upgrade,
        &view,
        0,
    );
    assert!(upgrade.status.rollback.is_some());
}

#[test]
fn a_restart_in_a_pause_is_not_overdue_after_it() {
    let (mut upgrade, mut view) = (upgrade(Phase::Upgrading), moved());
    let cart = cart(&mut view);
    cart.mark = Some(TARGET.into());
    cart.settled = false;
    cart.whole = false;
    cart.restarted_at = Some(ago(500));
    let mut pod = (*cart.pods[0]).clone();
    pod.revision = Some("default".into());
    cart.pods.push(pod.into());
    upgrade.spec.paused = true;
    told(now(), &mut upgrade, &view, 7200);
    assert!(upgrade.status.rollback.is_none());
    upgrade.spec.paused = false;
    let resumed = now() + SignedDuration::from_secs(7260);
    told(resumed, &mut upgrade, &view, 570);
    assert!(upgrade.status.rollback.is_none());
    told(
        resumed + SignedDuration::from_secs(660),
        &mut upgrade,
        &view,
        0,
    );
    assert!(upgrade.status.rollback.is_some());
}

#[test]
fn what_names_a_control_plane_that_is_gone_is_moved_all_the_same() {
    let (upgrade, mut view) = (upgrade(Phase::Upgrading), moved());
    planes(&mut view).remove(0);
    releases(&mut view).remove(1);
    namespace(&mut view).labels = labels(&[("istio-injection", "enabled")]);
    namespace(&mut view).moved_to = None;
    *cart(&mut view) = workload("cart", "default");
    let is = |view: &MeshView, kind: &str| {
        let decision = decide(now(), &upgrade, view);
        let acts = matches!(&decision.next, Next::Act(b) if b[0].kind() == kind);
        assert!(acts, "{kind}: {decision:?}");
        assert_eq!(crate::lint(&upgrade, view, &decision), Ok(()));
    };
    is(&view, "move_namespace");
    namespace(&mut view).labels = labels(&[("istio.io/rev", TARGET)]);
    namespace(&mut view).moved_to = Some(TARGET.into());
    is(&view, "restart_workload");
}

#[test]
fn labels_of_a_new_control_plane_that_is_gone_go_back_too() {
    let (upgrade, mut view) = back();
    planes(&mut view).remove(1);
    namespace(&mut view).labels = labels(&[("istio.io/rev", TARGET)]);
    namespace(&mut view).moved_to = Some(TARGET.into());
    let decision = decide(now(), &upgrade, &view);
    let Next::Act(batch) = &decision.next else {
        panic!("{decision:?}");
    };
    let labels = match &batch[0] {
        Effect::MoveNamespace { labels, .. } => labels.clone(),
        other => panic!("{other:?}"),
    };
    assert_ne!(labels.revision.as_deref(), Some(TARGET));
}
