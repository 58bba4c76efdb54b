use meshlift_api::{IstioRelease, KubernetesVersions, ReleaseCatalogSpec};
use proptest::prelude::*;

use super::*;

fn v(text: &str) -> Version {
    text.parse().expect("a version")
}

fn told(from: &str, to: &str, available: &[&str], rule: StepRule) -> Result<String, String> {
    let available: Vec<Version> = available.iter().map(|text| v(text)).collect();
    path(&v(from), &v(to), &available, rule, &Knowledge::embedded())
        .map(|hops| {
            let hops: Vec<String> = hops.iter().map(ToString::to_string).collect();
            hops.join(" ")
        })
        .map_err(|error| error.to_string())
}

#[test]
fn a_step_is_one_minor_or_two_where_restarts_are_to_be_few() {
    let repository = [
        "1.27.9", "1.28.0", "1.28.10", "1.29.8", "1.30.5", "1.31.0", "1.31.1",
    ];
    for (from, to, rule, hops) in [
        ("1.30.2", "1.31.0", StepRule::EACH_MINOR, "1.31.0"),
        ("1.30.2", "1.30.5", StepRule::EACH_MINOR, "1.30.5"),
        ("1.30.5", "1.30.5", StepRule::FEWEST_RESTARTS, ""),
        ("1.29.1", "1.31.0", StepRule::FEWEST_RESTARTS, "1.31.0"),
        ("1.29.1", "1.31.0", StepRule::EACH_MINOR, "1.30.5 1.31.0"),
        ("1.31.0-rc.0", "1.31.0", StepRule::EACH_MINOR, "1.31.0"),
        (
            "1.29.1-rc.0",
            "1.31.0",
            StepRule::EACH_MINOR,
            "1.30.5 1.31.0",
        ),
        (
            "1.27.1",
            "1.31.1",
            StepRule::EACH_MINOR,
            "1.28.10 1.29.8 1.30.5 1.31.1",
        ),
        (
            "1.27.1",
            "1.31.1",
            StepRule::FEWEST_RESTARTS,
            "1.29.8 1.31.1",
        ),
        (
            "1.28.1",
            "1.31.1",
            StepRule::FEWEST_RESTARTS,
            "1.30.5 1.31.1",
        ),
    ] {
        assert_eq!(
            told(from, to, &repository, rule),
            Ok(hops.to_owned()),
            "{from} to {to}"
        );
    }
}

#[test]
fn a_release_that_asks_for_a_patch_first_gets_it() {
    let repository = ["1.16.7", "1.17.8", "1.18.7"];
    for (from, rule, hops) in [
        ("1.17.3", StepRule::EACH_MINOR, "1.18.7"),
        ("1.17.2", StepRule::EACH_MINOR, "1.17.8 1.18.7"),
        ("1.16.5", StepRule::FEWEST_RESTARTS, "1.18.7"),
        ("1.16.4", StepRule::FEWEST_RESTARTS, "1.17.8 1.18.7"),
    ] {
        assert_eq!(
            told(from, "1.18.7", &repository, rule),
            Ok(hops.to_owned()),
            "{from}"
        );
    }
    let error = told(
        "1.17.2",
        "1.18.7",
        &["1.17.2", "1.18.7"],
        StepRule::EACH_MINOR,
    );
    assert_eq!(
        error.expect_err("no patch to go to"),
        "no way from 1.17.2 to 1.18.7: the chart repository has not 1.17.3 or a newer patch of 1.17, which 1.18 asks for first; add it to the repository, or ask for a target that is nearer"
    );
}

#[test]
fn a_gap_in_the_repository_is_named() {
    let repository = ["1.27.9", "1.28.10", "1.31.1"];
    for (from, rule, words) in [
        ("1.27.1", StepRule::EACH_MINOR, "a version of 1.29;"),
        (
            "1.27.1",
            StepRule::FEWEST_RESTARTS,
            "a version of 1.29 or 1.30;",
        ),
        (
            "1.28.10",
            StepRule::FEWEST_RESTARTS,
            "a version of 1.29 or 1.30;",
        ),
    ] {
        let error = told(from, "1.31.1", &repository, rule).expect_err("a gap");
        assert!(error.contains(words), "{error}");
    }
    let error =
        told("1.27.1", "1.31.9", &repository, StepRule::FEWEST_RESTARTS).expect_err("unknown");
    assert!(
        error.contains("1.31.9 is not in the chart repository"),
        "{error}"
    );
}

#[test]
fn never_down_never_to_another_flavour_or_major() {
    let all = ["1.30.2", "1.31.0", "1.31.0-mspider", "2.0.0"];
    for (from, to, words) in [
        ("1.31.0", "1.30.2", "downgrade is refused"),
        ("1.30.2", "1.31.0-mspider", "different flavours"),
        ("1.30.2-mspider", "1.31.0", "that ends in -mspider"),
        ("1.30.2", "2.0.0", "another major"),
    ] {
        let error = told(from, to, &all, StepRule::FEWEST_RESTARTS).expect_err("refused");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_way_of_one_flavour_uses_no_other() {
    let repository = ["1.30.5", "1.30.2-x", "1.31.0-x"];
    let hops = told("1.29.1-x", "1.31.0-x", &repository, StepRule::EACH_MINOR);
    assert_eq!(hops, Ok("1.30.2-x 1.31.0-x".to_owned()));
}

#[test]
fn a_counter_of_builds_is_no_flavour_of_its_own_and_a_pre_release_is_no_stop() {
    let repository = [
        "1.20.8-asm.10",
        "1.21.5-asm.9",
        "1.21.5-asm.10",
        "1.21.6-asm-rc.1",
        "1.21.9",
        "1.22.1-asm.1",
    ];
    for (from, to, hops) in [
        ("1.20.8-asm.5", "1.20.8-asm.10", "1.20.8-asm.10"),
        ("1.20.8-asm.5", "1.21.5-asm.10", "1.21.5-asm.10"),
        ("1.20.8-asm.5", "1.22.1-asm.1", "1.21.5-asm.10 1.22.1-asm.1"),
    ] {
        let found = told(from, to, &repository, StepRule::EACH_MINOR);
        assert_eq!(found, Ok(hops.to_owned()), "{from} to {to}");
    }
}

fn any_version() -> impl Strategy<Value = Version> {
    let flavour = prop_oneof![
        6 => Just(""),
        2 => Just("x.1"),
        2 => Just("x.12"),
        1 => Just("rc.0"),
        1 => Just("x-rc.1"),
    ];
    (10..18_u32, 0..4_u32, flavour).prop_map(|(minor, patch, flavour)| Version {
        major: 1,
        minor,
        patch,
        flavour: flavour.to_owned(),
    })
}

/// Some releases ask for a patch of one of the two before.
fn any_knowledge() -> impl Strategy<Value = Knowledge> {
    let asked = prop::collection::vec((0..3_u32, 0..4_u32), 8);
    asked.prop_map(|asked| {
        let releases = (10..18_u32)
            .zip(asked)
            .map(|(minor, (back, patch))| IstioRelease {
                minor: format!("1.{minor}"),
                kubernetes: Some(KubernetesVersions {
                    low: "1.20".into(),
                    high: "1.30".into(),
                }),
                minimum_from: (back > 0).then(|| vec![format!("1.{}.{patch}", minor - back)]),
                ..IstioRelease::default()
            });
        Knowledge::with(&ReleaseCatalogSpec {
            mode: meshlift_api::CatalogMode::Replace,
            releases: releases.collect(),
        })
        .expect("a catalog")
    })
}

/// The fewest steps, found by trying every stop at every step.
fn fewest(
    from: &Version,
    to: &Version,
    stops: &[Version],
    rule: StepRule,
    knowledge: &Knowledge,
) -> Option<usize> {
    if from == to {
        return Some(0);
    }
    let nexts = stops
        .iter()
        .filter(|next| rule.allows(from, next, knowledge));
    nexts
        .filter_map(|next| fewest(next, to, stops, rule, knowledge))
        .min()
        .map(|rest| rest + 1)
}

proptest! {
    /// Sorting would panic on an order that is none, and a search would not end.
    #[test]
    fn versions_have_one_order(all in prop::collection::vec(any_version(), 3)) {
        let (a, b, c) = (&all[0], &all[1], &all[2]);
        prop_assert_eq!(a.cmp(b), b.cmp(a).reverse());
        prop_assert_eq!(a.cmp(b).is_eq(), a == b);
        prop_assert!(!(a <= b && b <= c) || a <= c);
    }

    #[test]
    fn every_way_keeps_the_rule_and_none_is_shorter(
        from in any_version(),
        to in any_version(),
        mut available in prop::collection::vec(any_version(), 0..20),
        max_minors in 1..4_u32,
        knowledge in any_knowledge(),
    ) {
        let rule = StepRule { max_minors };
        available.push(to.clone());
        let found = path(&from, &to, &available, rule, &knowledge);
        available.reverse();
        prop_assert_eq!(&found, &path(&from, &to, &available, rule, &knowledge));
        let stops = stops(&from, &to, &available);
        match found {
            Ok(hops) => {
                prop_assert_eq!(hops.last().unwrap_or(&from), &to);
                let mut here = &from;
                for hop in &hops {
                    prop_assert!(here < hop, "{} is not above {}", hop, here);
                    prop_assert!(rule.allows(here, hop, &knowledge), "{} to {}", here, hop);
                    prop_assert!(hop.is_same_flavour(&from), "{} to {}", here, hop);
                    prop_assert!(hop == &to || !hop.is_pre_release(), "{} is no stop", hop);
                    let newer = available.iter().any(|v| {
                        Minor::of(v) == Minor::of(hop)
                            && v.is_same_flavour(hop)
                            && !v.is_pre_release()
                            && v > hop
                    });
                    prop_assert!(hop == &to || !newer, "{} is not the newest patch", hop);
                    here = hop;
                }
                prop_assert_eq!(Some(hops.len()), fewest(&from, &to, &stops, rule, &knowledge));
            }
            Err(TargetError::NoWay { .. }) => {
                prop_assert_eq!(fewest(&from, &to, &stops, rule, &knowledge), None);
            }
            Err(TargetError::Downgrade { .. }) => prop_assert!(to < from),
            Err(TargetError::Flavour { .. }) => prop_assert!(!to.is_same_flavour(&from)),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
