//! The Helm releases: nothing half done, and values that can be carried over.

use meshlift_api::Severity;

use super::{Check, Finding, Look, Subject};
use crate::values;
use crate::view::ReleaseState;

pub(super) static PENDING: Check = Check {
    code: "HELM-PENDING",
    reason: "ReleasePending",
    severity: Severity::Blocking,
    acceptable: false,
    title: "no Helm operation on the releases is under way or was left halfway",
    explanation: "Helm refuses to touch a release in a pending state. If its process died, the state stays until someone mends it.",
    fix: "Wait for it to end; if it died, helm rollback the release.",
    source: "helm pkg/storage, release states pending-install, pending-upgrade, pending-rollback",
    look: Look::Mesh(pending),
};

pub(crate) static VALUES: Check = Check {
    code: "VALUES-NOT-CARRIED",
    reason: "ValuesNotCarried",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the values of the running release fit the target",
    explanation: "The new istiod gets the values that the running one was given. A value that belongs to the old version only, as an image tag, would put the old image under the new chart.",
    fix: "Set the value under spec.values.istiod of the Mesh, or remove it from the release.",
    source: "istio manifests/charts/istio-control/istio-discovery/values.yaml",
    look: Look::Mesh(not_carried),
};

fn pending(subject: &Subject<'_>) -> Vec<Finding> {
    let course = subject.course;
    let releases = [&course.source_release, &course.base_release];
    let stuck = releases.into_iter().filter_map(|release| {
        let release = release.as_ref().ok()?;
        matches!(release.state, ReleaseState::Pending { ours: false, .. }).then_some(release)
    });
    stuck.map(|release| {
        let (namespace, name) = (&release.namespace, &release.name);
        Finding::wrong(
            format!("Helm release {namespace}/{name} is in the middle of an operation that someone else began"),
            format!("wait for it to end; if it died, helm -n {namespace} rollback {name}"),
        )
        .about([format!("release {namespace}/{name}")])
    })
    .collect()
}

fn not_carried(subject: &Subject<'_>) -> Vec<Finding> {
    let course = subject.course;
    let Ok(release) = &course.source_release else {
        return Vec::new();
    };
    let carried = values::istiod(&release.values, course.mesh, subject.from, subject.to);
    let finding = |error: values::CarryError| Finding::wrong(error.problem(), error.fix());
    carried.err().map(finding).into_iter().collect()
}
