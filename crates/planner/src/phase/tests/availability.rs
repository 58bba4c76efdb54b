//! The new control plane is as large as the old one, and has its budget.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use meshlift_model::example::{record, selector};
use meshlift_model::record::{Record, RecordedBudget};
use meshlift_model::view::{Budget, BudgetRule};
use serde_json::Value;

use super::*;
use crate::wanted::wanted;

fn values(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().expect("an object").clone()
}

/// The old control plane runs three replicas, and somebody made a budget for it.
fn grown(raised: Option<u32>) -> MeshView {
    let rule = BudgetRule {
        max_unavailable: Some(IntOrString::Int(1)),
        ..BudgetRule::default()
    };
    MeshView {
        record: Seen::Present(Record {
            raised_minimum: raised,
            budget: Some(RecordedBudget {
                name: "by-hand".into(),
                rule,
            }),
            ..record()
        }),
        ..moved()
    }
}

fn budget_of(revision: &str) -> Budget {
    Budget {
        namespace: "istio-system".into(),
        name: "b".into(),
        selector: selector(json!({ "matchLabels": { "istio.io/rev": revision } })),
        ..Budget::default()
    }
}

fn kind(next: &Next) -> &str {
    match next {
        Next::Act(batch) => batch[0].kind(),
        _ => "",
    }
}

fn proving() -> Upgrade {
    let mut upgrade = upgrade(Phase::Upgrading);
    upgrade.status.step = Some(Step::ProvingControlPlane);
    upgrade
}

#[test]
fn nothing_moves_before_the_new_control_plane_is_as_large_as_the_old_one() {
    let mut view = grown(Some(3));
    let decision = decide(now(), &proving(), &view);
    let message = &decision.report.message;
    assert!(
        message.contains("istiod-1-31-0 has 2 of the 3 replicas"),
        "{message}"
    );
    assert!(matches!(&decision.next, Next::Wait(w) if w.on == WaitingOn::ControlPlane));
    planes(&mut view)[1].desired = 3;
    planes(&mut view)[1].ready = 3;
    assert_eq!(
        decide(now(), &proving(), &view).next,
        Next::Enter(Phase::HealthChecking)
    );
}

#[test]
fn once_something_moves_its_size_is_its_owners() {
    let mut upgrade = upgrade(Phase::Upgrading);
    upgrade.status.step = Some(Step::RestartingWorkloads);
    let next = decide(now(), &upgrade, &grown(Some(3))).next;
    assert_eq!(next, Next::Enter(Phase::HealthChecking));
}

#[test]
fn a_budget_is_copied_where_none_selects_the_new_control_plane() {
    let mut view = grown(None);
    view.budgets = Seen::Present(vec![budget_of("default")]);
    let decision = decide(now(), &proving(), &view);
    let Next::Act(batch) = &decision.next else {
        panic!("{decision:?}");
    };
    let Effect::CopyBudget {
        name,
        of,
        revision,
        owner_uid,
        rule,
        ..
    } = &batch[0]
    else {
        panic!("{batch:?}");
    };
    assert_eq!(
        (name.as_str(), of.as_str()),
        ("istiod-1-31-0-copy", "by-hand")
    );
    assert_eq!(
        (revision.as_str(), owner_uid.as_str()),
        (TARGET, "uid-istiod-1-31-0")
    );
    assert_eq!(rule.max_unavailable, Some(IntOrString::Int(1)));
    view.budgets = Seen::Present(vec![budget_of("default"), budget_of(TARGET)]);
    assert_eq!(kind(&decide(now(), &proving(), &view).next), "");
    view.budgets = Seen::Unreadable("on fire".into());
    let blind = decide(now(), &proving(), &view);
    assert!(
        matches!(&blind.next, Next::Wait(w) if w.on == WaitingOn::Unreadable),
        "{blind:?}"
    );
}

#[test]
fn budgets_are_looked_at_only_where_one_may_be_copied() {
    let asks = |upgrade: &Upgrade, view: &MeshView| wanted(now(), upgrade, view).budgets;
    assert!(asks(&proving(), &grown(None)));
    assert!(!asks(&proving(), &moved()), "none to copy");
    let mut restarting = proving();
    restarting.status.step = Some(Step::RestartingWorkloads);
    assert!(!asks(&restarting, &grown(None)));
    let mut checking = upgrade(Phase::HealthChecking);
    let mut view = grown(None);
    assert!(!asks(&checking, &view), "the soak runs");
    retiring(&mut checking, &mut view);
    assert!(asks(&checking, &view));
}

#[test]
fn the_minimum_is_put_back_before_the_old_control_plane_is_removed() {
    let mut upgrade = upgrade(Phase::HealthChecking);
    let mut view = grown(Some(3));
    retiring(&mut upgrade, &mut view);
    let next = |view: &MeshView| decide(now(), &upgrade, view).next;
    assert_eq!(
        kind(&next(&view)),
        "retire_revision",
        "its owner has put it back"
    );
    releases(&mut view)[2].values = values(json!({ "autoscaleMin": 3, "revision": TARGET }));
    let Next::Act(batch) = next(&view) else {
        panic!("{:?}", next(&view));
    };
    let Effect::RestoreMinimum(target) = &batch[0] else {
        panic!("{batch:?}");
    };
    assert_eq!(target.values, values(json!({ "revision": TARGET })));
    assert_eq!(target.release, "istiod-1-31-0");
    // Cut off in the middle, it is done again.
    releases(&mut view)[2].state = ReleaseState::Pending {
        by: HelmRunner::Before,
        since: ago(60),
    };
    assert_eq!(kind(&next(&view)), "clear_pending_release");
    releases(&mut view)[2].state = ReleaseState::Deployed;
    // Somebody brought it to another version: what it says is theirs.
    releases(&mut view)[2].version = Some(version("1.31.1"));
    assert_eq!(kind(&next(&view)), "retire_revision");
}

#[test]
fn the_chart_budget_that_the_restored_minimum_takes_away_is_replaced() {
    let mut upgrade = upgrade(Phase::HealthChecking);
    let mut view = grown(Some(3));
    retiring(&mut upgrade, &mut view);
    view.budgets = Seen::Present(vec![budget_of(TARGET)]);
    assert_eq!(
        kind(&decide(now(), &upgrade, &view).next),
        "retire_revision"
    );
    view.budgets = Seen::Present(Vec::new());
    assert_eq!(kind(&decide(now(), &upgrade, &view).next), "copy_budget");
}
