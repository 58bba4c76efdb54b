//! A new version is told once.

use super::*;

fn told(before: &MeshStatus, after: &MeshStatus) -> Vec<String> {
    news(before, after).into_iter().map(|n| n.version).collect()
}

/// The status after a look at a repository with these versions, from the one before.
fn after(status: &MeshStatus, view: &mut MeshView, versions: &[&str]) -> MeshStatus {
    view.catalog = catalog(versions);
    let object = KnownMesh {
        status: status.clone(),
        ..found(view)
    };
    mesh_status(now(), &object, view)
}

#[test]
fn at_first_the_best_version_and_then_each_new_one() {
    let mut view = before();
    let unknown = MeshStatus::default();
    let one = after(&unknown, &mut view, &["1.30.2", "1.30.5", "1.31.0"]);
    assert_eq!(told(&unknown, &one), ["1.31.0"]);
    let two = after(&one, &mut view, &["1.30.2", "1.30.6", "1.31.1"]);
    assert_eq!(told(&one, &two), ["1.30.6", "1.31.1"]);
    assert_eq!(news(&one, &two)[1].message, "1.31.1 is available");
    // Read again, by this or another process.
    let again = after(&two, &mut view, &["1.30.2", "1.30.6", "1.31.1"]);
    assert_eq!(told(&two, &again), [""; 0]);
}

#[test]
fn a_repository_that_was_away_at_first_is_read_for_the_first_time_later() {
    let mut view = before();
    view.catalog = Seen::Unreadable("503".into());
    let away = first(&view);
    assert_eq!(told(&MeshStatus::default(), &away), [""; 0]);
    let back = after(&away, &mut view, &["1.30.2", "1.30.5", "1.31.0"]);
    assert_eq!(told(&away, &back), ["1.31.0"]);
}

#[test]
fn an_upgrade_or_a_control_plane_that_comes_back_is_no_news() {
    let mut view = before();
    let versions = ["1.30.2", "1.30.5", "1.31.0", "1.31.1"];
    let old = after(&MeshStatus::default(), &mut view, &versions);
    planes(&mut view)[0].version = Some(version("1.31.0"));
    let new = after(&old, &mut view, &versions);
    assert_eq!(told(&old, &new), [""; 0]);
    let plane = planes(&mut view).remove(0);
    let object = KnownMesh {
        status: new.clone(),
        ..mesh(Default::default())
    };
    let gone = mesh_status(now(), &object, &view);
    assert_eq!(told(&new, &gone), [""; 0]);
    planes(&mut view).push(plane);
    let back = after(&gone, &mut view, &versions);
    assert_eq!(told(&gone, &back), [""; 0]);
}

#[test]
fn what_does_not_fit_is_told_with_the_reason() {
    let mut view = before();
    view.kubernetes = kubernetes(31);
    let status = after(&MeshStatus::default(), &mut view, &["1.30.2", "1.31.0"]);
    let said = news(&MeshStatus::default(), &status);
    assert!(
        said[0]
            .message
            .starts_with("1.31.0 is available, and does not fit yet:"),
        "{said:?}"
    );
}
