//! Objects of others that select by the labels that an upgrade changes.

use meshlift_api::Severity;
use meshlift_api::labels::{ISTIO_INJECTION, ISTIO_REV};
use meshlift_model::message;
use meshlift_model::view::Selection;

use super::subject::{about, count, judge};
use super::{Check, Finding, Look, Subject};

pub(super) static INJECTION: Check = Check {
    code: "SELECTS-INJECTION-LABEL",
    reason: "SelectsInjectionLabel",
    severity: Severity::Warning,
    acceptable: true,
    title: "no network policy or webhook selects by the injection labels",
    explanation: "An upgrade takes the label istio-injection from a namespace and gives it istio.io/rev with the new revision. A NetworkPolicy or an admission webhook that selects namespaces by the old label selects other ones from then on: traffic that was allowed is dropped, or a rule is no longer enforced.",
    fix: "Let it select by a label that stays, such as kubernetes.io/metadata.name, before the upgrade.",
    source: "istio.io docs/setup/upgrade/canary; Kubernetes docs, Network Policies",
    look: Look::Mesh(injection),
};

fn injection(subject: &Subject<'_>) -> Vec<Finding> {
    judge(
        &subject.view.environment.selections,
        "the network policies and webhooks",
        |all| {
            let concerned = |of: &&Selection| of.labels.iter().any(|label| changes(subject, label));
            let concerned: Vec<&Selection> = all.iter().filter(concerned).collect();
            about(concerned.iter().map(|of| named(of)), |all| {
                let first = concerned.first().map_or_else(String::new, |of| edit(of));
                Finding::wrong(
                    format!(
                        "{} by a label that the upgrade changes: {}",
                        count(all.len(), "selection"),
                        message::first_few(all)
                    ),
                    format!(
                        "let them select by a label that stays (kubernetes.io/metadata.name): {first}"
                    ),
                )
            })
        },
    )
}

/// Whether a namespace has the label, and the upgrade takes it away.
fn changes(subject: &Subject<'_>, (key, value): &(String, String)) -> bool {
    let running = &subject.course.source.revision;
    let mut namespaces = subject.namespaces();
    match key.as_str() {
        ISTIO_INJECTION => namespaces.any(|ns| {
            let label = ns.labels.get(ISTIO_INJECTION);
            label.is_some_and(|label| label == "enabled" && (value.is_empty() || value == label))
        }),
        ISTIO_REV => value == running,
        _ => false,
    }
}

fn named(of: &Selection) -> String {
    match &of.namespace {
        Some(namespace) => format!("{} {namespace}/{}", of.kind, of.name),
        None => format!("{} {}", of.kind, of.name),
    }
}

fn edit(of: &Selection) -> String {
    let namespace = of.namespace.as_ref();
    let namespace = namespace.map_or_else(String::new, |namespace| format!("-n {namespace} "));
    format!(
        "kubectl {namespace}edit {} {}",
        of.kind.to_lowercase(),
        of.name
    )
}
