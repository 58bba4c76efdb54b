//! Health, the old control plane, the end.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use meshlift_api::Move;

use super::*;

#[test]
fn for_the_soak() {
    let (on, reason) = (WaitingOn::Soak, "Soaking");
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "healthy, watched until",
        |_, _| (),
    );
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "failed injections went up by 1",
        |upgrade, view| {
            let mut soak = passed(10);
            soak.passed_at = None;
            upgrade.status.soak = Some(soak);
            planes(view)[1].live = Seen::Present(LiveCounters {
                connected: 1,
                injection_failures: 1,
                ..LiveCounters::default()
            });
        },
    );
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "istiod-1-31-0 has 0 of 2",
        |_, view| {
            planes(view)[1].ready = 0;
        },
    );
}

/// What everything has left may be down: its node, its image, somebody who scaled it to zero.
#[test]
fn an_old_control_plane_that_is_down_is_a_reason_to_retire_it() {
    for (desired, ready) in [(2, 0), (0, 0), (2, 1)] {
        let down = |view: &mut MeshView| {
            planes(view)[0].desired = desired;
            planes(view)[0].ready = ready;
            planes(view)[0].live = why();
        };
        let mut soaking = upgrade(Phase::HealthChecking);
        soaking.status.step = Some(Step::Soaking);
        soaking.status.step_started_at = Some(Time(ago(99_999)));
        let mut view = moved();
        down(&mut view);
        let decision = decide(now(), &soaking, &view);
        assert!(matches!(&decision.next, Next::Wait(w) if w.on == WaitingOn::Soak));
        let message = &decision.report.message;
        assert!(
            message.contains("is not ready and no longer needed"),
            "{message}"
        );

        let mut due = upgrade(Phase::HealthChecking);
        retiring(&mut due, &mut view);
        let decision = decide(now(), &due, &view);
        let goes = matches!(&decision.next, Next::Act(b) if b[0].kind() == "retire_revision");
        assert_eq!(goes, ready == 0, "{decision:?}");
        assert_eq!(crate::lint(&due, &view, &decision), Ok(()));
    }
}

/// Its next pods would get no sidecar. Where none has one that is the owner's to know; where they have, it is no success.
#[test]
fn a_namespace_that_asks_for_what_is_gone_is_named_where_it_has_no_sidecar_to_lose() {
    for (namespace, ends) in [("late", Phase::Done), ("shop", Phase::Failed)] {
        let mut upgrade = upgrade(Phase::HealthChecking);
        upgrade.spec.data_plane.by = Move::None;
        let mut view = moved();
        retiring(&mut upgrade, &mut view);
        releases(&mut view).remove(1);
        planes(&mut view).remove(0);
        let Seen::Present(namespaces) = &mut view.namespaces else {
            panic!("no namespaces");
        };
        namespaces.retain(|known| known.name != namespace);
        namespaces.push(meshlift_model::view::Namespace {
            name: namespace.into(),
            labels: [("istio-injection".to_owned(), "enabled".to_owned())].into(),
            ..Default::default()
        });
        upgrade.status.step = Some(Step::RetiringControlPlane);
        upgrade.status.step_started_at = Some(Time(ago(300)));
        let end = decide(now(), &upgrade, &view);
        assert_eq!(end.next, Next::Enter(ends), "{}", end.report.message);
        if ends == Phase::Done {
            let named = end.report.blocked.unwrap_or_default();
            let told = named.iter().find(|b| b.reference == "v1 Namespace late");
            let told = &told.expect("it is named").message;
            assert!(told.contains("kubectl label namespace late"), "{told}");
        }
    }
}

/// Done would say that every workload has a control plane.
#[test]
fn an_old_control_plane_that_went_before_its_sidecars_is_no_success() {
    let mut upgrade = upgrade(Phase::HealthChecking);
    let mut view = moved();
    retiring(&mut upgrade, &mut view);
    releases(&mut view).remove(1);
    planes(&mut view).remove(0);
    let end = decide(now(), &upgrade, &view);
    assert_eq!(end.next, Next::Enter(Phase::Done));
    view.loose_pods
        .push(meshlift_model::example::pod("debug", "default").into());
    upgrade.status.step = Some(Step::RetiringControlPlane);
    upgrade.status.step_started_at = Some(Time(ago(299)));
    let waits = decide(now(), &upgrade, &view);
    assert!(matches!(&waits.next, Next::Wait(w) if w.on == WaitingOn::Retirement));
    upgrade.status.step_started_at = Some(Time(ago(300)));
    let end = decide(now(), &upgrade, &view);
    assert_eq!(end.next, Next::Enter(Phase::Failed));
    let message = end.report.message;
    assert!(
        message.contains("is gone and still used by pod shop/debug"),
        "{message}"
    );
}

#[test]
fn a_deployment_that_no_release_has_is_named_and_left() {
    let mut upgrade = upgrade(Phase::HealthChecking);
    let mut view = moved();
    retiring(&mut upgrade, &mut view);
    releases(&mut view).remove(1);
    upgrade.status.step = Some(Step::RetiringControlPlane);
    upgrade.status.step_started_at = Some(Time(ago(301)));
    let end = decide(now(), &upgrade, &view);
    assert_eq!(end.next, Next::Enter(Phase::Done));
    let message = end.report.message;
    assert!(message.contains("delete deployment istiod"), "{message}");
}

#[test]
fn for_the_old_control_plane_to_have_stayed() {
    let (on, reason) = (WaitingOn::RetireDelay, "KeepingOldControlPlane");
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "stays until 2026-11-02 02:59:50 UTC",
        |upgrade, _| {
            upgrade.status.soak = Some(passed(10));
        },
    );
}

#[test]
fn for_the_validator() {
    let (on, reason) = (WaitingOn::Validator, "WaitingForValidator");
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "writes its CA bundle",
        |upgrade, view| {
            retiring(upgrade, view);
            if let Seen::Present(validator) = &mut view.validator {
                validator.has_ca_bundle = false;
            }
        },
    );
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "calls istiod-1-31-0",
        |upgrade, view| {
            upgrade.status.soak = Some(passed(9999));
            let values = json!({ "defaultRevision": TARGET });
            releases(view)[0].values = values.as_object().cloned().unwrap_or_default();
        },
    );
}

/// Helm writes the webhook before it says so: killed in between, it still has to be brought to its end.
#[test]
fn a_default_that_helm_did_not_end_is_ended_before_anything_goes() {
    let mut upgrade = upgrade(Phase::HealthChecking);
    let mut view = moved();
    retiring(&mut upgrade, &mut view);
    let settled = releases(&mut view)[0].values.clone();
    releases(&mut view)[0].state = ReleaseState::Pending {
        by: HelmRunner::Before,
        since: ago(5),
    };
    let next = |view: &MeshView| decide(now(), &upgrade, view).next;
    assert!(matches!(next(&view), Next::Wait(w) if w.on == WaitingOn::ForeignHelm));
    releases(&mut view)[0].state = ReleaseState::Pending {
        by: HelmRunner::Before,
        since: ago(60),
    };
    let is = |next: Next, kind: &str| matches!(next, Next::Act(b) if b[0].kind() == kind);
    assert!(is(next(&view), "clear_pending_release"));
    // Cleared, it is again what it was before, and so are its values.
    releases(&mut view)[0].state = ReleaseState::Deployed;
    releases(&mut view)[0].values.clear();
    assert!(is(next(&view), "point_default_revision"));
    releases(&mut view)[0].values = settled;
    assert!(is(next(&view), "retire_revision"));
}

#[test]
fn for_the_retirement() {
    let (on, reason) = (WaitingOn::Retirement, "WaitingForRetirement");
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "3 proxies to leave",
        |upgrade, view| {
            retiring(upgrade, view);
            planes(view)[0].live = Seen::Present(LiveCounters {
                connected: 3,
                injection_failures: 0,
                ..LiveCounters::default()
            });
        },
    );
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "waiting for the removal of istiod",
        |upgrade, view| {
            retiring(upgrade, view);
            releases(view).remove(1);
        },
    );
}

#[test]
fn the_old_control_plane_goes_only_when_its_connections_were_seen() {
    let mut upgrade = upgrade(Phase::HealthChecking);
    let mut view = moved();
    retiring(&mut upgrade, &mut view);
    let next = |view: &MeshView| decide(now(), &upgrade, view).next;
    assert!(
        matches!(&next(&view), Next::Act(b) if matches!(b[..], [Effect::RetireRevision { .. }]))
    );
    for live in [Seen::Absent, why()] {
        planes(&mut view)[0].live = live;
        assert!(matches!(&next(&view), Next::Wait(w) if w.on == WaitingOn::Unreadable));
    }
    planes(&mut view)[0].live = Seen::Absent;
    planes(&mut view)[0].ready = 0;
    assert!(
        matches!(next(&view), Next::Act(_)),
        "nothing is connected to no pod"
    );
}

#[test]
fn who_uses_the_old_control_plane_keeps_it() {
    let spoils: [(&str, Spoil); 4] = [
        ("pod shop/cart-1", |_, view| {
            *cart(view) = workload("cart", "default");
            cart(view).paused = true;
        }),
        ("namespace shop", |upgrade, view| {
            let left_out = [("istio-injection", "enabled"), ("team", "legacy")];
            namespace(view).labels = meshlift_model::example::labels(&left_out);
            upgrade.spec.data_plane.exclude = Some(LabelSelector {
                match_labels: Some(meshlift_model::example::labels(&left_out[1..])),
                ..LabelSelector::default()
            });
        }),
        ("revision tag prod", |upgrade, view| {
            upgrade.spec.data_plane.by = Move::Labels;
            view.tags_mut().push(meshlift_model::view::Tag {
                name: "prod".into(),
                revision: "default".into(),
                ..meshlift_model::view::Tag::default()
            });
        }),
        ("pod shop/cart-1", |_, view| {
            // Its Deployment was deleted by hand, its release not.
            *cart(view) = workload("cart", "default");
            cart(view).paused = true;
            planes(view).remove(0);
        }),
    ];
    for (user, spoil) in spoils {
        let mut upgrade = upgrade(Phase::HealthChecking);
        let mut view = moved();
        retiring(&mut upgrade, &mut view);
        spoil(&mut upgrade, &mut view);
        let decision = decide(now(), &upgrade, &view);
        assert_eq!(decision.next, Next::Enter(Phase::Done), "{user}");
        let message = decision.report.message;
        assert!(
            message.contains(user) && message.contains("stays"),
            "{message}"
        );
    }
}

#[test]
fn for_nothing_when_it_has_ended() {
    let on = WaitingOn::Nothing;
    for phase in [Phase::Done, Phase::Failed] {
        waits(phase, on, "Ended", "as it was", |upgrade, _| {
            upgrade.held = false;
            upgrade.status.message = "as it was".into();
        });
    }
    let mut deleted = upgrade(Phase::Detecting);
    (deleted.deleting, deleted.held) = (true, false);
    let next = decide(now(), &deleted, &before()).next;
    assert!(matches!(next, Next::Wait(w) if w.on == on));
}

#[test]
fn what_is_asked_for_before_the_finalizer_went_is_not_lost() {
    let mut upgrade = upgrade(Phase::Done);
    upgrade.generation = 2;
    let decision = decide(now(), &upgrade, &before());
    assert_eq!(decision.next, Next::Enter(Phase::Pending));
    assert!(decision.report.new_run);
}

#[test]
fn a_new_control_plane_that_falls_ill_gets_nothing_more() {
    let mut view = moved();
    planes(&mut view)[1].ready = 0;
    *cart(&mut view) = workload("cart", "default");
    namespace(&mut view).labels =
        meshlift_model::example::labels(&[("istio-injection", "enabled")]);
    namespace(&mut view).moved_to = None;
    for phase in [Phase::Upgrading, Phase::HealthChecking] {
        let decision = decide(now(), &upgrade(phase), &view);
        assert!(!decision.mutates(), "{phase}: {:?}", decision.next);
    }
}

#[test]
fn without_its_record_it_stops() {
    let mut view = moved();
    view.record = Seen::Absent;
    for phase in [Phase::Upgrading, Phase::HealthChecking] {
        let decision = decide(now(), &upgrade(phase), &view);
        assert_eq!(decision.next, Next::Enter(Phase::Failed));
        assert!(
            decision.report.message.contains("record"),
            "{}",
            decision.report.message
        );
    }
}

#[test]
fn lists_that_were_not_looked_at_are_not_empty_ones() {
    let mut view = moved();
    view.workloads = Seen::Absent;
    let next = decide(now(), &upgrade(Phase::Upgrading), &view).next;
    assert!(matches!(next, Next::Wait(w) if w.on == WaitingOn::Unreadable));
    let mut view = moved();
    view.control_planes = Seen::Absent;
    let next = decide(now(), &upgrade(Phase::Upgrading), &view).next;
    assert!(matches!(next, Next::Wait(w) if w.on == WaitingOn::ControlPlane));
}

#[test]
fn durations_of_any_size_are_durations() {
    let of = |seconds: u64| signed(std::time::Duration::from_secs(seconds).into());
    assert_eq!(of(90), SignedDuration::from_secs(90));
    assert_eq!(of(u64::MAX), SignedDuration::MAX);
}

#[test]
fn at_the_target_means_a_ready_istiod_of_that_version() {
    let mut view = before();
    *planes(&mut view) = vec![istiod(TARGET, "1.31.0")];
    *cart(&mut view) = workload("cart", TARGET);
    releases(&mut view)[0].version = Some(version("1.31.0"));
    let next = |view: &MeshView| decide(now(), &upgrade(Phase::Detecting), view).next;
    assert_eq!(next(&view), Next::Enter(Phase::Done));
    planes(&mut view)[0].ready = 0;
    assert!(matches!(next(&view), Next::Wait(_)));
}
