//! Gateways that istiod renders.

use super::*;

#[test]
fn a_gateway_is_kept_where_it_is_before_its_namespace_or_tag_moves() {
    let stages: &[(&str, &[&str])] = &[("rest", &[]), ("gateways", &[])];
    let by_namespace = |label, open| {
        Scene::new()
            .namespace("edge", OLD, OLD)
            .gateway("front", label, None, OLD)
            .stages(stages, open)
    };
    assert_eq!(by_namespace(None, 1).next(), ["front=1-30-2"]);
    assert_eq!(by_namespace(Some(OLD), 1).next(), ["edge=1-31-0"]);
    let by_tag = Scene::new()
        .tag("prod", OLD)
        .gateway("front", Some("prod"), Some("prod"), OLD)
        .stages(stages, 1);
    assert_eq!(by_tag.next(), ["front=1-30-2"]);
    // Git binds it to the tag: it goes with it.
    let by_git = by_tag.in_gateway(|g| g.owner = Some("argocd-controller".into()));
    assert_eq!(by_git.next(), ["tag prod=1-31-0 at istiod-1-31-0"]);
    // What cannot be seen could be rolled by accident.
    let mut blind = by_namespace(Some(OLD), 1);
    blind.view.gateways = Seen::Unreadable("forbidden".into());
    assert!(
        blind.next()[0].contains("the Gateways cannot be read"),
        "{:?}",
        blind.next()
    );
}

#[test]
fn gateways_move_one_after_the_other_in_their_turn() {
    let stages: &[(&str, &[&str])] = &[("rest", &[]), ("gateways", &[])];
    let mesh = |first: (Option<&str>, &str), open| {
        Scene::new()
            .gateway("a", first.0, None, first.1)
            .gateway("b", None, None, OLD)
            .stages(stages, open)
    };
    assert!(
        mesh((None, OLD), 1).next().is_empty(),
        "its turn has not come"
    );
    assert_eq!(mesh((None, OLD), 2).next(), ["a=1-31-0"]);
    let rolling = mesh((Some(TARGET), OLD), 2);
    assert_eq!(
        rolling.next(),
        ["Gateways: wave gateways: waiting for Gateway edge/a, which istiod 1-31-0 rolls"]
    );
    assert_eq!(mesh((Some(TARGET), TARGET), 2).next(), ["b=1-31-0"]);
    // One that does not come up in time fails like a workload.
    let late = rolling
        .decide(now() + jiff::SignedDuration::from_mins(20))
        .expect("an answer");
    assert_eq!(late.next, Next::Enter(Phase::Upgrading));
    let rollback = late.report.rollback.expect("a rollback");
    assert!(
        rollback.reason.contains("Gateway edge/a was not rolled"),
        "{}",
        rollback.reason
    );
}

#[test]
fn a_gateway_that_was_kept_asks_again_for_what_it_asked_before() {
    let stages: &[(&str, &[&str])] = &[("rest", &[]), ("gateways", &[])];
    let by_namespace = Scene::new()
        .namespace("edge", TARGET, OLD)
        .gateway("front", Some(OLD), None, OLD)
        .stages(stages, 2);
    assert_eq!(by_namespace.next(), ["front=- unmarked"]);
    let by_tag = |label, runs| {
        Scene::new()
            .tag("prod", TARGET)
            .gateway("front", Some(label), Some("prod"), runs)
            .stages(stages, 2)
    };
    assert_eq!(by_tag(OLD, OLD).next(), ["front=prod unmarked"]);
    assert_eq!(by_tag(TARGET, TARGET).next(), ["front=prod unmarked"]);
    assert!(by_tag("prod", TARGET).next().is_empty());
}

#[test]
fn gateways_that_are_left_alone_are_kept_from_the_default_too() {
    let mesh = |label| {
        Scene::new()
            .gateway("front", label, None, OLD)
            .order(GatewayOrder::None)
    };
    assert_eq!(mesh(None).next(), ["front=1-30-2"]);
    assert!(mesh(Some(OLD)).next().is_empty());
}

#[test]
fn gateways_go_back_by_their_own_label_until_all_is_as_before() {
    let mesh = |label, runs, tag| {
        Scene::new()
            .tag("prod", tag)
            .gateway("front", Some(label), Some("prod"), runs)
            .back()
    };
    // Bound to its tag again: kept by its own label before the tag goes back.
    assert_eq!(mesh("prod", TARGET, TARGET).next(), ["front=1-30-2"]);
    assert_eq!(
        mesh(OLD, OLD, TARGET).next(),
        ["tag prod=1-30-2 at istiod-1-30-2 unmarked"]
    );
    assert_eq!(mesh(OLD, OLD, OLD).next(), ["front=prod unmarked"]);
    let by_default = Scene::new()
        .gateway("front", Some(TARGET), None, TARGET)
        .back();
    assert_eq!(by_default.next(), ["front=- unmarked"]);
    let never_moved = Scene::new().gateway("front", None, None, OLD).back();
    assert!(never_moved.next().is_empty());
}

#[test]
fn pods_of_before_count_only_while_they_are_there() {
    let gone = |w: &mut Workload| w.pods = vec![std::sync::Arc::new(Pod::default())];
    let mut mesh = Scene::new().gateway("front", Some(TARGET), None, OLD);
    if let Seen::Present(workloads) = &mut mesh.view.workloads {
        gone(&mut workloads[0]);
    }
    assert!(mesh.next().is_empty());
}
