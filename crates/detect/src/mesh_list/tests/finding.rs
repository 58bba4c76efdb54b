//! Which meshes are found, of which type, under which name.

use std::collections::BTreeMap;

use meshlift_api::MeshType::{self, Dedicated, External, Hosted};

use super::*;

fn told(view: &MeshView) -> Vec<(String, String, MeshType)> {
    let told = |mesh: FoundMesh| {
        let namespace = mesh.spec.control_plane_namespace.clone();
        (mesh.name, namespace, mesh.spec.mesh_type)
    };
    meshes(view).into_iter().map(told).collect()
}

fn row(name: &str, namespace: &str, kind: MeshType) -> (String, String, MeshType) {
    (name.into(), namespace.into(), kind)
}

fn at(namespace: &str, plane: ControlPlane) -> ControlPlane {
    ControlPlane {
        namespace: namespace.into(),
        ..plane
    }
}

#[test]
fn the_installer_decides_the_type() {
    let helm = || Installer::Helm {
        release: "istiod".into(),
    };
    for (installer, external, kind) in [
        (helm(), false, Dedicated),
        (helm(), true, Hosted),
        (Installer::Istioctl, false, External),
        (Installer::Istioctl, true, External),
        (Installer::Sail, false, External),
        (Installer::Unknown, false, External),
    ] {
        let mut view = before();
        planes(&mut view)[0].installer = installer;
        planes(&mut view)[0].external = external;
        assert_eq!(told(&view), [row("default", "istio-system", kind)]);
    }
}

#[test]
fn a_mesh_is_a_namespace_with_control_planes() {
    let mut view = before();
    // A second revision is no second mesh.
    planes(&mut view).push(istiod("1-31-0", "1.31.0"));
    assert_eq!(told(&view), [row("default", "istio-system", Dedicated)]);
    planes(&mut view).push(at("mesh-b", istiod("b", "1.30.2")));
    assert_eq!(
        told(&view),
        [
            row("default", "istio-system", Dedicated),
            row("mesh-b", "mesh-b", Dedicated)
        ]
    );
    // The only one is the default one, wherever it is.
    *planes(&mut view) = vec![at("mesh-b", istiod("b", "1.30.2"))];
    assert_eq!(told(&view), [row("default", "mesh-b", Dedicated)]);
    planes(&mut view).clear();
    assert_eq!(told(&view), []);
    view.control_planes = Seen::Unreadable("no right".into());
    assert_eq!(told(&view), [], "what cannot be seen is not made an object");
}

#[test]
fn a_vendor_suffix_is_the_flavour_and_a_pre_release_is_none() {
    for (version_, flavour) in [
        ("1.30.2", ""),
        ("1.30.2-mspider", "mspider"),
        ("1.31.0-rc.0", ""),
        ("1.31.0-alpha.4b2f", ""),
        ("1.20.8-asm.5", "asm"),
        ("1.20.8-tetrate-fips-v0", "tetrate-fips"),
    ] {
        let mut view = before();
        planes(&mut view)[0].version = Some(version(version_));
        assert_eq!(meshes(&view)[0].spec.flavour, flavour, "{version_}");
    }
}

#[test]
fn a_cluster_that_is_served_from_elsewhere_has_a_mesh_too() {
    let rule = |service: Option<&str>, exists: bool| InjectionRule {
        configuration: "istio-sidecar-injector".into(),
        service: service.map(Into::into),
        service_exists: exists,
        ..InjectionRule::default()
    };
    for (rule, there) in [
        (rule(None, false), true),
        (rule(Some("istio-system/istiod"), true), true),
        (rule(Some("istio-system/istiod"), false), false),
    ] {
        let mut view = before();
        planes(&mut view).clear();
        view.environment.injectors = Seen::Present(vec![rule.clone()]);
        let expected = there.then(|| row("default", "istio-system", External));
        assert_eq!(told(&view), Vec::from_iter(expected), "{rule:?}");
        // The same webhook beside its istiod is that istiod's.
        view.control_planes = before().control_planes;
        assert_eq!(told(&view), [row("default", "istio-system", Dedicated)]);
    }
}

#[test]
fn an_object_by_any_name_counts_and_none_is_overwritten() {
    let objects = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        pairs.iter().map(owned).collect()
    };
    let mut view = before();
    planes(&mut view).push(at("mesh-b", istiod("b", "1.30.2")));
    let new = |pairs: &[(&str, &str)]| -> Vec<String> {
        let new = without_object(meshes(&view), &objects(pairs));
        new.into_iter().map(|mesh| mesh.name).collect()
    };
    assert_eq!(new(&[]), ["default", "mesh-b"]);
    assert_eq!(new(&[("production", "istio-system")]), ["mesh-b"]);
    assert_eq!(new(&[("default", "mesh-b")]), ["istio-system"]);
    assert_eq!(
        new(&[("default", "gone"), ("mesh-b", "gone-too")]),
        ["istio-system", "mesh-b-2"]
    );
    let all = [("a", "istio-system"), ("b", "mesh-b")];
    assert_eq!(new(&all), [""; 0]);
}
