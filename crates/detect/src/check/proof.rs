//! A dry-run pod of each namespace, as it would be made now: what an upgrade cannot show before its first change it
//! cannot show after it either, when CRDs and istiod are installed.

use meshlift_api::Severity;
use meshlift_model::message;
use meshlift_model::view::{Probe, Refuser};

use super::subject::about;
use super::{Check, Finding, Look, Subject};

pub(super) static PROOF: Check = Check {
    code: "INJECTION-PROOF",
    reason: "InjectionProof",
    severity: Severity::Blocking,
    acceptable: true,
    title: "a new pod of the mesh gets a sidecar",
    explanation: "Before a namespace is restarted, a pod of one of its workloads is created as a dry run: with every webhook and policy, and without a pod. With the running control plane that works in no namespace now, so an upgrade could show in none that its new control plane injects, and would move nothing.",
    fix: "Fix what refuses the pod: give it what the policy asks for, or except the namespace from it. If it is the injection, check the labels of the namespace and the webhook of the revision.",
    source: "",
    look: Look::Mesh(proof),
};

pub(super) static REFUSED: Check = Check {
    code: "INJECTION-REFUSED",
    reason: "InjectionRefused",
    severity: Severity::Warning,
    acceptable: true,
    title: "a new pod gets a sidecar in every namespace of the mesh",
    explanation: "A pod of one of the namespace's workloads, created as a dry run, was refused or came back without a sidecar. Restarted, its workloads would stand still or leave the mesh. So they are not restarted: the upgrade waits for them for the timeout of a restart, names them, and goes on with the rest. As long as they use the old control plane, that stays. A quota that is used up holds only workloads whose new pods come before the old ones go.",
    fix: "Fix what refuses the pod, raise the quota by one pod, or exclude the namespace by spec.dataPlane.exclude.",
    source: "",
    look: Look::Mesh(refused),
};

/// What is wrong in each namespace, with its name. What could not be asked is not wrong.
fn wrong(subject: &Subject<'_>) -> Vec<(String, String)> {
    let said = |(namespace, probe): (&String, &Probe)| {
        let why = match probe {
            Probe::NotInjected => message::not_injected(namespace),
            Probe::Refused(refusal) if !matches!(refusal.by, Refuser::NoDryRun(_)) => {
                message::pod_refused(namespace, refusal)
            }
            Probe::Refused(_) | Probe::Injected { .. } | Probe::Failed(_) => return None,
        };
        Some((namespace.clone(), why))
    };
    subject.view.probes.iter().filter_map(said).collect()
}

/// Whether it is shown nowhere, and somewhere for another reason than a quota: that a pod which replaces one may pass.
fn nowhere(subject: &Subject<'_>) -> bool {
    let mut probes = subject.view.probes.values();
    let open = probes.any(|probe| match probe {
        Probe::Injected { .. } | Probe::Failed(_) => true,
        Probe::Refused(refusal) => matches!(refusal.by, Refuser::NoDryRun(_) | Refuser::Quota),
        Probe::NotInjected => false,
    });
    !open && !subject.view.probes.is_empty()
}

fn proof(subject: &Subject<'_>) -> Vec<Finding> {
    if nowhere(subject) {
        told(subject, "no new pod of the mesh would run with a sidecar")
    } else {
        Vec::new()
    }
}

fn refused(subject: &Subject<'_>) -> Vec<Finding> {
    if nowhere(subject) {
        return Vec::new();
    }
    let unknown = subject.view.probes.iter().filter_map(|(namespace, probe)| {
        let Probe::Failed(why) = probe else {
            return None;
        };
        let what = format!("a dry-run pod in namespace {namespace}");
        Some(Finding::unknown(&what, why))
    });
    let mut findings = told(subject, "workloads would not be restarted");
    findings.extend(unknown.take(1));
    findings
}

fn told(subject: &Subject<'_>, what: &str) -> Vec<Finding> {
    let (namespaces, whys): (Vec<_>, Vec<_>) = wrong(subject).into_iter().unzip();
    let objects = namespaces.iter().map(|name| format!("Namespace {name}"));
    about(objects, |_| {
        Finding::wrong(
            format!("{what}: {}", message::first_few(&whys)),
            "fix what refuses these pods (a policy, a quota, a label), or exclude the namespaces by spec.dataPlane.exclude",
        )
    })
}
