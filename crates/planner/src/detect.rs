//! One detection: the survey, the way, and every check, as both the operator and the command line
//! tell it.

use std::collections::BTreeSet;

use meshlift_api::{CheckResult, CheckStatus, ClusterCheck, ControlPlaneRef, Hop, Severity};

use crate::check::{self, Course, Obstacle};
use crate::phase::survey::{Surveyed, survey};
use crate::upgrade::Upgrade;
use crate::version::Version;
use crate::view::{MeshView, Seen};

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

/// How many checks came to what; a check that speaks of several hops counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Those because of which an upgrade may not start.
    pub blocking: usize,
    /// Those that a person accepted.
    pub accepted: usize,
    /// Those that an upgrade goes on in spite of.
    pub warnings: usize,
    /// Those that are only good to know.
    pub notes: usize,
    /// Those that passed.
    pub passed: usize,
}

/// Looks whether a mesh can be upgraded, as [`crate::decide`] does in phase Detecting.
pub fn detect(upgrade: &Upgrade, view: &MeshView) -> Detection {
    Detected::look(upgrade, view).detection()
}

/// Detects where the chart repository may be out of reach, as from a laptop: the versions that are known otherwise, from
/// the status of the Mesh, stand in for it in the view. Everything that needs no chart is checked all the same, and that
/// the repository could not be read is one finding among the others instead of the only one.
pub fn detect_offline(upgrade: &Upgrade, view: &mut MeshView, known: Vec<Version>) -> Detection {
    let unread = match &view.catalog {
        Seen::Unreadable(why) if !known.is_empty() => why.clone(),
        Seen::Absent | Seen::Present(_) | Seen::Unreadable(_) => return detect(upgrade, view),
    };
    let repository = view.mesh.present().map(|mesh| &mesh.charts.repository);
    let what = format!(
        "the chart repository {}",
        repository.map_or("", String::as_str)
    );
    view.catalog = Seen::Present(known);
    let mut detection = detect(upgrade, view);
    if !detection.at_target {
        let obstacle = Obstacle::unreadable(&what, &unread);
        detection.checks.insert(0, obstacle.status(upgrade));
    }
    detection
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

    /// The result for a person: `every check passed`, or how many checks block, were accepted, warn or only note.
    pub fn summary(&self) -> String {
        let counts = self.counts();
        let plural = |n: usize, one: &str| match n {
            1 => format!("1 {one}"),
            n => format!("{n} {one}s"),
        };
        let parts = [
            (counts.blocking, format!("{} blocking", counts.blocking)),
            (counts.accepted, format!("{} accepted", counts.accepted)),
            (counts.warnings, plural(counts.warnings, "warning")),
            (counts.notes, plural(counts.notes, "note")),
        ];
        let found: Vec<String> = parts
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(_, text)| text)
            .collect();
        if found.is_empty() {
            return "every check passed".to_owned();
        }
        found.join(", ")
    }

    /// How many checks came to what.
    pub fn counts(&self) -> Counts {
        let found = |severity: Severity| {
            self.codes(|check| check.severity == severity && check.result == CheckResult::Failed)
        };
        let unread = |severity: Severity| {
            self.codes(|check| check.severity == severity && check.result == CheckResult::Unknown)
        };
        Counts {
            blocking: self.codes(check::blocks),
            accepted: self.codes(|check| check.result == CheckResult::Accepted),
            warnings: found(Severity::Warning) + unread(Severity::Warning),
            notes: found(Severity::Info) + unread(Severity::Info),
            passed: self.codes(|check| check.result == CheckResult::Passed),
        }
    }

    /// A check that speaks of several hops or groups of objects is one thing to know.
    fn codes(&self, counted: impl Fn(&CheckStatus) -> bool) -> usize {
        let counted = self.checks.iter().filter(|check| counted(check));
        let codes: BTreeSet<&String> = counted.map(|check| &check.code).collect();
        codes.len()
    }

    /// Whether an upgrade may not start only because something could not be read: nothing is known to be wrong.
    pub fn is_only_unread(&self) -> bool {
        let mut blocking = self.blocking().peekable();
        blocking.peek().is_some() && blocking.all(|check| check.result == CheckResult::Unknown)
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
