//! The operator itself: its rights.

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
