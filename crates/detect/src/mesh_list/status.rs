//! The status of a Mesh: the only place where it is made.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::{ChartsStatus, ClusterRole, ManualReference, MeshSpec, MeshStatus, MeshType};
use meshlift_istio::version::Version;
use meshlift_model::message;
use meshlift_model::view::{MeshView, Seen};

use super::clusters::{Cluster, clusters};
use super::conditions::{self, manual};
use super::found::served_from_elsewhere;
use super::members::{Members, installer_name};
use super::offers::{Ground, known_versions, upgradable};

/// What `status.upgradable` says when there is nothing.
const NO: &str = "no";

/// A Mesh object.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownMesh {
    /// Name.
    pub name: String,
    /// Generation of the spec.
    pub generation: i64,
    /// Value of the refresh annotation.
    pub refresh: Option<String>,
    /// Whether this operator made it for a mesh that it found.
    pub discovered: bool,
    /// Spec.
    pub spec: MeshSpec,
    /// Status, as it was.
    pub status: MeshStatus,
}

/// The status of a mesh as a look found it. What could not be looked at stays as it was, and a
/// condition says so.
pub fn mesh_status(now: Timestamp, mesh: &KnownMesh, view: &MeshView) -> MeshStatus {
    let mut status = mesh.status.clone();
    status.observed_generation = Some(mesh.generation);
    if view.catalog != Seen::Absent {
        status.observed_refresh.clone_from(&mesh.refresh);
    }
    running(mesh, view, &mut status);
    let role = if remote(mesh, view) {
        ClusterRole::Remote
    } else {
        ClusterRole::Primary
    };
    let clusters = clusters(view, role, &mesh.status.clusters);
    status.clusters = clusters.iter().map(Cluster::status).collect();
    offered(mesh, view, &clusters, &mut status);
    status.charts = charts(now, mesh, view, &status);
    status.manual = match mesh.spec.mesh_type {
        // Where no control plane is there is nothing to upgrade.
        MeshType::External if status.version.is_some() => ["canary", "in-place", "helm"]
            .map(|way| ManualReference {
                way: way.to_owned(),
                command: manual(&mesh.name, way),
            })
            .into(),
        _ => Vec::new(),
    };
    conditions::set(now, mesh, view, &clusters, &mut status);
    status
}

/// Whether the control plane is in another cluster.
fn remote(mesh: &KnownMesh, view: &MeshView) -> bool {
    let planes = view.control_planes.present().into_iter().flatten();
    let here = planes.map(|plane| plane.namespace.as_str()).collect();
    served_from_elsewhere(view, &here).contains_key(&mesh.spec.control_plane_namespace)
}

/// Control planes and sidecars.
fn running(mesh: &KnownMesh, view: &MeshView, status: &mut MeshStatus) {
    let Some(planes) = view.control_planes.present() else {
        return;
    };
    let members = Members::of(view, planes, &mesh.spec.control_plane_namespace);
    let version = members.main.and_then(|plane| plane.version.as_ref());
    status.version = version.map(Version::to_string);
    status.installer = members
        .main
        .map(|plane| installer_name(&plane.installer).to_owned());
    status.revisions = members.revisions(&mesh.status.revisions);
    if let Some(proxies) = members.proxies() {
        status.data_plane = Some(proxies.status);
    }
}

/// What it could be upgraded to, and how long what runs is supported.
fn offered(mesh: &KnownMesh, view: &MeshView, clusters: &[Cluster], status: &mut MeshStatus) {
    let known = known_versions(&view.catalog, &mesh.spec.flavour, &mesh.status);
    status.latest = known.last().map(Version::to_string);
    let version: Option<Version> = status.version.as_ref().and_then(|v| v.parse().ok());
    let Some(version) = version else {
        status.available = Vec::new();
        status.upgradable = None;
        status.supported_until = None;
        return;
    };
    status.available = Ground::new(&version, &known, clusters, view).offers();
    let best = upgradable(&status.available);
    status.upgradable = match (known.is_empty(), best) {
        (true, _) => None,
        (false, Some(best)) => Some(best.version.clone()),
        (false, None) => Some(NO.to_owned()),
    };
    let end = view.knowledge.end_of_life(&version);
    status.supported_until = end.map(|end| end.to_string());
}

fn charts(
    now: Timestamp,
    mesh: &KnownMesh,
    view: &MeshView,
    after: &MeshStatus,
) -> Option<ChartsStatus> {
    let before = &mesh.status;
    let changed_at = before.charts.as_ref().and_then(|c| c.changed_at.clone());
    match &view.catalog {
        Seen::Absent => before.charts.clone(),
        Seen::Unreadable(why) => Some(ChartsStatus {
            changed_at,
            error: message::capped(why),
        }),
        Seen::Present(_) => {
            let known =
                |version: &String| before.available.iter().any(|old| &old.version == version);
            let new = before.version == after.version
                && after.available.iter().any(|offer| !known(&offer.version));
            let changed = before.latest != after.latest || new;
            Some(ChartsStatus {
                changed_at: changed_at.filter(|_| !changed).or(Some(Time(now))),
                error: String::new(),
            })
        }
    }
}
