//! The survey: which mesh, which control plane, which releases, which target.

use meshlift_api::{ClusterVerdict, DEFAULT_MESH, MeshSpec, Strategy};
use meshlift_istio::version::{StepRule, Version, path, resolve};
use meshlift_model::message;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{ControlPlane, MeshView, Release, Seen};

use crate::check::{self, Course, Obstacle, found, must_see, target};
use crate::current::{Remainder, Sidecars, remainder};
use crate::mesh_list::meshes;
use crate::revision::revision_of;
use crate::steps::step_rule;

/// What the survey found.
pub enum Surveyed<'a> {
    /// A control plane was found, and no Mesh object names it.
    NoMesh(Box<MeshSpec>),
    /// Nothing to do.
    AtTarget {
        /// The control plane of the mesh.
        plane: &'a ControlPlane,
        /// Its version, which is the target.
        version: Version,
        /// Sidecars that do not run the target, or do not say what they run.
        sidecars: Sidecars,
    },
    /// From here to there.
    Way(Box<Course<'a>>),
}

/// Finds mesh, control plane, releases and target, in this order.
///
/// # Errors
/// The first of them that is missing or cannot be read, with what to do.
pub fn survey<'a>(upgrade: &'a Upgrade, view: &'a MeshView) -> Result<Surveyed<'a>, Obstacle> {
    let planes = must_see(&view.control_planes, "the list of control planes")?;
    let mesh = match &view.mesh {
        Seen::Present(mesh) => mesh,
        Seen::Absent if upgrade.spec.mesh == DEFAULT_MESH => {
            let namespace = sole_namespace(planes)?;
            let mut found = meshes(view).into_iter().map(|mesh| mesh.spec);
            let spec = found.find(|spec| spec.control_plane_namespace == namespace);
            return Ok(Surveyed::NoMesh(Box::new(spec.unwrap_or_default())));
        }
        Seen::Absent => return Err(no_such_mesh(&upgrade.spec.mesh)),
        Seen::Unreadable(why) => return Err(Obstacle::unreadable("the Mesh", why)),
    };
    let repository = format!("the chart repository {}", mesh.charts.repository);
    let catalog = must_see(&view.catalog, &repository)?;
    let to = resolve(&upgrade.spec.target_version, catalog).map_err(refused)?;
    let here: Vec<&ControlPlane> = planes
        .iter()
        .filter(|plane| plane.namespace == mesh.control_plane_namespace)
        .collect();
    if let [plane] = here[..]
        && plane.version.as_ref() == Some(&to)
        && plane.is_ready()
        && let Remainder::Nothing(sidecars) = remainder(upgrade, view, plane, planes, &to)?
    {
        return Ok(Surveyed::AtTarget {
            plane,
            version: to,
            sidecars,
        });
    }
    let home = &mesh.control_plane_namespace;
    let revision = revision_of(upgrade, &to, home, planes);
    let source = source_plane(&here, home, &revision)?;
    let from = source
        .version
        .as_ref()
        .ok_or_else(|| version_unknown(source))?;
    // In place the proxies of before are served by the new istiod: by Istio's rule, one minor apart.
    let rule = match upgrade.spec.strategy {
        Strategy::Canary => step_rule(upgrade.spec.path, view),
        Strategy::InPlace => StepRule::EACH_MINOR,
    };
    let mut hops = way(from, &to, catalog, rule, view)?;
    if hops.is_empty() {
        // The version is right and something else is not: the same step brings it in order.
        hops.push(to.clone());
    }
    let (source_release, base_release) = releases_of(source, view, mesh)?;
    Ok(Surveyed::Way(Box::new(Course {
        upgrade,
        planes,
        mesh,
        source,
        from,
        hops,
        to,
        source_release,
        base_release,
    })))
}

/// The versions on the way. One that does not fit a cluster is no stop, if there is a way without.
fn way(
    from: &Version,
    to: &Version,
    catalog: &[Version],
    rule: StepRule,
    view: &MeshView,
) -> Result<Vec<Version>, Obstacle> {
    let fits = |version: &&Version| {
        let clusters = check::clusters(view, version);
        clusters
            .iter()
            .all(|c| !matches!(c.verdict, ClusterVerdict::TooOld | ClusterVerdict::TooNew))
    };
    let fitting = catalog.iter().filter(|v| *v == to || fits(v));
    let fitting: Vec<Version> = fitting.cloned().collect();
    let knowledge = &view.knowledge;
    path(from, to, &fitting, rule, knowledge)
        .or_else(|_| path(from, to, catalog, rule, knowledge))
        .map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> Obstacle {
    let told = error.to_string();
    let (message, fix) = told.split_once(": ").unwrap_or((&told, ""));
    Obstacle::new(&target::REFUSED, message, fix)
}

fn version_unknown(plane: &ControlPlane) -> Obstacle {
    Obstacle::new(
        &found::VERSION_UNKNOWN,
        format!(
            "the version of istiod {}/{} cannot be told from its image {} or its labels",
            plane.namespace, plane.name, plane.image
        ),
        "set label app.kubernetes.io/version on the Deployment",
    )
}

type Releases<'a> = (Result<&'a Release, Obstacle>, Result<&'a Release, Obstacle>);

/// The releases of istiod and of the CRDs. A mesh that Helm did not install has none of its own, and those of a mesh that
/// somebody else renders are not ours, whatever Helm has stored.
fn releases_of<'a>(
    source: &ControlPlane,
    view: &'a MeshView,
    mesh: &MeshSpec,
) -> Result<Releases<'a>, Obstacle> {
    if !mesh.by_helm() {
        let none = found::rendered(source);
        return Ok((Err(none.clone()), Err(none)));
    }
    let name = match found::helm_release(source) {
        Ok(name) => name,
        Err(obstacle) => return Ok((Err(obstacle.clone()), Err(obstacle))),
    };
    let releases = must_see(&view.releases, "the Helm releases")?;
    Ok((
        find_release(releases, name, &source.namespace),
        find_base(view, releases, &source.namespace),
    ))
}

fn no_such_mesh(name: &str) -> Obstacle {
    Obstacle::new(
        &found::MESH_NOT_FOUND,
        format!("there is no Mesh {name}"),
        "create it, or name another in spec.mesh (kubectl get meshes)",
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
            &found::NO_CONTROL_PLANE,
            "no istiod was found in this cluster (a Deployment with label app=istiod)",
            "install Istio first",
        )),
        _ => Err(Obstacle::new(
            &found::MANY_MESHES,
            format!(
                "istiod runs in several namespaces ({})",
                namespaces.join(", ")
            ),
            "each of them has a Mesh: name one in spec.mesh (kubectl get meshes)",
        )),
    }
}

/// The control plane to leave: the only one that is not the target's revision.
fn source_plane<'a>(
    here: &[&'a ControlPlane],
    home: &str,
    revision: &str,
) -> Result<&'a ControlPlane, Obstacle> {
    let others: Vec<&ControlPlane> = here
        .iter()
        .copied()
        .filter(|plane| here.len() == 1 || plane.revision != revision)
        .collect();
    match others[..] {
        [source] => Ok(source),
        [] => Err(Obstacle::new(
            &found::NO_CONTROL_PLANE,
            format!("no istiod was found in namespace {home}"),
            "install Istio there, or name in spec.mesh a Mesh whose spec.controlPlaneNamespace is the namespace of istiod",
        )),
        _ => {
            let names: Vec<&str> = others.iter().map(|plane| plane.name.as_str()).collect();
            Err(Obstacle::new(
                &found::MANY_CONTROL_PLANES,
                format!(
                    "namespace {home} has several control planes besides istiod-{revision} ({})",
                    names.join(", ")
                ),
                format!(
                    "keep one of them and uninstall the others once nothing uses them ({}; helm -n {home} uninstall <release>)",
                    message::who_uses()
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
    Release::find(releases, name, namespace).ok_or_else(|| {
        Obstacle::new(
            &found::RELEASE_NOT_FOUND,
            format!("istiod belongs to Helm release {namespace}/{name}, and there is no release of chart istiod with that name"),
            format!("see what helm -n {namespace} list shows: a release of another chart (an umbrella chart) is upgraded with that chart, or by hand with the steps that `meshlift manual` prints; if the release is missing, reinstall it with helm upgrade --install --take-ownership"),
        )
    })
}

/// The release that holds the CRDs. Releases are read in the namespace of istiod; the CRDs say whose they are.
pub(super) fn find_base<'a>(
    view: &MeshView,
    releases: &'a [Release],
    namespace: &str,
) -> Result<&'a Release, Obstacle> {
    let release = releases.iter().find(|release| release.chart == "base");
    release.ok_or_else(|| {
        let missing = format!(
            "there is no Helm release of chart base in namespace {namespace}, which would hold the CRDs"
        );
        match owners_of_crds(view).first() {
            Some(owner) => Obstacle::new(
                &found::BASE_NOT_FOUND,
                format!("{missing}: they belong to release {owner}"),
                format!("upgrade that release by hand, as `meshlift manual` prints it; or, if no other mesh needs it there, move it: helm -n {namespace} upgrade --install istio-base --take-ownership at the running version"),
            ),
            None => Obstacle::new(
                &found::BASE_NOT_FOUND,
                missing,
                "find it with helm list -A; if there is none, install it with helm upgrade --install istio-base --take-ownership at the running version",
            ),
        }
    })
}

/// Helm releases that the CRDs of Istio name as theirs.
fn owners_of_crds(view: &MeshView) -> Vec<&str> {
    let crds = view.environment.crds.present().into_iter().flatten();
    let istio = crds.filter(|crd| crd.name.ends_with(".istio.io"));
    let mut owners: Vec<&str> = istio
        .filter_map(|crd| crd.helm_release.as_deref())
        .collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}
