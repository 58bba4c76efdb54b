//! The operator itself: its rights, and what it knows.

use meshlift_api::Severity;

use super::{Check, Finding, Look, Subject};
use crate::message;
use crate::view::Seen;

pub(super) static PERMISSIONS: Check = Check {
    code: "PERMISSIONS",
    reason: "PermissionsMissing",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the account that upgrades has every right it will need",
    explanation: "A right that is missing would stop the upgrade in the middle. The API server is asked for each of them before anything moves.",
    fix: "Install the chart's RBAC, with controlPlaneNamespaces naming the namespace of istiod.",
    source: "Kubernetes API SelfSubjectRulesReview, SelfSubjectAccessReview",
    look: Look::Mesh(permissions),
};

pub(super) static CATALOG_IGNORED: Check = Check {
    code: "CATALOG-IGNORED",
    reason: "CatalogIgnored",
    severity: Severity::Warning,
    acceptable: true,
    title: "the ReleaseCatalog object can be used",
    explanation: "A ReleaseCatalog that contradicts itself is left aside as a whole, and what is built into the operator counts: Kubernetes ranges and risks may then be older than the person who wrote it believes.",
    fix: "Correct the field that the message names in the ReleaseCatalog default.",
    source: "",
    look: Look::Mesh(catalog_ignored),
};

fn catalog_ignored(subject: &Subject<'_>) -> Vec<Finding> {
    let problem = subject.view.knowledge.problem.as_ref();
    let finding = |problem: &String| {
        Finding::wrong(
            format!("the ReleaseCatalog is not used, and what is built in counts: {problem}"),
            "correct it (kubectl edit releasecatalog default)",
        )
        .about(["ReleaseCatalog default".to_owned()])
    };
    problem.map(finding).into_iter().collect()
}

fn permissions(subject: &Subject<'_>) -> Vec<Finding> {
    match &subject.view.missing_permissions {
        Seen::Present(missing) if missing.is_empty() => Vec::new(),
        Seen::Present(missing) => vec![
            Finding::wrong(
                format!(
                    "the operator's service account may not {}",
                    message::first_few(missing)
                ),
                "install the chart's RBAC, with controlPlaneNamespaces naming the namespace of istiod",
            )
            .about(missing.iter().cloned()),
        ],
        Seen::Absent => Vec::new(),
        Seen::Unreadable(why) => vec![Finding::unknown("the operator's permissions", why)],
    }
}
