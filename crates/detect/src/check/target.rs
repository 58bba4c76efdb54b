//! The target: whether there is a way to it, and whether its revision is free.

use meshlift_api::Severity;
use meshlift_model::message;
use meshlift_model::users::users;
use meshlift_model::view::ControlPlane;

use super::{Check, Finding, Look, Subject};

/// The target cannot be reached from the version that runs.
pub static REFUSED: Check = Check {
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
    explanation: "The new control plane is installed under a revision of its own. A control plane of another version that already has that name would be replaced while workloads use it; one of another mesh would inject the same pods.",
    fix: "Bring the control plane that has the name to the version that it names, or choose another target. Remove it only if it is not the one that runs the mesh, and nothing uses it. If it is of another mesh, rename the Mesh of this one.",
    source: "",
    look: Look::Hop(revision_taken),
};

fn revision_too_long(subject: &Subject<'_>) -> Vec<Finding> {
    const LONGEST: usize = 63 - "istiod-".len();
    let revision = subject.revision();
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

/// A control plane that already has the target's revision but is another version, or of another mesh.
fn revision_taken(subject: &Subject<'_>) -> Vec<Finding> {
    let revision = subject.revision();
    let home = &subject.course.source.namespace;
    let taken = subject
        .planes()
        .iter()
        .filter(|plane| plane.revision == revision);
    let finding = |other: &ControlPlane| {
        let (namespace, name) = (&other.namespace, &other.name);
        if namespace != home {
            return Some(Finding::wrong(
                format!(
                    "revision {revision} is taken by istiod {namespace}/{name} of another mesh"
                ),
                "give this mesh a Mesh object of another name, which its new revision begins with",
            ));
        }
        let differs = other.version.as_ref().is_some_and(|v| v != subject.to);
        differs.then(|| {
            Finding::wrong(
                format!(
                    "revision {revision} is taken by istiod {namespace}/{name} of another version (image {})",
                    other.image
                ),
                make_room(subject, other),
            )
        })
    };
    taken.filter_map(finding).take(1).collect()
}

/// What to do about it. The control plane that runs the mesh is never to be removed.
fn make_room(subject: &Subject<'_>, other: &ControlPlane) -> String {
    if other == subject.course.source {
        return format!(
            "it is the control plane that runs this mesh: bring it to {} in place (meshlift manual {} --way in-place --to {}), after correcting the image in its values; or choose another target",
            subject.to, subject.upgrade.spec.mesh, subject.to
        );
    }
    let users = users(subject.view, &other.revision, Some(other));
    match users.is_empty() {
        true => format!(
            "nothing in this cluster uses it: uninstall its release (helm -n {} list), or choose another target",
            other.namespace
        ),
        false => format!(
            "it is used by {}: choose another target",
            message::first_few(&users)
        ),
    }
}
