//! Meshes of every kind, and what is said of them.

mod finding;
mod gaps;
mod statuses;
mod telling;
mod upgrades;

use meshlift_api::{MeshSpec, MeshStatus};
use meshlift_istio::version::KubernetesVersion;
use meshlift_model::example::{before, istiod, labels, pod, version};
use meshlift_model::view::*;

use super::*;

/// 2 November 2026: 1.30 is supported (expected until the end of November), 1.28 is not.
fn now() -> jiff::Timestamp {
    meshlift_model::example::now()
}

fn mesh(spec: MeshSpec) -> KnownMesh {
    KnownMesh {
        name: "default".into(),
        generation: 1,
        refresh: None,
        discovered: true,
        spec,
        status: MeshStatus::default(),
    }
}

/// The object that discovery would make for the only mesh of a view.
fn found(view: &MeshView) -> KnownMesh {
    let mut found = meshes(view);
    assert_eq!(found.len(), 1, "{found:?}");
    mesh(found.remove(0).spec)
}

/// The status of a mesh, seen for the first time.
fn first(view: &MeshView) -> MeshStatus {
    stable(&found(view), view)
}

/// The status, having made sure that a second look at the same says the same.
fn stable(mesh: &KnownMesh, view: &MeshView) -> MeshStatus {
    let status = mesh_status(now(), mesh, view);
    let again = KnownMesh {
        status: status.clone(),
        ..mesh.clone()
    };
    let later = now() + jiff::SignedDuration::from_secs(60);
    assert_eq!(mesh_status(later, &again, view), status);
    assert!(news(&status, &status).is_empty());
    status
}

fn yaml(status: &MeshStatus) -> String {
    serde_yaml_ng::to_string(status).expect("a status is data")
}

fn kubernetes(minor: u32) -> Seen<KubernetesVersion> {
    Seen::Present(KubernetesVersion { major: 1, minor })
}

fn catalog(versions: &[&str]) -> Seen<Vec<Version>> {
    Seen::Present(versions.iter().map(|text| version(text)).collect())
}

fn planes(view: &mut MeshView) -> &mut Vec<ControlPlane> {
    meshlift_model::example::planes(view)
}

fn condition<'a>(status: &'a MeshStatus, kind: &str) -> (&'a str, &'a str, &'a str) {
    let found = status.conditions.iter().find(|c| c.type_ == kind);
    let found = found.unwrap_or_else(|| panic!("no condition {kind}"));
    (&found.status, &found.reason, &found.message)
}

fn tag(name: &str, revision: &str) -> Tag {
    Tag {
        name: name.into(),
        revision: revision.into(),
        ..Tag::default()
    }
}

fn in_namespace(name: &str, pairs: &[(&str, &str)]) -> Namespace {
    Namespace {
        name: name.into(),
        labels: labels(pairs),
        ..Namespace::default()
    }
}

/// Pods without a workload are sidecars like all others.
fn sidecars(view: &mut MeshView, revision: &str, image: Option<&str>, count: usize) {
    for number in 0..count {
        view.loose_pods.push(std::sync::Arc::new(Pod {
            proxy_image: image.map(Into::into),
            ..pod(&format!("{revision}-{number}"), revision)
        }));
    }
}

use meshlift_istio::version::Version;
