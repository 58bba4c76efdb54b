//! The steps of an upgrade by hand, for one mesh as it was found: its releases, values, namespaces,
//! tags and workloads by their names, each command ready for a POSIX shell.
//!
//! Source of the order: istio.io, "Canary Upgrades", "In-place Upgrades" and "Upgrade with Helm",
//! with one change: the default revision moves before the old control plane goes, because its
//! validating webhook would call nobody in between.

mod by_helm;
mod by_istioctl;
mod by_sail;
mod crds;
mod found;
mod guide;
mod helm;
mod hosted;
mod in_place;
mod rendered;
mod stage;
mod tags;
#[cfg(test)]
mod tests;
mod values;

use meshlift_api::{MeshType, UpgradePath};
use meshlift_detect::steps::step_rule;
use meshlift_istio::version::{StepRule, TargetVersion, Version, path, resolve};
use meshlift_model::view::{ControlPlane, Installer, MeshView};

use self::found::Found;
use self::guide::Guide;

/// How the control plane is replaced by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A second control plane under a revision of its own; with `istioctl` where that is simplest.
    Canary,
    /// The control plane is replaced where it is.
    InPlace,
    /// As [`Way::Canary`], with Helm and kubectl and nothing else.
    Helm,
}

/// The steps to bring a mesh to `to` (`1.31.0`, or `1.31` for its newest patch in the catalog) by
/// hand. The error says why there are none, and what to do.
pub fn manual(
    way: Way,
    mesh: &str,
    view: &MeshView,
    to: &str,
    chosen: UpgradePath,
) -> Result<String, String> {
    let found = Found::look(mesh, view)?;
    let hops = hops(way, &found, to, chosen)?;
    let mut guide = Guide::default();
    head(&mut guide, way, &found, &hops);
    let Some(plane) = found.plane else {
        hosted::guide(&mut guide, way, &found, &hops);
        return Ok(guide.finish());
    };
    if !found.spec.by_helm() {
        if way == Way::InPlace {
            return Err(rendered_in_place(&found));
        }
        rendered::canary(&mut guide, &found, &hops);
        return Ok(guide.finish());
    }
    match (&plane.installer, way) {
        (Installer::Helm { release }, Way::InPlace) => {
            by_helm::in_place(&mut guide, &found, release, &hops);
        }
        (Installer::Helm { release }, Way::Canary | Way::Helm) => {
            by_helm::canary(&mut guide, way, &found, release, &hops);
        }
        (Installer::Istioctl, Way::InPlace) => by_istioctl::in_place(&mut guide, &found, &hops)?,
        (Installer::Istioctl, Way::Canary | Way::Helm) => {
            by_istioctl::canary(&mut guide, &found, &hops);
        }
        (Installer::Sail, _) => by_sail::guide(&mut guide, way, &found, &hops)?,
        (Installer::Unknown, _) => return Err(unknown_installer(&found)),
    }
    Ok(guide.finish())
}

/// The versions on the way.
fn hops(
    way: Way,
    found: &Found<'_>,
    to: &str,
    chosen: UpgradePath,
) -> Result<Vec<Version>, String> {
    let view = found.view;
    let asked: TargetVersion = to.parse().map_err(said)?;
    // Without a catalog an exact version is taken at its word.
    let catalog = match (view.catalog.present(), asked) {
        (Some(catalog), _) => catalog.clone(),
        (None, TargetVersion::Exact(version)) => vec![version],
        (None, TargetVersion::Minor { .. }) => {
            return Err(format!(
                "the chart repository could not be read, so the newest patch of {to} is not known: ask for an exact version"
            ));
        }
    };
    let to = resolve(to, &catalog).map_err(said)?;
    let rule = match way {
        Way::InPlace => StepRule::EACH_MINOR,
        Way::Canary | Way::Helm => step_rule(chosen, view),
    };
    let hops = path(&found.from, &to, &catalog, rule, &view.knowledge).map_err(said)?;
    if hops.is_empty() {
        Err(format!(
            "the control plane of mesh {} runs {to} already: nothing is to do for it",
            found.mesh
        ))
    } else {
        Ok(hops)
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn rendered_in_place(found: &Found<'_>) -> String {
    format!(
        "istiod in namespace {} is rendered by others (spec.installer of Mesh {} is None), and a commit cannot take it back in place in time: take the canary (--way canary)",
        found.home, found.mesh
    )
}

fn unknown_installer(found: &Found<'_>) -> String {
    format!(
        "who installed istiod in namespace {} cannot be told (no Helm release, no label of istioctl or the Sail operator), so the steps would be guesses: if its charts are rendered from Git, set spec.installer of the Mesh to None and try again; otherwise look at the labels and managedFields of the Deployment, upgrade it with what made it, and restart the workloads after it",
        found.home
    )
}

fn head(guide: &mut Guide, way: Way, found: &Found<'_>, hops: &[Version]) {
    let way_name = match way {
        Way::InPlace => "in place",
        Way::Canary | Way::Helm => "as a canary by revision",
    };
    let to = hops.last().unwrap_or(&found.from);
    guide.heading(&format!(
        "Mesh {} by hand: Istio {} to {to}, {way_name}",
        found.mesh, found.from
    ));
    guide.say("Lines that begin with four spaces are commands for a POSIX shell. Take them one by one, and go on only when you see what the line with \"Good\" says. A line with \"Back\" says how to go back from there.");
    if hops.len() > 1 {
        let all: Vec<String> = hops.iter().map(ToString::to_string).collect();
        guide.say(&format!("The target is too far for one step, so it is reached by way of {}. Each step is whole in itself; do not stop between two for long.", all.join(", ")));
    }
    guide.heading("As found");
    if let Some(plane) = found.plane {
        guide.say(&format!(
            "  Control plane: {}/{}, {}, revision {}, {} of {} replicas ready, installed with {}",
            plane.namespace,
            plane.name,
            found.from,
            plane.revision,
            plane.ready,
            plane.desired,
            installer(found, plane)
        ));
        if way == Way::Helm && !matches!(plane.installer, Installer::Helm { .. }) {
            guide.say("  Helm did not install it, so these are the steps with what did: Helm would not take its objects over without conflicts.");
        }
    }
    let namespaces: Vec<&str> = found.namespaces.iter().map(|ns| ns.name.as_str()).collect();
    guide.say(&format!(
        "  Namespaces that follow it by label: {}",
        or_none(&namespaces)
    ));
    let tags: Vec<&str> = found.tags.keys().copied().collect();
    guide.say(&format!(
        "  Revision tags that point at it: {}",
        or_none(&tags)
    ));
    if found.plane.is_some_and(|plane| plane.external) || found.spec.mesh_type == MeshType::Hosted {
        guide.say("  It serves other clusters too: their webhooks and addresses name its Service, so their part is to be done before the old control plane goes.");
    }
    let agents = found.view.environment.node_agents.present();
    for agent in agents.into_iter().flatten() {
        guide.say(&format!(
            "  {:?} {}/{} runs on the nodes. It exists once, is upgraded in place, and only after istiod, never before: charts cni, then ztunnel.",
            agent.kind, agent.namespace, agent.name
        ));
    }
}

fn installer(found: &Found<'_>, plane: &ControlPlane) -> String {
    if !found.spec.by_helm() {
        return "charts that others render".to_owned();
    }
    match &plane.installer {
        Installer::Helm { release } => format!("Helm (release {release})"),
        Installer::Istioctl => "istioctl".to_owned(),
        Installer::Sail => "the Sail operator".to_owned(),
        Installer::Unknown => "something that left no trace".to_owned(),
    }
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
