//! What a person accepts: a code that accepts nothing is worth knowing before the night.

use meshlift_api::Severity;

use super::{Check, Finding, Look, Subject, find};

pub(super) static ACCEPTS_NOTHING: Check = Check {
    code: "ACCEPTS-NOTHING",
    reason: "AcceptsNothing",
    severity: Severity::Warning,
    acceptable: true,
    title: "every code in spec.acceptRisks may be accepted",
    explanation: "A code with a slip of the pen, or one whose finding would surely make the upgrade fail, accepts nothing: the check stands as if it had not been named.",
    fix: "Correct or remove the code in spec.acceptRisks; `meshlift explain` lists all of them.",
    source: "",
    look: Look::Mesh(accepts_nothing),
};

fn accepts_nothing(subject: &Subject<'_>) -> Vec<Finding> {
    let knowledge = &subject.view.knowledge;
    let codes = subject.upgrade.spec.accept_risks.iter();
    codes
        .filter_map(|code| {
            let why = match (find(code), knowledge.risk(code)) {
                (Some(check), _) if check.acceptable => return None,
                (Some(_), _) => "which cannot be accepted, because the upgrade would surely fail",
                (None, Some(_)) => return None,
                (None, None) => "which is the code of no check and of no risk",
            };
            let finding = Finding::wrong(
                format!("spec.acceptRisks names {code}, {why}"),
                "correct it or take it out (`meshlift explain` lists the codes)",
            );
            Some(finding.about([code.clone()]))
        })
        .collect()
}
