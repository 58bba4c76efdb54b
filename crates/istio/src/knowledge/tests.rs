mod conditions;

use std::collections::BTreeSet;

use meshlift_api::{
    CatalogMode, IstioRelease, KubernetesVersions, ReleaseCatalogSpec, ReleaseRisk,
};
use serde_json::{Value, json};

use super::*;

fn v(text: &str) -> Version {
    text.parse().expect("a version")
}

fn kubernetes(minor: u32) -> KubernetesVersion {
    KubernetesVersion { major: 1, minor }
}

fn texts(minors: &[Minor]) -> Vec<String> {
    minors.iter().map(ToString::to_string).collect()
}

#[test]
fn the_embedded_table_has_no_gap_and_sane_rows() {
    let knowledge = Knowledge::embedded();
    let minors: Vec<u32> = knowledge
        .releases()
        .map(|release| release.minor.minor)
        .collect();
    let without_gap: Vec<u32> = (12..=31).collect();
    assert_eq!(minors, without_gap);
    let mut before: Option<&MinorRelease> = None;
    for release in knowledge.releases() {
        let what = release.minor;
        let range = release.kubernetes;
        let end = release.end_of_life.expect("a day").date;
        assert!(release.released.expect("a day") < end, "{what}");
        assert!(
            (2..10).contains(&(range.high.minor - range.low.minor)),
            "{what}"
        );
        let minimum = release.minimum_kubernetes.expect("known");
        assert!(minimum <= range.high, "{what}");
        if let Some(tested) = release.tested {
            assert!(tested.low < range.low && tested.high <= range.low, "{what}");
        }
        let compatible = release.compatibility_versions.as_ref().expect("known");
        assert!(
            compatible.windows(2).all(|pair| pair[0] < pair[1]),
            "{what}"
        );
        assert!(compatible.iter().all(|c| *c < what), "{what}");
        assert!(
            release.minimum_from.iter().all(|f| Minor::of(f) < what),
            "{what}"
        );
        if let Some(before) = before {
            assert!(before.released < release.released, "{what}");
            assert!(before.kubernetes.low <= range.low, "{what}");
            assert!(before.kubernetes.high <= range.high, "{what}");
        }
        before = Some(release);
    }
}

#[test]
fn every_risk_is_told_in_full_and_its_code_names_its_release() {
    let mut codes = BTreeSet::new();
    for risk in Knowledge::embedded()
        .releases()
        .flat_map(|release| &release.risks)
    {
        let number = risk.minor.minor;
        assert!(
            risk.code.starts_with(&format!("R1{number}-")),
            "{}",
            risk.code
        );
        assert!(
            codes.insert(risk.code.clone()),
            "{} is there twice",
            risk.code
        );
        assert!(risk.url.starts_with("https://istio.io/"), "{}", risk.code);
        for sentence in [&risk.message, &risk.fix] {
            assert!(sentence.ends_with('.'), "{}: {sentence}", risk.code);
        }
        assert!(!risk.title.ends_with('.'), "{}", risk.code);
    }
    assert!(codes.len() > 50, "{}", codes.len());
}

#[test]
fn ranges_are_asked_from_both_ends() {
    let knowledge = Knowledge::embedded();
    let range = knowledge
        .kubernetes_range(&v("1.31.0-mspider"))
        .expect("known");
    let inside: Vec<u32> = (0..50).filter(|m| range.contains(kubernetes(*m))).collect();
    assert_eq!(inside, [32, 33, 34, 35, 36, 37]);
    for unknown in ["1.11.0", "1.32.0", "2.31.0"] {
        assert_eq!(knowledge.kubernetes_range(&v(unknown)), None);
    }
    assert_eq!(
        texts(&knowledge.fitting(&[kubernetes(36), kubernetes(32)])),
        ["1.30", "1.31"]
    );
    assert_eq!(
        texts(&knowledge.fitting(&[kubernetes(37), kubernetes(31)])),
        [""; 0]
    );
    assert_eq!(
        knowledge
            .first_supporting(kubernetes(37))
            .map(|m| m.to_string()),
        Some("1.31".into())
    );
    assert_eq!(knowledge.first_supporting(kubernetes(38)), None);
}

#[test]
fn what_else_is_asked_of_a_release() {
    let knowledge = Knowledge::embedded();
    let end = |version: &str| {
        knowledge
            .end_of_life(&v(version))
            .map(|end| end.to_string())
    };
    assert_eq!(end("1.31.1"), Some("~2027-02-28".into()));
    assert_eq!(end("1.28.3"), Some("2026-07-01".into()));
    assert_eq!(end("1.99.0"), None);
    let compatible = knowledge
        .compatibility_versions(&v("1.31.0"))
        .expect("known");
    assert_eq!(
        texts(compatible),
        ["1.25", "1.26", "1.27", "1.28", "1.29", "1.30"]
    );
    let gateway_api = knowledge.gateway_api_minimums(&v("1.31.0"));
    assert_eq!(gateway_api.len(), 4);
    assert_eq!(
        knowledge.hub(&v("1.30.2")),
        Some("registry.istio.io/release")
    );
}

#[test]
fn the_risks_of_a_step_are_those_of_every_release_on_the_way() {
    let knowledge = Knowledge::embedded();
    let minors = |from: &str, to: &str| -> BTreeSet<String> {
        let risks = knowledge.risks(&v(from), &v(to));
        risks.iter().map(|risk| risk.minor.to_string()).collect()
    };
    assert_eq!(minors("1.30.2", "1.31.0"), BTreeSet::from(["1.31".into()]));
    assert_eq!(
        minors("1.29.2", "1.31.0"),
        BTreeSet::from(["1.30".into(), "1.31".into()])
    );
    assert!(minors("1.30.2", "1.30.5").is_empty());
    assert!(minors("1.31.0", "1.30.0").is_empty());
}

fn release(minor: &str, low: &str, high: &str) -> IstioRelease {
    IstioRelease {
        minor: minor.into(),
        kubernetes: Some(KubernetesVersions {
            low: low.into(),
            high: high.into(),
        }),
        ..IstioRelease::default()
    }
}

fn with(mode: CatalogMode, releases: Vec<IstioRelease>) -> Result<Knowledge, String> {
    Knowledge::with(&ReleaseCatalogSpec { mode, releases }).map_err(|error| error.to_string())
}

#[test]
fn a_catalog_extends_what_is_known_or_takes_its_place() {
    let mut corrected = release("1.31", "1.33", "1.38");
    corrected.end_of_life = Some("2027-03-15".into());
    corrected.risks = vec![ReleaseRisk {
        code: "R131-HOSTING".into(),
        title: "ours".into(),
        ..ReleaseRisk::default()
    }];
    let releases = vec![corrected, release("1.32", "1.34", "1.38")];
    let extended = with(CatalogMode::Extend, releases.clone()).expect("a catalog");
    assert_eq!(extended.releases().count(), 21);
    assert_eq!(
        texts(&extended.fitting(&[kubernetes(38)])),
        ["1.31", "1.32"]
    );
    // An announced day is no longer an expected one; what is not given stays.
    assert_eq!(
        extended.end_of_life(&v("1.31.0")).map(|e| e.to_string()),
        Some("2027-03-15".into())
    );
    assert_eq!(
        extended
            .compatibility_versions(&v("1.31.0"))
            .map(<[_]>::len),
        Some(6)
    );
    assert_eq!(extended.compatibility_versions(&v("1.32.0")), None);
    assert_eq!(
        extended
            .risk("R131-HOSTING")
            .map(|risk| risk.title.as_str()),
        Some("ours")
    );
    assert!(extended.risk("R131-XDS-API").is_some());

    let replaced = with(CatalogMode::Replace, releases).expect("a catalog");
    let known: Vec<String> = replaced.releases().map(|r| r.minor.to_string()).collect();
    assert_eq!(known, ["1.31", "1.32"]);
    assert_eq!(replaced.risks(&v("1.29.0"), &v("1.32.0")).len(), 1);
}

#[test]
fn rubbish_in_a_catalog_is_told_by_its_field() {
    let refused = |change: fn(&mut IstioRelease)| {
        let mut release = release("1.32", "1.34", "1.38");
        change(&mut release);
        with(CatalogMode::Extend, vec![release]).expect_err("rubbish")
    };
    let risk = |rule: Value| ReleaseRisk {
        code: "R132-X".into(),
        rule: serde_json::from_value(rule).expect("a rule"),
        ..ReleaseRisk::default()
    };
    for (error, words) in [
        (
            refused(|r| r.minor = "new".into()),
            "spec.releases[new].minor",
        ),
        (
            refused(|r| r.kubernetes = None),
            "spec.releases[1.32].kubernetes: is needed",
        ),
        (
            refused(|r| r.released = Some("2026-02-31".into())),
            "spec.releases[1.32].released",
        ),
        (
            refused(|r| r.end_of_life = Some("soon".into())),
            "spec.releases[1.32].endOfLife",
        ),
        (
            refused(|r| r.minimum_from = Some(vec!["1.31".into()])),
            "minimumFrom",
        ),
        (
            refused(|r| r.minimum_kubernetes = Some("new".into())),
            "minimumKubernetes",
        ),
        (
            refused(|r| r.compatibility_versions = Some(vec!["x".into()])),
            "compatibilityVersions",
        ),
        (
            with(CatalogMode::Extend, vec![release("1.32", "1.38", "1.34")]).expect_err("rubbish"),
            "spec.releases[1.32].kubernetes: low is above high",
        ),
        (
            with(
                CatalogMode::Replace,
                vec![release("1.32", "1.34", "1.38"); 2],
            )
            .expect_err("twice"),
            "spec.releases[1.32]: is there twice",
        ),
    ] {
        assert!(error.contains(words), "{error}");
    }
    let mut malformed = release("1.32", "1.34", "1.38");
    malformed.risks = vec![risk(json!({ "values": "values.a ==" }))];
    let error = with(CatalogMode::Extend, vec![malformed]).expect_err("no CEL");
    let words = "spec.releases[1.32].risks[R132-X].match.values: \"values.a ==\" is no CEL";
    assert!(error.starts_with(words), "{error}");

    let mut taken = release("1.32", "1.34", "1.38");
    taken.risks = vec![ReleaseRisk {
        code: "R131-HOSTING".into(),
        ..ReleaseRisk::default()
    }];
    let error = with(CatalogMode::Extend, vec![taken]).expect_err("a code twice");
    assert!(
        error.contains("risks[R131-HOSTING]: another risk has this code"),
        "{error}"
    );
}

#[test]
fn a_catalog_that_cannot_be_heeded_leaves_what_is_built_in() {
    let knowledge = Knowledge::despite("spec.releases: nonsense");
    assert_eq!(
        knowledge.problem.as_deref(),
        Some("spec.releases: nonsense")
    );
    assert_eq!(knowledge.releases, Knowledge::embedded().releases);
    assert_eq!(Knowledge::default(), Knowledge::embedded());
}

#[test]
fn rows_of_a_table_newest_first() {
    let rows = Knowledge::embedded().rows();
    assert_eq!(rows.len(), 20);
    let known = &rows[0][..6];
    let expected = [
        "1.31",
        "2026-08-31",
        "~2027-02-28",
        "1.32-1.37",
        "1.27-1.31",
        "1.25-1.30",
    ];
    assert_eq!(known, expected);
    assert_eq!(rows[19][4..], ["-", "-", "0"].map(str::to_owned));
}
