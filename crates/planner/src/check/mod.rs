//! Everything that a detection checks: one pure function each, behind one registry.
//!
//! A check has a stable code that people may quote, search for and accept. What it found goes to
//! status as a [`CheckStatus`]; what it is about, why it matters and where that is known from is
//! told by `meshlift explain CODE` and docs/checks.md, both from this registry.

mod control_plane;
pub(crate) mod found;
mod helm;
mod kubernetes;
mod operator;
pub(crate) mod target;

use meshlift_api::{CheckResult, CheckStatus, MeshSpec, Severity};

use crate::upgrade::Upgrade;
use crate::version::Version;
use crate::view::{ControlPlane, MeshView, Release, Seen};

pub(crate) use self::helm::VALUES;
pub use self::kubernetes::clusters;

/// A check, and what there is to know of it.
#[derive(Debug)]
pub struct Check {
    /// Stable code: `K8S-TOO-OLD`.
    pub code: &'static str,
    /// Reason of the condition `Detected` when this is the first that blocks.
    pub reason: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// Whether `spec.acceptRisks` may accept its finding.
    pub acceptable: bool,
    /// What it makes sure of, in a few words.
    pub title: &'static str,
    /// Why it matters: what happens to an upgrade otherwise.
    pub explanation: &'static str,
    /// The way out in general; a finding says it for the case.
    pub fix: &'static str,
    /// Where it is known from: a page or a repository path.
    pub source: &'static str,
    look: Look,
}

/// When a check is made.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// While the mesh and the way are searched: what it finds leaves nothing else to check.
    Survey,
    /// Once, on the mesh as it is.
    Mesh(fn(&Subject<'_>) -> Vec<Finding>),
    /// For each hop of the way.
    Hop(fn(&Subject<'_>) -> Vec<Finding>),
}

/// What a check looks at.
pub(crate) struct Subject<'a> {
    pub(crate) upgrade: &'a Upgrade,
    pub(crate) view: &'a MeshView,
    pub(crate) course: &'a Course<'a>,
    /// The hop: from here.
    pub(crate) from: &'a Version,
    /// The hop: to there.
    pub(crate) to: &'a Version,
}

/// What the survey settled on: from where to where.
pub(crate) struct Course<'a> {
    pub(crate) mesh: &'a MeshSpec,
    pub(crate) source: &'a ControlPlane,
    pub(crate) from: &'a Version,
    /// The end of the way.
    pub(crate) to: Version,
    /// Every version on the way, the end last.
    pub(crate) hops: Vec<Version>,
    pub(crate) source_release: Result<&'a Release, Obstacle>,
    pub(crate) base_release: Result<&'a Release, Obstacle>,
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    unknown: bool,
    objects: Vec<String>,
    message: String,
    fix: String,
}

impl Finding {
    /// Something is wrong: what, and what to do.
    pub(crate) fn wrong(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            unknown: false,
            objects: Vec::new(),
            message: message.into(),
            fix: fix.into(),
        }
    }

    /// It could not be looked at.
    pub(crate) fn unknown(what: &str, why: &str) -> Self {
        Self {
            unknown: true,
            objects: Vec::new(),
            message: format!("{what} cannot be read: {why}"),
            fix: String::new(),
        }
    }

    /// With all the objects it is about.
    pub(crate) fn about(mut self, objects: impl IntoIterator<Item = String>) -> Self {
        self.objects = objects.into_iter().collect();
        self
    }
}

/// What stands in the way of a course, or of finding one.
#[derive(Clone, Debug)]
pub(crate) struct Obstacle {
    pub(crate) check: &'static Check,
    pub(crate) finding: Finding,
}

impl Obstacle {
    pub(crate) fn new(
        check: &'static Check,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            check,
            finding: Finding::wrong(message, fix),
        }
    }

    pub(crate) fn unreadable(what: &str, why: &str) -> Self {
        Self {
            check: &found::LOOK_FAILED,
            finding: Finding::unknown(what, why),
        }
    }

    pub(crate) fn status(&self, upgrade: &Upgrade) -> CheckStatus {
        status(self.check, &self.finding, None, upgrade)
    }
}

/// Requires something to have been seen.
pub(crate) fn must_see<'a, T>(seen: &'a Seen<T>, what: &str) -> Result<&'a T, Obstacle> {
    match seen {
        Seen::Present(value) => Ok(value),
        Seen::Absent => Err(Obstacle::unreadable(what, "it is not there")),
        Seen::Unreadable(why) => Err(Obstacle::unreadable(what, why)),
    }
}

/// Every check, in the order in which they are told.
pub static CHECKS: &[&Check] = &[
    &found::LOOK_FAILED,
    &found::MESH_NOT_FOUND,
    &found::NO_CONTROL_PLANE,
    &found::MANY_MESHES,
    &found::MANY_CONTROL_PLANES,
    &found::VERSION_UNKNOWN,
    &found::MESH_EXTERNAL,
    &found::MESH_HOSTED,
    &found::NOT_HELM,
    &found::RELEASE_NOT_FOUND,
    &found::BASE_NOT_FOUND,
    &target::REFUSED,
    &kubernetes::TOO_OLD,
    &kubernetes::TOO_NEW,
    &kubernetes::UNKNOWN_RANGE,
    &kubernetes::UNREACHABLE,
    &control_plane::NOT_READY,
    &control_plane::INJECTOR_BROKEN,
    &control_plane::VALIDATOR_NOWHERE,
    &operator::PERMISSIONS,
    &helm::PENDING,
    &helm::VALUES,
    &target::REVISION_TOO_LONG,
    &target::REVISION_TAKEN,
];

/// The check with this code.
pub fn find(code: &str) -> Option<&'static Check> {
    CHECKS.iter().copied().find(|check| check.code == code)
}

/// Makes every check of a course, of each hop what differs from hop to hop.
pub(crate) fn all(upgrade: &Upgrade, course: &Course<'_>, view: &MeshView) -> Vec<CheckStatus> {
    let mut told = Vec::new();
    for check in CHECKS {
        match check.look {
            Look::Survey => {}
            Look::Mesh(look) => {
                let to = course.hops.first().unwrap_or(&course.to);
                let subject = subject(upgrade, course, view, course.from, to);
                tell(&mut told, check, look(&subject), None, upgrade);
            }
            Look::Hop(look) => {
                let mut from = course.from;
                for to in &course.hops {
                    let subject = subject(upgrade, course, view, from, to);
                    let hop = (course.hops.len() > 1).then_some(to);
                    tell(&mut told, check, look(&subject), hop, upgrade);
                    from = to;
                }
            }
        }
    }
    told
}

fn subject<'a>(
    upgrade: &'a Upgrade,
    course: &'a Course<'a>,
    view: &'a MeshView,
    from: &'a Version,
    to: &'a Version,
) -> Subject<'a> {
    Subject {
        upgrade,
        view,
        course,
        from,
        to,
    }
}

fn tell(
    told: &mut Vec<CheckStatus>,
    check: &'static Check,
    findings: Vec<Finding>,
    hop: Option<&Version>,
    upgrade: &Upgrade,
) {
    if findings.is_empty() {
        told.push(passed(check, hop));
    }
    let statuses = findings.iter().map(|f| status(check, f, hop, upgrade));
    told.extend(statuses);
}

fn passed(check: &Check, hop: Option<&Version>) -> CheckStatus {
    CheckStatus {
        code: check.code.to_owned(),
        severity: check.severity,
        result: CheckResult::Passed,
        hop: hop.map(ToString::to_string),
        objects: Vec::new(),
        objects_total: 0,
        message: check.title.to_owned(),
        fix: String::new(),
    }
}

fn status(
    check: &Check,
    finding: &Finding,
    hop: Option<&Version>,
    upgrade: &Upgrade,
) -> CheckStatus {
    const OBJECTS_SHOWN: usize = 5;
    let named = upgrade.spec.accept_risks.iter().any(|c| c == check.code);
    let result = match (check.acceptable && named, finding.unknown) {
        (true, _) => CheckResult::Accepted,
        (false, true) => CheckResult::Unknown,
        (false, false) => CheckResult::Failed,
    };
    CheckStatus {
        code: check.code.to_owned(),
        severity: check.severity,
        result,
        hop: hop.map(ToString::to_string),
        objects: finding
            .objects
            .iter()
            .take(OBJECTS_SHOWN)
            .cloned()
            .collect(),
        objects_total: u32::try_from(finding.objects.len()).unwrap_or(u32::MAX),
        message: finding.message.clone(),
        fix: finding.fix.clone(),
    }
}

/// Whether an upgrade may not start because of it.
pub fn blocks(told: &CheckStatus) -> bool {
    told.severity == Severity::Blocking
        && matches!(told.result, CheckResult::Failed | CheckResult::Unknown)
}

/// What was found and what to do, as one sentence.
pub fn sentence(told: &CheckStatus) -> String {
    match told.fix.as_str() {
        "" => told.message.clone(),
        fix => format!("{}: {fix}", told.message),
    }
}

#[cfg(test)]
mod tests;
