//! The survey: which mesh, which control plane, which releases, which target.

use meshlift_api::DEFAULT_MESH;

use crate::checks::{self, Obstacle, must_see};
use crate::data_plane::of_another_mesh;
use crate::upgrade::Upgrade;
use crate::version::{Version, resolve};
use crate::view::{ControlPlane, MeshView, Release, Seen};

pub(super) enum Finding<'a> {
    /// A control plane was found, and no Mesh object names it.
    NoMesh { namespace: String },
    /// Nothing to do.
    AtTarget {
        plane: &'a ControlPlane,
        version: Version,
        outdated: u32,
    },
    /// From here to there.
    Way { course: Sources<'a>, to: Version },
}

pub(super) struct Sources<'a> {
    pub(super) mesh: &'a meshlift_api::MeshSpec,
    pub(super) source: &'a ControlPlane,
    pub(super) from: &'a Version,
    pub(super) source_release: &'a Release,
    pub(super) base_release: &'a Release,
}

pub(super) fn survey<'a>(
    upgrade: &Upgrade,
    view: &'a MeshView,
) -> Result<Finding<'a>, Vec<Obstacle>> {
    let one = |obstacle: Obstacle| vec![obstacle];
    let planes = must_see(&view.control_planes, "the list of control planes").map_err(one)?;
    let mesh = match &view.mesh {
        Seen::Present(mesh) => mesh,
        Seen::Absent if upgrade.spec.mesh == DEFAULT_MESH => {
            let namespace = sole_namespace(planes).map_err(one)?;
            return Ok(Finding::NoMesh { namespace });
        }
        Seen::Absent => return Err(vec![no_such_mesh(&upgrade.spec.mesh)]),
        Seen::Unreadable(why) => return Err(vec![Obstacle::unreadable("the Mesh", why)]),
    };
    if let Some(obstacle) = checks::mesh_type(mesh) {
        return Err(vec![obstacle]);
    }
    let repository = format!("the chart repository {}", mesh.charts.repository);
    let catalog = must_see(&view.catalog, &repository).map_err(one)?;
    let to = resolve(&upgrade.spec.target_version, catalog)
        .map_err(|error| vec![Obstacle::new("TargetRefused", error.to_string())])?;
    let here: Vec<&ControlPlane> = planes
        .iter()
        .filter(|plane| plane.namespace == mesh.control_plane_namespace)
        .collect();
    if let [plane] = here[..]
        && plane.version.as_ref() == Some(&to)
        && plane.is_ready()
    {
        let outdated = outdated_proxies(view, plane, planes);
        return Ok(Finding::AtTarget {
            plane,
            version: to,
            outdated,
        });
    }
    let source = source_plane(&here, mesh, &to).map_err(one)?;
    let from = source.version.as_ref().ok_or_else(|| {
        vec![Obstacle::new("VersionUnknown", format!(
            "the version of istiod {}/{} cannot be told from its image {} or its labels: set label app.kubernetes.io/version on the Deployment",
            source.namespace, source.name, source.image
        ))]
    })?;
    let release = checks::helm_release(source).map_err(one)?;
    let releases = must_see(&view.releases, "the Helm releases").map_err(one)?;
    let source_release = find_release(releases, release, &source.namespace).map_err(one)?;
    let base_release = find_base(releases).map_err(one)?;
    Ok(Finding::Way {
        course: Sources {
            mesh,
            source,
            from,
            source_release,
            base_release,
        },
        to,
    })
}

fn outdated_proxies(view: &MeshView, plane: &ControlPlane, planes: &[ControlPlane]) -> u32 {
    let home = Some(plane.namespace.as_str());
    let in_workloads = view
        .workloads
        .present()
        .into_iter()
        .flatten()
        .flat_map(|w| &w.pods);
    let outdated = in_workloads
        .chain(&view.loose_pods)
        .filter(|p| p.revision.as_ref() != Some(&plane.revision))
        .filter(|p| !of_another_mesh(planes, home, p));
    u32::try_from(outdated.count()).unwrap_or(u32::MAX)
}

fn no_such_mesh(name: &str) -> Obstacle {
    Obstacle::new(
        "MeshNotFound",
        format!(
            "there is no Mesh {name}: create it, or name another in spec.mesh (kubectl get meshes)"
        ),
    )
}

fn sole_namespace(planes: &[ControlPlane]) -> Result<String, Obstacle> {
    let mut namespaces: Vec<&str> = planes
        .iter()
        .map(|plane| plane.namespace.as_str())
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    match namespaces[..] {
        [only] => Ok(only.to_owned()),
        [] => Err(Obstacle::new(
            "NoControlPlane",
            "no istiod was found in this cluster (a Deployment with label app=istiod): install Istio first",
        )),
        _ => Err(Obstacle::new(
            "ManyMeshes",
            format!(
                "istiod runs in several namespaces ({}): create a Mesh for each and name one in spec.mesh",
                namespaces.join(", ")
            ),
        )),
    }
}

/// The control plane to leave: the only one that is not the target's revision.
fn source_plane<'a>(
    here: &[&'a ControlPlane],
    mesh: &meshlift_api::MeshSpec,
    to: &Version,
) -> Result<&'a ControlPlane, Obstacle> {
    let revision = to.revision();
    let others: Vec<&ControlPlane> = here
        .iter()
        .copied()
        .filter(|plane| here.len() == 1 || plane.revision != revision)
        .collect();
    match others[..] {
        [source] => Ok(source),
        [] => Err(Obstacle::new(
            "NoControlPlane",
            format!(
                "no istiod was found in namespace {}: install Istio there, or set spec.controlPlaneNamespace of the Mesh",
                mesh.control_plane_namespace
            ),
        )),
        _ => {
            let names: Vec<&str> = others.iter().map(|plane| plane.name.as_str()).collect();
            Err(Obstacle::new(
                "ManyControlPlanes",
                format!(
                    "namespace {} has several control planes besides istiod-{revision} ({}): finish the upgrade to one of them (targetVersion with its exact version), or remove those that are not used",
                    mesh.control_plane_namespace,
                    names.join(", ")
                ),
            ))
        }
    }
}

fn find_release<'a>(
    releases: &'a [Release],
    name: &str,
    namespace: &str,
) -> Result<&'a Release, Obstacle> {
    let found = releases
        .iter()
        .find(|r| r.name == name && r.namespace == namespace);
    found.ok_or_else(|| Obstacle::new("ReleaseNotFound", format!(
        "istiod says it belongs to Helm release {namespace}/{name}, but there is no such release (helm -n {namespace} ls): reinstall it with helm upgrade --install --take-ownership"
    )))
}

fn find_base(releases: &[Release]) -> Result<&Release, Obstacle> {
    releases.iter().find(|release| release.chart == "base").ok_or_else(|| {
        Obstacle::new(
            "BaseReleaseNotFound",
            "there is no Helm release of chart base, which holds the CRDs: install it with helm upgrade --install istio-base --take-ownership at the running version",
        )
    })
}
