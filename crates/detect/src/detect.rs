//! One detection: the survey, the way, and every check, as both the operator and the command line
//! tell it.

use meshlift_api::{CheckResult, ControlPlaneRef, Hop, Rollback, Strategy};
use meshlift_istio::version::Version;
use meshlift_model::Detection;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{MeshView, Seen};

use crate::check::{self, Course, Obstacle};
use crate::survey::{Surveyed, survey};

/// Looks whether a mesh can be upgraded, as [`meshlift_planner::decide`] does in phase Detecting.
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

/// Versions whose charts the next step of an upgrade needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextCharts {
    /// What it installs.
    pub next: Version,
    /// What leads back in place: there the old control plane does not stay beside the new one.
    pub source: Option<Version>,
}

/// The charts of the next step of an upgrade, as far as there is a way.
pub fn next_charts(upgrade: &Upgrade, view: &MeshView) -> Option<NextCharts> {
    let Ok(Surveyed::Way(course)) = Detected::look(upgrade, view).found else {
        return None;
    };
    let recorded = view.record.present().map(|record| &record.source.version);
    let next = course.hops.first().unwrap_or(&course.to).clone();
    // Of a run that was begun before, the record knows where it came from.
    let before = if *course.from == next { recorded } else { None };
    let source = before.unwrap_or(course.from);
    let leads_back = course.upgrade.spec.strategy == Strategy::InPlace
        && upgrade.spec.rollback != Rollback::Never;
    Some(NextCharts {
        source: leads_back.then(|| source.clone()),
        next,
    })
}

/// A detection with what it was made from.
pub struct Detected<'a> {
    /// The survey, or what stood in its way.
    pub found: Result<Surveyed<'a>, Obstacle>,
    upgrade: &'a Upgrade,
    view: &'a MeshView,
}

impl<'a> Detected<'a> {
    /// Surveys the mesh; the checks come with [`Detected::detection`].
    pub fn look(upgrade: &'a Upgrade, view: &'a MeshView) -> Self {
        Self {
            found: survey(upgrade, view),
            upgrade,
            view,
        }
    }

    /// Makes every check.
    pub fn detection(&self) -> Detection {
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

/// Fixed reason of the first check that blocks, for a condition.
pub fn reason(detection: &Detection) -> Option<&'static str> {
    let first = detection.blocking().next()?;
    match first.result {
        CheckResult::Unknown => Some("Unreadable"),
        _ => check::find(&first.code).map(|check| check.reason),
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
