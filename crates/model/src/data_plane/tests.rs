//! One row for each reason not to move something, and one test for each place a workload can be in.

mod ended;
mod evict;
mod moved;
mod retries;
mod templates;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use meshlift_api::{Phase, Predicate};

use super::*;
use crate::example::{
    TARGET, ago, cart, istiod, labels, moved, namespace, now, planes, pod, record, upgrade,
    workload,
};
use crate::upgrade::Upgrade;
use crate::view::{MeshView, Seen, UpdateStrategy, WorkloadKind};

type Spoil = fn(&mut Upgrade, &mut MeshView);

/// A moved namespace whose workload still runs the old sidecar.
fn stale() -> (Upgrade, MeshView) {
    let mut view = moved();
    *cart(&mut view) = workload("cart", "default");
    (upgrade(Phase::Upgrading), view)
}

fn placement_of(change: Spoil) -> Placement {
    let (mut upgrade, mut view) = stale();
    change(&mut upgrade, &mut view);
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    judged.placements[0].1.clone()
}

/// Where the workload stands on the way back from the target.
fn back_from_target(upgrade: &Upgrade, view: &MeshView) -> Placement {
    let heading = Heading::back("default", TARGET);
    let judged = assess_toward(now(), heading, None, upgrade, view).expect("all is seen");
    judged.placements[0].1.clone()
}

fn restart(mark: &str) -> Placement {
    Placement::Stale(Turn::Restart {
        mark: mark.into(),
        template: None,
    })
}

fn blocked_by(predicate: Predicate, command: &str, spoil: Spoil) {
    let (mut upgrade, mut view) = stale();
    spoil(&mut upgrade, &mut view);
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    let blocked = judged.blocked.first().expect("something blocked");
    assert_eq!(blocked.predicate, predicate);
    assert!(
        blocked.message.contains(command),
        "{predicate}: {}",
        blocked.message
    );
    assert_eq!(judged.counts().blocked, 1, "{predicate}");
}

/// The namespace follows tag `prod`.
fn tagged(view: &mut MeshView, revision: &str) {
    view.tags_mut().push(Tag {
        name: "prod".into(),
        revision: revision.into(),
        ..Tag::default()
    });
    namespace(view).labels = labels(&[("istio.io/rev", "prod")]);
}

#[test]
fn what_is_not_moved_yet_waits_for_its_label_tag_or_gateway() {
    // A plan asks without stages: what will be restarted in the end.
    let planned = |spoil: Spoil| placement_of(spoil);
    let on_the_way = |spoil: Spoil| {
        let (mut upgrade, mut view) = stale();
        spoil(&mut upgrade, &mut view);
        let record = record();
        let stages = Stages::of(&upgrade, &record);
        let heading = Heading::forward(TARGET);
        let judged = assess_toward(now(), heading, Some(&stages), &upgrade, &view);
        judged.expect("all is seen").placements[0].1.clone()
    };
    let not_yet: [Spoil; 2] = [
        |_, view| tagged(view, "default"),
        |_, view| namespace(view).labels = labels(&[("istio-injection", "enabled")]),
    ];
    for spoil in not_yet {
        assert_eq!(planned(spoil), restart(TARGET));
        assert_eq!(on_the_way(spoil), Placement::Later);
    }
    assert_eq!(on_the_way(|_, view| tagged(view, TARGET)), restart(TARGET));
    let gateway: Spoil = |_, view| {
        cart(view).managed_gateway = true;
        cart(view).labels = labels(&[("gateway.networking.k8s.io/gateway-name", "front")]);
        view.gateways = Seen::Present(vec![Gateway {
            namespace: "shop".into(),
            name: "front".into(),
            ..Gateway::default()
        }]);
    };
    assert_eq!(on_the_way(gateway), Placement::Later);
}

fn loose(owner: Option<&str>) -> Vec<Arc<Pod>> {
    vec![Arc::new(Pod {
        owner_kind: owner.map(str::to_owned),
        owner_name: owner.map(|_| "owner".to_owned()),
        ..pod("lonely", "default")
    })]
}

#[test]
fn pods_that_no_restart_replaces() {
    let rows: [(Predicate, &str, Spoil); 3] = [
        (
            Predicate::BarePod,
            "kubectl -n shop get pod lonely",
            |_, v| v.loose_pods = loose(None),
        ),
        (Predicate::Job, "get job owner", |_, v| {
            v.loose_pods = loose(Some("Job"))
        }),
        (Predicate::UnknownController, "delete pod lonely", |_, v| {
            v.loose_pods = loose(Some("GameServer"));
        }),
    ];
    for (predicate, command, spoil) in rows {
        blocked_by(predicate, command, spoil);
    }
}

#[test]
fn workloads_that_do_not_roll() {
    blocked_by(Predicate::OnDelete, "delete pod", |_, view| {
        cart(view).strategy = UpdateStrategy::OnDelete;
    });
    blocked_by(
        Predicate::Partition,
        "rollout restart statefulset/cart",
        |_, view| {
            cart(view).key.kind = WorkloadKind::StatefulSet;
            cart(view).strategy = UpdateStrategy::Partition(2);
        },
    );
    blocked_by(
        Predicate::Paused,
        "rollout resume deployment/cart",
        |_, view| {
            cart(view).paused = true;
        },
    );
    blocked_by(Predicate::ManagedGateway, "by itself", |_, view| {
        cart(view).managed_gateway = true;
    });
}

#[test]
fn a_partition_of_zero_rolls() {
    let placement = placement_of(|_, view| cart(view).strategy = UpdateStrategy::Partition(0));
    assert!(matches!(placement, Placement::Stale(_)), "{placement:?}");
}

#[test]
fn what_is_excluded_by_namespace_or_by_workload() {
    fn exclude(upgrade: &mut Upgrade) {
        upgrade.spec.data_plane.exclude = Some(LabelSelector {
            match_labels: Some(labels(&[("team", "legacy")])),
            ..LabelSelector::default()
        });
    }
    blocked_by(Predicate::Excluded, "remove the label", |upgrade, view| {
        exclude(upgrade);
        cart(view).labels = labels(&[("team", "legacy")]);
    });
    blocked_by(Predicate::Excluded, "remove the label", |upgrade, view| {
        exclude(upgrade);
        namespace(view)
            .labels
            .insert("team".into(), "legacy".into());
    });
}

#[test]
fn workloads_that_would_not_come_back_on_the_target() {
    blocked_by(Predicate::Tag, "istioctl tag set", |upgrade, view| {
        upgrade.spec.data_plane.by = Move::Labels;
        tagged(view, "default");
    });
    blocked_by(Predicate::Tag, "istioctl tag set", |_, view| {
        tagged(view, "default");
        view.tags_mut()[0].namespace = "other-mesh".into();
    });
    blocked_by(Predicate::NotOurs, "to others", |upgrade, view| {
        upgrade.spec.data_plane.by = Move::Tags;
        namespace(view).labels = labels(&[("istio-injection", "enabled")]);
    });
    blocked_by(Predicate::InjectionOff, "out of the mesh", |_, view| {
        namespace(view).labels = labels(&[("istio-injection", "disabled")]);
    });
}

#[test]
fn a_rollout_of_its_own_is_left_alone_and_named_in_the_end() {
    let (upgrade, mut view) = stale();
    cart(&mut view).settled = false;
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    assert_eq!(judged.placements[0].1, Placement::Busy);
    assert_eq!((judged.counts().pending, judged.blocked.len()), (1, 0));
    let named = judged.naming_busy(TARGET);
    assert_eq!((named.counts().pending, named.counts().blocked), (0, 1));
    assert_eq!(named.blocked[0].predicate, Predicate::RolloutIncomplete);
    assert!(
        named.blocked[0]
            .message
            .contains("rollout status deployment/cart")
    );
}

#[test]
fn old_sidecars_are_stale_and_new_ones_moved() {
    assert_eq!(placement_of(|_, _| ()), restart(TARGET));
    let placement = placement_of(|_, view| *cart(view) = workload("cart", TARGET));
    assert_eq!(placement, Placement::Moved);
    let placement = placement_of(|_, view| {
        cart(view).pods[0] = Arc::new(Pod {
            revision: None,
            ..pod("cart-1", "")
        });
    });
    assert!(matches!(placement, Placement::Stale(_)), "{placement:?}");
}

/// A workload that was restarted and whose pod, made by that restart, came up old all the same.
fn undone(view: &mut MeshView, mark: &str) {
    let cart = cart(view);
    cart.mark = Some(mark.into());
    cart.restarted_at = Some(ago(60));
    cart.pods = vec![Arc::new(Pod {
        mark: Some(mark.into()),
        ..pod("cart-2", "default")
    })];
}

#[test]
fn a_restart_that_is_undone_is_repeated_twice_and_then_named() {
    let again = restart;
    assert_eq!(
        placement_of(|_, view| undone(view, "1-31-0")),
        again("1-31-0.2")
    );
    assert_eq!(
        placement_of(|_, view| undone(view, "1-31-0.2")),
        again("1-31-0.3")
    );
    let Placement::Failed(why) = placement_of(|_, view| undone(view, "1-31-0.3")) else {
        panic!("restarted for ever")
    };
    assert!(why.contains("restarted 3 times"), "{why}");
}

#[test]
fn pods_from_before_the_restart_are_a_watch_that_lags() {
    let placement = placement_of(|_, view| {
        undone(view, "1-31-0");
        cart(view).pods = vec![Arc::new(pod("cart-1", "default"))];
    });
    assert_eq!(placement, Placement::Restarting);
}

#[test]
fn a_mark_for_another_revision_is_none() {
    let placement = placement_of(|_, view| undone(view, "1-30-2"));
    assert_eq!(placement, restart(TARGET));
}

#[test]
fn another_mesh_and_what_goes_with_its_namespace_do_not_count() {
    let (upgrade, mut view) = stale();
    let mut other = istiod("team-b", "1.29.8");
    other.namespace = "istio-b".into();
    planes(&mut view).push(other);
    *cart(&mut view) = workload("cart", "team-b");
    view.loose_pods = vec![Arc::new(pod("lonely", "team-b"))];
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    assert_eq!((judged.placements.len(), judged.blocked.len()), (0, 0));
    assert_eq!(judged.proxies.total, 0);

    let (upgrade, mut view) = stale();
    namespace(&mut view).terminating = true;
    view.loose_pods = loose(None);
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    assert_eq!((judged.placements.len(), judged.blocked.len()), (0, 0));
    assert_eq!(judged.proxies.outdated, 2);
}

#[test]
fn proxies_are_counted_by_revision() {
    let (upgrade, mut view) = stale();
    let unknown = Pod {
        revision: None,
        ..pod("c", "")
    };
    cart(&mut view)
        .pods
        .extend([Arc::new(pod("b", TARGET)), Arc::new(unknown)]);
    let judged = assess(now(), TARGET, &upgrade, &view).expect("all is seen");
    let p = judged.proxies;
    assert_eq!((p.total, p.current, p.outdated, p.unknown), (3, 1, 1, 1));
}

#[test]
fn nothing_is_judged_of_what_cannot_be_seen() {
    let spoils: [Spoil; 3] = [
        |_, view| view.control_planes = Seen::Absent,
        |_, view| view.namespaces = Seen::Unreadable("no".into()),
        |_, view| view.workloads = Seen::Unreadable("no".into()),
    ];
    for spoil in spoils {
        let (mut upgrade, mut view) = stale();
        spoil(&mut upgrade, &mut view);
        assert_eq!(assess(now(), TARGET, &upgrade, &view), None);
    }
}

#[test]
fn selectors_select_as_kubernetes_does() {
    let on = labels(&[("tier", "web")]);
    let with = |operator: &str, values: &[&str]| LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "tier".into(),
            operator: operator.into(),
            values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        }]),
        ..LabelSelector::default()
    };
    let rows = [
        ("In", true, false),
        ("NotIn", false, true),
        ("Exists", true, false),
        ("DoesNotExist", false, true),
    ];
    for (operator, with_label, without) in rows {
        let selector = with(operator, &["web"]);
        assert_eq!(excluded(Some(&selector), &on), with_label, "{operator}");
        assert_eq!(
            excluded(Some(&selector), &labels(&[])),
            without,
            "{operator}"
        );
    }
    assert!(
        !excluded(Some(&LabelSelector::default()), &on),
        "empty selects nothing"
    );
    assert!(!excluded(None, &on));
}
