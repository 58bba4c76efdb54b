use crate::example::istiod;

#[test]
fn a_control_plane_serves_with_as_many_replicas_as_are_enough() {
    let is_ready = |desired, ready, enough| {
        let mut plane = istiod("1-31-0", "1.31.0");
        (plane.desired, plane.ready, plane.enough) = (desired, ready, enough);
        plane.is_ready()
    };
    assert!(is_ready(2, 2, None));
    assert!(!is_ready(2, 1, None), "unknown: all are needed");
    assert!(
        is_ready(5, 3, Some(2)),
        "its autoscaler wants more than there is room for"
    );
    assert!(!is_ready(5, 1, Some(2)));
    assert!(!is_ready(5, 0, Some(0)), "one at least");
    assert!(!is_ready(0, 0, Some(0)), "scaled to zero");
    assert!(is_ready(1, 1, Some(2)), "never more than are wanted");
}
