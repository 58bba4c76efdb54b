//! EnvoyFilters that are pinned to a version of the proxy.

use meshlift_api::Severity;
use meshlift_model::view::EnvoyFilter;
use regex::Regex;

use super::subject::{about, count, judge};
use super::{Check, Finding, Look, Subject};

pub(super) static PINNED: Check = Check {
    code: "ENVOYFILTER-PINNED",
    reason: "EnvoyFilterPinned",
    severity: Severity::Warning,
    acceptable: true,
    title: "every EnvoyFilter that applies now applies to the target's sidecars",
    explanation: "match.proxy.proxyVersion of an EnvoyFilter is a regular expression on the version of the sidecar. One that names the running minor stops to apply, without an error, as soon as a workload is restarted: what it added (a filter, a limit, a header) is gone.",
    fix: "Try the patch on the target, then add one for the target's version beside it.",
    source: "istio pilot/pkg/model/envoyfilter.go",
    look: Look::Hop(pinned),
};

/// Longer expressions match nothing in istiod.
/// Source: istio `pilot/pkg/model/envoyfilter.go`, `maxProxyVersionLen`.
const LONGEST: usize = 1024;

fn pinned(subject: &Subject<'_>) -> Vec<Finding> {
    let (from, to) = (subject.from.to_string(), subject.to.to_string());
    judge(
        &subject.view.environment.envoy_filters,
        "the EnvoyFilters",
        |filters| {
            let stops = filters.iter().filter(|filter| {
                let mut all = filter.proxy_versions.iter();
                all.any(|expression| matches(expression, &from) && !matches(expression, &to))
                    && !successor(filter, &from, &to)
            });
            let named =
                stops.map(|filter| format!("EnvoyFilter {}/{}", filter.namespace, filter.name));
            about(named, |all| {
                Finding::wrong(
                    format!(
                        "sidecars of {to} lose what {} gives to those of {from}",
                        count(all.len(), "EnvoyFilter")
                    ),
                    format!(
                        "try the patches with {to}, then add the same with a proxyVersion that matches it"
                    ),
                )
            })
        },
    )
}

/// Whether somebody has added a patch for the target beside the one that stops to apply.
fn successor(filter: &EnvoyFilter, from: &str, to: &str) -> bool {
    let mut all = filter.proxy_versions.iter();
    all.any(|expression| matches(expression, to) && !matches(expression, from))
}

/// As istiod matches: anywhere in the version. An expression that cannot be read matches nothing.
fn matches(expression: &str, version: &str) -> bool {
    expression.len() <= LONGEST
        && Regex::new(expression).is_ok_and(|expression| expression.is_match(version))
}
