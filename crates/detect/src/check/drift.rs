//! What the running control plane has that its Helm release does not know.

use meshlift_api::Severity;
use meshlift_model::message;
use meshlift_model::view::Drift;

use super::subject::{about, count, judge};
use super::{Check, Finding, Look, Subject};

pub(super) static LIVE: Check = Check {
    code: "LIVE-DRIFT",
    reason: "LiveDrift",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the running control plane is as its Helm release says",
    explanation: "The new control plane is made of the values of the release. What was changed beside Helm (kubectl edit configmap istio, kubectl set env) is in no value, so the new control plane does not have it: a stricter outbound policy, a log or a feature flag ends for every workload that moves. The mesh configuration, and image, arguments and environment of istiod are compared with the manifest that Helm stored.",
    fix: "Set it in the values, under spec.values.istiod of the Mesh, or undo it. If the new control plane shall do without it, accept it.",
    source: "istio manifests/charts/istio-control/istio-discovery/templates",
    look: Look::Mesh(live),
};

fn live(subject: &Subject<'_>) -> Vec<Finding> {
    let Ok(release) = &subject.course.source_release else {
        return Vec::new();
    };
    let full = format!("{}/{}", release.namespace, release.name);
    judge(
        &subject.view.environment.drift,
        "what of the control plane Helm does not know",
        |all| {
            let ours = all.iter().filter(|drift| drift.release == full);
            let named = ours.map(|Drift { object, what, .. }| format!("{object} {what}"));
            about(named, |all| {
                Finding::wrong(
                    format!(
                        "{} of the running control plane not in Helm release {full}, which the new one would not have: {}",
                        count(all.len(), "setting"),
                        message::first_few(all)
                    ),
                    format!(
                        "set them in the Mesh (kubectl edit mesh {}, spec.values.istiod: meshConfig, env), or accept LIVE-DRIFT",
                        subject.upgrade.spec.mesh
                    ),
                )
            })
        },
    )
}
