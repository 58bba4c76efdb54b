//! The risks of a step: told by their own codes, found and explained as checks are.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshlift_api::{CheckResult, CheckStatus, Phase, ReleaseCatalogSpec, Severity};
use meshlift_istio::knowledge::Knowledge;
use meshlift_model::example::{planes, surrounded, upgrade, version};
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{MeshView, RiskMatch, Seen};
use serde_json::json;

use super::super::explain;
use super::why;
use crate::detect::detect;

/// Three risks of the step to 1.31: one for all, one by its values, one about objects; and one of 1.30.
fn knowledge() -> Knowledge {
    let risk = |code: &str, rule: serde_json::Value| {
        let mut risk = json!({
            "code": code, "title": "something changes", "message": "It is other than it was.",
            "fix": "Look at it.", "url": "https://example.org/notes",
        });
        if !rule.is_null() {
            risk["match"] = rule;
        }
        risk
    };
    let of = json!({ "group": "networking.istio.io", "version": "v1", "resource": "sidecars", "kind": "Sidecar" });
    let catalog = json!({ "mode": "Replace", "releases": [
        { "minor": "1.31", "kubernetes": { "low": "1.32", "high": "1.37" }, "risks": [
            risk("R131-ALL", json!(null)),
            risk("R131-VALUES", json!({ "values": "true" })),
            risk("R131-OBJECTS", json!({ "resources": of })),
        ] },
        { "minor": "1.30", "kubernetes": { "low": "1.32", "high": "1.36" }, "risks": [
            risk("R130-ALL", json!(null)),
        ] },
    ] });
    let catalog: ReleaseCatalogSpec = serde_json::from_value(catalog).expect("a catalog");
    Knowledge::with(&catalog).expect("a readable catalog")
}

fn told(spoil: impl FnOnce(&mut Upgrade, &mut MeshView)) -> Vec<CheckStatus> {
    let (mut upgrade, mut view) = (upgrade(Phase::Detecting), surrounded());
    view.knowledge = Arc::new(knowledge());
    spoil(&mut upgrade, &mut view);
    let all = detect(&upgrade, &view).checks;
    let risks = all.into_iter().filter(|told| told.code.starts_with("R1"));
    risks.collect()
}

fn brief(told: &[CheckStatus]) -> Vec<(&str, Severity, CheckResult)> {
    let brief = told.iter().map(|t| (t.code.as_str(), t.severity, t.result));
    brief.collect()
}

fn matches(all: &[(&str, RiskMatch)]) -> Seen<BTreeMap<String, RiskMatch>> {
    let all = all
        .iter()
        .map(|(code, found)| ((*code).to_owned(), found.clone()));
    Seen::Present(all.collect())
}

#[test]
fn only_what_concerns_this_mesh_is_told_and_objects_weigh_more() {
    use CheckResult::{Failed, Passed};
    use Severity::{Info, Warning};
    let plain = told(|_, _| {});
    let expected = [
        ("R131-ALL", Info, Failed),
        ("R131-VALUES", Info, Passed),
        ("R131-OBJECTS", Warning, Passed),
    ];
    assert_eq!(brief(&plain), expected);
    let matched = told(|_, view| {
        let objects = RiskMatch {
            objects: vec!["Sidecar shop/cart".into()],
            total: 7,
            unreadable: None,
        };
        view.environment.risks = matches(&[
            ("R131-VALUES", RiskMatch::default()),
            ("R131-OBJECTS", objects),
        ]);
    });
    let expected = [
        ("R131-ALL", Info, Failed),
        ("R131-VALUES", Info, Failed),
        ("R131-OBJECTS", Warning, Failed),
    ];
    assert_eq!(brief(&matched), expected);
    let objects = &matched[2];
    assert_eq!(objects.objects, ["Sidecar shop/cart"]);
    assert_eq!(objects.objects_total, 7);
    assert_eq!(
        objects.message,
        "Istio 1.31: It is other than it was. It concerns 7 objects here."
    );
    assert_eq!(objects.fix, "Look at it. (https://example.org/notes)");
}

#[test]
fn a_risk_that_matches_no_object_passes_and_one_that_cannot_be_looked_at_is_unknown() {
    let none = told(|_, view| {
        view.environment.risks = matches(&[("R131-OBJECTS", RiskMatch::default())]);
    });
    assert_eq!(none[2].result, CheckResult::Passed);
    let forbidden = told(|_, view| {
        let found = RiskMatch {
            unreadable: Some("sidecars may not be listed".into()),
            ..RiskMatch::default()
        };
        view.environment.risks = matches(&[("R131-OBJECTS", found)]);
    });
    assert_eq!(forbidden[2].result, CheckResult::Unknown);
    assert!(forbidden[2].message.contains("may not be listed"));
    let blind = told(|_, view| view.environment.risks = why());
    let results: Vec<CheckResult> = blind.iter().map(|told| told.result).collect();
    use CheckResult::{Failed, Unknown};
    assert_eq!(results, [Failed, Unknown, Unknown]);
    assert!(!blind.iter().any(super::super::blocks));
}

#[test]
fn a_risk_is_accepted_by_its_code_and_told_for_its_hop() {
    let accepted = told(|upgrade, _| upgrade.spec.accept_risks = vec!["R131-ALL".into()]);
    assert_eq!(accepted[0].result, CheckResult::Accepted);
    assert_eq!(accepted[0].hop, None);
    let hops = told(|_, view| {
        planes(view)[0].version = Some(version("1.28.4"));
        view.catalog = Seen::Present(["1.29.8", "1.30.5", "1.31.0"].map(version).into());
    });
    let hops: Vec<(&str, Option<&str>)> = hops
        .iter()
        .map(|told| (told.code.as_str(), told.hop.as_deref()))
        .collect();
    assert!(hops.contains(&("R130-ALL", Some("1.30.5"))), "{hops:?}");
    assert!(hops.contains(&("R131-ALL", Some("1.31.0"))), "{hops:?}");
}

#[test]
fn checks_and_risks_are_explained_and_nothing_else() {
    let knowledge = knowledge();
    let check = explain("K8S-TOO-OLD", &knowledge).expect("a check");
    for part in [
        "K8S-TOO-OLD (an upgrade does not start)",
        "Makes sure that the Kubernetes",
        "add K8S-TOO-OLD to spec.acceptRisks",
        "Source: istio.io docs/releases/supported-releases",
    ] {
        assert!(check.contains(part), "{check}");
    }
    let hard = explain("PERMISSIONS", &knowledge).expect("a check");
    assert!(hard.contains("cannot be accepted"), "{hard}");
    let risk = explain("R131-OBJECTS", &knowledge).expect("a risk");
    for part in [
        "R131-OBJECTS (a warning: an upgrade starts): something changes",
        "A risk of stepping up to Istio 1.31. It is other than it was.",
        "What to do: Look at it.",
        "https://example.org/notes",
    ] {
        assert!(risk.contains(part), "{risk}");
    }
    assert_eq!(explain("NOTHING", &knowledge), None);
}
