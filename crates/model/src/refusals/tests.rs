use meshlift_api::Phase;

use super::*;
use crate::example::{now, upgrade};

const TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

fn at(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn moving(uid: &str) -> Effect {
    Effect::MoveNamespace {
        name: uid.into(),
        uid: uid.into(),
        resource_version: "1".into(),
        revision: "1-31-0".into(),
        labels: crate::InjectionLabels::bound_to("1-31-0"),
        mark: true,
    }
}

fn failure(class: ErrorClass, answered: bool) -> Option<Failure> {
    Some(Failure {
        class,
        answered,
        why: "policy: no".into(),
        message: "moving: policy: no".into(),
    })
}

fn settled(refusals: &mut Refusals, seconds: i64, failures: &[Option<Failure>]) -> Executed {
    let effects: Vec<Effect> = (0..failures.len())
        .map(|n| moving(&n.to_string()))
        .collect();
    let tried = effects.iter().zip(failures.iter().cloned()).collect();
    refusals.settle(at(seconds), &upgrade(Phase::Upgrading), tried)
}

#[test]
fn what_is_refused_is_remembered_object_by_object_and_is_no_failure_of_the_whole() {
    for class in [
        ErrorClass::Blocked,
        ErrorClass::Invalid,
        ErrorClass::Transient,
    ] {
        let mut refusals = Refusals::default();
        let executed = settled(&mut refusals, 0, &[failure(class, true), None]);
        let Executed::Refused(refused) = executed else {
            panic!("{class:?}: {executed:?}");
        };
        assert_eq!((refused.len(), refused[0].count), (1, 1));
        let known = refusals.of(&upgrade(Phase::Upgrading));
        assert_eq!(known.keys().collect::<Vec<_>>(), ["0"]);
        assert_eq!(known["0"].why, "policy: no");
        // It is forgotten once it gets through.
        assert_eq!(settled(&mut refusals, 5, &[None]), Executed::Done);
        assert!(refusals.of(&upgrade(Phase::Upgrading)).is_empty());
    }
}

#[test]
fn an_api_server_that_is_away_or_takes_nothing_holds_the_whole() {
    let mut refusals = Refusals::default();
    let away = failure(ErrorClass::Transient, false);
    let executed = settled(&mut refusals, 0, &[away.clone(), away.clone()]);
    assert!(matches!(
        executed,
        Executed::Failed {
            class: ErrorClass::Transient,
            ..
        }
    ));
    assert!(
        refusals.of(&upgrade(Phase::Upgrading)).is_empty(),
        "nobody refused anything"
    );
    // One that alone gets no answer is slow for a reason of its own.
    assert!(matches!(
        settled(&mut refusals, 1, &[away, None]),
        Executed::Refused(_)
    ));

    let mut refusals = Refusals::default();
    let busy = failure(ErrorClass::Transient, true);
    let executed = settled(&mut refusals, 0, &[busy.clone(), busy]);
    assert!(matches!(
        executed,
        Executed::Failed {
            class: ErrorClass::Transient,
            ..
        }
    ));
    assert_eq!(
        refusals.of(&upgrade(Phase::Upgrading)).len(),
        2,
        "each has its own backoff too"
    );
}

#[test]
fn a_conflict_is_no_refusal() {
    let mut refusals = Refusals::default();
    let executed = settled(
        &mut refusals,
        0,
        &[failure(ErrorClass::Conflict, true), None],
    );
    assert!(matches!(
        executed,
        Executed::Failed {
            class: ErrorClass::Conflict,
            ..
        }
    ));
    assert!(refusals.of(&upgrade(Phase::Upgrading)).is_empty());
}

#[test]
fn each_is_tried_again_by_its_own_clock_and_given_up_when_it_is_refused_at_its_deadline() {
    let mut refusals = Refusals::default();
    let refused = [failure(ErrorClass::Blocked, true)];
    let mut tries = Vec::new();
    for seconds in 0..2000 {
        let known = refusals.of(&upgrade(Phase::Upgrading));
        let due = known
            .get("0")
            .is_none_or(|row| row.is_due(at(seconds), TIMEOUT));
        if due {
            tries.push(seconds);
            settled(&mut refusals, seconds, &refused);
        }
    }
    assert_eq!(tries, [0, 2, 6, 14, 30, 62, 126, 254, 510, 600]);
    let known = refusals.of(&upgrade(Phase::Upgrading));
    assert!(known["0"].is_over(TIMEOUT));
}

#[test]
fn what_was_refused_on_the_way_forward_is_tried_on_the_way_back() {
    let mut refusals = Refusals::default();
    settled(&mut refusals, 0, &[failure(ErrorClass::Blocked, true)]);
    let mut back = upgrade(Phase::Upgrading);
    back.status.started_at = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
    assert!(refusals.of(&back).is_empty());
    let effect = moving("0");
    refusals.settle(
        at(2),
        &back,
        vec![(&effect, failure(ErrorClass::Blocked, true))],
    );
    assert_eq!(refusals.of(&back)["0"].count, 1, "and counted from there");
}

#[test]
fn a_budget_is_asked_again_soon_and_never_given_up() {
    let mut refusals = Refusals::default();
    let upgrade = upgrade(Phase::Upgrading);
    for seconds in [0, 700, 1400] {
        refusals.note_budget(at(seconds), &upgrade, "pod", "its budget".into());
        let row = &refusals.of(&upgrade)["pod"];
        assert!(!row.is_over(TIMEOUT));
        assert!(!row.is_due(at(seconds + 3), TIMEOUT));
        assert!(row.is_due(at(seconds + 4), TIMEOUT));
    }
}
