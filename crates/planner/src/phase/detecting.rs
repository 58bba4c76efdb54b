//! Detecting: find the mesh, settle on source and target, check that an upgrade which starts
//! also ends, and write down what will be needed. Touches nothing.

use jiff::Timestamp;
use meshlift_api::{ControlPlaneRef, DEFAULT_MESH, Outcome, Phase, Step};

use super::pending::in_the_way;
use super::survey::{Finding, Sources, survey};
use super::{BACKSTOP, wait};
use crate::checks::{self, Course, Obstacle, must_see};
use crate::decision::{Decision, Effect, Findings, Next, Report, Verdict, WaitingOn};
use crate::injection::{Injector, injector_of};
use crate::record::{Record, RecordedNamespace, RecordedRelease};
use crate::upgrade::Upgrade;
use crate::version::Version;
use crate::view::{ControlPlane, MeshView, Release, Seen};
use crate::{message, values};

pub(super) fn decide(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Decision {
    if let Some(rival) = in_the_way(upgrade, &view.rivals) {
        let report = Report {
            message: message::waits_for_rival(&rival.name),
            ..Report::default()
        };
        return Decision::new(wait(now, WaitingOn::Rival, BACKSTOP), report);
    }
    match survey(upgrade, view) {
        Ok(Finding::NoMesh { namespace }) => register(namespace),
        Ok(Finding::AtTarget {
            plane,
            version,
            outdated,
        }) => at_target(plane, version, outdated),
        Ok(Finding::Way { course, to }) => settle(now, upgrade, view, &course, &to),
        Err(obstacles) => blocked(now, &obstacles),
    }
}

fn register(namespace: String) -> Decision {
    let message = format!(
        "found Istio in namespace {namespace}: makes the Mesh object {DEFAULT_MESH} for it"
    );
    let effect = Effect::RegisterMesh {
        name: DEFAULT_MESH.to_owned(),
        control_plane_namespace: namespace,
    };
    let report = Report {
        step: Some(Step::CheckingEnvironment),
        message,
        ..Report::default()
    };
    Decision::new(Next::Act(vec![effect]), report)
}

fn at_target(plane: &ControlPlane, version: Version, outdated: u32) -> Decision {
    let message = message::already_there(&version, outdated);
    let reference = ControlPlaneRef {
        version: version.to_string(),
        revision: Some(plane.revision.clone()),
    };
    let findings = Findings {
        detected: Verdict::yes("AtTarget", message.clone()),
        control_plane_ready: Verdict::yes("Ready", format!("{} is ready", plane.name)),
        ..Findings::default()
    };
    let report = Report {
        message,
        from: Some(reference.clone()),
        target: Some(reference),
        outcome: Some(Outcome::Upgraded),
        findings,
        ..Report::default()
    };
    Decision::new(Next::Enter(Phase::Done), report)
}

fn blocked(now: Timestamp, obstacles: &[Obstacle]) -> Decision {
    let reason = obstacles
        .first()
        .map_or("Blocked", |obstacle| obstacle.reason);
    let messages: Vec<&str> = obstacles
        .iter()
        .map(|obstacle| obstacle.message.as_str())
        .collect();
    let message = messages.join("; ");
    let report = Report {
        step: Some(Step::CheckingEnvironment),
        message: message.clone(),
        findings: Findings {
            detected: Verdict::no(reason, message),
            ..Findings::default()
        },
        ..Report::default()
    };
    let unreadable = obstacles
        .iter()
        .all(|obstacle| obstacle.reason == "Unreadable");
    let on = if unreadable {
        WaitingOn::Unreadable
    } else {
        WaitingOn::Environment
    };
    Decision::new(wait(now, on, BACKSTOP), report)
}

/// All checks passed: hold deletion, write the record, go.
fn settle(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    found: &Sources<'_>,
    to: &Version,
) -> Decision {
    let course = Course {
        mesh: found.mesh,
        source: found.source,
        from: found.from,
        to,
        source_release: found.source_release,
        base_release: found.base_release,
    };
    let obstacles = checks::all(&course, view);
    if !obstacles.is_empty() {
        return blocked(now, &obstacles);
    }
    let wanted =
        match record(now, &course, view).map(|fresh| fresh.continuing(view.record.present())) {
            Ok(record) => record,
            Err(obstacle) => return blocked(now, &[obstacle]),
        };
    let report = report(found, to);
    if !upgrade.held {
        return Decision::new(Next::Act(vec![Effect::HoldDeletion]), report);
    }
    match &view.record {
        Seen::Unreadable(why) => super::blind(now, report, "the record", why),
        Seen::Present(record) if same_course(record, &wanted) => {
            let report = Report {
                step: None,
                ..report
            };
            Decision::new(Next::Enter(Phase::Upgrading), report)
        }
        Seen::Present(_) | Seen::Absent => Decision::new(
            Next::Record(Box::new(wanted)),
            Report {
                step: Some(Step::Recording),
                message: format!(
                    "{}; records what there is before the first change",
                    report.message
                ),
                ..report
            },
        ),
    }
}

/// Whether a record of this object is of the course that was now settled on, and not of an
/// earlier run.
fn same_course(record: &Record, wanted: &Record) -> bool {
    Record {
        made_at: wanted.made_at,
        ..record.clone()
    } == *wanted
}

fn report(found: &Sources<'_>, to: &Version) -> Report {
    let message = format!("{} to {to}: every check passed", found.from);
    Report {
        step: Some(Step::CheckingEnvironment),
        from: Some(ControlPlaneRef {
            version: found.from.to_string(),
            revision: Some(found.source.revision.clone()),
        }),
        target: Some(ControlPlaneRef {
            version: to.to_string(),
            revision: Some(to.revision()),
        }),
        findings: Findings {
            detected: Verdict::yes("ChecksPassed", message.clone()),
            ..Findings::default()
        },
        message,
        ..Report::default()
    }
}

fn record(now: Timestamp, course: &Course<'_>, view: &MeshView) -> Result<Record, Obstacle> {
    let namespaces = must_see(&view.namespaces, "the list of namespaces")?;
    let planes = must_see(&view.control_planes, "the list of control planes")?;
    let refused = |error: values::CarryError| Obstacle::new("ValuesNotCarried", error.to_string());
    let target_values = values::istiod(
        &course.source_release.values,
        course.mesh,
        course.from,
        course.to,
    )
    .map_err(refused)?;
    let recorded = |release: &Release, version: &Version| RecordedRelease {
        name: release.name.clone(),
        namespace: release.namespace.clone(),
        version: version.clone(),
        values: release.values.clone(),
    };
    let none = std::collections::BTreeMap::new();
    let in_mesh = |labels| injector_of(labels, &none, planes, &view.tags) != Injector::Nobody;
    let base_version = course.base_release.version.as_ref().unwrap_or(course.from);
    Ok(Record {
        made_at: now,
        repository: course.mesh.charts.repository.clone(),
        source: recorded(course.source_release, course.from),
        source_revision: course.source.revision.clone(),
        base: recorded(course.base_release, base_version),
        target_version: course.to.clone(),
        target_revision: course.to.revision(),
        target_values,
        base_values: values::base(&course.base_release.values, course.mesh),
        namespaces: namespaces
            .iter()
            .filter(|ns| in_mesh(&ns.labels))
            .map(|ns| RecordedNamespace {
                name: ns.name.clone(),
                labels: ns
                    .labels
                    .iter()
                    .filter(|(key, _)| {
                        [
                            meshlift_api::labels::ISTIO_INJECTION,
                            meshlift_api::labels::ISTIO_REV,
                        ]
                        .contains(&key.as_str())
                    })
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            })
            .collect(),
    })
}
