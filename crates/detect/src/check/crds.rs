//! The CRDs of Istio: who owns them, whether all are there, and whether the target takes them.

use meshlift_api::Severity;
use meshlift_api::labels::{HELM_RELEASE_NAME, HELM_RELEASE_NAMESPACE, MANAGED_BY};
use meshlift_istio::version::{Minor, Version};
use meshlift_model::view::{Crd, Release};
use serde_json::{Map, Value};

use super::subject::{about, count, judge, value};
use super::{Check, Finding, Look, Subject};

const CHART: &str = "istio manifests/charts/base/templates/crds.yaml";

pub(super) static NOT_OWNED: Check = Check {
    code: "CRD-NOT-OWNED",
    reason: "CrdNotOwned",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the CRDs of Istio belong to the Helm release of chart base",
    explanation: "From 1.24 on the CRDs are ordinary objects of chart base. Helm refuses to take over an object without the marks of the release (\"invalid ownership metadata\"), so helm upgrade of base fails before anything else has begun. CRDs that came from a folder crds/ (charts up to 1.23), from kubectl or from istioctl have no marks. Only objects that the release rendered before are not asked for them.",
    fix: "Give the CRDs the label and the annotations of the release, once; the message has the command. If the release rendered these CRDs before (helm get manifest names them), it may be accepted.",
    source: "istio.io news/releases/1.24.x/announcing-1.24/upgrade-notes; istio manifests/charts/base/templates/crds.yaml",
    look: Look::Hop(not_owned),
};

pub(super) static BY_HAND: Check = Check {
    code: "CRD-BY-HAND",
    reason: "CrdByHand",
    severity: Severity::Warning,
    acceptable: true,
    title: "chart base brings the CRDs of the target",
    explanation: "Charts of base up to 1.23 have the CRDs in a folder that Helm installs and never upgrades, and a release with global.resourceScope=namespace has none at all. The new istiod then reads its configuration through the old CRDs, which drop the fields they do not know.",
    fix: "Apply the CRDs of the target with kubectl before the upgrade.",
    source: CHART,
    look: Look::Hop(by_hand),
};

pub(super) static STORED: Check = Check {
    code: "CRD-STORED-VERSION",
    reason: "CrdStoredVersion",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the target's CRDs have every version that objects are stored in",
    explanation: "The API server refuses a CRD that lacks a version in which objects may be stored (status.storedVersions). That happens when the CRDs were once those of a newer Istio than the target: CRDs cannot go back.",
    fix: "Choose a target that is not older than the CRDs.",
    source: "Kubernetes docs, Versions in CustomResourceDefinitions; istio manifests/charts/base/files/crd-all.gen.yaml of each release",
    look: Look::Hop(stored),
};

pub(super) static MISSING: Check = Check {
    code: "CRD-MISSING",
    reason: "CrdMissing",
    severity: Severity::Warning,
    acceptable: true,
    title: "all CRDs of the running release are there",
    explanation: "Someone removed a CRD, or never installed it. The upgrade of chart base brings it back unless the release excludes it, and istiod then begins to read objects of that kind.",
    fix: "Find out whether it is missing on purpose; if so, list it in base.excludedCRDs of the base release.",
    source: CHART,
    look: Look::Mesh(missing),
};

/// The first minor whose chart renders the CRDs as templates.
const TEMPLATES_SINCE: u32 = 24;

/// Versions of a CRD, each with the first minor that has it.
type Versions = &'static [(&'static str, u32)];

const NETWORKING: Versions = &[("v1alpha3", 0), ("v1beta1", 0), ("v1", 22)];
const POLICY: Versions = &[("v1beta1", 0), ("v1", 18)];

/// What chart base has, with the first minor that has it.
/// Source: `crd-all.gen.yaml` of the releases 1.12 to 1.31.
const KINDS: &[(&str, u32, Versions)] = &[
    (
        "trafficextensions.extensions.istio.io",
        30,
        &[("v1alpha1", 0)],
    ),
    ("wasmplugins.extensions.istio.io", 12, &[("v1alpha1", 0)]),
    ("destinationrules.networking.istio.io", 0, NETWORKING),
    ("envoyfilters.networking.istio.io", 0, &[("v1alpha3", 0)]),
    ("gateways.networking.istio.io", 0, NETWORKING),
    ("proxyconfigs.networking.istio.io", 13, &[("v1beta1", 0)]),
    ("serviceentries.networking.istio.io", 0, NETWORKING),
    ("sidecars.networking.istio.io", 0, NETWORKING),
    ("virtualservices.networking.istio.io", 0, NETWORKING),
    ("workloadentries.networking.istio.io", 0, NETWORKING),
    ("workloadgroups.networking.istio.io", 0, NETWORKING),
    ("authorizationpolicies.security.istio.io", 0, POLICY),
    (
        "peerauthentications.security.istio.io",
        0,
        &[("v1beta1", 0), ("v1", 22)],
    ),
    ("requestauthentications.security.istio.io", 0, POLICY),
    (
        "telemetries.telemetry.istio.io",
        12,
        &[("v1alpha1", 0), ("v1", 22)],
    ),
];

/// The CRDs that a release brings, with their versions.
fn shipped(of: &Version) -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let minor = of.minor;
    let there = KINDS.iter().filter(move |(_, since, _)| *since <= minor);
    there.map(move |(name, _, versions)| {
        let versions = versions.iter().filter(|(_, since)| *since <= minor);
        (*name, versions.map(|(version, _)| *version).collect())
    })
}

fn seen(subject: &Subject<'_>, with: impl FnOnce(&[Crd]) -> Vec<Finding>) -> Vec<Finding> {
    judge(&subject.view.environment.crds, "the CRDs", |crds| {
        with(crds)
    })
}

fn renders_crds(to: &Version, values: &Map<String, Value>) -> bool {
    let scope = value(values, "global.resourceScope").and_then(Value::as_str);
    to.minor >= TEMPLATES_SINCE && scope != Some("namespace")
}

fn excludes(values: &Map<String, Value>, crd: &str) -> bool {
    let excluded = value(values, "base.excludedCRDs").and_then(Value::as_array);
    excluded.is_some_and(|all| all.iter().any(|name| name == crd))
}

fn not_owned(subject: &Subject<'_>) -> Vec<Finding> {
    let (Ok(base), Some(values)) = (&subject.course.base_release, subject.base_values()) else {
        return Vec::new();
    };
    // Said once, at the first hop that renders them.
    let said = subject.from != subject.course.from && subject.from.minor >= TEMPLATES_SINCE;
    if said || !renders_crds(subject.to, &values) {
        return Vec::new();
    }
    seen(subject, |crds| {
        let rendered: Vec<&str> = shipped(subject.to).map(|(name, _)| name).collect();
        let touched = crds
            .iter()
            .filter(|crd| rendered.contains(&crd.name.as_str()) && !excludes(&values, &crd.name));
        owners(touched, base)
    })
}

/// One finding for the CRDs of each other release, and one for those of nobody.
fn owners<'a>(crds: impl Iterator<Item = &'a Crd> + Clone, base: &Release) -> Vec<Finding> {
    let ours = format!("{}/{}", base.namespace, base.name);
    let marked = |crd: &&Crd| crd.labels.get(MANAGED_BY).is_some_and(|by| by == "Helm");
    let foreign = |crd: &&Crd| {
        let owner = crd.helm_release.as_deref();
        owner.is_some_and(|owner| owner != ours)
    };
    let unowned = |crd: &&Crd| crd.helm_release.is_none() || (!foreign(crd) && !marked(crd));
    let mut others: Vec<&str> = crds
        .clone()
        .filter_map(|crd| crd.helm_release.as_deref())
        .filter(|owner| *owner != ours)
        .collect();
    others.sort_unstable();
    others.dedup();
    let of_others = others.into_iter().flat_map(|other| {
        let theirs = crds
            .clone()
            .filter(move |crd| crd.helm_release.as_deref() == Some(other));
        about(theirs.map(named), |all| {
            Finding::wrong(
                format!(
                    "Helm release {other} owns {} of Istio: Helm refuses to take them into {ours}",
                    count(all.len(), "CRD")
                ),
                format!(
                    "make sure that nobody upgrades {other} any more, then hand them over: {}",
                    adopt(base)
                ),
            )
        })
    });
    let of_nobody = about(crds.clone().filter(unowned).map(named), |all| {
        Finding::wrong(
            format!(
                "no Helm release owns {} of Istio: Helm refuses to take them into {ours}",
                count(all.len(), "CRD")
            ),
            format!("give them to the release: {}", adopt(base)),
        )
    });
    of_others.chain(of_nobody).collect()
}

fn named(crd: &Crd) -> String {
    format!("CustomResourceDefinition {}", crd.name)
}

fn adopt(base: &Release) -> String {
    let (name, namespace) = (&base.name, &base.namespace);
    format!(
        "crds=$(kubectl get crd -o name | grep -E '(networking|security|telemetry|extensions)[.]istio[.]io$'); kubectl label $crds {MANAGED_BY}=Helm --overwrite; kubectl annotate $crds {HELM_RELEASE_NAME}={name} {HELM_RELEASE_NAMESPACE}={namespace} --overwrite"
    )
}

fn by_hand(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(values) = subject.base_values() else {
        return Vec::new();
    };
    // The CRDs of a minor hardly change.
    let same = Minor::of(subject.from) == Minor::of(subject.to);
    if same || renders_crds(subject.to, &values) {
        return Vec::new();
    }
    let to = subject.to;
    let folder = if to.minor < TEMPLATES_SINCE {
        "manifests/charts/base/crds"
    } else {
        "manifests/charts/base/files/crd-all.gen.yaml"
    };
    vec![Finding::wrong(
        format!("helm upgrade of chart base {to} leaves the CRDs as they are"),
        format!(
            "before the upgrade, in the unpacked release {to}: kubectl apply --server-side --force-conflicts -f {folder}"
        ),
    )]
}

fn stored(subject: &Subject<'_>) -> Vec<Finding> {
    seen(subject, |crds| {
        let lost = shipped(subject.to).filter_map(|(name, versions)| {
            let crd = crds.iter().find(|crd| crd.name == name)?;
            let stored = crd.stored_versions.iter();
            let lost = stored.map(String::as_str).filter(|v| !versions.contains(v));
            let lost: Vec<&str> = lost.collect();
            (!lost.is_empty()).then(|| (named(crd), lost.join(" and ")))
        });
        let lost: Vec<(String, String)> = lost.collect();
        about(lost.iter().map(|(crd, _)| crd.clone()), |all| {
            let which = lost.first().map_or("", |(_, versions)| versions);
            Finding::wrong(
                format!(
                    "objects of {} may be stored in a version that Istio {} does not have ({which}): the API server would refuse its CRDs",
                    count(all.len(), "kind"),
                    subject.to
                ),
                "choose a newer target: CRDs cannot go back",
            )
        })
    })
}

fn missing(subject: &Subject<'_>) -> Vec<Finding> {
    let values = subject.base_values().unwrap_or_default();
    seen(subject, |crds| {
        let gone = shipped(subject.course.from)
            .map(|(name, _)| name)
            .filter(|name| !excludes(&values, name) && !crds.iter().any(|crd| crd.name == *name));
        about(
            gone.map(|name| format!("CustomResourceDefinition {name}")),
            |all| {
                Finding::wrong(
                    format!(
                        "{} of Istio {} not there; the upgrade would install what chart base has of them",
                        count(all.len(), "CRD"),
                        if all.len() == 1 { "is" } else { "are" }
                    ),
                    "if that is meant, list the names under base.excludedCRDs in spec.values.base of the Mesh",
                )
            },
        )
    })
}
