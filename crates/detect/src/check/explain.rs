//! A check or a risk in full, for `meshlift explain CODE`.

use meshlift_api::Severity;
use meshlift_istio::knowledge::Knowledge;
use meshlift_istio::risk::Risk;

use super::{Check, find, risks};

/// What there is to know of a check, or of a risk of the catalog: a few paragraphs of text. None
/// where nothing has this code.
pub fn explain(code: &str, knowledge: &Knowledge) -> Option<String> {
    match find(code) {
        Some(check) => Some(of_check(check)),
        None => knowledge.risk(code).map(of_risk),
    }
}

fn of_check(check: &Check) -> String {
    let paragraphs = [
        format!("{} ({})", check.code, weight(check.severity)),
        format!("Makes sure that {}.", check.title),
        check.explanation.to_owned(),
        format!("What to do: {}", check.fix),
        acceptance(check.code, check.severity, check.acceptable),
        match check.source {
            "" => String::new(),
            source => format!("Source: {source}"),
        },
    ];
    joined(&paragraphs)
}

fn of_risk(risk: &Risk) -> String {
    let severity = risks::severity(risk);
    joined(&[
        format!("{} ({}): {}", risk.code, weight(severity), risk.title),
        format!(
            "A risk of stepping up to Istio {}. {}",
            risk.minor, risk.message
        ),
        format!("What to do: {}", risk.fix),
        acceptance(&risk.code, severity, true),
        format!("Source: {}", risk.url),
    ])
}

fn joined(paragraphs: &[String]) -> String {
    let said: Vec<&str> = paragraphs
        .iter()
        .map(String::as_str)
        .filter(|paragraph| !paragraph.is_empty())
        .collect();
    said.join("\n\n")
}

fn weight(severity: Severity) -> &'static str {
    match severity {
        Severity::Blocking => "an upgrade does not start",
        Severity::Warning => "a warning: an upgrade starts",
        Severity::Info => "good to know: an upgrade starts",
    }
}

fn acceptance(code: &str, severity: Severity, acceptable: bool) -> String {
    match (severity, acceptable) {
        (Severity::Blocking, true) => {
            format!("To upgrade all the same, add {code} to spec.acceptRisks of the MeshUpgrade.")
        }
        (Severity::Blocking, false) => {
            "This cannot be accepted: the upgrade would fail.".to_owned()
        }
        (Severity::Warning | Severity::Info, true) => {
            format!("Once it is known, {code} in spec.acceptRisks of the MeshUpgrade says so.")
        }
        (Severity::Warning | Severity::Info, false) => String::new(),
    }
}
