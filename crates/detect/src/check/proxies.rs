//! The running sidecars: whether they fit the control plane they talk to, and whether they are well.

use meshlift_api::Severity;
use meshlift_istio::version::Version;
use meshlift_model::message;

use super::subject::{Member, about, count, names};
use super::{Check, Finding, Look, Subject};

const SKEW: &str = "istio.io docs/releases/supported-releases, \"Control Plane/Data Plane Skew\"";

pub(super) static TOO_OLD: Check = Check {
    code: "PROXY-TOO-OLD",
    reason: "ProxyTooOld",
    severity: Severity::Warning,
    acceptable: true,
    title: "every sidecar is at most one minor behind its control plane",
    explanation: "Upstream supports sidecars of the control plane's minor and of the one before. Older ones were not restarted after an earlier upgrade; they may not understand what their control plane sends, and nobody tests it.",
    fix: "Restart these workloads. The upgrade does it for those that it moves.",
    source: SKEW,
    look: Look::Mesh(too_old),
};

pub(super) static NEWER: Check = Check {
    code: "PROXY-NEWER",
    reason: "ProxyNewer",
    severity: Severity::Warning,
    acceptable: true,
    title: "no sidecar is of a later minor than its control plane",
    explanation: "The data plane must not be ahead of the control plane. It happens when a control plane was brought back to an older version, or when an image is set by annotation.",
    fix: "Restart these workloads, and look for the annotation sidecar.istio.io/proxyImage on their templates.",
    source: SKEW,
    look: Look::Mesh(newer),
};

pub(super) static VERSION_UNKNOWN: Check = Check {
    code: "PROXY-VERSION-UNKNOWN",
    reason: "ProxyVersionUnknown",
    severity: Severity::Info,
    acceptable: true,
    title: "the version of every sidecar can be told",
    explanation: "The version of a sidecar is read from the tag of its image. With a digest alone, or a tag of one's own, it cannot be told whether it fits its control plane.",
    fix: "Nothing, if the images are known to fit.",
    source: "",
    look: Look::Mesh(version_unknown),
};

pub(super) static NOT_READY: Check = Check {
    code: "POD-NOT-READY",
    reason: "PodNotReady",
    severity: Severity::Warning,
    acceptable: true,
    title: "every pod with a sidecar is ready before the start",
    explanation: "A workload that is ill before its restart is ill after it, and the upgrade waits for it until the timeout and then ends as failed. It is also hard to tell afterwards what the upgrade broke.",
    fix: "Mend these pods, or exclude their workloads by spec.dataPlane.exclude.",
    source: "",
    look: Look::Mesh(not_ready),
};

/// Each sidecar whose version is known, with the version of the control plane it talks to.
fn versions<'a>(
    subject: &'a Subject<'a>,
) -> impl Iterator<Item = (Member<'a>, Version, &'a Version)> {
    subject.members().filter_map(move |member| {
        let proxy = Version::from_image(member.pod.proxy_image.as_deref()?)?;
        let plane = subject.plane(member.pod.revision.as_deref()?)?;
        Some((member, proxy, plane.version.as_ref()?))
    })
}

fn skewed(
    subject: &Subject<'_>,
    is: impl Fn(&Version, &Version) -> bool,
    finding: impl FnOnce(usize, String) -> Finding,
) -> Vec<Finding> {
    let found: Vec<_> = versions(subject)
        .filter(|(_, proxy, plane)| proxy.major == plane.major && is(proxy, plane))
        .collect();
    let mut of: Vec<String> = found
        .iter()
        .map(|(_, proxy, _)| proxy.to_string())
        .collect();
    of.sort();
    of.dedup();
    about(names(found.iter().map(|(member, ..)| *member)), |_| {
        finding(found.len(), message::first_few(&of))
    })
}

fn too_old(subject: &Subject<'_>) -> Vec<Finding> {
    let is = |proxy: &Version, plane: &Version| proxy.minor.saturating_add(1) < plane.minor;
    skewed(subject, is, |n, of| {
        Finding::wrong(
            format!(
                "{} of {of}, more than one minor behind the control plane",
                count(n, "sidecar")
            ),
            "restart these workloads (kubectl rollout restart); the upgrade does it for those that it moves",
        )
    })
}

fn newer(subject: &Subject<'_>) -> Vec<Finding> {
    let is = |proxy: &Version, plane: &Version| proxy.minor > plane.minor;
    skewed(subject, is, |n, of| {
        Finding::wrong(
            format!(
                "{} of {of}, ahead of the control plane",
                count(n, "sidecar")
            ),
            "restart these workloads, and remove sidecar.istio.io/proxyImage from their templates if it is there",
        )
    })
}

fn version_unknown(subject: &Subject<'_>) -> Vec<Finding> {
    let with_image = subject
        .members()
        .filter(|member| member.pod.proxy_image.is_some());
    told_by_no_tag(with_image, "nothing, if the images are known to fit")
}

/// Those of these sidecars whose image does not say their version.
pub(super) fn told_by_no_tag<'a>(
    members: impl Iterator<Item = Member<'a>>,
    fix: &str,
) -> Vec<Finding> {
    let unknown: Vec<Member<'a>> = members
        .filter(|member| member.pod.version().is_none())
        .collect();
    about(names(unknown.iter().copied()), |_| {
        let sidecars = count(unknown.len(), "sidecar");
        Finding::wrong(
            format!("the version of {sidecars} cannot be told from the image"),
            fix,
        )
    })
}

fn not_ready(subject: &Subject<'_>) -> Vec<Finding> {
    let ours = |member: &Member<'_>| member.workload.is_some_and(|w| subject.is_restarting(w));
    let ill: Vec<Member<'_>> = subject
        .members()
        .filter(|member| !member.pod.ready && !ours(member))
        .collect();
    let why: Vec<String> = ill
        .iter()
        .filter_map(|member| {
            let trouble = member.pod.trouble.as_deref()?;
            Some(format!("{}: {trouble}", member.pod.name))
        })
        .collect();
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(" ({})", message::first_few(&why))
    };
    about(ill.iter().map(Member::pod_name), |all| {
        Finding::wrong(
            format!("{} with a sidecar not ready{why}", count(all.len(), "pod")),
            "mend them first, or exclude their workloads by spec.dataPlane.exclude",
        )
    })
}
