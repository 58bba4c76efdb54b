//! Workloads whose pods are evicted.

use meshlift_api::{Predicate, RestartMethod};

use super::*;
use crate::refusals::Refusal;

fn evicting(change: Spoil) -> Placement {
    evicting_after(change)
}

fn evicting_with(change: impl Fn(&mut MeshView)) -> Placement {
    evicting_after(|_, view| change(view))
}

fn evicting_after(change: impl Fn(&mut Upgrade, &mut MeshView)) -> Placement {
    let (mut upgrade, mut view) = stale();
    upgrade.spec.data_plane.restart.method = RestartMethod::Evict;
    let pods = ["cart-1", "cart-2"].map(|name| {
        Arc::new(Pod {
            uid: format!("uid-{name}"),
            ..pod(name, "default")
        })
    });
    cart(&mut view).pods = pods.into();
    change(&mut upgrade, &mut view);
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    judged.placements[0].1.clone()
}

fn evicts(placement: &Placement) -> Option<&str> {
    match placement {
        Placement::Stale(Turn::Evict(pod)) => Some(pod.name.as_str()),
        _ => None,
    }
}

/// One pod was evicted, and its replacement is not ready yet.
fn coming_back(view: &mut MeshView, evicted: i64, created: i64) {
    let cart = cart(view);
    cart.whole = false;
    cart.evicted_at = Some(ago(evicted));
    cart.pods[0] = Arc::new(Pod {
        ready: false,
        created_at: Some(ago(created)),
        uid: "uid-cart-3".into(),
        ..pod("cart-3", TARGET)
    });
}

#[test]
fn what_no_rolling_update_moves_is_evicted_pod_by_pod() {
    let kinds: [Spoil; 8] = [
        |_, _| (),
        |_, view| cart(view).strategy = UpdateStrategy::OnDelete,
        |_, view| cart(view).strategy = UpdateStrategy::Partition(2),
        |_, view| cart(view).strategy = UpdateStrategy::InPlace,
        |_, view| cart(view).paused = true,
        |_, view| cart(view).key.kind = WorkloadKind::ReplicaSet,
        // In the middle of its own steps.
        |_, view| {
            cart(view).key.kind = WorkloadKind::Rollout;
            cart(view).settled = false;
        },
        // Half of it was moved by hand.
        |_, view| cart(view).pods[1] = Arc::new(pod("cart-9", TARGET)),
    ];
    for change in kinds {
        let placement = evicting(change);
        assert_eq!(evicts(&placement), Some("cart-1"), "{placement:?}");
    }
}

#[test]
fn the_next_one_waits_until_all_are_there() {
    assert_eq!(
        evicting(|_, view| cart(view).whole = false),
        Placement::Busy
    );
    assert_eq!(
        evicting(|_, view| cart(view).settled = false),
        Placement::Busy
    );
    assert_eq!(
        evicting(|_, view| coming_back(view, 20, 10)),
        Placement::Restarting
    );
    // Gone, and not yet replaced.
    let placement = evicting(|_, view| {
        coming_back(view, 20, 10);
        cart(view).pods.remove(0);
    });
    assert_eq!(placement, Placement::Restarting);
    let placement = evicting(|_, view| {
        coming_back(view, 20, 10);
        cart(view).whole = true;
    });
    assert_eq!(evicts(&placement), Some("cart-2"));
    let placement = evicting(|_, view| *cart(view) = workload("cart", TARGET));
    assert_eq!(placement, Placement::Moved);
}

#[test]
fn a_refused_eviction_holds_and_is_named_in_the_end() {
    let why = "The disruption budget cart needs 2 healthy pods and has 2 currently";
    let refuse = |view: &mut MeshView, again: bool| {
        let last_at = now() - SignedDuration::from_secs(if again { 4 } else { 3 });
        let refused = Refusal {
            why: why.into(),
            budget: true,
            count: 1,
            first_at: last_at,
            last_at,
        };
        view.refusals.insert("uid-cart-2".into(), refused);
    };
    let (mut upgrade, mut view) = stale();
    upgrade.spec.data_plane.restart.method = RestartMethod::Evict;
    cart(&mut view).pods[0] = Arc::new(Pod {
        uid: "uid-cart-2".into(),
        ..pod("cart-2", "default")
    });
    refuse(&mut view, true);
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    let Placement::Held(Held {
        again: Some(Turn::Evict(pod)),
        ..
    }) = &judged.placements[0].1
    else {
        panic!("{:?}", judged.placements[0].1)
    };
    assert_eq!(pod.name, "cart-2");
    refuse(&mut view, false);
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    let held = Placement::Held(Held {
        why: why.into(),
        predicate: Predicate::DisruptionBudget,
        again: None,
        over: false,
    });
    assert_eq!(judged.placements[0].1, held);
    assert_eq!((judged.counts().pending, judged.counts().blocked), (1, 0));
    let named = judged.naming_busy(TARGET);
    assert_eq!((named.counts().pending, named.counts().blocked), (0, 1));
    assert_eq!(named.blocked[0].predicate, Predicate::DisruptionBudget);
    assert!(
        named.blocked[0].message.contains(why),
        "{}",
        named.blocked[0].message
    );
}

#[test]
fn an_evicted_pod_has_its_time_to_come_back_and_its_retries() {
    let placement = evicting(|_, view| coming_back(view, 600, 590));
    assert_eq!(placement, Placement::Restarting);
    let placement = evicting(|_, view| coming_back(view, 601, 590));
    assert_eq!(
        placement,
        Placement::Failed("not all pods were ready within 10m".into())
    );
    let retried = |evicted, created| {
        let (mut upgrade, mut view) = stale();
        upgrade.spec.data_plane.restart.method = RestartMethod::Evict;
        upgrade.spec.data_plane.restart.retries = 2;
        let began = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(ago(5000));
        upgrade.status.started_at = Some(began);
        coming_back(&mut view, evicted, created);
        let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
        judged.placements[0].1.clone()
    };
    assert_eq!(
        evicts(&retried(601, 590)),
        Some("cart-3"),
        "its first retry"
    );
    assert_eq!(retried(610, 5), Placement::Restarting, "under way");
    assert_eq!(evicts(&retried(1201, 590)), Some("cart-3"), "its second");
    assert_eq!(retried(1210, 5), Placement::Restarting);
    let over = Placement::Failed("not all pods were ready within 10m".into());
    assert_eq!(retried(1801, 590), over, "no third");
}

#[test]
fn a_rollout_of_its_owner_is_no_pod_that_does_not_come_back() {
    let placement = |ready: i64, desired: u32| {
        evicting_with(move |view| {
            coming_back(view, 700, 10);
            let cart = cart(view);
            cart.replicas.desired = desired;
            cart.pods[1] = Arc::new(Pod {
                ready_changed_at: Some(ago(ready)),
                ..pod("cart-4", TARGET)
            });
        })
    };
    assert_eq!(placement(590, 10), Placement::Restarting);
    assert!(matches!(placement(610, 10), Placement::Failed(_)));
    // What is ready now and then has its limit too.
    assert!(matches!(placement(20, 0), Placement::Failed(_)));
}

#[test]
fn a_pod_that_comes_back_old_is_not_evicted_for_ever() {
    let placement = evicting(|_, view| {
        cart(view).evicted_at = Some(ago(60));
        cart(view).pods[1] = Arc::new(Pod {
            created_at: Some(ago(50)),
            ..pod("cart-3", "default")
        });
    });
    let Placement::Failed(why) = placement else {
        panic!("{placement:?}")
    };
    assert!(why.contains("who writes the namespace's labels"), "{why}");
}

#[test]
fn an_eviction_of_a_run_before_says_nothing() {
    let placement = evicting(|upgrade, view| {
        coming_back(view, 5000, 4000);
        let began = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(ago(600));
        upgrade.status.started_at = Some(began);
    });
    assert_eq!(placement, Placement::Busy);
}

#[test]
fn a_template_that_asks_itself_is_written_and_rolls_or_is_evicted_after_that() {
    fn asks(view: &mut MeshView) {
        namespace(view).labels.clear();
        cart(view).template_labels = labels(&[("sidecar.istio.io/inject", "true")]);
    }
    fn has_asked(view: &mut MeshView) {
        asks(view);
        cart(view)
            .template_labels
            .insert("istio.io/rev".into(), TARGET.into());
        cart(view).mark = Some(TARGET.into());
        cart(view).restarted_at = Some(ago(5));
        cart(view).settled = false;
    }
    let writes = |placement: &Placement| {
        matches!(
            placement,
            Placement::Stale(Turn::Restart {
                template: Some(_),
                ..
            })
        )
    };
    assert!(writes(&evicting(|_, view| asks(view))));
    assert_eq!(evicting(|_, view| has_asked(view)), Placement::Restarting);
    let placement = evicting(|_, view| {
        asks(view);
        cart(view).strategy = UpdateStrategy::OnDelete;
    });
    assert!(writes(&placement));
    let placement = evicting(|_, view| {
        has_asked(view);
        cart(view).strategy = UpdateStrategy::OnDelete;
    });
    assert_eq!(evicts(&placement), Some("cart-1"));
    // Evicted, these would come back from the template that they have now.
    for change in [
        (|_, view| {
            asks(view);
            cart(view).paused = true;
        }) as Spoil,
        |_, view| {
            asks(view);
            cart(view).strategy = UpdateStrategy::Partition(1);
        },
    ] {
        let placement = evicting(change);
        assert!(matches!(placement, Placement::Blocked(_)), "{placement:?}");
    }
}
