//! Maintenance windows that would never open.

use meshlift_api::Severity;
use meshlift_model::windows;

use super::{Check, Finding, Look, Subject};

pub(super) static INVALID: Check = Check {
    code: "WINDOW-INVALID",
    reason: "WindowInvalid",
    severity: Severity::Blocking,
    acceptable: false,
    title: "every maintenance window can be understood",
    explanation: "A window in a time zone that nobody knows, or one that ends when it begins, never opens: the upgrade would stop half way and wait for ever.",
    fix: "Correct the window in spec.windows, or take it out; time zones are named as in the IANA database (`Europe/Berlin`).",
    source: "https://www.iana.org/time-zones",
    look: Look::Mesh(invalid),
};

fn invalid(subject: &Subject<'_>) -> Vec<Finding> {
    let windows = subject.upgrade.spec.windows.iter().enumerate();
    windows
        .filter_map(|(at, window)| {
            let problem = windows::problem(window)?;
            let what = format!("spec.windows[{at}]");
            let finding = Finding::wrong(format!("{what} {problem}"), "correct it or take it out");
            Some(finding.about([what]))
        })
        .collect()
}
