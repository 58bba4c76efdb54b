//! What a person accepts, and what nobody can.

use meshlift_api::{CheckResult, Phase};
use meshlift_model::example::{planes, surrounded, upgrade};
use meshlift_model::view::Seen;

use super::present;
use crate::detect::{detect, reason};

#[test]
fn what_is_accepted_no_longer_blocks_and_is_still_told() {
    let (mut upgrade, mut view) = (upgrade(Phase::Detecting), surrounded());
    for node in present(&mut view.environment.nodes) {
        node.schedulable = false;
    }
    let blocked = detect(&upgrade, &view);
    assert_eq!(reason(&blocked), Some("NoRoom"));
    upgrade.spec.accept_risks = vec!["NO-ROOM".into()];
    let accepted = detect(&upgrade, &view);
    assert!(!accepted.is_blocked());
    let told = accepted.checks.iter().find(|told| told.code == "NO-ROOM");
    assert_eq!(told.map(|told| told.result), Some(CheckResult::Accepted));
    // Also when it cannot be looked at.
    view.environment.nodes = Seen::Unreadable("the server is on fire".into());
    assert!(!detect(&upgrade, &view).is_blocked());
}

#[test]
fn what_would_surely_fail_cannot_be_accepted() {
    let (mut upgrade, mut view) = (upgrade(Phase::Detecting), surrounded());
    planes(&mut view)[0].ready = 0;
    upgrade.spec.accept_risks = vec!["ISTIOD-NOT-READY".into()];
    assert_eq!(
        reason(&detect(&upgrade, &view)),
        Some("ControlPlaneNotReady")
    );
}

#[test]
fn what_does_not_block_does_not_block_when_it_cannot_be_read_either() {
    let (upgrade, mut view) = (upgrade(Phase::Detecting), surrounded());
    let why = || "the server is on fire".to_owned();
    view.environment.budgets = Seen::Unreadable(why());
    view.environment.injectors = Seen::Unreadable(why());
    view.environment.envoy_filters = Seen::Unreadable(why());
    view.environment.autoscalers = Seen::Unreadable(why());
    view.environment.risks = Seen::Unreadable(why());
    let detection = detect(&upgrade, &view);
    assert!(!detection.is_blocked(), "{:#?}", detection.checks);
    let unknown = detection.checks.iter();
    let unknown = unknown.filter(|told| told.result == CheckResult::Unknown);
    assert!(unknown.count() >= 5);
}
