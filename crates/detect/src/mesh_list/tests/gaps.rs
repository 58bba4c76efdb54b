//! What could not be looked at stays as it was, and is told.

use meshlift_api::conditions as c;

use super::*;

fn known() -> (KnownMesh, MeshView) {
    let mut view = before();
    sidecars(&mut view, "default", Some("example.org/proxyv2:1.30.2"), 3);
    let object = KnownMesh {
        status: first(&view),
        ..found(&view)
    };
    (object, view)
}

/// A status without what says when and that something could not be looked at.
fn facts(status: &MeshStatus) -> MeshStatus {
    MeshStatus {
        conditions: Vec::new(),
        charts: None,
        ..status.clone()
    }
}

#[test]
fn a_repository_that_is_away_leaves_the_versions_and_tells_why() {
    let (object, mut view) = known();
    view.catalog = Seen::Unreadable("https://charts.example.org answers 503".into());
    let status = stable(&object, &view);
    assert_eq!(facts(&status), facts(&object.status));
    let charts = status.charts.clone().expect("charts");
    assert!(charts.error.contains("503"), "{charts:?}");
    let (holds, _, message) = condition(&status, c::UPGRADE_AVAILABLE);
    assert_eq!(holds, "True");
    assert!(message.contains("503"), "{message}");
    assert!(news(&object.status, &status).is_empty());
    // An upgrade meanwhile is seen all the same.
    planes(&mut view)[0].version = Some(version("1.32.0"));
    let after = mesh_status(now(), &object, &view);
    assert_eq!(after.upgradable.as_deref(), Some("no"));
    assert_eq!(after.latest, object.status.latest);
}

#[test]
fn a_repository_that_was_never_read_offers_nothing() {
    let mut view = before();
    view.catalog = Seen::Unreadable("connection refused".into());
    let status = first(&view);
    assert_eq!(
        (status.latest.as_ref(), status.upgradable.as_ref()),
        (None, None)
    );
    let (holds, reason, _) = condition(&status, c::UPGRADE_AVAILABLE);
    assert_eq!((holds, reason), ("Unknown", "Unreadable"));
}

#[test]
fn control_planes_that_cannot_be_listed_stay_as_they_were() {
    let (object, mut view) = known();
    view.control_planes = Seen::Unreadable("forbidden".into());
    let status = stable(&object, &view);
    assert_eq!(facts(&status), facts(&object.status));
    let (holds, reason, message) = condition(&status, c::READY);
    assert_eq!((holds, reason), ("Unknown", "Unreadable"));
    assert!(message.contains("forbidden"), "{message}");
}

#[test]
fn pods_that_cannot_be_listed_keep_their_counts() {
    let (object, mut view) = known();
    view.workloads = Seen::Unreadable("forbidden".into());
    view.namespaces = Seen::Unreadable("forbidden".into());
    view.loose_pods.clear();
    let status = stable(&object, &view);
    assert_eq!(facts(&status), facts(&object.status));
    assert_eq!(status.data_plane.as_ref().map(|d| d.total), Some(4));
    let (holds, reason, _) = condition(&status, c::DATA_PLANE_CURRENT);
    assert_eq!((holds, reason), ("Unknown", "Unreadable"));
    assert_eq!(condition(&status, c::READY).0, "True");
}

#[test]
fn clusters_that_cannot_be_listed_are_unreachable_and_still_named() {
    let (mut object, mut view) = known();
    view.environment.clusters = Seen::Present(vec![Cluster {
        name: "east".into(),
        role: meshlift_api::ClusterRole::Remote,
        kubernetes: kubernetes(36),
    }]);
    object.status = mesh_status(now(), &object, &view);
    assert!(object.status.clusters[1].reachable);
    view.environment.clusters = Seen::Unreadable("forbidden".into());
    let status = stable(&object, &view);
    let east = &status.clusters[1];
    assert_eq!((east.name.as_str(), east.reachable), ("east", false));
    assert_eq!(status.upgradable.as_deref(), Some("no"));
    let (holds, reason, message) = condition(&status, c::KUBERNETES_COMPATIBLE);
    assert_eq!((holds, reason), ("Unknown", "ClusterUnreachable"));
    assert!(
        message.contains("cannot be listed (forbidden)"),
        "{message}"
    );
}

#[test]
fn clusters_that_were_never_listed_are_no_reason_to_offer_nothing() {
    let (object, mut view) = known();
    view.environment.clusters = Seen::Unreadable("forbidden".into());
    let status = stable(&object, &view);
    assert_eq!(status.upgradable, object.status.upgradable);
    let (holds, _, message) = condition(&status, c::KUBERNETES_COMPATIBLE);
    assert_eq!(holds, "Unknown");
    assert!(
        message.contains("cannot be listed (forbidden)"),
        "{message}"
    );
}

#[test]
fn a_control_plane_that_is_not_ready_is_told_with_its_trouble() {
    let (object, mut view) = known();
    planes(&mut view)[0].ready = 1;
    planes(&mut view)[0].trouble = Some("ImagePullBackOff: no such tag".into());
    let status = stable(&object, &view);
    let (holds, reason, message) = condition(&status, c::READY);
    assert_eq!((holds, reason), ("False", "ControlPlaneNotReady"));
    assert!(
        message.contains("1 of 2") && message.contains("no such tag"),
        "{message}"
    );
    // One that nobody uses yet does not count.
    planes(&mut view)[0].ready = 2;
    planes(&mut view).push(ControlPlane {
        ready: 0,
        ..istiod("1-31-0", "1.31.0")
    });
    assert_eq!(condition(&stable(&object, &view), c::READY).0, "True");
}

#[test]
fn a_transition_has_its_time_and_keeps_it() {
    let (object, mut view) = known();
    planes(&mut view)[0].ready = 0;
    let later = now() + jiff::SignedDuration::from_secs(3600);
    let status = mesh_status(later, &object, &view);
    for condition in &status.conditions {
        let expected = match condition.type_.as_str() {
            c::READY => later,
            _ => now(),
        };
        assert_eq!(
            condition.last_transition_time.0, expected,
            "{}",
            condition.type_
        );
    }
}

#[test]
fn an_object_that_says_something_else_than_what_runs_is_told_so() {
    let (mut object, mut view) = known();
    planes(&mut view)[0].installer = Installer::Istioctl;
    let status = stable(&object, &view);
    let (_, _, message) = condition(&status, c::READY);
    assert!(message.contains("spec.type to External"), "{message}");
    // A mesh that others render has no Helm release of ours.
    object.spec.installer = meshlift_api::MeshInstaller::None;
    let status = stable(&object, &view);
    let (_, _, message) = condition(&status, c::READY);
    assert!(!message.contains("set spec"), "{message}");
    object.spec.mesh_type = meshlift_api::MeshType::External;
    planes(&mut view)[0].installer = Installer::Helm {
        release: "istiod".into(),
    };
    let status = stable(&object, &view);
    let (_, _, message) = condition(&status, c::READY);
    assert!(message.contains("set spec.type to Dedicated"), "{message}");
    // A person who calls a mesh External means it.
    object.discovered = false;
    let status = stable(&object, &view);
    let (_, _, message) = condition(&status, c::READY);
    assert!(!message.contains("Dedicated"), "{message}");
}
