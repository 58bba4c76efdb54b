//! Whole statuses.

use meshlift_api::ClusterRole;

use super::*;

fn helm_without_revision() -> MeshView {
    let mut view = before();
    sidecars(&mut view, "default", Some("example.org/proxyv2:1.30.2"), 3);
    view
}

#[test]
fn helm_without_a_revision() {
    insta::assert_snapshot!(yaml(&first(&helm_without_revision())));
}

#[test]
fn helm_with_a_revision_and_tags() {
    let mut view = before();
    *planes(&mut view) = vec![istiod("1-30-2", "1.30.2")];
    *view.tags_mut() = vec![tag("stable", "1-30-2"), tag("default", "1-30-2")];
    view.namespaces = Seen::Present(vec![
        in_namespace("by-default", &[("istio-injection", "enabled")]),
        in_namespace("by-tag", &[("istio.io/rev", "stable")]),
        in_namespace("by-revision", &[("istio.io/rev", "1-30-2")]),
        in_namespace("by-nobody", &[("istio.io/rev", "gone")]),
    ]);
    view.workloads = Seen::Present(Vec::new());
    sidecars(
        &mut view,
        "1-30-2",
        Some("example.org/proxyv2:1.30.2-distroless"),
        2,
    );
    insta::assert_snapshot!(yaml(&first(&view)));
}

#[test]
fn in_the_middle_of_an_upgrade() {
    let mut view = helm_without_revision();
    planes(&mut view).push(ControlPlane {
        ready: 1,
        ..istiod("1-31-0", "1.31.0")
    });
    sidecars(&mut view, "1-31-0", Some("example.org/proxyv2:1.31.0"), 2);
    // By digest: its control plane tells; and one that nobody can tell.
    sidecars(
        &mut view,
        "1-31-0",
        Some("example.org/proxyv2@sha256:4b2f"),
        1,
    );
    sidecars(&mut view, "gone", Some("example.org/proxyv2:private"), 1);
    insta::assert_snapshot!(yaml(&first(&view)));
}

#[test]
fn by_istioctl() {
    let mut view = helm_without_revision();
    planes(&mut view)[0].installer = Installer::Istioctl;
    insta::assert_snapshot!(yaml(&first(&view)));
}

#[test]
fn by_sail() {
    let mut view = helm_without_revision();
    *planes(&mut view) = vec![ControlPlane {
        installer: Installer::Sail,
        ..istiod("default-v1-30-2", "1.30.2")
    }];
    // Nothing but the validator says which revision is the default one.
    view.validator = Seen::Present(Validator {
        namespace: "istio-system".into(),
        service: "istiod-default-v1-30-2".into(),
        has_ca_bundle: true,
    });
    let status = first(&view);
    assert_eq!(status.installer.as_deref(), Some("Sail"));
    assert_eq!(status.version.as_deref(), Some("1.30.2"));
    assert_eq!(status.manual.len(), 3);
}

#[test]
fn two_meshes_count_what_is_theirs() {
    let mut view = helm_without_revision();
    planes(&mut view).push(ControlPlane {
        namespace: "mesh-b".into(),
        ..istiod("b", "1.31.0")
    });
    view.namespaces = Seen::Present(vec![
        in_namespace("shop", &[("istio-injection", "enabled")]),
        in_namespace("bank", &[("istio.io/rev", "b")]),
        in_namespace("till", &[("istio.io/rev", "b")]),
    ]);
    sidecars(&mut view, "b", Some("example.org/proxyv2:1.31.0"), 5);
    let counts = |found: FoundMesh| {
        let status = stable(&mesh(found.spec), &view);
        let revision = status.revisions[0].clone();
        let proxies = status.data_plane.expect("proxies").total;
        (
            found.name,
            status.version,
            revision.namespaces,
            revision.proxies,
            proxies,
        )
    };
    let counted: Vec<_> = meshes(&view).into_iter().map(counts).collect();
    assert_eq!(
        counted,
        [
            ("default".into(), Some("1.30.2".into()), 1, 4, 4),
            ("mesh-b".into(), Some("1.31.0".into()), 2, 5, 5),
        ]
    );
}

#[test]
fn a_mesh_whose_control_plane_is_gone() {
    let mut view = helm_without_revision();
    let object = KnownMesh {
        status: first(&view),
        ..found(&view)
    };
    planes(&mut view).clear();
    view.workloads = Seen::Present(Vec::new());
    view.loose_pods.clear();
    insta::assert_snapshot!(yaml(&stable(&object, &view)));
}

#[test]
fn a_cluster_that_is_served_from_elsewhere() {
    let mut view = before();
    planes(&mut view).clear();
    view.environment.injectors = Seen::Present(vec![InjectionRule {
        configuration: "istio-sidecar-injector".into(),
        ..InjectionRule::default()
    }]);
    insta::assert_snapshot!(yaml(&first(&view)));
}

#[test]
fn clusters_that_do_not_fit() {
    let mut view = helm_without_revision();
    let other = |name: &str, kubernetes| Cluster {
        name: name.into(),
        role: ClusterRole::Remote,
        kubernetes,
    };
    view.environment.clusters = Seen::Present(vec![
        other("east", kubernetes(31)),
        other("west", Seen::Unreadable("no answer within 5s".into())),
    ]);
    insta::assert_snapshot!(yaml(&first(&view)));
}
