//! Where charts come from: repositories that are switched off.

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
    use super::retired_source;

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
