//! Restarts that have ended, and those that make progress: what happens to a workload later is its owner's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::{EndedRestarts, RestartMethod, Strategy};

use super::*;
use crate::example::version;
use crate::message;

fn ended(until: i64, except: &[&str]) -> EndedRestarts {
    EndedRestarts {
        revision: TARGET.into(),
        until: Time(ago(until)),
        except: except.iter().map(|uid| (*uid).to_owned()).collect(),
    }
}

/// Restarted twenty minutes ago; of three pods one is not ready, and its rollout is not over.
fn unsettled() -> (Upgrade, MeshView) {
    let (upgrade, mut view) = stale();
    *cart(&mut view) = workload("cart", TARGET);
    let cart = cart(&mut view);
    cart.mark = Some(TARGET.into());
    cart.restarted_at = Some(ago(1200));
    cart.settled = false;
    cart.whole = false;
    cart.replicas.desired = 3;
    cart.pods.push(Arc::new(Pod {
        ready: false,
        ..pod("cart-2", TARGET)
    }));
    (upgrade, view)
}

fn placed(upgrade: &Upgrade, view: &MeshView) -> Placement {
    let judged = assess(now(), TARGET, upgrade, view).expect("all is seen");
    judged.placements[0].1.clone()
}

#[test]
fn what_has_moved_stays_moved_whatever_its_rollout_does() {
    let (mut upgrade, view) = unsettled();
    for remembered in [ended(1200, &[]), ended(5, &["uid-web"])] {
        upgrade.status.ended_restarts = Some(remembered);
        assert_eq!(placed(&upgrade, &view), Placement::Moved);
    }
    // A restart that was never seen to end is one that failed.
    let not_this_one = [
        None,
        Some(ended(1201, &[])),
        Some(ended(5, &["uid-cart"])),
        Some(EndedRestarts {
            revision: "default".into(),
            ..ended(5, &[])
        }),
    ];
    for remembered in not_this_one {
        upgrade.status.ended_restarts.clone_from(&remembered);
        let placement = placed(&upgrade, &view);
        assert!(matches!(placement, Placement::Failed(_)), "{remembered:?}");
    }
}

#[test]
fn what_has_moved_is_not_restarted_again_nor_evicted() {
    let (mut upgrade, mut view) = unsettled();
    upgrade.status.ended_restarts = Some(ended(1200, &[]));
    upgrade.spec.data_plane.restart.retries = 3;
    assert_eq!(placed(&upgrade, &view), Placement::Moved);
    upgrade.spec.data_plane.restart.method = RestartMethod::Evict;
    cart(&mut view).mark = None;
    cart(&mut view).restarted_at = None;
    cart(&mut view).evicted_at = Some(ago(1200));
    assert_eq!(placed(&upgrade, &view), Placement::Moved);
    upgrade.status.ended_restarts = None;
    upgrade.spec.data_plane.restart.retries = 0;
    assert!(matches!(placed(&upgrade, &view), Placement::Failed(_)));
}

#[test]
fn what_has_moved_and_is_rolled_back_by_its_owner_is_stale_again() {
    let (mut upgrade, mut view) = unsettled();
    upgrade.status.ended_restarts = Some(ended(5, &[]));
    let old = Pod {
        mark: Some(TARGET.into()),
        ..pod("cart-3", "default")
    };
    cart(&mut view).pods.push(Arc::new(old));
    assert_eq!(placed(&upgrade, &view), Placement::Busy);
    cart(&mut view).settled = true;
    assert_eq!(placed(&upgrade, &view), restart("1-31-0.2"));
}

#[test]
fn a_restart_has_ended_when_every_pod_that_is_wanted_is_ready_whatever_its_controller_waits_for() {
    let (upgrade, mut view) = unsettled();
    cart(&mut view).whole = true;
    // A canary of its owner pauses.
    assert_eq!(placed(&upgrade, &view), Placement::Moved);
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    assert_eq!(judged.ended, Some(ended(1200, &[])));
}

#[test]
fn what_is_remembered_is_the_time_and_who_is_not_at_its_end() {
    let (mut upgrade, mut view) = unsettled();
    let Seen::Present(workloads) = &mut view.workloads else {
        panic!("seen")
    };
    let mut web = workload("web", TARGET);
    web.mark = Some(TARGET.into());
    web.restarted_at = Some(ago(60));
    let mut later = workload("later", "default");
    later.mark = Some(TARGET.into());
    later.restarted_at = Some(ago(10));
    later.settled = false;
    workloads.extend([web, later, workload("never", "default")]);
    let judge = |upgrade: &Upgrade, view: &MeshView| {
        let judged = assess(now(), TARGET, upgrade, view).expect("all is seen");
        judged.ended
    };
    let expected = ended(60, &["uid-cart"]);
    assert_eq!(judge(&upgrade, &view), Some(expected.clone()));
    // It stays so until one more has ended.
    upgrade.status.ended_restarts = Some(expected.clone());
    assert_eq!(judge(&upgrade, &view), Some(expected));
}

#[test]
fn nothing_is_remembered_while_a_restart_is_seen_in_pods_alone() {
    let (upgrade, mut view) = unsettled();
    let Seen::Present(workloads) = &mut view.workloads else {
        panic!("seen")
    };
    let mut web = workload("web", TARGET);
    web.mark = Some(TARGET.into());
    web.restarted_at = Some(ago(60));
    workloads.push(web);
    let behind = cart(&mut view);
    behind.mark = None;
    behind.restarted_at = None;
    let pods = |seconds: i64| {
        let pod = Pod {
            mark: Some(TARGET.into()),
            created_at: Some(ago(seconds)),
            ready: false,
            ..pod("cart-4", TARGET)
        };
        vec![Arc::new(pod)]
    };
    behind.pods = pods(80);
    let judge = |view: &MeshView| {
        let judged = assess(now(), TARGET, &upgrade, view).expect("all is seen");
        judged.ended
    };
    assert_eq!(judge(&view), None);
    // No table is as old: somebody took the mark away.
    cart(&mut view).pods = pods(100);
    assert_eq!(judge(&view), Some(ended(60, &[])));
}

#[test]
fn in_place_a_restart_is_known_by_the_version_that_marks_it() {
    let (upgrade, mut view) = unsettled();
    let (from, to) = (version("1.30.2"), version("1.31.0"));
    let behind = cart(&mut view);
    behind.mark = None;
    behind.restarted_at = None;
    behind.pods = vec![Arc::new(Pod {
        mark: Some(to.revision()),
        created_at: Some(ago(80)),
        ready: false,
        ..pod("cart-4", "default")
    })];
    let mut web = workload("web", "default");
    for pod in &mut web.pods {
        Arc::make_mut(pod).proxy_image = Some("example.org/proxyv2:1.31.0".into());
    }
    web.mark = Some(to.revision());
    web.restarted_at = Some(ago(60));
    let Seen::Present(workloads) = &mut view.workloads else {
        panic!("seen")
    };
    workloads.push(web);
    let heading = Heading::planned(Strategy::InPlace, "default", &from, &to);
    let judged = assess_toward(now(), heading, None, &upgrade, &view).expect("all is seen");
    assert_eq!(judged.ended, None, "a restart is seen in pods alone");
}

#[test]
fn a_restart_is_later_than_all_that_have_ended() {
    assert_eq!(after(now(), None), now());
    assert_eq!(after(now(), Some(&ended(5, &[]))), now());
    // By the clock of another leader.
    assert_eq!(after(now(), Some(&ended(0, &[]))), ago(-1));
    assert_eq!(after(now(), Some(&ended(-30, &[]))), ago(-31));
}

/// Restarted long ago, with one more pod that was made, and got ready, so long ago.
fn progress(created: i64, ready: Option<i64>, restarts: u32, desired: u32) -> bool {
    let (upgrade, mut view) = unsettled();
    cart(&mut view).restarted_at = Some(ago(1500));
    cart(&mut view).replicas.desired = desired;
    cart(&mut view).pods.push(Arc::new(Pod {
        created_at: Some(ago(created)),
        ready: ready.is_some(),
        ready_changed_at: ready.map(ago),
        restarts,
        ..pod("cart-3", TARGET)
    }));
    placed(&upgrade, &view) == Placement::Restarting
}

#[test]
fn a_restart_goes_on_as_long_as_it_makes_progress() {
    // A new pod, or one that became ready, within the ten minutes.
    assert!(progress(590, None, 0, 40));
    assert!(!progress(610, None, 0, 40));
    assert!(progress(1400, Some(590), 0, 40));
    assert!(!progress(1400, Some(610), 0, 40));
    // One that crashes is ready now and then, for ever.
    assert!(!progress(1400, Some(5), 7, 40));
    // And the whole ends, too: ten minutes for each pod, and ten more.
    assert!(progress(590, None, 0, 2));
    assert!(!progress(590, None, 0, 1));
}

#[test]
fn pods_that_come_up_without_a_sidecar_are_a_failure_and_never_moved() {
    let (mut upgrade, mut view) = unsettled();
    let workload = cart(&mut view);
    workload.pods.clear();
    workload.settled = true;
    assert_eq!(placed(&upgrade, &view), {
        let why = message::comes_up_without_sidecar(TARGET);
        Placement::Failed(why)
    });
    // The watch of pods may lag behind that of workloads.
    cart(&mut view).restarted_at = Some(ago(30));
    assert_eq!(placed(&upgrade, &view), Placement::Restarting);
    // It had one after its restart.
    upgrade.status.ended_restarts = Some(ended(30, &[]));
    let gone = Placement::Blocked(Predicate::SidecarGone);
    assert_eq!(placed(&upgrade, &view), gone);
    // Scaled to zero it has no pods.
    cart(&mut view).replicas.ready = 0;
    assert_eq!(placed(&upgrade, &view), Placement::Moved);
}

#[test]
fn what_the_way_forward_took_out_of_the_mesh_is_restarted_on_the_way_back() {
    let (upgrade, mut view) = unsettled();
    namespace(&mut view).labels = labels(&[("istio-injection", "enabled")]);
    cart(&mut view).pods.clear();
    cart(&mut view).settled = true;
    assert_eq!(back_from_target(&upgrade, &view), restart("default"));
    cart(&mut view).replicas.ready = 0;
    assert_eq!(back_from_target(&upgrade, &view), Placement::Moved);
}
