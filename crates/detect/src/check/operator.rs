//! The operator itself: its rights, and what it knows.

use meshlift_api::Severity;
use meshlift_model::message;
use meshlift_model::view::Seen;

use super::{Check, Finding, Look, Subject};

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

pub(super) static UNFENCED: Check = Check {
    code: "OPERATOR-UNFENCED",
    reason: "OperatorUnfenced",
    severity: Severity::Warning,
    acceptable: true,
    title: "admission policies bound what the operator's account may do",
    explanation: "RBAC cannot say \"only these labels\" or \"only as a dry run\", so the rights of the operator's account are wider than what it does: pods in every namespace, any label of a namespace, roles that it does not hold itself. The policies meshlift-operator-fence-* say it. Without them whoever gets hold of its token, or a defect in it, can take over the cluster.",
    fix: "Install the chart with policies.install=true (helm upgrade meshlift charts/meshlift --namespace meshlift-system --reuse-values --set policies.install=true).",
    source: "charts/meshlift/templates/operator-fence.yaml",
    look: Look::Mesh(unfenced),
};

fn unfenced(subject: &Subject<'_>) -> Vec<Finding> {
    match &subject.view.environment.unfenced {
        Seen::Present(gaps) if gaps.is_empty() => Vec::new(),
        Seen::Present(gaps) => vec![
            Finding::wrong(
                format!(
                    "what the operator's account may do is not fenced in: {} not there or not in force",
                    message::first_few(gaps)
                ),
                "install the chart with policies.install=true",
            )
            .about(gaps.iter().cloned()),
        ],
        Seen::Absent => Vec::new(),
        Seen::Unreadable(why) => vec![Finding::unknown("the operator's fence", why)],
    }
}

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
