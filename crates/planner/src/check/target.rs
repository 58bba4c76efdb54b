//! The target: whether there is a way to it, and whether its revision is free.

use meshlift_api::Severity;

use super::{Check, Finding, Look, Subject};

pub(crate) static REFUSED: Check = Check {
    code: "TARGET-REFUSED",
    reason: "TargetRefused",
    severity: Severity::Blocking,
    acceptable: false,
    title: "there is a way from the running version to the target",
    explanation: "A downgrade, a mix of flavours, and a version that the chart repository does not have are refused: upstream does not support them, and an upgrade that starts must also end.",
    fix: "Set targetVersion to a version that `kubectl get mesh` or `meshlift list` names.",
    source: "istio.io docs/setup/upgrade",
    look: Look::Survey,
};

pub(super) static REVISION_TOO_LONG: Check = Check {
    code: "REVISION-TOO-LONG",
    reason: "RevisionTooLong",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the new revision makes valid names",
    explanation: "The Service of a revision is named istiod-<revision>, and a Service name has at most 63 characters.",
    fix: "Choose a target whose version is shorter.",
    source: "istio manifests/charts/istio-control/istio-discovery/templates/service.yaml",
    look: Look::Hop(revision_too_long),
};

pub(super) static REVISION_TAKEN: Check = Check {
    code: "REVISION-TAKEN",
    reason: "RevisionTaken",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the new revision is free",
    explanation: "The new control plane is installed under a revision of its own. A control plane of another version that already has that name would be replaced while workloads use it.",
    fix: "Remove the release that has the name, once nothing uses it.",
    source: "",
    look: Look::Hop(revision_taken),
};

fn revision_too_long(subject: &Subject<'_>) -> Vec<Finding> {
    const LONGEST: usize = 63 - "istiod-".len();
    let revision = subject.to.revision();
    let finding = || {
        Finding::wrong(
            format!("revision {revision} is longer than {LONGEST} characters"),
            "choose a target whose version is shorter",
        )
    };
    (revision.len() > LONGEST)
        .then(finding)
        .into_iter()
        .collect()
}

/// A control plane that already has the target's revision but is another version.
fn revision_taken(subject: &Subject<'_>) -> Vec<Finding> {
    let revision = subject.to.revision();
    let planes = subject.view.control_planes.present();
    let other = planes.into_iter().flatten().find(|plane| {
        plane.revision == revision && plane.version.as_ref().is_some_and(|v| v != subject.to)
    });
    other
        .map(|other| {
            Finding::wrong(
                format!(
                    "revision {revision} is taken by istiod {}/{} of another version",
                    other.namespace, other.name
                ),
                "remove that release first",
            )
        })
        .into_iter()
        .collect()
}
