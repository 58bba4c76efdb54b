//! Preflight: the same detection, and the plan in place of the upgrade. Nothing of the mesh is touched.

use jiff::Timestamp;
use meshlift_api::{CheckResult, CheckStatus, Outcome, Phase, Step};

use super::drafted;
use crate::check;
use crate::decision::{Decision, Effect, Findings, Next, Report, Verdict};
use crate::detect::Detection;
use crate::plan::{Plan, PlanInputs, plan};
use crate::upgrade::Upgrade;
use crate::view::MeshView;

/// Whether something that is needed could not be read: then nothing is said yet.
pub(super) fn is_blind(detection: &Detection) -> bool {
    let unknown = |told: &CheckStatus| told.result == CheckResult::Unknown;
    detection.blocking().any(unknown)
}

pub(super) fn decide(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    detection: Detection,
) -> Decision {
    let drafted = planned(now, upgrade, view);
    let blocked = detection.is_blocked();
    let outcome = match blocked {
        false => Outcome::PlanReady,
        true => Outcome::PlanBlocked,
    };
    let message = message(&detection, drafted.as_ref());
    let detected = match detection.reason().filter(|_| blocked) {
        Some(reason) => Verdict::no(reason, message.clone()),
        None => Verdict::yes("ChecksPassed", message.clone()),
    };
    let summary = drafted.as_ref().map(|plan| {
        let mut summary = plan.summary();
        summary.secret = Some(upgrade.plan_name());
        summary
    });
    let report = Report {
        message,
        from: detection.from.clone(),
        target: detection.target.clone(),
        findings: Findings {
            detected,
            ..Findings::default()
        },
        detection: Some(detection),
        plan: summary.clone(),
        ..Report::default()
    };
    match drafted {
        Some(plan) if upgrade.status.plan != summary => {
            let text = plan.stored();
            let report = Report {
                step: Some(Step::CheckingEnvironment),
                ..report
            };
            Decision::new(Next::Act(vec![Effect::WritePlan { text }]), report)
        }
        Some(_) | None => {
            let report = Report {
                outcome: Some(outcome),
                ..report
            };
            Decision::new(Next::Enter(Phase::Done), report)
        }
    }
}

fn planned(now: Timestamp, upgrade: &Upgrade, view: &MeshView) -> Option<Plan> {
    let (record, hops) = drafted(now, upgrade, view)?;
    let inputs = PlanInputs {
        now,
        upgrade,
        view,
        record: &record,
        hops: &hops,
    };
    plan(&inputs).ok()
}

fn message(detection: &Detection, plan: Option<&Plan>) -> String {
    let blocking: Vec<String> = detection.blocking().map(check::sentence).collect();
    let way = match (&detection.from, &detection.target) {
        (Some(from), Some(to)) => format!("{} to {}: ", from.version, to.version),
        _ => String::new(),
    };
    let found = match blocking.is_empty() {
        true => detection.summary(),
        false => format!("in the way: {}", blocking.join("; ")),
    };
    let cost = plan.map(|plan| {
        format!(
            "; an upgrade would move {} namespaces and restart {} workloads, in {}",
            plan.namespaces.len(),
            plan.restarts.len(),
            plan.estimate.range()
        )
    });
    format!(
        "preflight, nothing was touched: {way}{found}{}",
        cost.unwrap_or_default()
    )
}
