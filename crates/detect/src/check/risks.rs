//! The risks of the catalog for a step, as checks of this cluster.

use meshlift_api::Severity;
use meshlift_istio::risk::Risk;
use meshlift_model::view::{RiskMatch, Seen};

use super::subject::count;
use super::told::Told;
use super::{Finding, Subject};

/// How much a risk weighs where it concerns a mesh: a warning when it is about objects, which are
/// then those of this mesh, and good to know when it concerns whoever steps up.
pub fn severity(risk: &Risk) -> Severity {
    let of_objects = risk.rule.as_ref().and_then(|rule| rule.resources.as_ref());
    match of_objects {
        Some(_) => Severity::Warning,
        None => Severity::Info,
    }
}

/// Whether a risk of the step concerns this mesh.
pub(super) fn judge<'a>(risk: &'a Risk, subject: &Subject<'_>) -> (Told<'a>, Vec<Finding>) {
    let told = Told {
        code: &risk.code,
        severity: severity(risk),
        acceptable: true,
        title: &risk.title,
    };
    let Some(rule) = &risk.rule else {
        return (told, vec![finding(risk, &RiskMatch::default())]);
    };
    let findings = match &subject.view.environment.risks {
        Seen::Absent => Vec::new(),
        Seen::Unreadable(why) => vec![unknown(risk, why)],
        Seen::Present(matches) => match matches.get(&risk.code) {
            None => Vec::new(),
            Some(found) => match &found.unreadable {
                Some(why) => vec![unknown(risk, why)],
                None if rule.resources.is_some() && found.total == 0 => Vec::new(),
                None => vec![finding(risk, found)],
            },
        },
    };
    (told, findings)
}

fn unknown(risk: &Risk, why: &str) -> Finding {
    let what = format!("whether this concerns the mesh ({})", risk.title);
    Finding::unknown(&what, why)
}

fn finding(risk: &Risk, found: &RiskMatch) -> Finding {
    let concerned = match found.total {
        0 => String::new(),
        n => format!(
            " It concerns {} here.",
            count(usize::try_from(n).unwrap_or(usize::MAX), "object")
        ),
    };
    let message = format!("Istio {}: {}{concerned}", risk.minor, risk.message);
    let fix = format!("{} ({})", risk.fix, risk.url);
    Finding::wrong(message, fix)
        .about(found.objects.iter().cloned())
        .of(found.total)
}
