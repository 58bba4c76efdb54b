//! The running control plane: it must work before another one is put beside it.

use meshlift_api::Severity;

use super::{Check, Finding, Look, Subject};
use crate::message;
use crate::view::{ControlPlane, Seen};

pub(super) static NOT_READY: Check = Check {
    code: "ISTIOD-NOT-READY",
    reason: "ControlPlaneNotReady",
    severity: Severity::Blocking,
    acceptable: false,
    title: "every replica of the running istiod is ready",
    explanation: "An upgrade keeps the old control plane serving until the last workload has left it. One that is already ill may fail in between, and its webhook then refuses new pods.",
    fix: "Mend istiod; kubectl describe its Deployment and pods.",
    source: "istio.io docs/setup/upgrade/canary",
    look: Look::Mesh(not_ready),
};

pub(super) static INJECTOR_BROKEN: Check = Check {
    code: "INJECTOR-BROKEN",
    reason: "InjectorBroken",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the running revision has an injection webhook with a CA bundle",
    explanation: "The webhook fails closed: without a CA bundle no pod can be created in the namespaces it serves, also none that a rollback would need.",
    fix: "Restart istiod, which writes the CA bundle, or reinstall its release.",
    source: "istio pkg/webhooks/webhookpatch.go",
    look: Look::Mesh(injector_broken),
};

pub(super) static VALIDATOR_NOWHERE: Check = Check {
    code: "VALIDATOR-NOWHERE",
    reason: "ValidatorPointsNowhere",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the default validating webhook calls an istiod that runs",
    explanation: "istiod-default-validator fails closed once it has worked: when the Service it calls is gone, every write of Istio configuration is refused.",
    fix: "helm upgrade the base release with defaultRevision set to a revision that runs.",
    source: "istio manifests/charts/base/templates/default.yaml",
    look: Look::Mesh(validator_nowhere),
};

fn not_ready(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    let finding = || {
        Finding::wrong(
            message::not_ready(plane),
            format!(
                "mend it before upgrading (kubectl -n {} describe deployment {})",
                plane.namespace, plane.name
            ),
        )
        .about([format!("Deployment {}/{}", plane.namespace, plane.name)])
    };
    (!plane.is_ready()).then(finding).into_iter().collect()
}

fn injector_broken(subject: &Subject<'_>) -> Vec<Finding> {
    let plane = subject.course.source;
    vec![match &plane.injector {
        Seen::Present(webhook) if webhook.has_ca_bundle => return Vec::new(),
        Seen::Present(webhook) => Finding::wrong(
            format!(
                "the injection webhook {} has no CA bundle, so no pod can be injected",
                webhook.name
            ),
            format!("restart istiod {}, which writes it", plane.name),
        )
        .about([format!("MutatingWebhookConfiguration {}", webhook.name)]),
        Seen::Absent => Finding::wrong(
            format!("revision {} has no injection webhook", plane.revision),
            match &subject.course.source_release {
                Ok(release) => format!("reinstall release {}", release.name),
                Err(_) => format!("reinstall istiod {}", plane.name),
            },
        ),
        Seen::Unreadable(why) => Finding::unknown("the injection webhook", why),
    }]
}

fn validator_nowhere(subject: &Subject<'_>) -> Vec<Finding> {
    let validator = match &subject.view.validator {
        Seen::Present(validator) => validator,
        // A base chart with an empty defaultRevision renders none.
        Seen::Absent => return Vec::new(),
        Seen::Unreadable(why) => return vec![Finding::unknown("the validating webhook", why)],
    };
    let serves = |plane: &ControlPlane| plane.name == validator.service;
    let planes = subject.view.control_planes.present();
    if planes.into_iter().flatten().any(serves) {
        return Vec::new();
    }
    vec![Finding::wrong(
        format!(
            "istiod-default-validator calls service {}, which no istiod serves: every Istio configuration write is refused or unchecked",
            validator.service
        ),
        "run helm upgrade of the base release with defaultRevision set to a revision that runs",
    )]
}
