//! The CRDs of the Gateway API, which Istio reads and does not bring.

use meshlift_api::Severity;

use super::subject::{about, judge};
use super::{Check, Finding, Look, Subject};
use crate::knowledge::GatewayApiMinimum;
use crate::message;
use crate::view::Crd;

pub(super) static TOO_OLD: Check = Check {
    code: "GATEWAY-API-TOO-OLD",
    reason: "GatewayApiTooOld",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the CRDs of the Gateway API are new enough for the target",
    explanation: "istiod does not watch a kind of the Gateway API whose CRD is older than it needs: once gateways run on the new control plane, routes of that kind are gone without an error. istioctl tells it as IST0176.",
    fix: "Upgrade the CRDs of the Gateway API. If there are no objects of these kinds, accept it.",
    source: "istio pkg/config/schema/gatewayapi/minimumversions.go, pkg/kube/kclient/crdwatcher.go",
    look: Look::Hop(too_old),
};

pub(super) static UNSERVED: Check = Check {
    code: "GATEWAY-API-UNSERVED",
    reason: "GatewayApiUnserved",
    severity: Severity::Warning,
    acceptable: true,
    title: "the CRDs of the Gateway API serve the versions that istiod reads",
    explanation: "istiod reads v1beta1 of Gateway, GatewayClass, HTTPRoute and ReferenceGrant, and its successors read v1 of Gateway, GatewayClass, HTTPRoute and GRPCRoute. Objects of a kind that does not serve them have no effect. istioctl tells it as IST0156 and IST0172.",
    fix: "Upgrade the CRDs of the Gateway API.",
    source: "istio istioctl/pkg/precheck/precheck.go",
    look: Look::Mesh(unserved),
};

const SUFFIX: &str = ".gateway.networking.k8s.io";
const V1: [&str; 4] = ["gateways", "gatewayclasses", "httproutes", "grpcroutes"];
const V1BETA1: [&str; 4] = [
    "gateways",
    "gatewayclasses",
    "httproutes",
    "referencegrants",
];

fn too_old(subject: &Subject<'_>) -> Vec<Finding> {
    let knowledge = &subject.view.knowledge;
    let before = knowledge.gateway_api_minimums(subject.from);
    // What the running istiod ignores already is not lost by the upgrade.
    let new: Vec<&GatewayApiMinimum> = knowledge
        .gateway_api_minimums(subject.to)
        .iter()
        .filter(|minimum| !before.contains(minimum))
        .collect();
    judge(
        &subject.view.environment.crds,
        "the CRDs of the Gateway API",
        |crds| {
            let old: Vec<(&Crd, &GatewayApiMinimum)> = crds
                .iter()
                .filter_map(|crd| {
                    let minimum = new.iter().find(|minimum| minimum.crd == crd.name)?;
                    let enough = bundle(crd).is_some_and(|bundle| bundle >= minimum.minimum);
                    (!enough).then_some((crd, *minimum))
                })
                .collect();
            let told: Vec<String> = old
                .iter()
                .map(|(crd, minimum)| {
                    let is = crd.bundle_version.as_deref().unwrap_or("no version");
                    format!(
                        "{} is of {is} and has to be of v{}",
                        crd.name, minimum.minimum
                    )
                })
                .collect();
            let objects = old.iter().map(|(crd, _)| named(crd));
            about(objects, |_| {
                Finding::wrong(
                    format!(
                        "istiod {} ignores objects of kinds whose CRD is too old: {}",
                        subject.to,
                        message::first_few(&told)
                    ),
                    "upgrade the CRDs of the Gateway API, or accept GATEWAY-API-TOO-OLD if there are no objects of these kinds (kubectl get <kind> -A)",
                )
            })
        },
    )
}

/// The version of the bundle as istiod reads it: a pre-release counts as the release, and a CRD that
/// does not say its version, or says it badly, is ignored as an old one is.
fn bundle(crd: &Crd) -> Option<semver::Version> {
    let text = crd.bundle_version.as_deref()?;
    let parsed = semver::Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()?;
    Some(semver::Version::new(
        parsed.major,
        parsed.minor,
        parsed.patch,
    ))
}

fn named(crd: &Crd) -> String {
    format!("CustomResourceDefinition {}", crd.name)
}

fn unserved(subject: &Subject<'_>) -> Vec<Finding> {
    judge(
        &subject.view.environment.crds,
        "the CRDs of the Gateway API",
        |crds| {
            [("v1beta1", &V1BETA1), ("v1", &V1)]
                .into_iter()
                .flat_map(|(version, kinds)| {
                    let lacks = crds.iter().filter(|crd| {
                        let kind = crd.name.strip_suffix(SUFFIX);
                        kind.is_some_and(|kind| kinds.contains(&kind))
                            && !crd.served_versions.iter().any(|served| served == version)
                    });
                    about(lacks.map(named), |all| {
                        let names: Vec<&str> = all
                            .iter()
                            .filter_map(|name| name.split(['.', ' ']).nth(1))
                            .collect();
                        Finding::wrong(
                            format!(
                                "{version} of {} is not served: istiod does not see such objects",
                                message::first_few(&names)
                            ),
                            "upgrade the CRDs of the Gateway API",
                        )
                    })
                })
                .collect()
        },
    )
}
