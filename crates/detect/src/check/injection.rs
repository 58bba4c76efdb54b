//! Labels that decide injection, and the sidecars that came of it.

use std::collections::BTreeSet;

use meshlift_api::Severity;
use meshlift_api::labels::{DEFAULT_REVISION, ISTIO_INJECTION, ISTIO_REV};
use meshlift_model::injection::{Injector, injector_of};
use meshlift_model::message;
use meshlift_model::view::{Namespace, Tag, gitops_tool};

use super::subject::{about, count, names, value};
use super::{Check, Finding, Look, Subject};

pub(super) static BOTH_LABELS: Check = Check {
    code: "BOTH-LABELS",
    reason: "BothInjectionLabels",
    severity: Severity::Warning,
    acceptable: true,
    title: "no namespace has both injection labels",
    explanation: "istio-injection wins over istio.io/rev whatever its value: with `enabled` the default revision injects and the revision that is named does not, with `disabled` nobody does. A person who sets istio.io/rev beside it moves nothing. istioctl tells it as IST0123.",
    fix: "Remove the label that is not meant.",
    source: "istio manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml; istio.io docs/setup/upgrade/canary",
    look: Look::Mesh(both_labels),
};

pub(super) static BY_DEFAULT: Check = Check {
    code: "INJECTED-BY-DEFAULT",
    reason: "InjectedByDefault",
    severity: Severity::Blocking,
    acceptable: true,
    title: "only namespaces and pods that ask for it are injected",
    explanation: "With sidecarInjectorWebhook.enableNamespacesByDefault the running revision injects every namespace without labels. No other revision does that beside it, so workloads in such namespaces cannot be moved: a restart would take them out of the mesh. The old control plane stays for them.",
    fix: "Label these namespaces, by the command in the message, and switch the value off in the release.",
    source: "istio manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml (auto.sidecar-injector.istio.io)",
    look: Look::Mesh(by_default),
};

pub(super) static REVISION_UNKNOWN: Check = Check {
    code: "REVISION-UNKNOWN",
    reason: "RevisionUnknown",
    severity: Severity::Warning,
    acceptable: true,
    title: "every revision that a namespace or pod template names is there",
    explanation: "A label istio.io/rev that names neither a revision nor a tag matches no webhook: new pods come up without a sidecar, and without a word. Such workloads cannot be moved by an upgrade either.",
    fix: "Name a revision or a tag that is there, or remove the label.",
    source: "istio manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml",
    look: Look::Mesh(revision_unknown),
};

pub(super) static NO_DEFAULT: Check = Check {
    code: "NO-DEFAULT-REVISION",
    reason: "NoDefaultRevision",
    severity: Severity::Warning,
    acceptable: true,
    title: "a default revision injects where one is asked for",
    explanation: "istio-injection=enabled and istio.io/rev=default ask for the default revision: an installation without a revision, or the tag `default`. With neither, new pods come up without a sidecar.",
    fix: "Set the tag: istioctl tag set default --revision <revision>; or name a revision in the label.",
    source: "istio.io docs/setup/upgrade/canary, \"Default tag\"",
    look: Look::Mesh(no_default),
};

pub(super) static ORPHANED: Check = Check {
    code: "PROXY-ORPHANED",
    reason: "ProxyOrphaned",
    severity: Severity::Warning,
    acceptable: true,
    title: "the control plane of every sidecar runs",
    explanation: "A sidecar calls the istiod of the revision that injected it. When that is gone, the sidecar works on with what it knew last, gets no new configuration, and loses its certificate within a day; its pod does not start again.",
    fix: "Restart these workloads, so that a revision that runs injects them.",
    source: "istio.io docs/ops/diagnostic-tools; istio pkg/kube/inject/webhook.go (annotation sidecar.istio.io/status)",
    look: Look::Mesh(orphaned),
};

pub(super) static GITOPS: Check = Check {
    code: "GITOPS-LABEL",
    reason: "GitOpsLabel",
    severity: Severity::Warning,
    acceptable: true,
    title: "no GitOps tool owns a label or tag that is moved",
    explanation: "To move a namespace its label is changed, to move a tag its webhooks. A tool that applies them from Git puts the old ones back: pods that start after that come from the old revision again. So they are not written: when everything else of its wave has moved, the upgrade waits, says what to commit, and goes on when that arrives.",
    fix: "Change the label in Git when the upgrade asks for it, or let Git name a revision tag that no tool owns, which stays the same over upgrades.",
    source: "argo-cd issue 15880; istio.io docs/setup/upgrade/canary, \"Stable revision labels\"",
    look: Look::Mesh(gitops),
};

fn named(namespace: &Namespace) -> String {
    format!("Namespace {}", namespace.name)
}

fn both_labels(subject: &Subject<'_>) -> Vec<Finding> {
    let both = subject.namespaces().filter(|namespace| {
        namespace.labels.contains_key(ISTIO_INJECTION) && namespace.labels.contains_key(ISTIO_REV)
    });
    about(both.map(named), |all| {
        Finding::wrong(
            format!(
                "{} with {ISTIO_INJECTION} and {ISTIO_REV}: the first one decides, the revision does not count",
                count(all.len(), "namespace")
            ),
            format!(
                "remove the one that is not meant: kubectl label namespace <name> {ISTIO_INJECTION}- (or {ISTIO_REV}-)"
            ),
        )
    })
}

/// Every name that a label may give: revisions and tags, those of other clusters' control planes
/// included, which are known by their webhooks only.
fn known<'a>(subject: &Subject<'a>) -> BTreeSet<&'a str> {
    let planes = subject.planes().iter().map(|plane| plane.revision.as_str());
    let tags = subject.view.tags().iter().map(|tag| tag.name.as_str());
    let rules = subject.view.environment.injectors.present();
    let rules = rules.into_iter().flatten();
    let of_rules = rules.filter_map(|rule| rule.tag.as_deref().or(rule.revision.as_deref()));
    planes.chain(tags).chain(of_rules).collect()
}

/// The revision that a namespace asks for by its label, if that label decides.
fn asked(namespace: &Namespace) -> Option<&str> {
    match namespace.labels.get(ISTIO_INJECTION) {
        Some(value) if value == "enabled" => Some(DEFAULT_REVISION),
        Some(_) => None,
        None => namespace.labels.get(ISTIO_REV).map(String::as_str),
    }
}

fn revision_unknown(subject: &Subject<'_>) -> Vec<Finding> {
    let known = known(subject);
    let unknown = |revision: &str| revision != DEFAULT_REVISION && !known.contains(revision);
    let mut revisions = BTreeSet::new();
    let mut objects = Vec::new();
    for namespace in subject.namespaces() {
        if let Some(revision) = asked(namespace).filter(|revision| unknown(revision)) {
            revisions.insert(revision);
            objects.push(named(namespace));
        }
    }
    let free: BTreeSet<&str> = subject
        .namespaces()
        .filter(|ns| !ns.labels.contains_key(ISTIO_INJECTION) && !ns.labels.contains_key(ISTIO_REV))
        .map(|ns| ns.name.as_str())
        .collect();
    for workload in subject.workloads() {
        let revision = workload.template_labels.get(ISTIO_REV).map(String::as_str);
        if let Some(revision) = revision.filter(|revision| unknown(revision))
            && free.contains(workload.key.namespace.as_str())
        {
            revisions.insert(revision);
            objects.push(workload.key.short());
        }
    }
    let revisions: Vec<&str> = revisions.into_iter().collect();
    let known: Vec<&str> = known.into_iter().collect();
    about(objects, |_| {
        Finding::wrong(
            format!(
                "label {ISTIO_REV} names what is neither a revision nor a tag ({}): new pods get no sidecar",
                message::first_few(&revisions)
            ),
            format!(
                "name one that is there ({}), or remove the label",
                known.join(", ")
            ),
        )
    })
}

fn no_default(subject: &Subject<'_>) -> Vec<Finding> {
    if known(subject).contains(DEFAULT_REVISION) {
        return Vec::new();
    }
    let asking = subject
        .namespaces()
        .filter(|namespace| asked(namespace) == Some(DEFAULT_REVISION));
    let revision = &subject.course.source.revision;
    about(asking.map(named), |all| {
        Finding::wrong(
            format!(
                "{} asking for the default revision, which is not there: new pods get no sidecar",
                count(all.len(), "namespace")
            ),
            format!(
                "istioctl tag set default --revision {revision}, or set {ISTIO_REV}={revision} and remove {ISTIO_INJECTION}"
            ),
        )
    })
}

fn orphaned(subject: &Subject<'_>) -> Vec<Finding> {
    let known = known(subject);
    let gone = |revision: &str| !known.contains(revision);
    let orphans: Vec<_> = subject
        .members()
        .filter(|member| member.pod.revision.as_deref().is_some_and(gone))
        .collect();
    let revisions: BTreeSet<&str> = orphans
        .iter()
        .filter_map(|member| member.pod.revision.as_deref())
        .collect();
    let revisions: Vec<&str> = revisions.into_iter().collect();
    about(names(orphans.iter().copied()), |_| {
        Finding::wrong(
            format!(
                "{} with a sidecar of a control plane that is gone (revision {})",
                count(orphans.len(), "pod"),
                message::first_few(&revisions)
            ),
            "restart these workloads before their certificates end (kubectl rollout restart)",
        )
    })
}

fn gitops(subject: &Subject<'_>) -> Vec<Finding> {
    let tags = subject.view.tags();
    let plain = std::collections::BTreeMap::new();
    let moves = |namespace: &&Namespace| {
        let injector = injector_of(&namespace.labels, &plain, subject.planes(), tags);
        injector == Injector::Namespace(subject.course.source.revision.clone())
    };
    let owned: Vec<(&Namespace, &str)> = subject
        .namespaces()
        .filter(moves)
        .filter_map(|ns| Some((ns, gitops_tool(ns.label_owner.as_deref()?)?)))
        .collect();
    let of_source = |tag: &&Tag| tag.revision == subject.course.source.revision;
    let owned_tags: Vec<(&Tag, &str)> = tags
        .iter()
        .filter(of_source)
        .filter_map(|tag| Some((tag, gitops_tool(tag.owner.as_deref()?)?)))
        .collect();
    let tools = owned.iter().map(|(_, tool)| *tool);
    let tools: BTreeSet<&str> = tools
        .chain(owned_tags.iter().map(|(_, tool)| *tool))
        .collect();
    let tools: Vec<&str> = tools.into_iter().collect();
    let to = subject.revision();
    let objects = owned.iter().map(|(ns, _)| named(ns));
    let objects = objects.chain(
        owned_tags
            .iter()
            .map(|(tag, _)| format!("tag {}", tag.name)),
    );
    about(objects, |all| {
        Finding::wrong(
            format!(
                "what binds {} to the running revision comes from {}: the upgrade does not write it, and waits until it is changed there",
                message::first_few(all),
                tools.join(" and ")
            ),
            format!(
                "when the upgrade asks for it, set {ISTIO_REV}={to} there; or let Git name a revision tag ({ISTIO_REV}=<tag>)"
            ),
        )
    })
}

fn by_default(subject: &Subject<'_>) -> Vec<Finding> {
    let course = subject.course;
    let running = Some(&course.source.revision);
    let rules = subject.view.environment.injectors.present();
    let mut rules = rules.into_iter().flatten();
    let auto = rules.any(|r| r.webhook.starts_with("auto.") && r.revision.as_ref() == running);
    let release = course.source_release.as_ref().ok();
    let path = "sidecarInjectorWebhook.enableNamespacesByDefault";
    let said = release.and_then(|release| value(&release.values, path));
    if !auto && said.and_then(serde_json::Value::as_bool) != Some(true) {
        return Vec::new();
    }
    let unlabelled = |name: &str| {
        let mut here = subject.namespaces();
        here.any(|ns| {
            let labels = [ISTIO_INJECTION, ISTIO_REV];
            ns.name == name && labels.iter().all(|label| !ns.labels.contains_key(*label))
        })
    };
    let used: BTreeSet<&str> = subject
        .members()
        .map(|member| member.pod.namespace.as_str())
        .filter(|name| unlabelled(name))
        .collect();
    let label = match used.iter().copied().collect::<Vec<_>>().join(" ") {
        none if none.is_empty() => String::new(),
        names => format!("kubectl label namespace {names} istio-injection=enabled; then "),
    };
    let objects = used.iter().map(|name| format!("Namespace {name}"));
    vec![
        Finding::wrong(
            format!(
                "revision {} injects every namespace without labels, {} of them with sidecars now ({path})",
                course.source.revision,
                used.len()
            ),
            format!("{label}set {path} to false in the release of istiod (helm upgrade --reuse-values)"),
        )
        .about(objects),
    ]
}
