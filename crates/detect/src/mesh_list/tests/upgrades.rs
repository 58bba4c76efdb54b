//! What a mesh could be upgraded to.

use meshlift_api::conditions as c;

use super::*;

/// (version, hops, fits) of everything that is offered.
fn offered(status: &MeshStatus) -> Vec<(&str, usize, bool)> {
    let told = status.available.iter();
    told.map(|offer| (offer.version.as_str(), offer.hops.len(), offer.fits))
        .collect()
}

fn running(from: &str, on: u32, versions: &[&str]) -> MeshView {
    let mut view = before();
    planes(&mut view)[0].version = Some(version(from));
    view.kubernetes = kubernetes(on);
    view.catalog = catalog(versions);
    view
}

#[test]
fn the_newest_patch_of_each_minor_is_offered_and_the_newest_step_that_fits_is_named() {
    let versions = ["1.29.8", "1.30.2", "1.30.4", "1.30.5", "1.31.0", "1.31.1"];
    let status = first(&running("1.30.2", 36, &versions));
    assert_eq!(offered(&status), [("1.30.5", 1, true), ("1.31.1", 1, true)]);
    assert_eq!(status.latest.as_deref(), Some("1.31.1"));
    assert_eq!(status.upgradable.as_deref(), Some("1.31.1"));
    let (holds, reason, message) = condition(&status, c::UPGRADE_AVAILABLE);
    assert_eq!((holds, reason), ("True", "NewVersion"));
    assert!(message.starts_with("1.31.1 is available"), "{message}");
}

#[test]
fn nothing_newer_is_no() {
    let status = first(&running("1.31.1", 36, &["1.30.5", "1.31.0", "1.31.1"]));
    assert_eq!(offered(&status), []);
    assert_eq!(status.upgradable.as_deref(), Some("no"));
    let (holds, reason, _) = condition(&status, c::UPGRADE_AVAILABLE);
    assert_eq!((holds, reason), ("False", "UpToDate"));
}

#[test]
fn farther_versions_are_reached_minor_by_minor_and_not_upgradable_in_one_step() {
    let status = first(&running("1.27.9", 33, &["1.28.10", "1.29.8", "1.30.5"]));
    assert_eq!(
        offered(&status),
        [
            ("1.28.10", 1, true),
            ("1.29.8", 2, true),
            ("1.30.5", 3, true)
        ]
    );
    assert_eq!(status.upgradable.as_deref(), Some("1.28.10"));
    let farthest = &status.available[2];
    assert_eq!(farthest.hops, ["1.28.10", "1.29.8", "1.30.5"]);
    assert!(
        farthest.message.starts_with("in 3 steps:"),
        "{}",
        farthest.message
    );
}

#[test]
fn kubernetes_too_new_for_the_next_minor_but_not_for_the_one_after() {
    // 1.30 is supported up to 1.36; 1.31 on 1.37 too.
    let status = first(&running("1.29.8", 37, &["1.29.8", "1.30.5", "1.31.1"]));
    assert_eq!(
        offered(&status),
        [("1.30.5", 1, false), ("1.31.1", 2, false)]
    );
    assert_eq!(status.upgradable.as_deref(), Some("no"));
    let farther = &status.available[1].message;
    assert!(
        farther.ends_with("spec.path: FewestRestarts passes over them"),
        "{farther}"
    );
    let next = &status.available[0];
    assert!(
        next.message.contains("1.37") && next.message.contains("newer Istio"),
        "{next:?}"
    );
    let (holds, reason, _) = condition(&status, c::KUBERNETES_COMPATIBLE);
    assert_eq!((holds, reason), ("False", "KubernetesTooNew"));
}

#[test]
fn ambient_goes_one_minor_at_a_time() {
    let mut view = running("1.29.8", 35, &["1.30.5", "1.31.1"]);
    view.environment.node_agents = Seen::Present(vec![NodeAgent {
        kind: NodeAgentKind::Ztunnel,
        namespace: "istio-system".into(),
        name: "ztunnel".into(),
        version: None,
        image: String::new(),
        desired: 1,
        ready: 1,
    }]);
    let status = first(&view);
    assert_eq!(offered(&status), [("1.30.5", 1, true), ("1.31.1", 2, true)]);
    assert_eq!(status.upgradable.as_deref(), Some("1.30.5"));
}

#[test]
fn no_kubernetes_fits_is_told_with_its_cluster() {
    let status = first(&running("1.30.2", 31, &["1.31.1"]));
    assert_eq!(offered(&status), [("1.31.1", 1, false)]);
    assert_eq!(status.upgradable.as_deref(), Some("no"));
    let (holds, reason, message) = condition(&status, c::UPGRADE_AVAILABLE);
    assert_eq!((holds, reason), ("False", "NoneFits"));
    assert!(
        message.contains("cluster local has Kubernetes 1.31"),
        "{message}"
    );
}

#[test]
fn a_flavour_is_offered_its_own_builds() {
    let mut view = running(
        "1.30.2-mspider",
        36,
        &["1.31.1", "1.31.0-mspider", "1.32.0-other"],
    );
    let status = first(&view);
    assert_eq!(offered(&status), [("1.31.0-mspider", 1, true)]);
    assert_eq!(status.latest.as_deref(), Some("1.31.0-mspider"));
    assert_eq!(status.upgradable.as_deref(), Some("1.31.0-mspider"));
    view.catalog = catalog(&["1.31.1"]);
    let status = first(&view);
    assert_eq!(
        (status.latest.as_ref(), status.upgradable.as_ref()),
        (None, None)
    );
    let (holds, reason, message) = condition(&status, c::UPGRADE_AVAILABLE);
    assert_eq!((holds, reason), ("Unknown", "NoVersions"));
    assert!(message.contains("-mspider"), "{message}");
}

#[test]
fn a_flavour_with_a_counter_is_offered_its_newer_builds() {
    let versions = [
        "1.30.2-asm.9",
        "1.30.2-asm.10",
        "1.31.0-asm.1",
        "1.31.0-asm.2",
        "1.31.1",
        "1.31.1-tetrate-v0",
    ];
    let mut view = running("1.30.2-asm.9", 36, &versions);
    let newer = [("1.30.2-asm.10", 1, true), ("1.31.0-asm.2", 1, true)];
    assert_eq!(offered(&first(&view)), newer);
    // Made before the counter was told from the name.
    let mut mesh = found(&view);
    assert_eq!(mesh.spec.flavour, "asm");
    mesh.spec.flavour = "asm.5".into();
    assert_eq!(offered(&stable(&mesh, &view)), newer);
    view.catalog = catalog(&["1.31.1"]);
    let status = first(&view);
    let (holds, reason, message) = condition(&status, c::UPGRADE_AVAILABLE);
    assert_eq!((holds, reason), ("Unknown", "NoVersions"));
    assert!(message.contains("suffix -asm:"), "{message}");
}

#[test]
fn a_pre_release_is_offered_its_release() {
    let status = first(&running("1.31.0-rc.0", 36, &["1.31.0", "1.31.0-x"]));
    assert_eq!(offered(&status), [("1.31.0", 1, true)]);
    assert_eq!(status.upgradable.as_deref(), Some("1.31.0"));
}

#[test]
fn a_release_of_which_nothing_is_known_does_not_fit_and_says_what_to_add() {
    let status = first(&running("1.30.2", 36, &["1.99.0", "1.31.1"]));
    let unknown = status.available.last().expect("1.99.0");
    assert!(
        !unknown.fits && unknown.message.contains("ReleaseCatalog"),
        "{unknown:?}"
    );
    assert_eq!(status.upgradable.as_deref(), Some("1.31.1"));
}

#[test]
fn the_end_of_support_is_a_condition() {
    for (from, holds, reason) in [
        ("1.30.2", "True", "Supported"),
        ("1.28.1", "False", "EndOfLife"),
        ("1.99.0", "Unknown", "EndOfLifeUnknown"),
    ] {
        let status = first(&running(from, 34, &[from]));
        let (told, why, _) = condition(&status, c::SUPPORTED);
        assert_eq!((told, why), (holds, reason), "{from}");
    }
    let status = first(&running("1.28.1", 34, &["1.28.1"]));
    assert_eq!(status.supported_until.as_deref(), Some("2026-07-01"));
    let status = first(&running("1.30.2", 34, &["1.30.2"]));
    let until = status.supported_until.expect("known");
    assert!(until.starts_with("~2026-11"), "{until}");
}

#[test]
fn of_many_the_nearest_and_the_newest_are_told() {
    let versions: Vec<String> = (14..=31).map(|minor| format!("1.{minor}.9")).collect();
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let status = first(&running("1.13.1", 26, &versions));
    let told: Vec<&str> = offered(&status).iter().map(|(v, ..)| *v).collect();
    assert_eq!(
        told[..5],
        ["1.14.9", "1.15.9", "1.16.9", "1.17.9", "1.18.9"]
    );
    assert_eq!(
        told[5..],
        ["1.27.9", "1.28.9", "1.29.9", "1.30.9", "1.31.9"]
    );
}
