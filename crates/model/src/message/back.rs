//! What is said of the way back.

use meshlift_api::{Strategy, WorkloadCounts};
use meshlift_istio::version::Version;

use super::{first_few, new_plane_is_rendered};
use crate::record::Record;
use crate::view::ControlPlane;

/// The command that moves everything back.
pub fn request_rollback(upgrade: &str) -> String {
    format!(
        "kubectl patch mup {upgrade} --type merge -p '{{\"spec\":{{\"requestRollback\":true}}}}'"
    )
}

/// The command that takes a request to move back away.
pub fn withdraw_rollback(upgrade: &str) -> String {
    format!(
        "kubectl patch mup {upgrade} --type merge -p '{{\"spec\":{{\"requestRollback\":false}}}}'"
    )
}

pub fn waits_for_person(upgrade: &str, what: &str) -> String {
    format!(
        "waiting for a person: {what}. Fix it, and the upgrade continues by itself; or roll it back: {}",
        request_rollback(upgrade)
    )
}

/// A failure that has no way back, because nobody would inject and serve what goes back.
pub fn nowhere_to_go(what: &str, record: &Record, down: &str) -> String {
    format!(
        "{what}; nothing is rolled back, because the old control plane ({}) does not serve: {down}",
        record.source.version
    )
}

/// A request to move back to a control plane that does not serve.
pub fn asked_back_to_nowhere(upgrade: &str, record: &Record, down: &str) -> String {
    format!(
        "spec.requestRollback is true, and the old control plane ({}) does not serve: {down}. Fix it, and the rollback begins by itself; or continue the upgrade: {}",
        record.source.version,
        withdraw_rollback(upgrade)
    )
}

/// A request to move back that comes when the old control plane is gone.
pub fn cannot_go_back(upgrade: &str, record: &Record) -> String {
    format!(
        "spec.requestRollback is true, and nothing can be moved back, because the old control plane ({}) is gone. Withdraw the request: {}",
        record.source.version,
        withdraw_rollback(upgrade)
    )
}

/// A rollback that ends because the old control plane did not come up.
pub fn old_never_served(record: &Record, reason: &str, down: &str, patience: &str) -> String {
    format!(
        "rolling back ({reason}), and the old control plane ({}) did not serve for {patience}: {down}",
        record.source.version
    )
}

/// How the mesh is left then: `counts` are of the way back.
pub fn left_between(record: &Record, counts: WorkloadCounts) -> String {
    if record.strategy == Strategy::InPlace {
        return format!(
            "{} of {} workloads run sidecars of {}; the Helm release {}/{} is left as it is.",
            counts.moved,
            counts.total,
            record.source.version,
            record.source.namespace,
            record.source.name
        );
    }
    format!(
        "{} of {} workloads are on {}; the new control plane ({}) stays and serves the others.",
        counts.moved, counts.total, record.source.version, record.target_version
    )
}

pub fn goes_back(why: &str) -> String {
    format!("rolling back to the old control plane: {why}")
}

pub fn asked_back_already() -> String {
    "waiting to begin: spec.requestRollback is true; set it to false".to_owned()
}

pub fn too_late(message: &str, record: &Record) -> String {
    format!(
        "{message}; spec.requestRollback came too late: the old control plane ({}) is being removed or gone",
        record.source.version
    )
}

pub fn waits_for_old(record: &Record, why: &str) -> String {
    if record.strategy == Strategy::InPlace {
        return format!("rolling back: waiting for istiod: {why}");
    }
    format!(
        "waiting for the old control plane ({}), to which everything rolls back: {why}",
        record.source.version
    )
}

/// What a person does after a rollback that was requested.
const AFTER_A_REQUEST: &str = ". To try the upgrade again, set spec.requestRollback to false and annotate this object with a new value of meshlift.io/retry";
/// What a person does after a rollback because of a failure.
const AFTER_A_FAILURE: &str =
    ". Fix it, then annotate this object with a new value of meshlift.io/retry to try again";

/// How it ended: `users` keep the new control plane, which may still exist without any; `blocked` workloads were not
/// moved back.
pub fn rolled_back(
    record: &Record,
    why: &str,
    (users, new_stays): (&[String], bool),
    blocked: usize,
    asked: bool,
) -> String {
    let mut text = format!(
        "rolled back: {why}. The mesh is on {} again",
        record.source.version
    );
    if blocked > 0 {
        text.push_str(&format!(
            " ({blocked} not moved or not ready, see status.blocked)"
        ));
    }
    match users {
        [] if record.strategy == Strategy::InPlace => text.push_str(", istiod and sidecars"),
        [] if !record.by_helm() && new_stays => text.push_str(&new_plane_is_rendered(record)),
        [] => text.push_str(", and the new control plane is gone"),
        users => text.push_str(&format!(
            "; the new control plane ({}) stays, because it is used by {}",
            record.target_version,
            first_few(users)
        )),
    }
    text.push_str(if asked {
        AFTER_A_REQUEST
    } else {
        AFTER_A_FAILURE
    });
    text
}

/// Of proxies that keep istiod from going back.
pub fn proxies_ahead(newest: &str, before: &Version) -> String {
    format!("a proxy of {newest} is connected, which an istiod of {before} does not support")
}

/// Of an upgrade in place that cannot go all the way back: what happened, and how the mesh is left.
pub fn stays_ahead(record: &Record, reason: &str, pods: &[String]) -> (String, String) {
    let (before, now) = (&record.source.version, &record.target_version);
    let what = format!(
        "rolling back ({reason}), and some pods still run sidecars of {now}, which an istiod of {before} does not support: {}",
        first_few(pods)
    );
    let left = format!(
        "istiod stays at {now} and injects sidecars of {before}: recreate these pods and set spec.requestRollback to true, and the rollback is finished."
    );
    (what, left)
}

pub fn left_after_rollback(record: &Record) -> String {
    if record.strategy == Strategy::InPlace {
        return format!("The mesh is on {} again.", record.source.version);
    }
    format!(
        "The mesh is on {} again, and the new control plane ({}) stays.",
        record.source.version, record.target_version
    )
}

pub fn without_release(plane: &ControlPlane) -> String {
    let ControlPlane {
        namespace, name, ..
    } = plane;
    format!(
        "nobody, but its Helm release is gone and its Deployment is not (kubectl -n {namespace} delete deployment {name})"
    )
}
