//! The target: whether there is a way to it, and whether its revision is free.

use meshlift_api::Severity;
use meshlift_model::data_plane::mark_attempt;
use meshlift_model::message;
use meshlift_model::users::users;
use meshlift_model::view::{ControlPlane, Tag};

use super::{Check, Finding, Look, Subject};
use crate::revision;

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

pub(super) static REVISION_NAME: Check = Check {
    code: "REVISION-NAME",
    reason: "RevisionName",
    severity: Severity::Blocking,
    acceptable: false,
    title: "spec.revision names one control plane",
    explanation: "A revision is part of the names of everything that belongs to a control plane, and the value of the label istio.io/rev. Each step of an upgrade over several minors installs a control plane beside the one before, so one name does not do for all of them.",
    fix: "Use lower case letters, digits and hyphens, and not default. Over several minors, upgrade to each of them with a MeshUpgrade of its own, or remove spec.revision: each revision is then named by its version.",
    source: "istio pkg/config/validation (IsDNS1123Label)",
    look: Look::Mesh(revision_name),
};

pub(super) static REVISION_TOO_LONG: Check = Check {
    code: "REVISION-TOO-LONG",
    reason: "RevisionTooLong",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the new revision makes valid names",
    explanation: "The Helm release of a revision is named istiod-<revision>, and the name of a Helm release has at most 53 characters. That of its Service may have 63.",
    fix: "Set a shorter name in spec.revision.",
    source: "helm pkg/chart/common/util/validate_name.go (maxNameLen)",
    look: Look::Hop(revision_too_long),
};

pub(super) static REVISION_TAKEN: Check = Check {
    code: "REVISION-TAKEN",
    reason: "RevisionTaken",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the new revision is free",
    explanation: "The new control plane is installed under a revision of its own. A control plane of another version that already has that name would be replaced while workloads use it; one of another mesh, or a revision tag of that name, would inject the same pods. A name that an earlier revision had is free again once nothing is marked with it (annotation meshlift.io/revision).",
    fix: "Set another name in spec.revision, or bring the control plane that has the name to the version that it names. Remove it only if it is not the one that runs the mesh, and nothing uses it.",
    source: "",
    look: Look::Hop(revision_taken),
};

fn revision_name(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(name) = &subject.upgrade.spec.revision else {
        return Vec::new();
    };
    if let Some(why) = revision::invalid(name) {
        let what = format!("spec.revision is {name:?}, which is not a valid revision");
        return vec![Finding::wrong(what, why)];
    }
    let steps: Vec<String> = subject
        .course
        .hops
        .iter()
        .map(ToString::to_string)
        .collect();
    let Some((first, _)) = steps.split_first().filter(|(_, later)| !later.is_empty()) else {
        return Vec::new();
    };
    vec![Finding::wrong(
        format!(
            "spec.revision is {name}, and this upgrade installs a control plane for each of {}",
            steps.join(", ")
        ),
        format!(
            "set spec.targetVersion to {first} and upgrade to the others afterwards, each with a spec.revision of its own; or remove spec.revision"
        ),
    )]
}

fn revision_too_long(subject: &Subject<'_>) -> Vec<Finding> {
    // That of a Helm release.
    const LONGEST: usize = 53 - "istiod-".len();
    let revision = subject.revision();
    let finding = || {
        Finding::wrong(
            format!("revision {revision} is longer than {LONGEST} characters"),
            "set a shorter name in spec.revision",
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
                "set another name in spec.revision",
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
    let tag = subject
        .view
        .tags()
        .iter()
        .find(|tag| tag.name == revision)
        .map(|tag| taken_by_tag(subject, tag));
    taken
        .filter_map(finding)
        .chain(tag)
        .chain(used_before(subject))
        .take(1)
        .collect()
}

/// Marks of an earlier revision of this name would be taken for restarts and moves of this upgrade: a workload that was
/// restarted a year ago would have failed by now, and a namespace would have been put back. A name that is made of the
/// version comes again only where the same upgrade does.
fn used_before(subject: &Subject<'_>) -> Option<Finding> {
    let name = subject.upgrade.spec.revision.as_deref()?;
    if subject.plane(name).is_some() {
        return None;
    }
    let moved = |to: &Option<String>| to.as_deref() == Some(name);
    let workloads = subject.workloads();
    let workloads = workloads.filter(|w| mark_attempt(w.mark.as_deref(), name).is_some());
    let namespaces = subject.namespaces().filter(|ns| moved(&ns.moved_to));
    let tags = subject.view.tags().iter().filter(|t| moved(&t.moved_to));
    let gateways = subject.view.gateways.present().into_iter().flatten();
    let gateways = gateways.filter(|gateway| moved(&gateway.moved_to));
    let marked: Vec<String> = workloads
        .map(|workload| workload.key.short())
        .chain(namespaces.map(|ns| format!("Namespace {}", ns.name)))
        .chain(tags.map(|tag| format!("MutatingWebhookConfiguration {}", tag.configuration)))
        .chain(gateways.map(|g| format!("Gateway {}/{}", g.namespace, g.name)))
        .collect();
    let first = marked.first()?;
    Some(
        Finding::wrong(
            format!(
                "revision {name} was used before, and {} marked with it ({first})",
                match marked.len() {
                    1 => "1 object is still".to_owned(),
                    n => format!("{n} objects are still"),
                }
            ),
            "set another name in spec.revision",
        )
        .about(marked),
    )
}

/// A tag and a revision of one name are the same label to whoever asks for them.
fn taken_by_tag(subject: &Subject<'_>, tag: &Tag) -> Finding {
    Finding::wrong(
        format!(
            "revision {} has the name of a revision tag, which points at {}",
            subject.revision(),
            tag.revision
        ),
        "set another name in spec.revision, or rename the tag",
    )
    .about([format!(
        "MutatingWebhookConfiguration {}",
        tag.configuration
    )])
}

/// What to do about it. The control plane that runs the mesh is never to be removed.
fn make_room(subject: &Subject<'_>, other: &ControlPlane) -> String {
    if other == subject.course.source {
        return format!(
            "it is the control plane that runs this mesh: bring it to {} in place (meshlift manual --mesh {} --way in-place --to {}), after correcting the image in its values; or set another name in spec.revision",
            subject.to, subject.upgrade.spec.mesh, subject.to
        );
    }
    let users = users(subject.view, &other.revision, Some(other));
    if users.is_empty() {
        format!(
            "nothing in this cluster uses it: uninstall its release (helm -n {} list), or set another name in spec.revision",
            other.namespace
        )
    } else {
        format!(
            "it is used by {}: set another name in spec.revision",
            message::first_few(&users)
        )
    }
}
