//! Whose crashes count, and whose do not.

use super::*;
use crate::data_plane::{Moved, unsteady};
use crate::view::WorkloadKey;

/// When the watch began.
const SINCE: i64 = 300;

/// A moved workload of two pods, the first of which has crashed four times, last a minute ago.
fn crashing() -> (Upgrade, MeshView) {
    let (upgrade, mut view) = stale();
    *cart(&mut view) = workload("cart", TARGET);
    let pods = ["cart-1", "cart-2"].map(|name| {
        Arc::new(Pod {
            created_at: Some(ago(1800)),
            ..pod(name, TARGET)
        })
    });
    cart(&mut view).pods = pods.into();
    change(&mut view, |pod| {
        pod.restarts = 4;
        pod.restarted_at = Some(ago(60));
    });
    (upgrade, view)
}

fn change(view: &mut MeshView, change: impl FnOnce(&mut Pod)) {
    change(Arc::make_mut(&mut cart(view).pods[0]));
}

fn problems(upgrade: &Upgrade, view: &MeshView, unsteady: &[WorkloadKey]) -> Vec<String> {
    let judged = assess(now(), TARGET, upgrade, view).expect("all is seen");
    let moved = Moved {
        data_plane: &judged,
        heading: Heading::forward(TARGET),
        unsteady,
        back_since: None,
    };
    moved.problems(now(), ago(SINCE))
}

fn are_problems(spoil: Spoil) -> bool {
    let (mut upgrade, mut view) = crashing();
    spoil(&mut upgrade, &mut view);
    !problems(&upgrade, &view, &[]).is_empty()
}

#[test]
fn a_moved_pod_that_keeps_crashing_counts() {
    let (upgrade, view) = crashing();
    let named = "pod cart-1 of Deployment shop/cart keeps crashing since it moved";
    assert_eq!(problems(&upgrade, &view, &[]), [named]);
    assert!(are_problems(|_, view| change(view, |pod| {
        // It waits for its next try.
        pod.restarted_at = Some(ago(400));
        pod.ready = false;
        pod.trouble = Some("container app: CrashLoopBackOff".into());
    })));
}

#[test]
fn what_crashes_for_another_reason_does_not_count() {
    let rows: [(&str, Spoil); 6] = [
        ("a crash or two", |_, v| change(v, |pod| pod.restarts = 2)),
        ("not since", |_, v| {
            change(v, |pod| pod.restarted_at = Some(ago(400)));
        }),
        ("now and then, in days", |_, v| {
            change(v, |pod| pod.created_at = Some(ago(100_000)));
        }),
        ("made meanwhile", |_, v| {
            change(v, |pod| pod.created_at = Some(ago(200)));
        }),
        ("rolled out by its owner", |_, v| {
            cart(v).replicas.rolling = true;
        }),
        ("excluded, and not moved", |upgrade, v| {
            upgrade.spec.data_plane.exclude = Some(LabelSelector {
                match_labels: Some(labels(&[("team", "legacy")])),
                ..LabelSelector::default()
            });
            cart(v).labels = labels(&[("team", "legacy")]);
            change(v, |pod| pod.revision = Some("default".into()));
        }),
    ];
    for (what, spoil) in rows {
        assert!(!are_problems(spoil), "{what}");
    }
    let (upgrade, mut view) = crashing();
    let before = [cart(&mut view).key.clone()];
    assert!(problems(&upgrade, &view, &before).is_empty(), "so before");
}

#[test]
fn a_loose_pod_that_crashes_does_not_count() {
    let (upgrade, mut view) = crashing();
    view.loose_pods = std::mem::take(&mut cart(&mut view).pods);
    assert!(problems(&upgrade, &view, &[]).is_empty());
}

#[test]
fn a_workload_of_which_no_pod_is_ready_counts() {
    let unready = |of_pods: usize, since: i64| {
        let (upgrade, mut view) = crashing();
        let cart = cart(&mut view);
        for pod in &mut cart.pods {
            *pod = Arc::new(Pod {
                restarts: 0,
                ..(**pod).clone()
            });
        }
        for pod in cart.pods.iter_mut().take(of_pods) {
            let pod = Arc::make_mut(pod);
            pod.ready = false;
            pod.ready_changed_at = Some(ago(since));
        }
        problems(&upgrade, &view, &[])
    };
    assert_eq!(unready(2, 90), ["no pod of Deployment shop/cart is ready"]);
    assert!(unready(2, 30).is_empty(), "for a moment");
    assert!(unready(1, 90).is_empty(), "a node that was lost");
}

#[test]
fn on_the_way_back_only_what_was_moved_back_counts() {
    let (upgrade, view) = crashing();
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    let since = |back: i64| {
        let moved = Moved {
            data_plane: &judged,
            heading: Heading::forward(TARGET),
            unsteady: &[],
            back_since: Some(ago(back)),
        };
        moved.problems(now(), ago(SINCE)).len()
    };
    assert_eq!((since(2000), since(1000)), (1, 0));
}

/// Sixty restarts an hour in five thousand pods, for no reason.
#[test]
fn a_large_mesh_is_never_without_a_restart() {
    let (upgrade, mut view) = crashing();
    let Seen::Present(workloads) = &mut view.workloads else {
        panic!("seen")
    };
    *workloads = (0..5000)
        .map(|n| {
            let mut one = workload(&format!("w{n}"), TARGET);
            let restarted = n % 83 == 0;
            one.pods[0] = Arc::new(Pod {
                created_at: Some(ago(7200)),
                restarts: u32::from(restarted),
                restarted_at: restarted.then(|| ago(i64::from(n) * 3600 / 5000)),
                ..pod(&format!("w{n}-1"), TARGET)
            });
            one
        })
        .collect();
    assert!(problems(&upgrade, &view, &[]).is_empty());
}

#[test]
fn what_was_in_trouble_before_is_known() {
    let found = |spoil: fn(&mut Pod)| {
        let (_, mut view) = stale();
        change(&mut view, spoil);
        let Seen::Present(workloads) = &view.workloads else {
            panic!("seen")
        };
        !unsteady(now(), Heading::forward(TARGET), workloads).is_empty()
    };
    assert!(!found(|_| ()));
    assert!(found(|pod| pod.ready = false));
    assert!(found(|pod| pod.restarted_at = Some(ago(3000))));
    assert!(!found(|pod| pod.restarted_at = Some(ago(4000))));
    // An earlier run moved it, and broke it.
    assert!(!found(|pod| {
        pod.ready = false;
        pod.revision = Some(TARGET.into());
    }));
}
