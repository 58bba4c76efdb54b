//! Preflight: the same detection, and the plan in place of the upgrade. Nothing of the mesh is touched.

use meshlift_api::{CheckResult, CheckStatus, Outcome, Phase, PlanSummary, Step};
use meshlift_detect::detect::reason;
use meshlift_model::decision::{Decision, Effect, Findings, Next, Report, Verdict};
use meshlift_model::detection::{Detection, sentence};
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{DraftedPlan, MeshView};

/// Whether something that is needed could not be read: then nothing is said yet.
pub(super) fn is_blind(detection: &Detection) -> bool {
    let unknown = |told: &CheckStatus| told.result == CheckResult::Unknown;
    detection.blocking().any(unknown)
}

pub(super) fn decide(upgrade: &Upgrade, view: &MeshView, detection: Detection) -> Decision {
    let drafted = view.plan.as_ref();
    let blocked = detection.is_blocked();
    let outcome = if blocked {
        Outcome::PlanBlocked
    } else {
        Outcome::PlanReady
    };
    let message = message(&detection, drafted);
    let detected = match reason(&detection).filter(|_| blocked) {
        Some(reason) => Verdict::no(reason, message.clone()),
        None => Verdict::yes("ChecksPassed", message.clone()),
    };
    let summary = drafted.map(|plan| PlanSummary {
        secret: Some(upgrade.plan_name()),
        ..plan.summary.clone()
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
            let text = plan.text.clone();
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

fn message(detection: &Detection, plan: Option<&DraftedPlan>) -> String {
    let blocking: Vec<String> = detection.blocking().map(sentence).collect();
    let way = match (&detection.from, &detection.target) {
        (Some(from), Some(to)) => format!("{} to {}: ", from.version, to.version),
        _ => String::new(),
    };
    let found = if blocking.is_empty() {
        detection.summary()
    } else {
        format!("in the way: {}", blocking.join("; "))
    };
    let cost = plan.map(|plan| {
        format!(
            "; an upgrade would move {} namespaces and restart {} workloads, in {}",
            plan.summary.namespaces, plan.summary.restarts, plan.takes
        )
    });
    format!(
        "preflight, nothing was touched: {way}{found}{}",
        cost.unwrap_or_default()
    )
}
