//! The checks of Detecting: each a pure function that finds what would make an upgrade fail, and
//! says how to mend it.

use meshlift_api::{MeshSpec, MeshType};

use crate::message;
use crate::values;
use crate::version::{KubernetesVersion, Version, check_path, first_supporting, kubernetes_range};
use crate::view::{ControlPlane, Installer, MeshView, Release, ReleaseState, Seen};

/// Something that must be mended before the upgrade may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// Fixed reason for the condition.
    pub(crate) reason: &'static str,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Obstacle {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    pub(crate) fn unreadable(what: &str, why: &str) -> Self {
        Self::new("Unreadable", format!("{what} cannot be read: {why}"))
    }
}

/// Requires something to have been seen.
pub(crate) fn must_see<'a, T>(seen: &'a Seen<T>, what: &str) -> Result<&'a T, Obstacle> {
    match seen {
        Seen::Present(value) => Ok(value),
        Seen::Absent => Err(Obstacle::new("Absent", format!("{what} is not there"))),
        Seen::Unreadable(why) => Err(Obstacle::unreadable(what, why)),
    }
}

/// What the detection settled on: from where to where.
pub(crate) struct Course<'a> {
    pub(crate) mesh: &'a MeshSpec,
    pub(crate) source: &'a ControlPlane,
    pub(crate) from: &'a Version,
    pub(crate) to: &'a Version,
    pub(crate) source_release: &'a Release,
    pub(crate) base_release: &'a Release,
}

/// A mesh that this operator must leave alone.
pub(crate) fn mesh_type(mesh: &MeshSpec) -> Option<Obstacle> {
    (mesh.mesh_type == MeshType::External).then(|| {
        Obstacle::new(
            "MeshExternal",
            "the Mesh is of type External: it is owned by someone else and never touched; upgrade it where it is installed from, or set spec.type to Dedicated if Helm installed it here and this operator may upgrade it",
        )
    })
}

/// The Helm release that a control plane belongs to, or why it cannot be upgraded.
pub(crate) fn helm_release(plane: &ControlPlane) -> Result<&str, Obstacle> {
    let who = match &plane.installer {
        Installer::Helm { release } => return Ok(release),
        Installer::Istioctl => "istioctl",
        Installer::Sail => "the Sail operator",
        Installer::Unknown => "something other than Helm",
    };
    Err(Obstacle::new(
        "NotInstalledByHelm",
        format!(
            "istiod {}/{} was installed by {who}: this operator upgrades Helm installations only, and two installers would undo each other; upgrade it with the tool that installed it",
            plane.namespace, plane.name
        ),
    ))
}

/// Every check of a settled course. All of them run, so that a person sees all at once.
pub(crate) fn all(course: &Course<'_>, view: &MeshView) -> Vec<Obstacle> {
    // With a target that is refused, what else does not fit that target is of no use.
    if let Some(refused) = path(course) {
        return vec![refused];
    }
    [
        kubernetes(course, view),
        control_plane_ready(course),
        injector(course),
        validator(view),
        permissions(view),
        pending_release(course.source_release),
        pending_release(course.base_release),
        revision_name(course),
        carried_values(course),
        rival_target(course, view),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn path(course: &Course<'_>) -> Option<Obstacle> {
    let error = check_path(course.from, course.to).err()?;
    Some(Obstacle::new("TargetRefused", error.to_string()))
}

fn kubernetes(course: &Course<'_>, view: &MeshView) -> Option<Obstacle> {
    let running = match must_see(&view.kubernetes, "the Kubernetes version") {
        Ok(running) => *running,
        Err(obstacle) => return Some(obstacle),
    };
    let to = course.to;
    let Some(range) = kubernetes_range(to) else {
        return Some(Obstacle::new(
            "KubernetesUnknown",
            format!(
                "this operator does not know which Kubernetes versions Istio {} supports: upgrade the operator, or choose an older Istio",
                to.minor_name()
            ),
        ));
    };
    let (low, high) = (range.low, range.high);
    if running < low {
        return Some(Obstacle::new(
            "KubernetesTooOld",
            format!(
                "Kubernetes {running} is too old for Istio {to}, which supports {low} to {high}: upgrade the cluster to {low} first; detection then runs again by itself"
            ),
        ));
    }
    (running > high).then(|| {
        Obstacle::new(
            "KubernetesTooNew",
            format!("Kubernetes {running} is too new for Istio {to}, which supports {low} to {high}: {}", newer_istio(running)),
        )
    })
}

fn newer_istio(running: KubernetesVersion) -> String {
    match first_supporting(running) {
        Some(minor) => format!("set targetVersion to {minor} or newer"),
        None => "no Istio that this operator knows supports it: upgrade the operator".to_owned(),
    }
}

fn control_plane_ready(course: &Course<'_>) -> Option<Obstacle> {
    let plane = course.source;
    (!plane.is_ready()).then(|| {
        Obstacle::new(
            "ControlPlaneNotReady",
            format!(
                "{}: mend it before upgrading (kubectl -n {} describe deployment {})",
                message::not_ready(plane),
                plane.namespace,
                plane.name
            ),
        )
    })
}

fn injector(course: &Course<'_>) -> Option<Obstacle> {
    let plane = course.source;
    let problem = match &plane.injector {
        Seen::Present(webhook) if webhook.has_ca_bundle => return None,
        Seen::Present(webhook) => format!(
            "the injection webhook {} has no CA bundle, so no pod can be injected: restart istiod {}, which writes it",
            webhook.name, plane.name
        ),
        Seen::Absent => format!(
            "revision {} has no injection webhook: reinstall release {}",
            plane.revision, course.source_release.name
        ),
        Seen::Unreadable(why) => return Some(Obstacle::unreadable("the injection webhook", why)),
    };
    Some(Obstacle::new("InjectorBroken", problem))
}

fn validator(view: &MeshView) -> Option<Obstacle> {
    let validator = match &view.validator {
        Seen::Present(validator) => validator,
        // A base chart with an empty defaultRevision renders none.
        Seen::Absent => return None,
        Seen::Unreadable(why) => return Some(Obstacle::unreadable("the validating webhook", why)),
    };
    let planes = view.control_planes.present()?;
    let serves = |plane: &ControlPlane| plane.name == validator.service;
    (!planes.iter().any(serves)).then(|| {
        Obstacle::new(
            "ValidatorPointsNowhere",
            format!("istiod-default-validator calls service {}, which no istiod serves: every Istio configuration write is refused or unchecked; run helm upgrade of the base release with defaultRevision set to a revision that runs", validator.service),
        )
    })
}

fn permissions(view: &MeshView) -> Option<Obstacle> {
    match &view.missing_permissions {
        Seen::Present(missing) if missing.is_empty() => None,
        Seen::Present(missing) => Some(Obstacle::new(
            "PermissionsMissing",
            format!(
                "the operator's service account may not {}: install the chart's RBAC, with controlPlaneNamespaces naming the namespace of istiod",
                message::first_few(missing)
            ),
        )),
        Seen::Absent => None,
        Seen::Unreadable(why) => Some(Obstacle::unreadable("the operator's permissions", why)),
    }
}

fn pending_release(release: &Release) -> Option<Obstacle> {
    matches!(release.state, ReleaseState::Pending { ours: false, .. }).then(|| {
        Obstacle::new(
            "ReleasePending",
            format!(
                "Helm release {}/{} is in the middle of an operation that someone else began: wait for it to end; if it died, helm -n {} rollback {}",
                release.namespace, release.name, release.namespace, release.name
            ),
        )
    })
}

fn revision_name(course: &Course<'_>) -> Option<Obstacle> {
    // Service istiod-R is at most 63 characters long.
    let revision = course.to.revision();
    (revision.len() > 56).then(|| {
        Obstacle::new(
            "RevisionTooLong",
            format!("revision {revision} is longer than 56 characters"),
        )
    })
}

fn carried_values(course: &Course<'_>) -> Option<Obstacle> {
    let values = &course.source_release.values;
    let error = values::istiod(values, course.mesh, course.from, course.to).err()?;
    Some(Obstacle::new("ValuesNotCarried", error.to_string()))
}

/// A control plane that already has the target's revision but is another version.
fn rival_target(course: &Course<'_>, view: &MeshView) -> Option<Obstacle> {
    let revision = course.to.revision();
    let planes = view.control_planes.present()?;
    let other = planes.iter().find(|plane| {
        plane.revision == revision && plane.version.as_ref().is_some_and(|v| v != course.to)
    })?;
    Some(Obstacle::new(
        "RevisionTaken",
        format!(
            "revision {revision} is taken by istiod {}/{} of another version: remove that release first",
            other.namespace, other.name
        ),
    ))
}

#[cfg(test)]
mod tests;
