//! From findings to what status tells.

use meshlift_api::{CheckResult, CheckStatus, Severity, Strategy};
use meshlift_istio::version::Version;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::MeshView;

use super::{
    CHECKS, Check, Course, Finding, Look, Subject, capacity, configuration, control_plane,
    in_place, injection, named, risks, selections, target, templates, values,
};

/// What status tells of a check, or of a risk of the catalog, whatever it found.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) code: &'a str,
    pub(super) severity: Severity,
    pub(super) acceptable: bool,
    /// What it says when all is well.
    pub(super) title: &'a str,
}

/// What only matters where a second control plane gets a revision of its own, and labels and tags lead to it.
const BESIDE: &[&Check] = &[
    &capacity::NO_ROOM,
    &capacity::SINGLE,
    &capacity::BUDGET,
    &control_plane::UNFINISHED,
    &control_plane::BEGUN_BY_HAND,
    &values::TAGS,
    &target::REVISION_TOO_LONG,
    &target::REVISION_TAKEN,
    &injection::GITOPS,
    &named::SERVICE,
    &selections::INJECTION,
    &templates::ASLEEP,
    &configuration::REVISION,
];
/// What only matters where the control plane is upgraded in place.
const IN_PLACE: &[&Check] = &[
    &in_place::REPLICAS,
    &in_place::BUDGET,
    &in_place::VERSIONS,
    &in_place::GATEWAYS,
];

impl Check {
    /// Whether it is made for this way of replacing a control plane.
    fn concerns(&self, strategy: Strategy) -> bool {
        let others = match strategy {
            Strategy::Canary => IN_PLACE,
            Strategy::InPlace => BESIDE,
        };
        !others.iter().any(|other| other.code == self.code)
    }

    pub(super) fn told(&self) -> Told<'_> {
        Told {
            code: self.code,
            severity: self.severity,
            acceptable: self.acceptable,
            title: self.title,
        }
    }
}

/// Makes every check of a course, of each hop what differs from hop to hop; then the risks of each
/// hop.
pub fn all(upgrade: &Upgrade, course: &Course<'_>, view: &MeshView) -> Vec<CheckStatus> {
    let hops: Vec<(&Version, &Version)> = std::iter::once(course.from)
        .chain(&course.hops)
        .zip(&course.hops)
        .collect();
    let subject = |from, to| Subject {
        upgrade,
        view,
        course,
        from,
        to,
    };
    let named = |to| (hops.len() > 1).then_some(to);
    let mut told = Vec::new();
    let made = CHECKS
        .iter()
        .filter(|check| check.concerns(course.upgrade.spec.strategy));
    for check in made {
        match check.look {
            Look::Survey => {}
            Look::Mesh(look) => {
                let to = course.hops.first().unwrap_or(&course.to);
                let findings = look(&subject(course.from, to));
                tell(&mut told, check.told(), &findings, None, upgrade);
            }
            Look::Hop(look) => {
                for (from, to) in &hops {
                    let findings = look(&subject(from, to));
                    tell(&mut told, check.told(), &findings, named(*to), upgrade);
                }
            }
        }
    }
    for (from, to) in &hops {
        for risk in view.knowledge.risks(from, to) {
            let (kind, findings) = risks::judge(risk, &subject(from, to));
            tell(&mut told, kind, &findings, named(*to), upgrade);
        }
    }
    told
}

fn tell(
    told: &mut Vec<CheckStatus>,
    kind: Told<'_>,
    findings: &[Finding],
    hop: Option<&Version>,
    upgrade: &Upgrade,
) {
    if findings.is_empty() {
        told.push(passed(kind, hop));
    }
    let statuses = findings.iter().map(|f| status(kind, f, hop, upgrade));
    told.extend(statuses);
}

fn passed(kind: Told<'_>, hop: Option<&Version>) -> CheckStatus {
    CheckStatus {
        code: kind.code.to_owned(),
        severity: kind.severity,
        result: CheckResult::Passed,
        hop: hop.map(ToString::to_string),
        objects: Vec::new(),
        objects_total: 0,
        message: kind.title.to_owned(),
        fix: String::new(),
    }
}

pub(super) fn status(
    kind: Told<'_>,
    finding: &Finding,
    hop: Option<&Version>,
    upgrade: &Upgrade,
) -> CheckStatus {
    const OBJECTS_SHOWN: usize = 5;
    let named = upgrade.spec.accept_risks.iter().any(|c| c == kind.code);
    let result = match (kind.acceptable && named, finding.unknown) {
        (true, _) => CheckResult::Accepted,
        (false, true) => CheckResult::Unknown,
        (false, false) => CheckResult::Failed,
    };
    CheckStatus {
        code: kind.code.to_owned(),
        severity: kind.severity,
        result,
        hop: hop.map(ToString::to_string),
        objects: finding
            .objects
            .iter()
            .take(OBJECTS_SHOWN)
            .cloned()
            .collect(),
        objects_total: finding.total,
        message: finding.message.clone(),
        fix: finding.fix.clone(),
    }
}
