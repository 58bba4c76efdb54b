//! Namespaces and tags, and what Git owns of them.

use meshlift_api::Strategy;

use super::*;

#[test]
fn namespaces_by_label_and_by_tag() {
    let mesh = || {
        Scene::new()
            .tag("prod", OLD)
            .namespace("blog", OLD, OLD)
            .namespace("shop", "prod", "prod")
    };
    // Tags first; the namespaces of a tag keep their label.
    assert_eq!(mesh().next(), ["tag prod=1-31-0 at istiod-1-31-0"]);
    assert_eq!(mesh().by(Move::Labels).next(), ["blog=1-31-0"]);
    let tags_only = mesh().by(Move::Tags);
    assert_eq!(tags_only.next(), ["tag prod=1-31-0 at istiod-1-31-0"]);
    let moved = Scene::new().tag("prod", TARGET);
    let moved = moved
        .namespace("shop", "prod", "prod")
        .namespace("blog", OLD, OLD);
    assert_eq!(moved.next(), ["blog=1-31-0"]);
    assert!(moved.by(Move::Tags).next().is_empty());
}

#[test]
fn one_tag_over_two_waves_moves_with_the_last() {
    let waves: &[(&str, &[&str])] = &[("canary", &["cart"]), ("rest", &[])];
    let mesh = |cart: &str, tag: &str, open: usize| {
        Scene::new()
            .tag("prod", tag)
            .namespace("cart", cart, "prod")
            .namespace("web", "prod", "prod")
            .stages(waves, open)
    };
    assert_eq!(mesh("prod", OLD, 1).next(), ["cart=1-31-0"]);
    assert!(mesh(TARGET, OLD, 1).next().is_empty());
    assert_eq!(
        mesh(TARGET, OLD, 2).next(),
        ["tag prod=1-31-0 at istiod-1-31-0"]
    );
    // Its label back: the same istiod injects.
    assert_eq!(mesh(TARGET, TARGET, 2).next(), ["cart=prod unmarked"]);
    assert!(mesh("prod", TARGET, 2).next().is_empty());
    // Where Git owns the label, the namespace waits for its tag.
    let by_git = mesh("prod", OLD, 1).in_namespace(|_| ());
    let mut by_git = by_git;
    if let Seen::Present(namespaces) = &mut by_git.view.namespaces {
        namespaces[0].label_owner = Some("argocd-controller".into());
    }
    assert!(by_git.next().is_empty());
}

#[test]
fn a_tag_that_cannot_move_as_a_whole_leaves_its_namespaces_to_labels() {
    let mut mesh = Scene::new()
        .tag("prod", OLD)
        .namespace("shop", "prod", "prod")
        .namespace("legacy", "prod", "prod")
        .in_namespace(|ns| {
            ns.labels.insert("team".into(), "legacy".into());
        });
    mesh.upgrade.spec.data_plane.exclude = Some(LabelSelector {
        match_labels: Some(labels(&[("team", "legacy")])),
        ..LabelSelector::default()
    });
    assert_eq!(mesh.next(), ["shop=1-31-0"]);
    let mut by_url = Scene::new()
        .tag("prod", OLD)
        .namespace("shop", "prod", "prod");
    by_url.view.tags_mut()[0].by_url = true;
    assert_eq!(by_url.next(), ["shop=1-31-0"]);
}

#[test]
fn a_tag_that_nobody_uses_moves_with_the_rest_and_one_of_another_mesh_never() {
    let waves: &[(&str, &[&str])] = &[("canary", &["cart"]), ("rest", &[])];
    let unused = |open| Scene::new().tag("spare", OLD).stages(waves, open);
    assert!(unused(1).next().is_empty());
    assert_eq!(unused(2).next(), ["tag spare=1-31-0 at istiod-1-31-0"]);
    let mut foreign = unused(2);
    foreign.view.tags_mut()[0].namespace = "other".into();
    assert!(foreign.next().is_empty());
    let third = Scene::new().tag("spare", "1-29-0");
    assert!(third.next().is_empty());
}

#[test]
fn what_git_owns_is_told_and_the_others_go_first() {
    let git = |ns: &mut Namespace| ns.label_owner = Some("argocd-controller".into());
    let both = Scene::new()
        .namespace("blog", OLD, OLD)
        .namespace("shop", OLD, OLD)
        .in_namespace(git);
    assert_eq!(both.next(), ["blog=1-31-0"]);
    let message = Scene::new()
        .namespace("shop", OLD, OLD)
        .in_namespace(git)
        .git();
    assert!(
        message.contains("Namespace shop (Argo CD owns it): set label istio.io/rev: 1-31-0"),
        "{message}"
    );
    let put_back = Scene::new().namespace("shop", OLD, OLD).in_namespace(|ns| {
        ns.moved_to = Some(TARGET.into());
        ns.label_owner = Some("kubectl-label".into());
    });
    let message = put_back.git();
    assert!(
        message.contains("it was put back by kubectl-label"),
        "{message}"
    );
    let mut tag = Scene::new()
        .tag("prod", OLD)
        .namespace("shop", "prod", "prod");
    tag.view.tags_mut()[0].owner = Some("helm-controller".into());
    let message = tag.git();
    assert!(
        message.contains("MutatingWebhookConfiguration istio-revision-tag-prod (Flux owns it)")
            && message.contains("clientConfig.service.name: istiod-1-31-0"),
        "{message}"
    );
    let nothing_written = Scene::new().namespace("shop", OLD, OLD).by(Move::None);
    let message = nothing_written.git();
    assert!(message.contains("spec.dataPlane.move is None"), "{message}");
}

#[test]
fn many_changes_are_told_in_short() {
    let mut mesh = Scene::new().by(Move::None);
    for name in ["a", "b", "c", "d", "e"] {
        mesh = mesh.namespace(name, OLD, OLD);
    }
    let message = mesh.git();
    assert!(
        message.contains("the same for 2 more: Namespace d, Namespace e"),
        "{message}"
    );
}

#[test]
fn back_goes_what_was_moved_to_what_was_recorded() {
    let mesh = Scene::new()
        .tag("prod", TARGET)
        .namespace("blog", TARGET, OLD)
        .namespace("cart", TARGET, "prod")
        .namespace("late", TARGET, TARGET)
        .namespace("web", "prod", "prod")
        .back();
    assert_eq!(mesh.next(), ["tag prod=1-30-2 at istiod-1-30-2 unmarked"]);
    let mut mesh = mesh;
    (
        mesh.view.tags_mut()[0].revision,
        mesh.view.tags_mut()[0].moved_to,
    ) = (OLD.into(), None);
    assert_eq!(mesh.next(), ["blog=1-30-2 unmarked", "cart=prod unmarked"]);
    let done = Scene::new()
        .tag("prod", OLD)
        .namespace("web", "prod", "prod")
        .back();
    assert!(done.next().is_empty());
}

#[test]
fn back_takes_nothing_from_whoever_moved_it() {
    let by_others = Scene::new()
        .namespace("shop", TARGET, OLD)
        .in_namespace(|ns| {
            ns.moved_to = None;
            ns.label_owner = Some("argocd-controller".into());
        });
    let message = by_others.back().git();
    assert!(
        message.contains("set label istio.io/rev: 1-30-2"),
        "{message}"
    );
    // What is back already only loses our mark, whoever owns it.
    let put_back = Scene::new().namespace("shop", OLD, OLD).in_namespace(|ns| {
        ns.moved_to = Some(TARGET.into());
        ns.label_owner = Some("argocd-controller".into());
    });
    assert_eq!(put_back.back().next(), ["shop=1-30-2 unmarked"]);
}

#[test]
fn nothing_moves_to_a_control_plane_that_is_ill() {
    let mut mesh = Scene::new().tag("prod", OLD).namespace("blog", OLD, OLD);
    if let Seen::Present(planes) = &mut mesh.view.control_planes {
        planes[1].ready = 0;
    }
    assert!(mesh.next().is_empty());
}

/// Whoever owns them: labels, tags and Gateways lead to the same control plane before and after.
#[test]
fn in_place_nothing_is_written_and_nobody_is_asked_to() {
    let git = || Some("argocd-controller".to_owned());
    let mesh = |by: Move| {
        let mut scene = Scene::new()
            .namespace("shop", OLD, OLD)
            .in_namespace(|namespace| namespace.label_owner = git())
            .namespace("blog", "prod", "prod")
            .tag("prod", OLD)
            .gateway("front", Some(OLD), Some(OLD), OLD)
            .in_gateway(|gateway| gateway.owner = git())
            .order(GatewayOrder::None)
            .by(by);
        scene.view.tags_mut()[0].owner = git();
        scene.view.control_planes = Seen::Present(vec![istiod(OLD, "1.31.0")]);
        scene.record.strategy = Strategy::InPlace;
        scene.record.target_revision = OLD.into();
        scene
    };
    for by in [Move::None, Move::Labels, Move::Tags, Move::default()] {
        assert_eq!(mesh(by).next(), [""; 0], "{by:?}");
        let mut blind = mesh(by);
        blind.view.gateways = Seen::Unreadable("on fire".into());
        assert_eq!(blind.next(), [""; 0], "{by:?}, blind to Gateways");
    }
}
