//! What fails is restarted once more within its budget; what does not roll, and too many that fail.

use super::*;

fn rolling(view: &mut MeshView, since: i64) {
    let cart = cart(view);
    cart.mark = Some(TARGET.into());
    cart.settled = false;
    cart.restarted_at = Some(ago(since));
}

#[test]
fn a_restart_has_its_timeout() {
    let placement = placement_of(|_, view| rolling(view, 600));
    assert_eq!(placement, Placement::Restarting);
    let placement = placement_of(|_, view| rolling(view, 601));
    assert_eq!(
        placement,
        Placement::Failed("its restart made no progress for 10m".into())
    );
    let placement = placement_of(|_, view| {
        rolling(view, 601);
        let crashing = Pod {
            trouble: Some("container app: CrashLoopBackOff".into()),
            ..pod("cart-2", TARGET)
        };
        cart(view).pods.push(Arc::new(crashing));
    });
    let why = "pod cart-2: container app: CrashLoopBackOff".to_owned();
    assert_eq!(placement, Placement::Failed(why));
    let placement = placement_of(|_, view| {
        rolling(view, 601);
        cart(view).paused = true;
    });
    let Placement::Failed(why) = placement else {
        panic!("{placement:?}")
    };
    assert!(why.contains("rollout resume deployment/cart"), "{why}");
}

#[test]
fn a_new_run_gives_the_timeout_anew() {
    let placement = placement_of(|upgrade, view| {
        rolling(view, 5000);
        upgrade.status.started_at = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            ago(10),
        ));
    });
    assert_eq!(placement, Placement::Restarting);
}

fn failing_with(retries: u32, mark: &str) -> Placement {
    let (mut upgrade, mut view) = stale();
    upgrade.spec.data_plane.restart.retries = retries;
    rolling(&mut view, 601);
    cart(&mut view).mark = Some(mark.into());
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    judged.placements[0].1.clone()
}

#[test]
fn a_restart_that_is_not_ready_in_time_is_repeated_as_often_as_allowed() {
    let failed = Placement::Failed("its restart made no progress for 10m".into());
    assert_eq!(failing_with(0, "1-31-0"), failed);
    assert_eq!(failing_with(1, "1-31-0"), restart("1-31-0.2"));
    assert_eq!(failing_with(1, "1-31-0.2"), failed);
    assert_eq!(failing_with(5, "1-31-0.5"), restart("1-31-0.6"));
    assert_eq!(failing_with(5, "1-31-0.6"), failed);
    // The mark of another revision is no try for this one.
    let (_, mut view) = stale();
    rolling(&mut view, 601);
    cart(&mut view).mark = Some("1-30-2.3".into());
    assert_eq!(mark_attempt(cart(&mut view).mark.as_deref(), TARGET), None);
}

/// So many workloads of three that failed, and what is made of them.
fn of_three(failed: usize, max_failures: u32) -> (usize, u32, u32) {
    let (mut upgrade, mut view) = stale();
    upgrade.spec.data_plane.restart.max_failures = max_failures;
    let Seen::Present(workloads) = &mut view.workloads else {
        panic!("seen")
    };
    *workloads = ["a", "b", "c"].map(|name| workload(name, "default")).into();
    for workload in workloads.iter_mut().take(failed) {
        workload.mark = Some(TARGET.into());
        workload.settled = false;
        workload.restarted_at = Some(ago(601));
    }
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    let named = judged
        .blocked
        .iter()
        .filter(|b| b.predicate == Predicate::RestartFailed);
    assert!(
        named
            .clone()
            .all(|b| b.message.contains("describe deployment/"))
    );
    (
        named.count(),
        judged.counts().blocked,
        judged.counts().failed,
    )
}

#[test]
fn as_many_as_may_fail_are_named_and_one_more_stops() {
    assert_eq!(of_three(0, 1), (0, 0, 0));
    assert_eq!(of_three(1, 0), (0, 0, 1));
    assert_eq!(of_three(1, 1), (1, 1, 0));
    assert_eq!(of_three(2, 1), (0, 0, 2));
    assert_eq!(of_three(2, 2), (2, 2, 0));
}

#[test]
fn nothing_stops_the_others_on_the_way_back() {
    let (mut upgrade, mut view) = stale();
    upgrade.spec.data_plane.restart.max_failures = 0;
    namespace(&mut view).labels = labels(&[("istio-injection", "enabled")]);
    *cart(&mut view) = workload("cart", TARGET);
    cart(&mut view).mark = Some("default".into());
    cart(&mut view).settled = false;
    cart(&mut view).restarted_at = Some(ago(601));
    assert_eq!(
        back_from_target(&upgrade, &view),
        Placement::Blocked(Predicate::RestartFailed)
    );
}

/// Where a workload stands on the way back whose restart of the way forward goes on, so many seconds after it.
fn cut_short(kind: WorkloadKind, since: i64, trouble: Option<&str>) -> Placement {
    let (upgrade, mut view) = stale();
    namespace(&mut view).labels = labels(&[("istio-injection", "enabled")]);
    *cart(&mut view) = workload("cart", TARGET);
    rolling(&mut view, since);
    cart(&mut view).key.kind = kind;
    let coming = Pod {
        trouble: trouble.map(str::to_owned),
        ..pod("cart-2", TARGET)
    };
    cart(&mut view).pods.push(Arc::new(coming));
    back_from_target(&upgrade, &view)
}

#[test]
fn a_restart_of_the_way_forward_is_cut_short_but_where_that_takes_a_pod_more() {
    let stateful = [WorkloadKind::StatefulSet, WorkloadKind::AdvancedStatefulSet];
    for kind in [WorkloadKind::Deployment, WorkloadKind::DaemonSet] {
        assert_eq!(cut_short(kind, 5, None), restart("default"));
    }
    for kind in stateful {
        assert_eq!(cut_short(kind, 600, None), Placement::Restarting);
        assert_eq!(cut_short(kind, 601, None), restart("default"));
        // It would not get to its end.
        assert_eq!(cut_short(kind, 5, Some("crashes")), restart("default"));
    }
}

/// Where a workload stands that is on its way back, with a pod of the way forward that is ready or in trouble.
fn left_behind(kind: WorkloadKind, ready: bool, trouble: Option<&str>, since: i64) -> Placement {
    let (upgrade, mut view) = stale();
    namespace(&mut view).labels = labels(&[("istio-injection", "enabled")]);
    *cart(&mut view) = workload("cart", "default");
    rolling(&mut view, since);
    cart(&mut view).key.kind = kind;
    cart(&mut view).mark = Some("default".into());
    let left = Pod {
        ready,
        trouble: trouble.map(str::to_owned),
        ..pod("cart-2", TARGET)
    };
    cart(&mut view).pods.push(Arc::new(left));
    back_from_target(&upgrade, &view)
}

#[test]
fn what_a_stateful_set_would_wait_for_on_the_way_back_is_evicted() {
    let crashes = Some("container app: CrashLoopBackOff");
    let set = WorkloadKind::StatefulSet;
    let Placement::Stale(Turn::Evict(pod)) = left_behind(set, false, crashes, 60) else {
        panic!("the pod that crashes stays")
    };
    assert_eq!(pod.name, "cart-2");
    for (kind, ready, trouble) in [
        (WorkloadKind::Deployment, false, crashes),
        (set, true, crashes),
        (set, false, None),
    ] {
        let placement = left_behind(kind, ready, trouble, 60);
        assert_eq!(placement, Placement::Restarting, "{kind} {ready}");
    }
    let late = left_behind(set, false, crashes, 601);
    assert_eq!(late, Placement::Blocked(Predicate::RestartFailed));
}

#[test]
fn a_rollout_that_someone_starts_while_ours_runs_is_no_second_restart() {
    // Its template is newer than our mark, which is still on it.
    let placement = placement_of(|_, view| {
        rolling(view, 60);
        cart(view).pods.push(Arc::new(Pod {
            mark: Some(TARGET.into()),
            ready: false,
            ..pod("cart-3", TARGET)
        }));
    });
    assert_eq!(placement, Placement::Restarting);
    // Its own rollout had begun: it is left, and once that ended nothing is to do.
    let placement = placement_of(|_, view| cart(view).settled = false);
    assert_eq!(placement, Placement::Busy);
    let placement = placement_of(|_, view| *cart(view) = workload("cart", TARGET));
    assert_eq!(placement, Placement::Moved);
}

#[test]
fn kinds_that_a_restart_does_not_move_are_named_with_the_way_out() {
    let by_kind: [(WorkloadKind, Option<&str>); 8] = [
        (WorkloadKind::Deployment, None),
        (WorkloadKind::StatefulSet, None),
        (WorkloadKind::DaemonSet, None),
        (WorkloadKind::ReplicaSet, Some("kubectl -n shop delete pod")),
        (WorkloadKind::Rollout, None),
        (WorkloadKind::CloneSet, None),
        (WorkloadKind::AdvancedStatefulSet, None),
        (WorkloadKind::AdvancedDaemonSet, None),
    ];
    for (kind, way_out) in by_kind {
        let (upgrade, mut view) = stale();
        cart(&mut view).key.kind = kind;
        let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
        match way_out {
            None => assert_eq!(judged.placements[0].1, restart(TARGET), "{kind}"),
            Some(command) => {
                let named = judged.blocked.first().expect("named");
                assert_eq!(named.predicate, Predicate::BareReplicaSet);
                assert!(named.message.contains(command), "{}", named.message);
                assert!(named.message.contains("method: Evict"), "{}", named.message);
            }
        }
    }
    blocked_by(Predicate::InPlace, "method: Evict", |_, view| {
        cart(view).key.kind = WorkloadKind::CloneSet;
        cart(view).strategy = UpdateStrategy::InPlace;
    });
    blocked_by(Predicate::Paused, "updateStrategy", |_, view| {
        cart(view).key.kind = WorkloadKind::CloneSet;
        cart(view).paused = true;
    });
    // By spec.restartAt a Rollout is restarted whatever its pause.
    let placement = placement_of(|_, view| {
        cart(view).key.kind = WorkloadKind::Rollout;
        cart(view).paused = true;
    });
    assert_eq!(placement, restart(TARGET));
}

#[test]
fn the_pods_of_a_rollout_carry_no_mark_and_their_age_tells_who_made_them() {
    let restarted = |created: i64| {
        let (upgrade, mut view) = stale();
        let cart = cart(&mut view);
        cart.key.kind = WorkloadKind::Rollout;
        cart.mark = Some(TARGET.into());
        cart.restarted_at = Some(ago(60));
        cart.pods = vec![Arc::new(Pod {
            created_at: Some(ago(created)),
            ..pod("cart-2", "default")
        })];
        let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
        judged.placements[0].1.clone()
    };
    assert_eq!(restarted(900), Placement::Restarting, "a watch that lags");
    assert_eq!(
        restarted(50),
        restart("1-31-0.2"),
        "made by the restart, and old"
    );
}

#[test]
fn an_own_proxy_image_is_restarted_and_named() {
    let (upgrade, mut view) = stale();
    cart(&mut view).own_proxy_image = true;
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    assert_eq!(judged.placements[0].1, restart(TARGET));
    assert_eq!(judged.blocked[0].predicate, Predicate::ProxyImage);
    assert_eq!((judged.counts().pending, judged.counts().blocked), (1, 0));
    *cart(&mut view) = workload("cart", TARGET);
    cart(&mut view).own_proxy_image = true;
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    assert_eq!((judged.counts().moved, judged.counts().blocked), (1, 0));
    assert_eq!(judged.blocked.len(), 1);
}
