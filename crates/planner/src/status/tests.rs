//! One test for each condition, and for what keeps a status small and quiet.

use jiff::SignedDuration;
use meshlift_api::{BlockedWorkload, Predicate, RunSummary, Soak};
use meshlift_model::decision::{Findings, Waiting};
use meshlift_model::example::{ago, now, upgrade};

use super::*;

fn waiting(on: WaitingOn, report: Report) -> Decision {
    let until = now() + SignedDuration::from_secs(30);
    Decision::new(Next::Wait(Waiting { on, until }), report)
}

fn folded(phase: Phase, decision: &Decision, executed: &Executed) -> MeshUpgradeStatus {
    fold(now(), &upgrade(phase), decision, executed)
}

fn condition<'a>(status: &'a MeshUpgradeStatus, kind: &str) -> &'a Condition {
    let found = status.conditions.iter().find(|c| c.type_ == kind);
    found.unwrap_or_else(|| panic!("no condition {kind}"))
}

fn value(status: &MeshUpgradeStatus, kind: &str) -> (String, String) {
    let condition = condition(status, kind);
    (condition.status.clone(), condition.reason.clone())
}

fn is(value: &str, reason: &str) -> (String, String) {
    (value.to_owned(), reason.to_owned())
}

fn failed(class: ErrorClass) -> Executed {
    Executed::Failed {
        class,
        message: "helm: no such chart".into(),
    }
}

fn finding(set: impl FnOnce(&mut Findings)) -> MeshUpgradeStatus {
    let mut report = Report::default();
    set(&mut report.findings);
    folded(
        Phase::Upgrading,
        &waiting(WaitingOn::Workloads, report),
        &Executed::Nothing,
    )
}

#[test]
fn the_findings_are_the_conditions_of_their_names() {
    let yes = || Verdict::yes("Good", "well");
    let no = || Verdict::no("Bad", "ill");
    type Set = fn(&mut Findings, Option<Verdict>);
    let rows: [(&str, Set); 5] = [
        (c::DETECTED, |f, v| f.detected = v),
        (c::CONTROL_PLANE_READY, |f, v| f.control_plane_ready = v),
        (c::DATA_PLANE_UPGRADED, |f, v| f.data_plane_upgraded = v),
        (c::HEALTHY, |f, v| f.healthy = v),
        (c::OLD_REVISION_RETIRED, |f, v| f.old_revision_retired = v),
    ];
    for (kind, set) in rows {
        assert_eq!(value(&finding(|f| set(f, yes())), kind), is("True", "Good"));
        assert_eq!(value(&finding(|f| set(f, no())), kind), is("False", "Bad"));
        let silent = finding(|_| ());
        assert!(
            silent.conditions.iter().all(|c| c.type_ != kind),
            "{kind} from nothing"
        );
    }
}

#[test]
fn ready_is_the_end_and_nothing_before_it() {
    let enter = |phase| Decision::new(Next::Enter(phase), Report::default());
    let entered = |to| folded(Phase::HealthChecking, &enter(to), &Executed::Nothing);
    assert_eq!(
        value(&entered(Phase::Done), c::READY),
        is("True", "Upgraded")
    );
    assert_eq!(
        value(&entered(Phase::Failed), c::READY),
        is("False", "Stopped")
    );
    let waits = waiting(WaitingOn::Rival, Report::default());
    for phase in [
        Phase::Pending,
        Phase::Detecting,
        Phase::Upgrading,
        Phase::HealthChecking,
    ] {
        let status = folded(phase, &waits, &Executed::Nothing);
        assert_eq!(value(&status, c::READY), is("False", &phase.to_string()));
    }
}

#[test]
fn reconciling_until_it_has_ended() {
    let waits = waiting(WaitingOn::Workloads, Report::default());
    let status = folded(Phase::Upgrading, &waits, &Executed::Nothing);
    assert_eq!(
        value(&status, c::RECONCILING),
        is("True", "WaitingForWorkloads")
    );
    let acts = Decision::new(
        Next::Act(vec![meshlift_model::Effect::HoldDeletion]),
        Report::default(),
    );
    let status = folded(Phase::Detecting, &acts, &Executed::Done);
    assert_eq!(value(&status, c::RECONCILING), is("True", "Progressing"));
    let status = folded(Phase::Upgrading, &acts, &failed(ErrorClass::Transient));
    assert_eq!(value(&status, c::RECONCILING), is("True", "Retrying"));
    let ends = Decision::new(Next::Enter(Phase::Failed), Report::default());
    let status = folded(Phase::Upgrading, &ends, &Executed::Nothing);
    assert_eq!(value(&status, c::RECONCILING), is("False", "Ended"));
}

#[test]
fn stalled_when_only_a_person_can_help() {
    let acts = Decision::new(
        Next::Act(vec![meshlift_model::Effect::HoldDeletion]),
        Report::default(),
    );
    let rows = [
        (ErrorClass::Invalid, is("True", "Invalid")),
        (ErrorClass::Bug, is("True", "Bug")),
        (ErrorClass::Conflict, is("False", "NotStalled")),
    ];
    for (class, expected) in rows {
        let status = folded(Phase::Upgrading, &acts, &failed(class));
        assert_eq!(value(&status, c::STALLED), expected, "{class:?}");
    }
    let ends = Decision::new(Next::Enter(Phase::Failed), Report::default());
    let status = folded(Phase::Upgrading, &ends, &Executed::Nothing);
    assert_eq!(value(&status, c::STALLED), is("True", "Stopped"));
    // While it backs off, it is as stalled as it was.
    let mut upgrade = upgrade(Phase::Upgrading);
    upgrade.status = fold(now(), &upgrade, &acts, &failed(ErrorClass::Bug));
    let backs_off = waiting(WaitingOn::Backoff, Report::default());
    upgrade.status = fold(now(), &upgrade, &backs_off, &Executed::Nothing);
    assert_eq!(value(&upgrade.status, c::STALLED), is("True", "Bug"));
    let status = fold(now(), &upgrade, &acts, &Executed::Done);
    assert_eq!(value(&status, c::STALLED), is("False", "NotStalled"));
}

#[test]
fn a_condition_keeps_its_time_until_it_flips() {
    let report = |holds: bool| Report {
        findings: Findings {
            healthy: if holds {
                Verdict::yes("Good", "well")
            } else {
                Verdict::no("Bad", "ill")
            },
            ..Findings::default()
        },
        ..Report::default()
    };
    let mut upgrade = upgrade(Phase::HealthChecking);
    let mut since = Vec::new();
    for (seconds, holds) in [(30, true), (20, true), (10, false)] {
        let decision = waiting(WaitingOn::Soak, report(holds));
        upgrade.status = fold(ago(seconds), &upgrade, &decision, &Executed::Nothing);
        let healthy = condition(&upgrade.status, c::HEALTHY);
        since.push(healthy.last_transition_time.0);
        assert_eq!(healthy.observed_generation, Some(1));
    }
    assert_eq!(since, [ago(30), ago(30), ago(10)]);
}

#[test]
fn backoff_grows_to_its_bound_and_a_conflict_has_none() {
    let seconds = |class, n| backoff(class, n).as_secs();
    let transient: Vec<i64> = (1..=10)
        .map(|n| seconds(ErrorClass::Transient, n))
        .collect();
    assert_eq!(transient, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(seconds(ErrorClass::Transient, u32::MAX), 300);
    assert_eq!(seconds(ErrorClass::Conflict, 9), 0);
    assert_eq!(seconds(ErrorClass::Blocked, 1), 60);
    assert_eq!(seconds(ErrorClass::Invalid, 1), 300);
    assert_eq!(seconds(ErrorClass::Bug, 1), 300);
}

#[test]
fn failures_are_counted_said_and_forgotten_after_success() {
    let acts = Decision::new(
        Next::Act(vec![meshlift_model::Effect::HoldDeletion]),
        Report::default(),
    );
    let mut upgrade = upgrade(Phase::Upgrading);
    for count in 1..=2 {
        upgrade.status = fold(now(), &upgrade, &acts, &failed(ErrorClass::Transient));
        let attempts = upgrade.status.attempts.clone().expect("attempts");
        assert_eq!(
            (attempts.count, attempts.last_error.as_str()),
            (count, "helm: no such chart")
        );
    }
    let message = &upgrade.status.message;
    assert_eq!(
        message,
        "helm: no such chart; tried again at 2026-11-02 02:00:04 UTC (failure 2)"
    );
    let status = fold(now(), &upgrade, &acts, &failed(ErrorClass::Conflict));
    assert_eq!(
        status.attempts, upgrade.status.attempts,
        "a conflict is no failure"
    );
    assert_eq!(fold(now(), &upgrade, &acts, &Executed::Done).attempts, None);
}

#[test]
fn ten_thousand_blocked_pods_fit() {
    let name = "x".repeat(253);
    let blocked = |n: usize| BlockedWorkload {
        reference: format!("v1 Pod {name}/{name}-{n}"),
        predicate: Predicate::BarePod,
        message: name.repeat(20),
    };
    let report = Report {
        message: name.repeat(1000),
        blocked: Some((0..10_000).map(blocked).collect()),
        ..Report::default()
    };
    let status = folded(
        Phase::Upgrading,
        &waiting(WaitingOn::Workloads, report),
        &Executed::Nothing,
    );
    assert_eq!(status.blocked.len(), 50);
    let bytes = serde_json::to_vec(&status).expect("a status").len();
    assert!(bytes < 160 * 1024, "{bytes} bytes");
}

#[test]
fn a_long_error_keeps_its_beginning_and_its_end() {
    let message = format!(
        "helm failed: {} because of the proxy",
        "noise ".repeat(9999)
    );
    let report = Report {
        message,
        ..Report::default()
    };
    let status = folded(
        Phase::Upgrading,
        &waiting(WaitingOn::Workloads, report),
        &Executed::Nothing,
    );
    assert!(status.message.starts_with("helm failed: "));
    assert!(status.message.ends_with(" because of the proxy"));
    assert!(status.message.chars().count() <= 2000);
}

#[test]
fn a_new_run_starts_clean_and_remembers_ten() {
    let mut upgrade = upgrade(Phase::Done);
    upgrade.status.message = "the mesh is at 1.31.0".into();
    upgrade.status.history = vec![
        RunSummary {
            message: "older".into(),
            ..run()
        };
        10
    ];
    upgrade.status.soak = Some(Soak {
        since: Time(ago(9)),
        injection_failures: 0,
        passed_at: None,
    });
    let report = Report {
        new_run: true,
        ..Report::default()
    };
    let status = fold(
        now(),
        &upgrade,
        &Decision::new(Next::Enter(Phase::Pending), report),
        &Executed::Nothing,
    );
    assert_eq!(status.phase, Some(Phase::Pending));
    assert_eq!((status.soak, status.started_at), (None, None));
    assert_eq!(status.history.len(), 10);
    assert_eq!(status.history[0].message, "the mesh is at 1.31.0");
}

fn run() -> RunSummary {
    RunSummary {
        from: None,
        target: None,
        outcome: None,
        message: String::new(),
        started_at: None,
        finished_at: None,
    }
}

#[test]
fn times_are_whole_seconds_and_never_early() {
    let now: Timestamp = "2026-11-02T02:00:00.25Z".parse().expect("a time");
    let enter = Decision::new(Next::Enter(Phase::Done), Report::default());
    let status = fold(
        now,
        &upgrade(Phase::HealthChecking),
        &enter,
        &Executed::Nothing,
    );
    let finished = status.finished_at.expect("an end").0;
    assert_eq!(finished.to_string(), "2026-11-02T02:00:01Z");
}

#[test]
fn a_record_is_named_only_once_it_is_written() {
    let record = Decision::new(
        Next::Record(Box::new(meshlift_model::example::record())),
        Report::default(),
    );
    let status = folded(Phase::Detecting, &record, &failed(ErrorClass::Transient));
    assert_eq!(status.record, None);
    let status = folded(Phase::Detecting, &record, &Executed::Done);
    assert_eq!(status.record.as_deref(), Some("upgrade-to-1-31-0b5e"));
}
