//! Detecting: find the mesh, settle on source and target, check that an upgrade which starts
//! also ends, and write down what will be needed. Touches nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meshlift_api::{
    CheckResult, CheckStatus, ControlPlaneRef, DEFAULT_MESH, MeshSpec, Mode, Outcome, Phase, Step,
    Strategy,
};
use meshlift_detect::check::{self, Course, Obstacle, must_see};
use meshlift_detect::current::Sidecars;
use meshlift_detect::detect::{Detected, reason};
use meshlift_detect::survey::Surveyed;
use meshlift_istio::values;
use meshlift_istio::version::Version;
use meshlift_model::data_plane::{is_elsewhere, unsteady};
use meshlift_model::decision::{
    BackupScope, Chart, Decision, Effect, Findings, Next, Report, Verdict, WaitingOn,
};
use meshlift_model::heading::Heading;
use meshlift_model::injection::{Injector, injector_of};
use meshlift_model::record::{
    Record, RecordedGateway, RecordedNamespace, RecordedRelease, RecordedTag,
};
use meshlift_model::replicas::{self, Start};
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{
    ControlPlane, Gateway, MeshView, Namespace, Release, Seen, Tag, version_of_crds,
};
use meshlift_model::{Detection, budgets, message, route, stages};
use serde_json::{Map, Value};

use super::pending::in_the_way;
use super::{BACKSTOP, POLL, asked_back, preflight, wait};

pub(super) fn decide(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Decision {
    if let Some(rival) = in_the_way(upgrade, &view.rivals) {
        let report = Report {
            message: message::waits_for_rival(&upgrade.spec.mesh, rival),
            ..Report::default()
        };
        return Decision::new(wait(now, WaitingOn::Rival, BACKSTOP), report);
    }
    if let Some(decision) = asked_back::decide(now, upgrade, view) {
        return decision;
    }
    let detected = Detected::look(upgrade, view);
    let detection = detected.detection();
    match detected.found {
        _ if upgrade.spec.mode == Mode::Preflight && is_told(&detected.found, &detection) => {
            preflight::decide(upgrade, view, detection)
        }
        Err(_) => blocked(now, detection),
        Ok(Surveyed::NoMesh(spec)) => register(*spec),
        // Done would say that what was asked for is so.
        Ok(Surveyed::AtTarget { .. }) if upgrade.spec.request_rollback => {
            let message = message::asked_back_already();
            let waiting = wait(now, WaitingOn::Person, BACKSTOP);
            Decision::new(
                waiting,
                Report {
                    message,
                    ..Report::default()
                },
            )
        }
        Ok(Surveyed::AtTarget {
            plane,
            version,
            sidecars,
        }) => at_target(plane, version, &sidecars),
        Ok(Surveyed::Way(_)) if detection.is_blocked() => blocked(now, detection),
        Ok(Surveyed::Way(course)) => settle(now, upgrade, view, &course, detection),
    }
}

/// Whether a preflight has something to say: all was seen, and there is something to do.
fn is_told(found: &Result<Surveyed<'_>, Obstacle>, detection: &Detection) -> bool {
    let to_do = matches!(found, Ok(Surveyed::Way(_)) | Err(_));
    to_do && !preflight::is_blind(detection)
}

fn register(spec: MeshSpec) -> Decision {
    let message = format!(
        "found Istio in namespace {}: makes the Mesh object {DEFAULT_MESH} for it",
        spec.control_plane_namespace
    );
    let effect = Effect::RegisterMesh {
        name: DEFAULT_MESH.to_owned(),
        spec: Box::new(spec),
    };
    let report = Report {
        step: Some(Step::CheckingEnvironment),
        message,
        ..Report::default()
    };
    Decision::new(Next::Act(vec![effect]), report)
}

fn at_target(plane: &ControlPlane, version: Version, sidecars: &Sidecars) -> Decision {
    let message = message::already_there(&version, sidecars.behind, sidecars.unknown);
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

fn blocked(now: Timestamp, detection: Detection) -> Decision {
    let obstacles: Vec<&CheckStatus> = detection.blocking().collect();
    let reason = reason(&detection).unwrap_or("Blocked");
    let messages: Vec<String> = obstacles.iter().map(|told| check::sentence(told)).collect();
    let message = messages.join("; ");
    let unreadable = obstacles
        .iter()
        .all(|told| told.result == CheckResult::Unknown);
    // One answer of the API server that failed costs a detection seconds.
    let (on, recheck) = if unreadable {
        (WaitingOn::Unreadable, POLL)
    } else {
        (WaitingOn::Environment, BACKSTOP)
    };
    let report = Report {
        step: Some(Step::CheckingEnvironment),
        message: message.clone(),
        findings: Findings {
            detected: Verdict::no(reason, message),
            ..Findings::default()
        },
        detection: Some(detection),
        ..Report::default()
    };
    Decision::new(wait(now, on, recheck), report)
}

/// All checks passed: hold deletion, write the record, go.
fn settle(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    course: &Course<'_>,
    detection: Detection,
) -> Decision {
    let wanted =
        match record(now, upgrade, course, view, &detection).map(|fresh| fresh.continuing(view)) {
            Ok(record) => record,
            Err(obstacle) => return blocked(now, detection.and(obstacle.status(upgrade))),
        };
    let report = report(course, detection);
    if upgrade.spec.request_rollback {
        let message = message::asked_back_already();
        let waiting = wait(now, WaitingOn::Person, BACKSTOP);
        return Decision::new(waiting, Report { message, ..report });
    }
    if !upgrade.held {
        return Decision::new(Next::Act(vec![Effect::HoldDeletion]), report);
    }
    // What the record cannot pin is not installed: this way a chart that cannot be had stops the upgrade before it begins.
    let why = match &view.archives {
        Seen::Present(_) => None,
        Seen::Absent if !course.mesh.by_helm() => None,
        Seen::Absent => Some("they were not looked at"),
        Seen::Unreadable(why) => Some(why.as_str()),
    };
    if let Some(why) = why {
        return super::blind(now, report, "the charts of the target", why);
    }
    match &view.backup {
        Seen::Unreadable(why) => return super::blind(now, report, "the backup", why),
        Seen::Absent => return back_up(upgrade, view, course, report),
        Seen::Present(_) => {}
    }
    match &view.record {
        Seen::Unreadable(why) => super::blind(now, report, "the record", why),
        Seen::Present(record) if same_course(record, &wanted) => {
            let report = Report {
                step: None,
                legs: Some(route::pending(&record.legs())),
                ..report
            };
            Decision::new(Next::Enter(Phase::Upgrading), report)
        }
        Seen::Present(_) | Seen::Absent => Decision::new(
            Next::Record(Box::new(wanted)),
            Report {
                step: Some(Step::Recording),
                message: format!(
                    "{}; recording what there is before the first change",
                    report.message
                ),
                ..report
            },
        ),
    }
}

/// Before the record, which names it, and so before the first mutation.
fn back_up(upgrade: &Upgrade, view: &MeshView, course: &Course<'_>, report: Report) -> Decision {
    let plane = |version: &Version, revision: String| ControlPlaneRef {
        version: version.to_string(),
        revision: Some(revision),
    };
    let to = course.hops.first().unwrap_or(&course.to);
    let scope = BackupScope {
        name: upgrade.backup_name(),
        mesh: upgrade.spec.mesh.clone(),
        from: plane(course.from, course.source.revision.clone()),
        to: plane(to, course.revision(to)),
        releases: view.releases.present().cloned().unwrap_or_default(),
    };
    let report = Report {
        step: Some(Step::Recording),
        message: format!(
            "{}; taking a backup before the first change",
            report.message
        ),
        ..report
    };
    Decision::new(Next::Act(vec![Effect::BackUp(Box::new(scope))]), report)
}

/// The record as it would be written, and every version on the way: what a plan is made of. None
/// where there is no way to plan.
pub fn drafted(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
) -> Option<(Record, Vec<Version>)> {
    let detected = Detected::look(upgrade, view);
    let detection = detected.detection();
    let Ok(Surveyed::Way(course)) = detected.found else {
        return None;
    };
    let fresh = record(now, upgrade, &course, view, &detection).ok()?;
    Some((fresh.continuing(view), course.hops))
}

/// Whether a record of this object is of the course that was now settled on, and not of an
/// earlier run.
fn same_course(record: &Record, wanted: &Record) -> bool {
    Record {
        made_at: wanted.made_at,
        checks: wanted.checks.clone(),
        // As it was first seen; it changes from one moment to the next.
        unsteady: wanted.unsteady.clone(),
        ..record.clone()
    } == *wanted
}

fn report(course: &Course<'_>, detection: Detection) -> Report {
    let stops: Vec<String> = course.hops.iter().map(ToString::to_string).collect();
    let message = format!(
        "{} to {}: {}",
        course.from,
        stops.join(" to "),
        detection.summary()
    );
    Report {
        step: Some(Step::CheckingEnvironment),
        from: detection.from.clone(),
        target: detection.target.clone(),
        findings: Findings {
            detected: Verdict::yes("ChecksPassed", message.clone()),
            ..Findings::default()
        },
        message,
        detection: Some(detection),
        ..Report::default()
    }
}

fn tags(course: &Course<'_>, view: &MeshView) -> Vec<RecordedTag> {
    let home = &course.source.namespace;
    let ours = |tag: &&Tag| tag.namespace == *home || tag.namespace.is_empty();
    let recorded = |tag: &Tag| RecordedTag {
        name: tag.name.clone(),
        revision: tag.revision.clone(),
    };
    view.tags().iter().filter(ours).map(recorded).collect()
}

fn gateways(view: &MeshView) -> Vec<RecordedGateway> {
    let recorded = |gateway: &Gateway| RecordedGateway {
        namespace: gateway.namespace.clone(),
        name: gateway.name.clone(),
        label: gateway.label.clone(),
    };
    view.gateways
        .present()
        .into_iter()
        .flatten()
        .map(recorded)
        .collect()
}

/// The values that the new control plane has in the end, and the minimum of its autoscaler until then.
fn sized(owned: Map<String, Value>, course: &Course<'_>) -> (Map<String, Value>, Option<u32>) {
    let own = &course.mesh.values.istiod;
    match replicas::start(&owned, own, course.source.desired) {
        Start::AsConfigured => (owned, None),
        Start::Minimum(minimum) => (owned, Some(minimum)),
        Start::Count(count) => (replicas::with(owned, replicas::COUNT, count), None),
    }
}

fn record(
    now: Timestamp,
    upgrade: &Upgrade,
    course: &Course<'_>,
    view: &MeshView,
    detection: &Detection,
) -> Result<Record, Obstacle> {
    let namespaces = must_see(&view.namespaces, "the list of namespaces")?;
    let planes = must_see(&view.control_planes, "the list of control planes")?;
    // What is not in the record is not moved back, and what is left out by mistake keeps the old one in use.
    for (what, why) in [
        ("the revision tags", view.tags.unreadable()),
        ("the list of Gateways", view.gateways.unreadable()),
    ] {
        if let Some(why) = why {
            return Err(Obstacle::unreadable(what, why));
        }
    }
    let (source, base) = releases(course, view)?;
    // The record is of one step; the next one begins with a record of its own.
    let to = course.hops.first().unwrap_or(&course.to);
    let revision = course.revision(to);
    let carried = course
        .target_values(to)
        .map_err(|error| Obstacle::new(&check::VALUES, error.problem(), error.fix()))?;
    // In place the same replicas are replaced, under the same budget.
    let beside = upgrade.spec.strategy == Strategy::Canary;
    let by_helm = course.mesh.by_helm();
    let (target_values, raised_minimum) = if !by_helm {
        // Its size is set by who renders it.
        (carried, None)
    } else if beside {
        sized(carried, course)
    } else {
        let wanted = replicas::ensured(&carried, upgrade.ensured_replicas());
        (carried, wanted)
    };
    let none = BTreeMap::new();
    let home = &course.source.namespace;
    let in_mesh: Vec<&Namespace> = namespaces
        .iter()
        .filter(
            |ns| match injector_of(&ns.labels, &none, planes, view.tags()) {
                Injector::Nobody => false,
                Injector::Namespace(revision) => !is_elsewhere(planes, home, &revision),
                Injector::Tag(_) | Injector::Pod(_) => true,
            },
        )
        .collect();
    let mut record = Record {
        made_at: now,
        strategy: upgrade.spec.strategy,
        installer: course.mesh.installer,
        repository: course.mesh.charts.repository.clone(),
        source_revision: course.source.revision.clone(),
        target_version: to.clone(),
        charts: view.archives.present().cloned(),
        target_revision: revision.clone(),
        later: course.hops.iter().skip(1).cloned().collect(),
        waves: stages::pinned(upgrade, &stages::Candidates::of(upgrade, view)),
        tags: tags(course, view),
        gateways: gateways(view),
        target_values,
        raised_minimum,
        budget: view
            .environment
            .budgets
            .present()
            .filter(|_| beside && by_helm)
            .and_then(|all| budgets::to_copy(all, course.source, &source.name, &revision)),
        base_values: values::base(&base.values, course.mesh),
        source,
        base,
        route: Vec::new(),
        namespaces: in_mesh
            .iter()
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
        backup: upgrade.backup_name(),
        checks: detection.open_ends(),
        source_proxy_image: proxy_image(course, view),
        unsteady: Vec::new(),
    };
    let workloads = view.workloads.present().into_iter();
    record.unsteady = workloads
        .flat_map(|all| unsteady(now, Heading::ahead(&record), all))
        .collect();
    Ok(record)
}

/// The releases of istiod and of the CRDs as they are found. Those of a mesh that others render have no values that
/// this operator could carry over.
fn releases(
    course: &Course<'_>,
    view: &MeshView,
) -> Result<(RecordedRelease, RecordedRelease), Obstacle> {
    if !course.mesh.by_helm() {
        let crds = view.environment.crds.present();
        let crds = crds.and_then(|crds| version_of_crds(crds));
        let rendered = |name: &str, version: &Version| RecordedRelease {
            name: name.to_owned(),
            namespace: course.source.namespace.clone(),
            version: version.clone(),
            values: Map::new(),
        };
        let istiod = rendered(&course.source.name, course.from);
        let base = rendered(Chart::Base.name(), crds.as_ref().unwrap_or(course.from));
        return Ok((istiod, base));
    }
    let (source, base) = (course.source_release.clone()?, course.base_release.clone()?);
    let recorded = |release: &Release, version: &Version| RecordedRelease {
        name: release.name.clone(),
        namespace: release.namespace.clone(),
        version: version.clone(),
        values: values::not_leading_back(&release.values),
    };
    let version = base.version.as_ref().unwrap_or(course.from);
    let base = RecordedRelease {
        values: values::base_as_live(&base.values, view.live_default()),
        ..recorded(base, version)
    };
    Ok((recorded(source, course.from), base))
}

/// The image that most sidecars of the running version have.
fn proxy_image(course: &Course<'_>, view: &MeshView) -> Option<String> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for pod in view.sidecars() {
        let same = pod
            .version()
            .is_some_and(|of| of.is_same_build(course.from));
        if let Some(image) = pod.proxy_image.as_deref().filter(|_| same) {
            *counts.entry(image).or_default() += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map(|(image, _)| image.to_owned())
}
