//! What a dry-run pod is made of, and what follows from who refuses it.

use super::*;

/// Elsewhere a pod is injected: what refuses them in one namespace is no fault of the new control plane.
#[test]
fn a_namespace_that_refuses_pods_is_named_and_holds_nobody_up() {
    let mut view = moved();
    *cart(&mut view) = workload("cart", "default");
    let policy = refused(Refuser::Policy("registries".into()), "no such registry");
    view.probes.insert("shop".into(), policy);
    let mut upgrade = upgrade(Phase::Upgrading);
    upgrade.status.step = Some(Step::ProvingControlPlane);
    upgrade.status.step_started_at = Some(Time(ago(10)));
    let decision = decide(now(), &upgrade, &view);
    assert!(matches!(decision.next, Next::Wait(_)), "{decision:?}");
    upgrade.status.step_started_at = Some(Time(ago(9999)));
    let decision = decide(now(), &upgrade, &view);
    assert_eq!(decision.next, Next::Enter(Phase::HealthChecking));
    let named = decision.report.blocked.clone().expect("a list");
    assert_eq!(named[0].predicate, meshlift_api::Predicate::PodRefused);
    let why = "was refused by policy registries: no such registry";
    assert!(named[0].message.contains(why), "{}", named[0].message);
    // Named once, it is waited for no more, and moves as soon as it may.
    upgrade.status.phase = Some(Phase::HealthChecking);
    upgrade.status.step = Some(Step::Soaking);
    upgrade.status.blocked = named;
    let decision = decide(now(), &upgrade, &view);
    assert_eq!(decision.report.step, Some(Step::Soaking));
    view.probes = moved().probes;
    let decision = decide(now(), &upgrade, &view);
    assert!(matches!(decision.next, Next::Act(_)), "{decision:?}");
}

/// A restart that was refused is tried by a clock of its own, and where no pod can be had it is not tried any more.
#[test]
fn a_refused_restart_that_no_pod_would_follow_ends_by_its_own_clock() {
    let (upgrade, mut view) = (upgrade(Phase::Upgrading), moved());
    *cart(&mut view) = workload("cart", "default");
    let policy = refused(Refuser::Policy("registries".into()), "no such registry");
    // Another namespace shows that the control plane injects.
    let shown = view.probes["shop"].clone();
    view.probes.insert("blog".into(), shown);
    view.probes.insert("shop".into(), policy);
    let timeout = meshlift_model::time::signed(upgrade.spec.data_plane.restart.timeout);
    let uid = cart(&mut view).uid.clone();
    for (short, named) in [(1, false), (0, true)] {
        let first_at = now() - timeout + SignedDuration::from_secs(short);
        let refusal = meshlift_model::Refusal {
            why: "policy freeze".into(),
            budget: false,
            count: 1,
            first_at,
            last_at: first_at,
        };
        view.refusals.insert(uid.clone(), refusal);
        let report = decide(now(), &upgrade, &view).report;
        let blocked = report.blocked.unwrap_or_default();
        let predicates: Vec<_> = blocked.iter().map(|b| b.predicate).collect();
        let found = predicates.contains(&meshlift_api::Predicate::PodRefused);
        assert_eq!(found, named, "{predicates:?}");
    }
}

/// A quota counts the pod that is asked about beside those that run.
#[test]
fn a_full_quota_holds_only_what_needs_room_first() {
    let restarts = |kind: meshlift_model::view::WorkloadKind, by: Refuser| {
        let mut view = moved();
        *cart(&mut view) = workload("cart", "default");
        cart(&mut view).key.kind = kind;
        view.probes.insert("shop".into(), refused(by, "no"));
        matches!(
            decide(now(), &upgrade(Phase::Upgrading), &view).next,
            Next::Act(_)
        )
    };
    use meshlift_model::view::WorkloadKind::{Deployment, StatefulSet};
    assert!(restarts(StatefulSet, Refuser::Quota));
    assert!(!restarts(Deployment, Refuser::Quota));
    assert!(!restarts(StatefulSet, Refuser::PodSecurity));
    assert!(restarts(
        Deployment,
        Refuser::NoDryRun("old.example".into())
    ));
}

/// A label of its own decides there, so no pod could ask for the new revision.
#[test]
fn the_control_planes_own_namespace_is_asked_only_where_a_pod_can_ask() {
    for label in ["istio-injection", "istio.io/rev"] {
        let mut view = moved();
        let mut home = namespace(&mut view).clone();
        home.name = "istio-system".into();
        home.labels = meshlift_model::example::labels(&[(label, "elsewhere")]);
        if let Seen::Present(namespaces) = &mut view.namespaces {
            namespaces.push(home);
        }
        view.probes.clear();
        let upgrade = upgrade(Phase::Upgrading);
        let runs = crate::wanted(now(), &upgrade, &view).probes;
        assert_eq!(runs.map(|runs| runs.pods.len()), Some(0), "{label}");
        let next = decide(now(), &upgrade, &view).next;
        assert_eq!(next, Next::Enter(Phase::HealthChecking), "{label}");
    }
}

/// What is Git's, blocked, or rendered by istiod is restarted by nobody, and so shows nothing.
#[test]
fn a_pod_is_made_of_what_restarts_next() {
    let mut view = moved();
    *cart(&mut view) = workload("cart", "default");
    let sampled = |view: &MeshView| {
        let runs = crate::wanted(now(), &upgrade(Phase::Upgrading), view).probes;
        let runs = runs.expect("dry runs").pods;
        match runs.get("shop") {
            Some(meshlift_model::Sample::Workload { key, .. }) => Some(key.name.clone()),
            _ => None,
        }
    };
    for (spoil, name) in [
        ("own image", "a-first"),
        ("host network", "a-first"),
        ("rendered by istiod", "a-first"),
    ] {
        let mut view = view.clone();
        let mut other = workload(name, "default");
        match spoil {
            "own image" => other.own_proxy_image = true,
            "host network" => other.host_network = true,
            _ => other.managed_gateway = true,
        }
        if let Seen::Present(workloads) = &mut view.workloads {
            workloads.insert(0, other);
        }
        assert_eq!(sampled(&view).as_deref(), Some("cart"), "{spoil}");
    }
    cart(&mut view).own_proxy_image = true;
    assert_eq!(sampled(&view).as_deref(), Some("cart"), "better than none");
    let own = Probe::Injected {
        revision: TARGET.into(),
        image: "example.org/proxyv2:1.30.2".into(),
    };
    view.probes.insert("shop".into(), own);
    let next = decide(now(), &upgrade(Phase::Upgrading), &view).next;
    assert!(
        matches!(next, Next::Act(_)),
        "its image says nothing of the version"
    );
}
