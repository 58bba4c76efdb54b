//! Statuses as the operator writes them: whatever it learns to wait for, Argo CD must not show as something else.

use anyhow::{Context, Result, ensure};
use jiff::SignedDuration;
use meshlift_api::{
    MeshUpgrade, MeshUpgradeSpec, MeshUpgradeStatus, Mode, Outcome, Phase, WaveState, WaveStatus,
    labels,
};
use meshlift_model::decision::{Decision, Next, Report, Verdict, Waiting, WaitingOn};
use meshlift_model::example::{before, now, upgrade};
use meshlift_model::{ErrorClass, Executed, Upgrade};
use meshlift_planner::{decide, fold};
use serde_json::{Value, json};

use crate::runner::{Shown, show};

const RUNNING: [Phase; 4] = [
    Phase::Pending,
    Phase::Detecting,
    Phase::Upgrading,
    Phase::HealthChecking,
];

const WAITS: [WaitingOn; 20] = [
    WaitingOn::Rival,
    WaitingOn::Environment,
    WaitingOn::Paused,
    WaitingOn::Resumed,
    WaitingOn::Window,
    WaitingOn::Approval,
    WaitingOn::Git,
    WaitingOn::Person,
    WaitingOn::Wave,
    WaitingOn::Gateways,
    WaitingOn::Backoff,
    WaitingOn::Unreadable,
    WaitingOn::ForeignHelm,
    WaitingOn::ControlPlane,
    WaitingOn::Injection,
    WaitingOn::Workloads,
    WaitingOn::Soak,
    WaitingOn::RetireDelay,
    WaitingOn::Validator,
    WaitingOn::Retirement,
];

/// Suspended is what goes on only when somebody does something, or when a window opens. Not a set of names, so that a new
/// one has to be decided upon here.
fn while_waiting(on: WaitingOn) -> &'static str {
    match on {
        WaitingOn::Environment
        | WaitingOn::Paused
        | WaitingOn::Approval
        | WaitingOn::Git
        | WaitingOn::Person
        | WaitingOn::Window => "Suspended",
        WaitingOn::Rival
        | WaitingOn::Resumed
        | WaitingOn::Wave
        | WaitingOn::Gateways
        | WaitingOn::Backoff
        | WaitingOn::Unreadable
        | WaitingOn::ForeignHelm
        | WaitingOn::ControlPlane
        | WaitingOn::Injection
        | WaitingOn::Workloads
        | WaitingOn::Soak
        | WaitingOn::RetireDelay
        | WaitingOn::Validator
        | WaitingOn::Retirement
        | WaitingOn::Nothing => "Progressing",
    }
}

fn waiting(on: WaitingOn, report: Report) -> Decision {
    let until = now() + SignedDuration::from_secs(30);
    Decision::new(Next::Wait(Waiting { on, until }), report)
}

fn says(message: impl Into<String>) -> Report {
    Report {
        message: message.into(),
        ..Report::default()
    }
}

/// The object as it is in the cluster after this decision.
fn after(upgrade: &Upgrade, decision: &Decision, executed: &Executed) -> Value {
    object(upgrade, Some(fold(now(), upgrade, decision, executed)))
}

fn object(upgrade: &Upgrade, status: Option<MeshUpgradeStatus>) -> Value {
    let mut object = MeshUpgrade::new(&upgrade.name, upgrade.spec.clone());
    object.metadata.generation = Some(upgrade.generation);
    object.status = status;
    serde_json::to_value(object).expect("an object is JSON")
}

/// Shows objects and compares what is shown with what each should be.
fn all_are(expected: Vec<(&'static str, Value)>) -> Result<Vec<Shown>> {
    let (expected, objects): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
    let shown = show(&objects)?;
    for ((status, object), shown) in expected.iter().zip(&objects).zip(&shown) {
        ensure!(
            shown.status() == *status,
            "not {status}: {shown:?} of {object}"
        );
        let message = shown.health.as_ref().map(|health| health.message.as_str());
        ensure!(
            message.is_some_and(|message| !message.is_empty()),
            "{shown:?}"
        );
        // All are listed in the menu at any time, so that nobody looks for one that cannot be run just now.
        ensure!(shown.actions.len() + shown.disabled.len() == 6, "{shown:?}");
    }
    Ok(shown)
}

#[test]
fn what_waits_for_somebody_is_suspended_and_the_rest_progresses() -> Result<()> {
    let mut expected = Vec::new();
    for phase in RUNNING {
        for on in WAITS {
            let decision = waiting(on, says(format!("waits for {on:?}")));
            let object = after(&upgrade(phase), &decision, &Executed::Nothing);
            expected.push((while_waiting(on), object));
        }
    }
    let shown = all_are(expected)?;
    let messages = shown.iter().filter_map(|shown| shown.health.as_ref());
    let own = messages.filter(|health| health.message.starts_with("waits for "));
    ensure!(own.count() == shown.len(), "the message is that of status");
    Ok(())
}

#[test]
fn what_failed_for_good_is_degraded() -> Result<()> {
    let decision = Decision::new(Next::Act(Vec::new()), says("installing istiod"));
    let of = |class| {
        let failed = Executed::Failed {
            class,
            message: "helm: no such chart".into(),
        };
        after(&upgrade(Phase::Upgrading), &decision, &failed)
    };
    all_are(vec![
        ("Progressing", of(ErrorClass::Transient)),
        ("Progressing", of(ErrorClass::Blocked)),
        ("Degraded", of(ErrorClass::Invalid)),
        ("Degraded", of(ErrorClass::Bug)),
        (
            "Progressing",
            after(&upgrade(Phase::Upgrading), &decision, &Executed::Done),
        ),
    ])?;
    Ok(())
}

/// An upgrade that has ended so.
fn ended(outcome: Outcome) -> (&'static str, Upgrade) {
    let (status, from, to) = match outcome {
        Outcome::Upgraded => ("Healthy", Phase::HealthChecking, Phase::Done),
        Outcome::Stopped | Outcome::RolledBack => ("Degraded", Phase::Upgrading, Phase::Failed),
        Outcome::PlanReady => ("Healthy", Phase::Detecting, Phase::Done),
        Outcome::PlanBlocked => ("Degraded", Phase::Detecting, Phase::Done),
    };
    let mut upgrade = upgrade(from);
    if matches!(outcome, Outcome::PlanReady | Outcome::PlanBlocked) {
        upgrade.spec.mode = Mode::Preflight;
    } else {
        upgrade.status.record = Some(upgrade.record_name());
    }
    let mut report = says(format!("{outcome:?}: the end"));
    report.outcome = Some(outcome);
    if outcome == Outcome::Upgraded {
        report.findings.old_revision_retired = Verdict::yes("Retired", "istiod 1.30.2 is gone");
    }
    let end = Decision::new(Next::Enter(to), report);
    upgrade.status = fold(now(), &upgrade, &end, &Executed::Nothing);
    (status, upgrade)
}

#[test]
fn only_the_target_or_a_plan_without_obstacles_is_healthy() -> Result<()> {
    let of = |outcome| {
        let (status, upgrade) = ended(outcome);
        (status, object(&upgrade, Some(upgrade.status.clone())))
    };
    let shown = all_are(vec![
        of(Outcome::Upgraded),
        of(Outcome::Stopped),
        of(Outcome::RolledBack),
        of(Outcome::PlanReady),
        of(Outcome::PlanBlocked),
    ])?;
    let offered: Vec<_> = shown.iter().map(Shown::offered).collect();
    let retry = vec!["retry"];
    let both = vec!["retry", "rollback"];
    ensure!(
        offered == [vec![], both, retry.clone(), retry.clone(), retry],
        "{offered:?}"
    );
    Ok(())
}

#[test]
fn a_status_of_another_spec_counts_for_nothing() -> Result<()> {
    let (_, mut done) = ended(Outcome::Upgraded);
    let (_, mut failed) = ended(Outcome::Stopped);
    done.generation += 1;
    failed.generation += 1;
    all_are(vec![
        ("Progressing", object(&done, Some(done.status.clone()))),
        ("Progressing", object(&failed, Some(failed.status.clone()))),
        ("Progressing", object(&upgrade(Phase::Pending), None)),
        (
            "Progressing",
            object(&done, Some(MeshUpgradeStatus::default())),
        ),
    ])?;
    Ok(())
}

/// What `decide` itself makes of a cluster, up to a wait.
fn decided(spec: impl FnOnce(&mut MeshUpgradeSpec), held: bool) -> (Decision, Value) {
    let mut upgrade = upgrade(Phase::Detecting);
    upgrade.held = held;
    spec(&mut upgrade.spec);
    let decision = decide(now(), &upgrade, &before());
    let object = after(&upgrade, &decision, &Executed::Nothing);
    (decision, object)
}

#[test]
fn what_the_planner_decides_has_its_colour() -> Result<()> {
    let (paused, while_paused) = decided(|spec| spec.paused = true, false);
    ensure!(paused.waits_for_person(), "{paused:?}");
    let windows = json!([{ "start": "03:00", "end": "04:00" }]);
    let windows = serde_json::from_value(windows)?;
    let (_, outside) = decided(|spec| spec.windows = windows, true);
    let (_, unknown) = decided(|spec| spec.target_version = "1.99.0".into(), false);
    let (_, back) = decided(|spec| spec.request_rollback = true, true);
    let shown = all_are(vec![
        ("Suspended", while_paused),
        ("Suspended", outside),
        ("Suspended", unknown),
        ("Suspended", back),
    ])?;
    let offered: Vec<_> = shown.iter().map(Shown::offered).collect();
    let expected = [
        vec!["resume"],
        vec!["pause"],
        vec!["pause", "redetect"],
        vec!["pause"],
    ];
    ensure!(offered == expected, "{offered:?}");
    Ok(())
}

fn spec_after<'a>(shown: &'a Shown, action: &str) -> Result<(MeshUpgrade, &'a Value)> {
    let value = shown.actions.get(action);
    let value = value.with_context(|| format!("{action} is not offered: {shown:?}"))?;
    Ok((serde_json::from_value(value.clone())?, value))
}

/// Read back by the types of the API: a field of another name would be dropped, and the action do nothing.
#[test]
fn each_action_writes_what_the_operator_reads() -> Result<()> {
    let mut running = upgrade(Phase::Upgrading);
    running.spec.approvals = vec!["canary".into()];
    let wave = WaveStatus {
        state: WaveState::WaitingForApproval,
        ..WaveStatus::pending("prod")
    };
    let report = Report {
        waves: Some(vec![wave]),
        ..says("wave prod waits for approval")
    };
    let waits = waiting(WaitingOn::Approval, report);
    let paused = Upgrade {
        spec: MeshUpgradeSpec {
            paused: true,
            ..running.spec.clone()
        },
        ..running.clone()
    };
    let (_, stopped) = ended(Outcome::Stopped);
    let blocked = waiting(WaitingOn::Environment, says("Kubernetes is too old"));
    let shown = show(&[
        after(&running, &waits, &Executed::Nothing),
        after(&paused, &waits, &Executed::Nothing),
        object(&stopped, Some(stopped.status.clone())),
        after(&upgrade(Phase::Detecting), &blocked, &Executed::Nothing),
    ])?;
    let spec = |change: fn(&mut MeshUpgradeSpec)| {
        let mut spec = running.spec.clone();
        change(&mut spec);
        spec
    };
    for (at, action, expected) in [
        (
            0,
            "approve",
            spec(|spec| spec.approvals.push("prod".into())),
        ),
        (0, "pause", spec(|spec| spec.paused = true)),
        (0, "rollback", spec(|spec| spec.request_rollback = true)),
        (1, "resume", running.spec.clone()),
    ] {
        let (after, value) = spec_after(&shown[at], action)?;
        ensure!(after.spec == expected, "{action}: {value}");
    }
    for (at, action, annotation) in [
        (2, "retry", labels::RETRY),
        (3, "redetect", labels::REDETECT),
    ] {
        let (after, value) = spec_after(&shown[at], action)?;
        let annotations = after.metadata.annotations.unwrap_or_default();
        ensure!(annotations.contains_key(annotation), "{action}: {value}");
    }
    Ok(())
}
