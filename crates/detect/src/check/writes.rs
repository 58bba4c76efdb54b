//! What the API server answers to the writes of an upgrade, tried as dry runs.

use meshlift_api::Severity;
use meshlift_model::message;
use meshlift_model::view::{RefusedTrial, Trial};

use super::subject::judge;
use super::{Check, Finding, Look, Subject};

pub(super) static REFUSED: Check = Check {
    code: "WRITE-REFUSED",
    reason: "WriteRefused",
    severity: Severity::Warning,
    acceptable: true,
    title: "the API server takes the restarts, labels, tags and Gateways that the upgrade will write",
    explanation: "Admission policies and webhooks may refuse what the upgrade writes to an object: a change freeze, a policy that an existing workload violates, a webhook that cannot be called. Each write is tried as a dry run, exactly as it will be sent. What is refused in the upgrade too is named, stays on the old control plane and keeps that from being removed; everything else moves.",
    fix: "Allow the operator's account these changes, or exclude the objects by spec.dataPlane.exclude.",
    source: "Kubernetes API dryRun=All",
    look: Look::Mesh(refused),
};

pub(super) static ALL_REFUSED: Check = Check {
    code: "WRITES-REFUSED",
    reason: "WritesRefused",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the API server does not refuse everything that the upgrade will write",
    explanation: "If none of the restarts, labels, tags and Gateways can be written, the upgrade installs a control plane that nothing can move to.",
    fix: "Allow the operator's account these changes.",
    source: "Kubernetes API dryRun=All",
    look: Look::Mesh(all_refused),
};

fn refused(subject: &Subject<'_>) -> Vec<Finding> {
    judge(
        &subject.view.environment.trial,
        "what the API server would refuse",
        |trial| {
            let mut findings = Vec::new();
            if !trial.refused.is_empty() && !is_all(trial) {
                findings.push(found(
                    &trial.refused,
                    "would be refused and stay as they are",
                ));
            }
            if let Some(why) = &trial.unknown {
                findings.push(Finding::unknown("what the API server would refuse", why));
            }
            findings
        },
    )
}

fn all_refused(subject: &Subject<'_>) -> Vec<Finding> {
    // That it could not be tried is the other check's to report.
    let trial = subject.view.environment.trial.present();
    let all = trial.filter(|trial| is_all(trial));
    all.map(|trial| {
        found(
            &trial.refused,
            "are all that the upgrade writes, and would be refused",
        )
    })
    .into_iter()
    .collect()
}

fn is_all(trial: &Trial) -> bool {
    !trial.refused.is_empty() && trial.refused.len() == trial.tried
}

fn found(refused: &[RefusedTrial], what: &str) -> Finding {
    let named: Vec<String> = refused
        .iter()
        .map(|trial| format!("{} ({})", trial.object, trial.why))
        .collect();
    Finding::wrong(
        format!("{} {what}", message::first_few(&named)),
        "allow the operator's account these changes, or exclude the objects by spec.dataPlane.exclude",
    )
    .about(refused.iter().map(|trial| trial.object.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(tried: usize, refused: &[&str]) -> Trial {
        let refused = refused.iter().map(|object| RefusedTrial {
            object: (*object).to_owned(),
            why: "ValidatingAdmissionPolicy change-freeze: frozen".to_owned(),
        });
        Trial {
            tried,
            refused: refused.collect(),
            unknown: None,
        }
    }

    #[test]
    fn only_what_is_refused_as_a_whole_blocks() {
        assert!(!is_all(&trial(0, &[])));
        assert!(!is_all(&trial(2, &["Deployment shop/cart"])));
        assert!(is_all(&trial(1, &["Deployment shop/cart"])));
    }

    #[test]
    fn who_refuses_what_is_named() {
        let finding = found(
            &trial(2, &["Deployment shop/cart"]).refused,
            "would be refused",
        );
        let said = format!("{finding:?}");
        assert!(said.contains("Deployment shop/cart (ValidatingAdmissionPolicy change-freeze: frozen) would be refused"), "{said}");
    }
}
