//! Where charts come from: repositories that are switched off, or that anybody on the way can speak for.

use std::net::IpAddr;

use meshlift_api::Severity;

use super::{Check, Finding, Look, Subject};

pub(super) static RETIRED: Check = Check {
    code: "CHARTS-RETIRED",
    reason: "ChartsRetired",
    severity: Severity::Warning,
    acceptable: true,
    title: "the charts do not come from a repository that is switched off",
    explanation: "The chart repositories at istio-release.storage.googleapis.com and oci://gcr.io/istio-release have no release after 1.30 and are removed in December 2026, after days without them on 2026-09-15, 2026-10-13, 2026-11-17 and 2026-12-08. Newer versions are never seen there, and an upgrade that is under way on such a day waits for its charts.",
    fix: "Set spec.charts.repository of the Mesh to https://blob.istio.io/istio-release/charts or oci://ghcr.io/istio/release/charts, or to a mirror of your own.",
    source: "istio.io blog/2026/retirement-of-gcp; 1.31 upgrade notes",
    look: Look::Mesh(retired),
};

pub(super) static PLAIN_HTTP: Check = Check {
    code: "CHARTS-PLAIN-HTTP",
    reason: "ChartsOverPlainHttp",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the charts come over a connection that nobody on the way can change",
    explanation: "Over plain HTTP the index with the digests of the charts and the charts themselves can be replaced by anybody between the operator and the repository, who then chooses the image of istiod and what its roles may do. A repository on the operator's own machine (localhost, 127.0.0.0/8, ::1) is no such case.",
    fix: "Set spec.charts.repository of the Mesh to the https:// address of the repository, with its certificate in spec.charts.caBundle if it is of your own, or to an oci:// registry. Accept it where the network between is trusted.",
    source: "helm.sh/docs/topics/chart_repository",
    look: Look::Mesh(plain_http),
};

/// Whether a host is this very machine, the only place where plain HTTP has nobody on the way.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Whether charts come from another machine over plain HTTP.
fn is_plain_http(repository: &str) -> bool {
    let Some((scheme, rest)) = repository.split_once("://") else {
        return false;
    };
    let end = match rest.strip_prefix('[') {
        Some(address) => address.find(']').map(|at| at + 2),
        None => rest.find(['/', '\\', ':', '?', '#']),
    };
    let host = &rest[..end.unwrap_or(rest.len())];
    scheme.eq_ignore_ascii_case("http") && !is_loopback(host)
}

fn plain_http(subject: &Subject<'_>) -> Vec<Finding> {
    let repository = &subject.course.mesh.charts.repository;
    let finding = Finding::wrong(
        format!(
            "the chart repository {repository} is read over plain HTTP, so anybody on the way can replace its charts"
        ),
        "set spec.charts.repository of the Mesh to an https:// or oci:// address (spec.charts.caBundle for a certificate of your own)",
    );
    if is_plain_http(repository) {
        vec![finding]
    } else {
        Vec::new()
    }
}

/// What is known of a chart repository that is switched off; none for every other.
/// Source: istio.io blog/2026/retirement-of-gcp; 1.31 upgrade notes.
pub fn retired_source(repository: &str) -> Option<&'static str> {
    const RETIRED: [(&str, &str); 3] = [
        ("istio-release.storage.googleapis.com", HTTP),
        ("storage.googleapis.com/istio-release", HTTP),
        ("gcr.io/istio-release", OCI),
    ];
    const HTTP: &str = "has nothing after 1.31.0-rc.0 and is removed in December 2026";
    const OCI: &str = "has nothing after 1.30 and is removed in December 2026";
    let (_, place) = repository.split_once("://")?;
    let place = place.to_ascii_lowercase();
    let holds = |retired: &str| {
        let rest = place.strip_prefix(retired);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
    };
    let (_, why) = RETIRED.iter().find(|(retired, _)| holds(retired))?;
    Some(why)
}

fn retired(subject: &Subject<'_>) -> Vec<Finding> {
    let repository = &subject.course.mesh.charts.repository;
    let fix = "set spec.charts.repository of the Mesh to https://blob.istio.io/istio-release/charts or oci://ghcr.io/istio/release/charts, or to a mirror of your own";
    let finding = |why| Finding::wrong(format!("the chart repository {repository} {why}"), fix);
    retired_source(repository)
        .map(finding)
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{is_plain_http, retired_source};

    #[test]
    fn plain_http_is_free_on_this_machine_only() {
        for repository in [
            "http://charts.local/x",
            "HTTP://charts.local",
            "http://10.0.0.7:8080",
            "http://localhost.evil.com",
            "http://evil.com/localhost",
            "http://evil.com:80#localhost",
            "http://[2001:db8::1]:80/x",
            "http://169.254.169.254/x",
        ] {
            assert!(is_plain_http(repository), "{repository}");
        }
        for repository in [
            meshlift_api::DEFAULT_CHARTS_REPOSITORY,
            "oci://charts.local/x",
            "http://localhost:8080/x",
            "http://Localhost",
            "http://127.0.0.1:5000",
            "http://127.3.2.1/x",
            "http://[::1]:5000/x",
        ] {
            assert!(!is_plain_http(repository), "{repository}");
        }
    }

    #[test]
    fn only_what_is_switched_off_is_retired() {
        for repository in [
            "https://istio-release.storage.googleapis.com/charts",
            "https://Istio-Release.storage.googleapis.com",
            "https://storage.googleapis.com/istio-release/charts/",
            "oci://gcr.io/istio-release/charts",
        ] {
            assert!(retired_source(repository).is_some(), "{repository}");
        }
        for repository in [
            meshlift_api::DEFAULT_CHARTS_REPOSITORY,
            "oci://ghcr.io/istio/release/charts",
            "https://mirror.local/gcr.io/istio-release",
            "oci://gcr.io/istio-release-mirror/charts",
            "https://istio-release.storage.googleapis.com.evil.com/charts",
            "gcr.io/istio-release",
        ] {
            assert_eq!(retired_source(repository), None, "{repository}");
        }
    }
}
