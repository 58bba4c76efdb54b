//! One row for each check and each of its branches: what spoils a healthy mesh, the code that tells
//! of it, what it is about, and a piece of what is said.

use std::collections::BTreeSet;

use meshlift_api::{CheckResult, CheckStatus, Phase, Severity};
use meshlift_model::example::{surrounded, upgrade};

use super::super::{CHECKS, sentence};
use super::{
    Spoil, charts, cluster, dependents, gateways, in_place, labels_and_webhooks, pods, releases,
    revisions, waves, way, windows, writes,
};
use crate::detect::detect;

/// What a spoiled mesh leads to.
pub(super) struct Row {
    pub(super) code: &'static str,
    pub(super) result: CheckResult,
    pub(super) objects: &'static [&'static str],
    pub(super) says: &'static str,
    pub(super) spoil: Spoil,
}

/// Something is wrong with these objects.
pub(super) fn wrong(
    code: &'static str,
    objects: &'static [&'static str],
    says: &'static str,
    spoil: Spoil,
) -> Row {
    Row {
        code,
        result: CheckResult::Failed,
        objects,
        says,
        spoil,
    }
}

/// It cannot be looked at.
pub(super) fn unknown(code: &'static str, spoil: Spoil) -> Row {
    Row {
        result: CheckResult::Unknown,
        ..wrong(code, &[], "on fire", spoil)
    }
}

/// It looks as if something were wrong, and nothing is.
pub(super) fn fine(code: &'static str, spoil: Spoil) -> Row {
    Row {
        result: CheckResult::Passed,
        ..wrong(code, &[], "", spoil)
    }
}

fn rows() -> Vec<Row> {
    let groups = [
        way::rows(),
        releases::rows(),
        revisions::rows(),
        cluster::rows(),
        dependents::rows(),
        dependents::owners(),
        dependents::values(),
        charts::rows(),
        gateways::rows(),
        in_place::rows(),
        labels_and_webhooks::rows(),
        pods::rows(),
        waves::rows(),
        windows::rows(),
        writes::rows(),
    ];
    groups.into_iter().flatten().collect()
}

fn told(row: &Row) -> Vec<CheckStatus> {
    let (mut upgrade, mut view) = (upgrade(Phase::Detecting), surrounded());
    (row.spoil)(&mut upgrade, &mut view);
    let all = detect(&upgrade, &view).checks;
    all.into_iter()
        .filter(|told| told.code == row.code)
        .collect()
}

#[test]
fn each_check_tells_what_is_wrong_and_nothing_else() {
    for (at, row) in rows().iter().enumerate() {
        let told = told(row);
        // On a path of several hops a check speaks once of each: the row is about the first hop that it fails for.
        let hops: std::collections::BTreeSet<_> = told.iter().map(|one| &one.hop).collect();
        assert_eq!(hops.len(), told.len(), "row {at}, {}: {told:#?}", row.code);
        let as_wanted = told.iter().find(|one| one.result == row.result);
        let Some(told) = as_wanted.or(told.first()) else {
            panic!("row {at}, {}: nothing was said", row.code)
        };
        assert_eq!(told.result, row.result, "row {at}: {told:#?}");
        assert_eq!(told.objects, row.objects, "row {at}, {}", row.code);
        let said = sentence(told);
        assert!(said.contains(row.says), "row {at}, {}: {said}", row.code);
        let has_fix = !told.fix.is_empty();
        assert_eq!(has_fix, row.result == CheckResult::Failed, "{}", row.code);
    }
}

#[test]
fn every_check_is_seen_to_fail() {
    let failing: BTreeSet<&str> = rows()
        .iter()
        .filter(|row| row.result != CheckResult::Passed)
        .map(|row| row.code)
        .collect();
    let codes: BTreeSet<&str> = CHECKS.iter().map(|check| check.code).collect();
    let untested: Vec<_> = codes.difference(&failing).collect();
    assert!(untested.is_empty(), "{untested:?}");
    let nameless: Vec<_> = failing.difference(&codes).collect();
    assert!(nameless.is_empty(), "{nameless:?}");
}

#[test]
fn every_check_says_what_there_is_to_know_of_it() {
    let mut codes = BTreeSet::new();
    let mut reasons = BTreeSet::new();
    for check in CHECKS {
        let code = check.code;
        assert!(codes.insert(code), "{code} is there twice");
        assert!(
            reasons.insert(check.reason),
            "{} is there twice",
            check.reason
        );
        let shape = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-';
        assert!(code.chars().all(shape), "{code}");
        assert!(
            check.reason.chars().all(|c| c.is_ascii_alphanumeric()),
            "{code}"
        );
        for text in [check.title, check.explanation, check.fix] {
            assert!(!text.is_empty(), "{code}");
        }
        assert!(!check.title.ends_with('.'), "{code}: {}", check.title);
        for sentence in [check.explanation, check.fix] {
            assert!(sentence.ends_with(['.', ')']), "{code}: {sentence}");
        }
        let soft = check.severity != Severity::Blocking;
        assert!(
            check.acceptable || !soft,
            "{code} is a note that stays for ever"
        );
    }
}

#[test]
fn a_healthy_mesh_passes_every_check() {
    let checks = detect(&upgrade(Phase::Detecting), &surrounded()).checks;
    let open: Vec<&CheckStatus> = checks
        .iter()
        .filter(|told| told.result != CheckResult::Passed && told.severity != Severity::Info)
        .collect();
    assert!(open.is_empty(), "{open:#?}");
}
