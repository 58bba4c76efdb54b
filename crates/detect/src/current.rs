//! A control plane that is of the target already: whether the rest of the mesh is, and what follows if not.

use std::collections::BTreeSet;

use meshlift_api::{MeshType, Strategy};
use meshlift_istio::version::Version;
use meshlift_model::data_plane::{excluded, of_another_mesh};
use meshlift_model::message;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{
    ControlPlane, Installer, MeshView, Pod, Seen, Workload, WorkloadKey, version_of_crds,
};

use crate::check::{Obstacle, found};
use crate::revision::revision_of;
use crate::survey::find_base;

/// What is left to do for a mesh whose only control plane is of the target.
pub(super) enum Remainder {
    /// Nothing; what was not judged, or accepted, is to be named.
    Nothing(Sidecars),
    /// Most sidecars are of another version, so the upgrade renews them as any other does: a second control plane
    /// of the same version, proved, and the workloads moved to it in waves.
    Renewal,
}

/// The sidecars of a mesh by how their version compares with that of the only control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sidecars {
    /// Of the same version and revision.
    current: usize,
    /// Of another version or revision.
    pub behind: usize,
    /// By an image that does not say its version.
    pub unknown: usize,
    workloads: BTreeSet<WorkloadKey>,
    pods: BTreeSet<String>,
    versions: BTreeSet<Version>,
}

/// Looks at what an upgrade in place leaves behind. A control plane at the target is no mesh at the target: pods keep
/// their sidecars until they restart, and CRDs are a release of their own.
pub(super) fn remainder(
    upgrade: &Upgrade,
    view: &MeshView,
    plane: &ControlPlane,
    planes: &[ControlPlane],
    to: &Version,
) -> Result<Remainder, Obstacle> {
    let sidecars = Sidecars::of(upgrade, view, plane, planes, to);
    let accepts = |code: &str| upgrade.spec.accept_risks.iter().any(|c| c == code);
    if sidecars.are_mostly_behind()
        && !accepts(found::SIDECARS_BEHIND.code)
        && can_renew(upgrade, view, plane, planes, to)
    {
        return Ok(Remainder::Renewal);
    }
    if !accepts(found::BASE_BEHIND.code)
        && let Some(obstacle) = base_behind(view, plane, to)?
    {
        return Err(obstacle);
    }
    if sidecars.behind > 0 && !accepts(found::SIDECARS_BEHIND.code) {
        return Err(sidecars.obstacle(to));
    }
    Ok(Remainder::Nothing(sidecars))
}

/// Whether a second control plane can be put beside it: its revision has to be another one.
fn can_renew(
    upgrade: &Upgrade,
    view: &MeshView,
    plane: &ControlPlane,
    planes: &[ControlPlane],
    to: &Version,
) -> bool {
    let mesh = view.mesh.present();
    let ours = mesh.is_some_and(|mesh| mesh.mesh_type == MeshType::Dedicated);
    let by_helm = matches!(plane.installer, Installer::Helm { .. });
    if !ours || !(by_helm || is_rendered(view)) {
        return false;
    }
    // In place the workloads restart, and nothing stands beside anything.
    let revision = revision_of(upgrade, to, &plane.namespace, planes);
    upgrade.spec.strategy == Strategy::InPlace || plane.revision != revision
}

/// Whether others render the control plane of the mesh.
fn is_rendered(view: &MeshView) -> bool {
    let mesh = view.mesh.present();
    mesh.is_some_and(|mesh| !mesh.by_helm())
}

fn crds_behind(view: &MeshView, to: &Version) -> Option<Obstacle> {
    let crds = view.environment.crds.present()?;
    let behind = version_of_crds(crds).filter(|version| version < to)?;
    Some(Obstacle::new(
        &found::BASE_BEHIND,
        format!("istiod runs {to}, and the CRDs are of {behind}"),
        format!("render chart base {to} where it comes from"),
    ))
}

fn base_behind(
    view: &MeshView,
    plane: &ControlPlane,
    to: &Version,
) -> Result<Option<Obstacle>, Obstacle> {
    if is_rendered(view) {
        return Ok(crds_behind(view, to));
    }
    let Installer::Helm { .. } = plane.installer else {
        return Ok(None);
    };
    let releases = match &view.releases {
        Seen::Present(releases) => releases,
        Seen::Absent => return Ok(None),
        Seen::Unreadable(why) => return Err(Obstacle::unreadable("the Helm releases", why)),
    };
    // Who else may hold the CRDs is not asked: nothing is going to be done with them.
    let Ok(base) = find_base(view, releases, &plane.namespace) else {
        return Ok(None);
    };
    let behind = base.version.as_ref().filter(|version| *version < to);
    let repository = view.mesh.present().map(|mesh| &mesh.charts.repository);
    Ok(behind.map(|version| {
        Obstacle::new(
            &found::BASE_BEHIND,
            format!(
                "istiod runs {to}, and the CRDs are of {version} (Helm release {}/{})",
                base.namespace, base.name
            ),
            format!(
                "bring them to {to}: helm -n {} upgrade {} {} --version {to} --reset-then-reuse-values",
                base.namespace,
                base.name,
                message::chart(repository.map_or("", String::as_str), "base")
            ),
        )
    }))
}

impl Sidecars {
    fn of(
        upgrade: &Upgrade,
        view: &MeshView,
        plane: &ControlPlane,
        planes: &[ControlPlane],
        to: &Version,
    ) -> Self {
        let mut all = Self::default();
        let home = Some(plane.namespace.as_str());
        let judged = |pod: &Pod| !of_another_mesh(planes, home, pod);
        for workload in view.workloads.present().into_iter().flatten() {
            if is_left_alone(upgrade, view, workload) {
                continue;
            }
            for pod in workload.pods.iter().filter(|pod| judged(pod)) {
                if all.count(plane, to, pod) {
                    all.workloads.insert(workload.key.clone());
                }
            }
        }
        for pod in view.loose_pods.iter().filter(|pod| judged(pod)) {
            if all.count(plane, to, pod) {
                all.pods.insert(format!("{}/{}", pod.namespace, pod.name));
            }
        }
        all
    }

    /// Counts a sidecar; whether it is behind.
    fn count(&mut self, plane: &ControlPlane, to: &Version, pod: &Pod) -> bool {
        let version = pod.version();
        let injected_by_it = pod.revision.as_ref() == Some(&plane.revision);
        let same = version.as_ref().map(|version| version.is_same_build(to));
        let behind = !injected_by_it || same == Some(false);
        match (behind, same) {
            (true, _) => self.behind += 1,
            (false, Some(_)) => self.current += 1,
            (false, None) => self.unknown += 1,
        }
        if behind {
            self.versions.extend(version);
        }
        behind
    }

    /// More than half of those that can be judged: below that, a restart of the few is less than one of all.
    fn are_mostly_behind(&self) -> bool {
        self.behind > self.current + self.unknown
    }

    fn obstacle(&self, to: &Version) -> Obstacle {
        let total = self.behind + self.current + self.unknown;
        let versions: Vec<String> = self.versions.iter().map(Version::to_string).collect();
        let of = if versions.is_empty() {
            String::new()
        } else {
            format!(" ({})", message::first_few(&versions))
        };
        let keys: Vec<&WorkloadKey> = self.workloads.iter().collect();
        let pods: Vec<&String> = self.pods.iter().collect();
        let commands = (!keys.is_empty()).then(|| message::restart_all(&keys));
        let alone = (!pods.is_empty()).then(|| {
            let names = message::first_few(&pods);
            format!("create anew the pods that no controller restarts: {names}")
        });
        let how: Vec<String> = commands.into_iter().chain(alone).collect();
        let mut obstacle = Obstacle::new(
            &found::SIDECARS_BEHIND,
            format!(
                "istiod runs {to}, and {} of {total} sidecars are of another version{of}",
                self.behind
            ),
            format!(
                "renew them, and the upgrade ends by itself ({}); to leave them as they are, accept {}",
                how.join("; "),
                found::SIDECARS_BEHIND.code
            ),
        );
        let named = keys.iter().map(|key| key.short());
        let loose = pods.iter().map(|pod| format!("Pod {pod}"));
        obstacle.finding = obstacle.finding.about(named.chain(loose));
        obstacle
    }
}

/// Workloads that the spec leaves out, and those that name an image of their own.
fn is_left_alone(upgrade: &Upgrade, view: &MeshView, workload: &Workload) -> bool {
    let exclude = upgrade.spec.data_plane.exclude.as_ref();
    let mut namespaces = view.namespaces.present().into_iter().flatten();
    let namespace = namespaces.find(|ns| ns.name == workload.key.namespace);
    workload.own_proxy_image
        || excluded(exclude, &workload.labels)
        || namespace.is_some_and(|ns| ns.terminating || excluded(exclude, &ns.labels))
}
