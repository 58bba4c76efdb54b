//! The Kubernetes of every cluster of the mesh against both ends of the target's range.

use meshlift_api::{ClusterCheck, ClusterVerdict, Severity};
use meshlift_istio::version::{KubernetesRange, KubernetesVersion, Minor, Version};
use meshlift_model::view::{MeshView, Seen};

use super::{Check, Finding, Look, Subject};

const SOURCE: &str =
    "istio.io docs/releases/supported-releases (data/compatibility/supportStatus.yml)";
/// What the cluster that the operator runs in is called.
const LOCAL: &str = "local";

pub(super) static TOO_OLD: Check = Check {
    code: "K8S-TOO-OLD",
    reason: "KubernetesTooOld",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the Kubernetes of every cluster is new enough for the target",
    explanation: "Each Istio minor is built and tested for a range of Kubernetes minors. Below it, APIs that the new control plane needs may be missing: it then fails in the middle of the upgrade, or later and silently.",
    fix: "Upgrade the cluster; the detection runs again by itself, and at once when the MeshUpgrade is annotated with a new value of meshlift.io/redetect.",
    source: SOURCE,
    look: Look::Hop(|subject| judged(subject, ClusterVerdict::TooOld)),
};

pub(super) static TOO_NEW: Check = Check {
    code: "K8S-TOO-NEW",
    reason: "KubernetesTooNew",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the Kubernetes of every cluster is not too new for the target",
    explanation: "A Kubernetes that came out after an Istio minor may have removed what that Istio uses. istioctl checks only the lower bound.",
    fix: "Choose a target that supports the Kubernetes of all clusters; the message names which.",
    source: SOURCE,
    look: Look::Hop(|subject| judged(subject, ClusterVerdict::TooNew)),
};

pub(super) static UNKNOWN_RANGE: Check = Check {
    code: "K8S-UNKNOWN",
    reason: "KubernetesUnknown",
    severity: Severity::Blocking,
    acceptable: true,
    title: "it is known which Kubernetes versions the target supports",
    explanation: "The ranges are data in the operator, and upstream adds a row for each new minor. For a minor without a row nobody has checked whether this operator can upgrade to it.",
    fix: "Upgrade the operator, or add the release to the ReleaseCatalog named default.",
    source: SOURCE,
    look: Look::Hop(unknown_range),
};

pub(super) static UNREACHABLE: Check = Check {
    code: "CLUSTER-UNREACHABLE",
    reason: "ClusterUnreachable",
    severity: Severity::Blocking,
    acceptable: true,
    title: "every cluster of the mesh can be asked for its version",
    explanation: "A cluster that cannot be asked may run a Kubernetes that the target does not support, and its sidecars may be left without a control plane that understands them.",
    fix: "Mend the connection or the kubeconfig that the message names.",
    source: "",
    look: Look::Mesh(unreachable),
};

/// Every cluster of the mesh with its verdict for a target, the one the operator runs in first.
pub fn clusters(view: &MeshView, to: &Version) -> Vec<ClusterCheck> {
    let range = view.knowledge.kubernetes_range(to);
    let told = all(view);
    told.map(|(name, version)| ClusterCheck {
        name: name.to_owned(),
        kubernetes_version: version.present().map(ToString::to_string),
        verdict: verdict(range.as_ref(), version),
    })
    .collect()
}

fn all(view: &MeshView) -> impl Iterator<Item = (&str, &Seen<KubernetesVersion>)> {
    let others = view.environment.clusters.present().into_iter().flatten();
    std::iter::once((LOCAL, &view.kubernetes))
        .chain(others.map(|cluster| (cluster.name.as_str(), &cluster.kubernetes)))
}

fn verdict(range: Option<&KubernetesRange>, version: &Seen<KubernetesVersion>) -> ClusterVerdict {
    match (range, version) {
        (_, Seen::Absent | Seen::Unreadable(_)) => ClusterVerdict::Unreachable,
        (None, Seen::Present(_)) => ClusterVerdict::Unknown,
        (Some(range), Seen::Present(version)) if *version < range.low => ClusterVerdict::TooOld,
        (Some(range), Seen::Present(version)) if *version > range.high => ClusterVerdict::TooNew,
        (Some(_), Seen::Present(_)) => ClusterVerdict::Supported,
    }
}

/// One finding for all clusters with a verdict.
fn judged(subject: &Subject<'_>, as_: ClusterVerdict) -> Vec<Finding> {
    let to = subject.to;
    let Some(range) = subject.view.knowledge.kubernetes_range(to) else {
        return Vec::new();
    };
    let found: Vec<(&str, KubernetesVersion)> = all(subject.view)
        .filter(|(_, version)| verdict(Some(&range), version) == as_)
        .filter_map(|(name, version)| Some((name, *version.present()?)))
        .collect();
    if found.is_empty() {
        return Vec::new();
    }
    let named: Vec<String> = found
        .iter()
        .map(|(name, v)| told(subject, name, *v))
        .collect();
    let (low, high) = (range.low, range.high);
    let (what, fix) = match as_ {
        ClusterVerdict::TooOld => (
            "too old",
            format!(
                "upgrade {} to {low} first; detection then runs again by itself",
                clusters_of(&found)
            ),
        ),
        _ => ("too new", fitting(subject)),
    };
    let message = format!(
        "{} is {what} for Istio {to}, which supports {low} to {high}",
        named.join(", ")
    );
    let objects = found.iter().map(|(name, _)| format!("cluster {name}"));
    vec![Finding::wrong(message, fix).about(objects)]
}

fn told(subject: &Subject<'_>, name: &str, version: KubernetesVersion) -> String {
    if several(subject.view) {
        format!("Kubernetes {version} of cluster {name}")
    } else {
        format!("Kubernetes {version}")
    }
}

fn several(view: &MeshView) -> bool {
    all(view).nth(1).is_some()
}

fn clusters_of(found: &[(&str, KubernetesVersion)]) -> String {
    match found {
        [(LOCAL, _)] => "the cluster".to_owned(),
        [(name, _)] => format!("cluster {name}"),
        _ => "the clusters".to_owned(),
    }
}

/// Which Istio, from the running one up, fits all clusters.
fn fitting(subject: &Subject<'_>) -> String {
    let view = subject.view;
    let versions = all(view).filter_map(|(_, version)| version.present().copied());
    let clusters: Vec<KubernetesVersion> = versions.collect();
    let up = Minor::of(subject.course.from);
    let fitting = view.knowledge.fitting(&clusters).into_iter();
    let minors: Vec<String> = fitting
        .filter(|minor| *minor >= up)
        .map(|minor| minor.to_string())
        .collect();
    match &minors[..] {
        [] => "no Istio that this operator knows fits every cluster: upgrade the operator, or bring the clusters closer together".to_owned(),
        [only] => format!("only Istio {only} fits every cluster: set targetVersion to it"),
        several => format!("Istio {} fit every cluster: set targetVersion to one of them", several.join(", ")),
    }
}

fn unknown_range(subject: &Subject<'_>) -> Vec<Finding> {
    if subject
        .view
        .knowledge
        .kubernetes_range(subject.to)
        .is_some()
    {
        return Vec::new();
    }
    vec![Finding::wrong(
        format!(
            "this operator does not know which Kubernetes versions Istio {} supports",
            subject.to.minor_name()
        ),
        "upgrade the operator, or choose an older Istio",
    )]
}

fn unreachable(subject: &Subject<'_>) -> Vec<Finding> {
    let local = match &subject.view.kubernetes {
        Seen::Present(_) => None,
        Seen::Absent => Some(Finding::unknown(
            "the Kubernetes version",
            "it was not looked at",
        )),
        Seen::Unreadable(why) => Some(Finding::unknown("the Kubernetes version", why)),
    };
    let list = subject
        .view
        .environment
        .clusters
        .unreadable()
        .map(|why| Finding::unknown("the list of the mesh's clusters", why));
    let others = all(subject.view).skip(1).filter_map(|(name, version)| {
        let why = version.unreadable()?;
        let finding = Finding::wrong(
            format!("cluster {name} of the mesh cannot be asked for its Kubernetes version: {why}"),
            "mend that; detection then runs again by itself",
        );
        Some(finding.about([format!("cluster {name}")]))
    });
    local.into_iter().chain(list).chain(others).collect()
}
