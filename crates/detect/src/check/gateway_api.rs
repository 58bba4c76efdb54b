//! The CRDs of the Gateway API, which Istio reads and does not bring.

use meshlift_api::{GatewayOrder, Severity};
use meshlift_istio::knowledge::GatewayApiMinimum;
use meshlift_istio::version::Minor;
use meshlift_model::message;
use meshlift_model::owners::Owners;
use meshlift_model::view::Crd;

use super::subject::{about, judge};
use super::{Check, Finding, Look, Subject};

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

pub(super) static OUTAGE: Check = Check {
    code: "GATEWAY-OUTAGE",
    reason: "GatewayOutage",
    severity: Severity::Blocking,
    acceptable: true,
    title: "Gateways that istiod renders change their control plane without a gap",
    explanation: "Before 1.31, istiod takes the configuration away from the pods of a Gateway at the moment another revision owns it, also from those that still serve: until its new pods are ready, every request through it is lost, two seconds long where pods start quickly. Two replicas and a rolling update do not help, nor does labelling by hand while the old istiod runs. Gateways move one after the other, each is out once; on the way back nothing is lost. From 1.31 on, and in late patches of 1.29 and 1.30 that took the fix over, istiod does not do it. Injected gateways are not concerned.",
    fix: "Accept it if such a gap does no harm (spec.windows says when it may be), or if the patch of istiod that runs has the fix. Otherwise upgrade to a patch with the fix first, or keep the Gateways, and the old control plane with them, where they are (spec.gateways.order: None): docs/data-plane.md says how to move them by hand without a gap.",
    source: "istio issue 59959, pull requests 60158 and 60627",
    look: Look::Hop(outage),
};

const SUFFIX: &str = ".gateway.networking.k8s.io";
/// The minor version whose istiod keeps the configuration of a Gateway for pods that still serve.
const FIXED_IN: Minor = Minor {
    major: 1,
    minor: 31,
};
const V1: [&str; 4] = ["gateways", "gatewayclasses", "httproutes", "grpcroutes"];
const V1BETA1: [&str; 4] = [
    "gateways",
    "gatewayclasses",
    "httproutes",
    "referencegrants",
];

/// Gateways that leave a control plane which drops them too soon.
fn outage(subject: &Subject<'_>) -> Vec<Finding> {
    let order = subject.upgrade.spec.gateways.order;
    if Minor::of(subject.from) >= FIXED_IN || order == GatewayOrder::None {
        return Vec::new();
    }
    let owners = Owners::now(subject.view);
    let source = subject.course.source.revision.as_str();
    judge(&subject.view.gateways, "the Gateways", |gateways| {
        let leaving = gateways
            .iter()
            .filter(|g| owners.owner(g.label.as_deref(), &g.namespace) == Some(source));
        let objects = leaving.map(|g| format!("Gateway {}/{}", g.namespace, g.name));
        about(objects, |all| {
            Finding::wrong(
                format!(
                    "istiod {} takes the configuration away from Gateways that move, also from their pods that still serve: each loses all requests once, until its new pods are ready, which takes seconds ({})",
                    subject.from,
                    message::first_few(all)
                ),
                "accept GATEWAY-OUTAGE if that does no harm or istiod has the fix of istio issue 59959, or keep them where they are (spec.gateways.order: None), or upgrade to a patch with the fix first",
            )
        })
    })
}

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
