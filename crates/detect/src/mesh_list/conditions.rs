//! Conditions of a Mesh, one function each.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use meshlift_api::conditions as c;
use meshlift_api::{AvailableVersion, ClusterVerdict, MeshStatus, MeshType};
use meshlift_istio::version::Version;
use meshlift_model::message;
use meshlift_model::view::{ControlPlane, Installer, MeshView, Seen};

use super::clusters::{Cluster, obstacles};
use super::found::{elsewhere, served_from_elsewhere};
use super::members::{Members, installer_name};
use super::offers::upgradable;
use super::status::KnownMesh;

/// What a condition says now.
pub(super) struct Finding {
    /// `None` is `Unknown`.
    holds: Option<bool>,
    reason: &'static str,
    message: String,
}

impl Finding {
    fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self::of(Some(true), reason, message)
    }

    fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self::of(Some(false), reason, message)
    }

    fn unknown(reason: &'static str, message: impl Into<String>) -> Self {
        Self::of(None, reason, message)
    }

    fn of(holds: Option<bool>, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            holds,
            reason,
            message: message.into(),
        }
    }
}

/// Sets every condition of `status`, whose other fields are set already. A transition time changes
/// with its condition only.
pub(super) fn set(
    now: Timestamp,
    mesh: &KnownMesh,
    view: &MeshView,
    clusters: &[Cluster],
    status: &mut MeshStatus,
) {
    let version: Option<Version> = status.version.as_ref().and_then(|v| v.parse().ok());
    let version = version.as_ref();
    let findings = [
        (c::READY, ready(mesh, view, status)),
        (c::UPGRADE_AVAILABLE, upgrade_available(mesh, view, status)),
        (c::SUPPORTED, supported(now, view, version)),
        (
            c::KUBERNETES_COMPATIBLE,
            compatible(view, clusters, version),
        ),
        (c::DATA_PLANE_CURRENT, data_plane_current(view, status)),
    ];
    status.conditions = findings
        .into_iter()
        .map(|(kind, finding)| condition(now, mesh, kind, finding))
        .collect();
}

fn condition(now: Timestamp, mesh: &KnownMesh, kind: &str, finding: Finding) -> Condition {
    let value = match finding.holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let before = mesh.status.conditions.iter().find(|old| old.type_ == kind);
    let unchanged = before.filter(|old| old.status == value);
    Condition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: finding.reason.to_owned(),
        message: message::capped(&finding.message),
        last_transition_time: unchanged
            .map_or_else(|| Time(now), |old| old.last_transition_time.clone()),
        observed_generation: Some(mesh.generation),
    }
}

fn ready(mesh: &KnownMesh, view: &MeshView, status: &MeshStatus) -> Finding {
    let home = &mesh.spec.control_plane_namespace;
    let planes = match &view.control_planes {
        Seen::Present(planes) => planes,
        Seen::Absent => return Finding::unknown("Unreadable", "control planes were not looked at"),
        Seen::Unreadable(why) => {
            let said = format!(
                "the control planes cannot be listed ({why}); what is said of them is as it was"
            );
            return Finding::unknown("Unreadable", said);
        }
    };
    let members = Members::of(view, planes, home);
    let Some(main) = members.main else {
        let here = planes.iter().map(|p| p.namespace.as_str()).collect();
        return match served_from_elsewhere(view, &here).get(home) {
            Some(rule) => Finding::unknown("ControlPlaneElsewhere", elsewhere(rule)),
            None => Finding::no(
                "NoControlPlane",
                format!(
                    "there is no istiod in namespace {home}: install Istio there, or delete this Mesh and create one with the spec.controlPlaneNamespace of istiod"
                ),
            ),
        };
    };
    let in_use = |plane: &ControlPlane| {
        let mut revisions = status.revisions.iter();
        plane == main || revisions.any(|r| r.name == plane.revision && r.namespaces + r.proxies > 0)
    };
    let not_ready: Vec<String> = members
        .planes
        .iter()
        .filter(|plane| in_use(plane) && !plane.is_ready())
        .map(|plane| message::not_ready(plane))
        .collect();
    if !not_ready.is_empty() {
        return Finding::no("ControlPlaneNotReady", not_ready.join("; "));
    }
    Finding::yes(
        "ControlPlaneReady",
        format!(
            "every control plane in use is ready{}",
            type_advice(mesh, main)
        ),
    )
}

/// What to correct when the object says something else than what runs.
fn type_advice(mesh: &KnownMesh, main: &ControlPlane) -> String {
    let by_helm = matches!(main.installer, Installer::Helm { .. });
    match mesh.spec.mesh_type {
        MeshType::Dedicated | MeshType::Hosted if !by_helm && mesh.spec.by_helm() => {
            format!(
                "; who installed it: {}, and spec.installer is Helm: set spec.installer to None if its manifests come from Git, or spec.type to External, or move it to Helm",
                installer_name(&main.installer)
            )
        }
        MeshType::External if by_helm && mesh.discovered => {
            "; it is installed by Helm now: set spec.type to Dedicated to have it upgraded"
                .to_owned()
        }
        _ => String::new(),
    }
}

fn upgrade_available(mesh: &KnownMesh, view: &MeshView, status: &MeshStatus) -> Finding {
    let Some(version) = &status.version else {
        return Finding::unknown("VersionUnknown", "the running version is not known");
    };
    let away = view.catalog.unreadable().map(|why| {
        let repository = &mesh.spec.charts.repository;
        format!("the chart repository {repository} cannot be read ({why})")
    });
    let as_known = match &away {
        Some(away) => format!("; {away}, so this is what was known before"),
        None => String::new(),
    };
    if let Some(offer) = upgradable(&status.available) {
        let to = &offer.version;
        let how = match mesh.spec.mesh_type {
            MeshType::Dedicated => format!("apply a MeshUpgrade with targetVersion {to}"),
            MeshType::Hosted => "upgrade it together with the clusters it serves".to_owned(),
            MeshType::External => format!("`{}` prints the steps", manual(&mesh.name, "canary")),
        };
        let said = format!("{to} is available: {how}{as_known}");
        return Finding::yes("NewVersion", said);
    }
    match (nearest_fit(&status.available), away) {
        (Some(offer), _) => Finding::no(
            "NoneFits",
            format!(
                "{} is available, and does not fit yet: {}{as_known}",
                offer.version, offer.message
            ),
        ),
        (None, Some(away)) if status.latest.is_none() => Finding::unknown("Unreadable", away),
        (None, None) if status.latest.is_none() => {
            Finding::unknown("NoVersions", no_versions(mesh))
        }
        (None, _) => Finding::no(
            "UpToDate",
            format!("{version} is the newest that there is{as_known}"),
        ),
    }
}

/// The newest offer of which it is known what it needs; the newest where that is known of none.
fn nearest_fit(offers: &[AvailableVersion]) -> Option<&AvailableVersion> {
    let known = |offer: &&AvailableVersion| {
        let mut verdicts = offer.clusters.iter().map(|cluster| cluster.verdict);
        verdicts.all(|verdict| verdict != ClusterVerdict::Unknown)
    };
    offers.iter().rev().find(known).or(offers.last())
}

fn no_versions(mesh: &KnownMesh) -> String {
    let repository = &mesh.spec.charts.repository;
    let which = match mesh.spec.flavour.as_str() {
        "" => String::new(),
        flavour => format!(" with suffix -{flavour}"),
    };
    format!(
        "the chart repository {repository} has no version{which}: set spec.charts.repository to one that has"
    )
}

/// The command that prints the steps of an upgrade by hand.
pub(super) fn manual(mesh: &str, way: &str) -> String {
    format!("meshlift manual --mesh {mesh} --way {way}")
}

fn supported(now: Timestamp, view: &MeshView, version: Option<&Version>) -> Finding {
    let Some(version) = version else {
        return Finding::unknown("VersionUnknown", "the running version is not known");
    };
    let minor = version.minor_name();
    let Some(end) = view.knowledge.end_of_life(version) else {
        let said = format!(
            "it is not known how long upstream supports Istio {minor}: add it to the ReleaseCatalog"
        );
        return Finding::unknown("EndOfLifeUnknown", said);
    };
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    if today > end.date {
        Finding::no(
            "EndOfLife",
            format!("upstream supported Istio {minor} until {end}: no more fixes come, upgrade"),
        )
    } else {
        Finding::yes(
            "Supported",
            format!("upstream supports Istio {minor} until {end}"),
        )
    }
}

fn compatible(view: &MeshView, clusters: &[Cluster], version: Option<&Version>) -> Finding {
    let Some(version) = version else {
        return Finding::unknown("VersionUnknown", "the running version is not known");
    };
    let range = view.knowledge.kubernetes_range(version);
    let verdicts: Vec<ClusterVerdict> = clusters.iter().map(|c| c.verdict(range)).collect();
    let mut said = obstacles(clusters, &version.to_string(), range);
    let unlisted = view.environment.clusters.unreadable();
    said.extend(
        unlisted.map(|why| format!("the other clusters of the mesh cannot be listed ({why})")),
    );
    let said = said.join("; ");
    let any = |verdict| verdicts.contains(&verdict);
    if any(ClusterVerdict::TooOld) {
        Finding::no("KubernetesTooOld", said)
    } else if any(ClusterVerdict::TooNew) {
        Finding::no("KubernetesTooNew", said)
    } else if any(ClusterVerdict::Unreachable) || unlisted.is_some() {
        Finding::unknown("ClusterUnreachable", said)
    } else if any(ClusterVerdict::Unknown) {
        Finding::unknown("RangeUnknown", said)
    } else {
        let minor = version.minor_name();
        Finding::yes(
            "Supported",
            format!("Istio {minor} supports the Kubernetes of every cluster"),
        )
    }
}

fn data_plane_current(view: &MeshView, status: &MeshStatus) -> Finding {
    if let Some(why) = view.workloads.unreadable() {
        let said = format!(
            "workloads and pods cannot be listed ({why}); what is said of them is as it was"
        );
        return Finding::unknown("Unreadable", said);
    }
    let counts = status.data_plane.clone().unwrap_or_default();
    let others = counts.versions.iter();
    let others = others.filter(|seen| Some(&seen.version) != status.version.as_ref());
    let others: Vec<String> = others
        .map(|seen| format!("{} of {}", seen.proxies, seen.version))
        .collect();
    let Some(version) = &status.version else {
        return Finding::unknown("VersionUnknown", "the running version is not known");
    };
    match (counts.outdated, counts.unknown) {
        (0, 0) => Finding::yes("Current", format!("every sidecar runs {version}")),
        (0, unknown) => Finding::unknown(
            "ProxyVersionUnknown",
            format!(
                "the version of some sidecars cannot be told from their image (pods: {unknown})"
            ),
        ),
        (_, _) => Finding::no(
            "OutdatedProxies",
            format!(
                "sidecars run other versions than {version} ({}): restart their workloads once their namespace asks for it",
                others.join(", ")
            ),
        ),
    }
}
