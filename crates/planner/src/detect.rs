//! One detection: the survey, the way, and every check, as both the operator and the command line
//! tell it.

use std::collections::BTreeSet;

use meshlift_api::{CheckResult, CheckStatus, ClusterCheck, ControlPlaneRef, Hop, Severity};

use crate::check::{self, Course, Obstacle};
use crate::phase::survey::{Surveyed, survey};
use crate::upgrade::Upgrade;
use crate::version::Version;
use crate::view::MeshView;

/// What a detection found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detection {
    /// The control plane that runs.
    pub from: Option<ControlPlaneRef>,
    /// The control plane to come.
    pub target: Option<ControlPlaneRef>,
    /// The way, its last hop being the target; empty where there is none to go.
    pub hops: Vec<Hop>,
    /// Every cluster of the mesh, and how its Kubernetes fits the target.
    pub clusters: Vec<ClusterCheck>,
    /// Every check that was made, also those that passed.
    pub checks: Vec<CheckStatus>,
    /// Whether the mesh is at the target already.
    pub at_target: bool,
    /// Namespace of a mesh that was found and has no Mesh object yet.
    pub unregistered: Option<String>,
}

/// Looks whether a mesh can be upgraded, as [`crate::decide`] does in phase Detecting.
pub fn detect(upgrade: &Upgrade, view: &MeshView) -> Detection {
    Detected::look(upgrade, view).detection()
}

/// A detection with what it was made from.
pub(crate) struct Detected<'a> {
    pub(crate) found: Result<Surveyed<'a>, Obstacle>,
    upgrade: &'a Upgrade,
    view: &'a MeshView,
}

impl<'a> Detected<'a> {
    pub(crate) fn look(upgrade: &'a Upgrade, view: &'a MeshView) -> Self {
        Self {
            found: survey(upgrade, view),
            upgrade,
            view,
        }
    }

    pub(crate) fn detection(&self) -> Detection {
        let (upgrade, view) = (self.upgrade, self.view);
        match &self.found {
            Err(obstacle) => Detection {
                checks: vec![obstacle.status(upgrade)],
                ..Detection::default()
            },
            Ok(Surveyed::NoMesh(spec)) => Detection {
                unregistered: Some(spec.control_plane_namespace.clone()),
                ..Detection::default()
            },
            Ok(Surveyed::AtTarget { plane, version, .. }) => Detection {
                from: Some(reference(version, &plane.revision)),
                target: Some(reference(version, &plane.revision)),
                at_target: true,
                ..Detection::default()
            },
            Ok(Surveyed::Way(course)) => Detection {
                from: Some(reference(course.from, &course.source.revision)),
                target: Some(reference(&course.to, &course.revision(&course.to))),
                hops: course
                    .hops
                    .iter()
                    .map(|version| hop(course, version))
                    .collect(),
                clusters: check::clusters(view, &course.to),
                checks: check::all(upgrade, course, view),
                ..Detection::default()
            },
        }
    }
}

impl Detection {
    /// The checks because of which an upgrade may not start, in the order of the registry.
    pub fn blocking(&self) -> impl Iterator<Item = &CheckStatus> {
        self.checks.iter().filter(|told| check::blocks(told))
    }

    /// Whether an upgrade may not start.
    pub fn is_blocked(&self) -> bool {
        self.blocking().next().is_some()
    }

    /// Fixed reason of the first check that blocks.
    pub fn reason(&self) -> Option<&'static str> {
        let first = self.blocking().next()?;
        match first.result {
            CheckResult::Unknown => Some("Unreadable"),
            _ => check::find(&first.code).map(|check| check.reason),
        }
    }

    /// How it went, for a person: `every check passed`, or how many say what.
    pub fn summary(&self) -> String {
        // A check that speaks of several hops or groups of objects is one thing to know.
        let codes = |those: &dyn Fn(&CheckStatus) -> bool| {
            let told = self.checks.iter().filter(|told| those(told));
            told.map(|told| &told.code).collect::<BTreeSet<_>>().len()
        };
        let accepted = |told: &CheckStatus| told.result == CheckResult::Accepted;
        let warns = |told: &CheckStatus| {
            told.severity == Severity::Warning && told.result == CheckResult::Failed
        };
        let parts = [
            (codes(&check::blocks), "in the way"),
            (codes(&accepted), "accepted"),
            (codes(&warns), "to know"),
        ];
        let told: Vec<String> = parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        match told.is_empty() {
            true => "every check passed".to_owned(),
            false => format!("checks: {}", told.join(", ")),
        }
    }

    /// Checks that were not passed, for the record: code and what it came to.
    pub(crate) fn open_ends(&self) -> Vec<String> {
        let open = self
            .checks
            .iter()
            .filter(|told| told.result != CheckResult::Passed);
        let mut told: Vec<String> = open
            .map(|told| format!("{}: {:?}", told.code, told.result))
            .collect();
        told.sort();
        told.dedup();
        told
    }

    pub(crate) fn and(mut self, told: CheckStatus) -> Self {
        self.checks.push(told);
        self
    }
}

fn reference(version: &Version, revision: &str) -> ControlPlaneRef {
    ControlPlaneRef {
        version: version.to_string(),
        revision: Some(revision.to_owned()),
    }
}

fn hop(course: &Course<'_>, version: &Version) -> Hop {
    Hop {
        version: version.to_string(),
        revision: course.revision(version),
    }
}
