//! The webhooks that inject sidecars: one for each pod, and one that leads to an istiod.

use std::collections::{BTreeMap, BTreeSet};

use meshlift_api::Severity;
use meshlift_model::view::{InjectionRule, Namespace};
use meshlift_model::{message, selector};

use super::subject::{about, count, judge};
use super::{Check, Finding, Look, Subject};

pub(super) static DOUBLE: Check = Check {
    code: "DOUBLE-INJECTION",
    reason: "DoubleInjection",
    severity: Severity::Warning,
    acceptable: true,
    title: "no pod is injected by two webhooks",
    explanation: "Two webhook configurations that select the same pod both inject it: the second one works on what the first one made, and which revision wins depends on the names of the configurations. It happens when a tag `default` is set while the injector of an installation without a revision stays. istioctl tells it as IST0139.",
    fix: "Remove the webhook configuration that is not meant, or make it inert as `istioctl tag set default` does.",
    source: "istio pkg/config/analysis/analyzers/webhook/webhook.go; istioctl/pkg/tag",
    look: Look::Mesh(double),
};

pub(super) static NO_SERVICE: Check = Check {
    code: "INJECTOR-NO-SERVICE",
    reason: "InjectorNoService",
    severity: Severity::Warning,
    acceptable: true,
    title: "the Service of every injection webhook exists",
    explanation: "Injection webhooks fail closed: where one calls a Service that is gone, no pod can be created in the namespaces it selects. It is what an uninstalled revision leaves behind.",
    fix: "Remove the webhook configuration, or bring back the istiod it belongs to.",
    source: "istio manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml (failurePolicy: Fail)",
    look: Look::Mesh(no_service),
};

pub(super) static TAG_BROKEN: Check = Check {
    code: "TAG-BROKEN",
    reason: "TagBroken",
    severity: Severity::Warning,
    acceptable: true,
    title: "every revision tag leads to a revision that runs",
    explanation: "A tag is a webhook with the label of its revision, and a Service that it calls. istiod renews the CA bundle of webhooks with its own revision only. So when a tag names a revision that is gone, or calls the Service of another one, pods in its namespaces come from the wrong istiod or cannot be created once the certificate changes.",
    fix: "Set the tag anew: istioctl tag set <tag> --revision <revision> --overwrite.",
    source: "istio pkg/webhooks/webhookpatch.go; istioctl/pkg/tag",
    look: Look::Mesh(tag_broken),
};

fn double(subject: &Subject<'_>) -> Vec<Finding> {
    judge(
        &subject.view.environment.injectors,
        "the injection webhooks",
        |rules| {
            let mut pairs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for namespace in subject.namespaces() {
                if let Some(pair) = two_at_once(subject, rules, namespace) {
                    let object = format!("Namespace {}", namespace.name);
                    pairs.entry(pair).or_default().insert(object);
                }
            }
            pairs
            .into_iter()
            .flat_map(|(pair, namespaces)| {
                about(namespaces, |all| {
                    Finding::wrong(
                        format!(
                            "webhook configurations {pair} both inject new pods of {}",
                            count(all.len(), "namespace")
                        ),
                        "remove the one that is not meant (kubectl delete mutatingwebhookconfiguration <name>)",
                    )
                })
            })
            .collect()
        },
    )
}

/// Two configurations that inject the same pod of a namespace: any new one, one of a workload that
/// is there, or one that asks for it.
fn two_at_once(
    subject: &Subject<'_>,
    rules: &[InjectionRule],
    namespace: &Namespace,
) -> Option<String> {
    let here: Vec<&InjectionRule> = rules
        .iter()
        .filter(|rule| selector::matches(&rule.namespaces, &namespace.labels))
        .collect();
    let first = here.first()?;
    if here
        .iter()
        .all(|rule| rule.configuration == first.configuration)
    {
        return None;
    }
    let plain = BTreeMap::new();
    let templates = subject
        .workloads()
        .filter(|workload| workload.key.namespace == namespace.name)
        .map(|workload| &workload.template_labels);
    std::iter::once(&plain).chain(templates).find_map(|pod| {
        let configurations: BTreeSet<&str> = here
            .iter()
            .filter(|rule| selector::matches(&rule.pods, pod))
            .map(|rule| rule.configuration.as_str())
            .collect();
        let names: Vec<&str> = configurations.into_iter().collect();
        (names.len() > 1).then(|| names.join(" and "))
    })
}

fn no_service(subject: &Subject<'_>) -> Vec<Finding> {
    judge(
        &subject.view.environment.injectors,
        "the injection webhooks",
        |rules| {
            let mut gone: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for rule in rules.iter().filter(|rule| !rule.service_exists) {
                if let Some(service) = &rule.service {
                    let configurations = gone.entry(service).or_default();
                    configurations.insert(&rule.configuration);
                }
            }
            gone.into_iter()
            .flat_map(|(service, configurations)| {
                let named = configurations.iter().map(|name| configuration(name));
                about(named, |_| {
                    let names: Vec<&str> = configurations.iter().copied().collect();
                    Finding::wrong(
                        format!(
                            "{} calls Service {service}, which is not there: pods that it selects cannot be created",
                            message::first_few(&names)
                        ),
                        format!(
                            "if nothing uses it any more, kubectl delete mutatingwebhookconfiguration {}",
                            names.join(" ")
                        ),
                    )
                })
            })
            .collect()
        },
    )
}

fn configuration(name: &str) -> String {
    format!("MutatingWebhookConfiguration {name}")
}

fn tag_broken(subject: &Subject<'_>) -> Vec<Finding> {
    let planes = subject.planes();
    let gone = subject
        .view
        .tags()
        .iter()
        .filter(|tag| !planes.iter().any(|plane| plane.revision == tag.revision));
    let gone = gone.map(|tag| {
        Finding::wrong(
            format!(
                "revision tag {} points at revision {}, which does not run",
                tag.name, tag.revision
            ),
            format!(
                "istioctl tag set {} --revision <one that runs> --overwrite",
                tag.name
            ),
        )
        .about([format!("tag {}", tag.name)])
    });
    let rules = judge(
        &subject.view.environment.injectors,
        "the injection webhooks",
        |rules| {
            let mut wrong: BTreeMap<&str, Finding> = BTreeMap::new();
            for rule in rules {
                if let Some((tag, finding)) = elsewhere(subject, rule) {
                    wrong.entry(tag).or_insert(finding);
                }
            }
            wrong.into_values().collect()
        },
    );
    gone.chain(rules).collect()
}

/// A tag whose webhook calls another istiod than that of its revision.
fn elsewhere<'r>(subject: &Subject<'_>, rule: &'r InjectionRule) -> Option<(&'r str, Finding)> {
    let (tag, revision) = (rule.tag.as_deref()?, rule.revision.as_deref()?);
    let service = rule.service.as_deref()?;
    let of_revision: Vec<String> = subject
        .planes()
        .iter()
        .filter(|plane| plane.revision == revision)
        .map(|plane| format!("{}/{}", plane.namespace, plane.name))
        .collect();
    let own = of_revision.first()?;
    if of_revision.iter().any(|own| own == service) {
        return None;
    }
    let finding = Finding::wrong(
        format!(
            "revision tag {tag} is of revision {revision} and calls Service {service} instead of {own}"
        ),
        format!("istioctl tag set {tag} --revision {revision} --overwrite"),
    );
    Some((tag, finding.about([format!("tag {tag}")])))
}
