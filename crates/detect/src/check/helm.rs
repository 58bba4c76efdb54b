//! The Helm releases: nothing half done.

use meshlift_api::Severity;
use meshlift_istio::version::Version;
use meshlift_model::view::{HelmRunner, Release, ReleaseState};

use super::{Check, Finding, Look, Subject};

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

pub(super) static FAILED: Check = Check {
    code: "HELM-FAILED",
    reason: "ReleaseFailed",
    severity: Severity::Warning,
    acceptable: true,
    title: "the last Helm operation on each release ended well",
    explanation: "A release whose last operation failed may be half of the old and half of the new, and its values are those of the attempt: they are carried over to the new control plane although they may never have worked. Helm works on a failed release again; one that is in any other state than deployed or failed it may refuse.",
    fix: "Bring the release to the state that is meant: helm history, then helm rollback or helm upgrade.",
    source: "helm pkg/release/common, release states",
    look: Look::Mesh(failed),
};

pub(super) static BASE_VERSION: Check = Check {
    code: "BASE-VERSION",
    reason: "BaseVersion",
    severity: Severity::Warning,
    acceptable: true,
    title: "the base release is of the version that istiod runs",
    explanation: "The CRDs are upgraded before istiod and are never older. A base release of another version than istiod is what an upgrade leaves that was cut off, or one that forgot the CRDs.",
    fix: "The upgrade brings it to the target; look at what else was left half done.",
    source: "istio.io docs/setup/upgrade/helm",
    look: Look::Mesh(base_version),
};

pub(super) static BASE_NEWER: Check = Check {
    code: "BASE-NEWER",
    reason: "BaseNewer",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the CRDs are not newer than the target",
    explanation: "The upgrade would bring the base release down to the target, and the CRDs with it: fields that the older CRDs do not know are dropped from every object that is written after that.",
    fix: "Choose a target that is at least as new as the base release.",
    source: "istio manifests/charts/base; sail-operator pkg/install/crds.go",
    look: Look::Mesh(base_newer),
};

fn pending(subject: &Subject<'_>) -> Vec<Finding> {
    let course = subject.course;
    let releases = [&course.source_release, &course.base_release];
    let stuck = releases.into_iter().filter_map(|release| {
        let release = release.as_ref().ok()?;
        matches!(
            release.state,
            ReleaseState::Pending {
                by: HelmRunner::Foreign,
                ..
            }
        )
        .then_some(release)
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

fn failed(subject: &Subject<'_>) -> Vec<Finding> {
    let course = subject.course;
    let known = [&course.source_release, &course.base_release];
    let bad = known.into_iter().filter_map(|release| {
        let release = release.as_ref().ok()?;
        let (namespace, name) = (&release.namespace, &release.name);
        let how = match &release.state {
            ReleaseState::Failed => "the last Helm operation on it failed".to_owned(),
            ReleaseState::Other(state) => format!("Helm calls it {state}"),
            ReleaseState::Deployed | ReleaseState::Pending { .. } => return None,
        };
        let finding = Finding::wrong(
            format!("release {namespace}/{name} is not deployed: {how}; the upgrade would take over the values of that attempt"),
            format!("helm -n {namespace} history {name}, then helm -n {namespace} rollback {name} <revision that worked>"),
        );
        Some(finding.about([format!("release {namespace}/{name}")]))
    });
    bad.chain(left_over(subject)).collect()
}

/// A release with the name of the one to come that Helm can neither install nor upgrade. A failed one
/// it installs again.
fn left_over(subject: &Subject<'_>) -> Option<Finding> {
    let namespace = &subject.course.source.namespace;
    let name = format!("istiod-{}", subject.revision());
    let left = Release::find(subject.view.releases.present()?, &name, namespace)?;
    let ReleaseState::Other(state) = &left.state else {
        return None;
    };
    let finding = Finding::wrong(
        format!(
            "release {namespace}/{name}, which the upgrade installs, is there and Helm calls it {state}"
        ),
        format!("helm -n {namespace} uninstall {name}"),
    );
    Some(finding.about([format!("release {namespace}/{name}")]))
}

fn base_version(subject: &Subject<'_>) -> Vec<Finding> {
    let Ok(base) = &subject.course.base_release else {
        return Vec::new();
    };
    let from = subject.course.from;
    // At the target it was brought there by an upgrade that is to be continued.
    let other = base
        .version
        .as_ref()
        .filter(|base| *base != from && *base != subject.to && *base <= subject.to);
    let finding = |version: &Version| {
        Finding::wrong(
            format!(
                "release {}/{} is of {version}, and istiod runs {from}",
                base.namespace, base.name
            ),
            format!(
                "the upgrade brings it to {}; look whether an earlier one was left half done",
                subject.to
            ),
        )
        .about([format!("release {}/{}", base.namespace, base.name)])
    };
    other.map(finding).into_iter().collect()
}

fn base_newer(subject: &Subject<'_>) -> Vec<Finding> {
    let Ok(base) = &subject.course.base_release else {
        return Vec::new();
    };
    let to = &subject.course.to;
    let finding = |version: &Version| {
        Finding::wrong(
            format!(
                "release {}/{} is of {version}, newer than the target {to}",
                base.namespace, base.name
            ),
            format!("set targetVersion to {version} or newer"),
        )
        .about([format!("release {}/{}", base.namespace, base.name)])
    };
    let newer = base.version.as_ref().filter(|version| *version > to);
    newer.map(finding).into_iter().collect()
}
