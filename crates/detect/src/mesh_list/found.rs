//! Which meshes a cluster has, seen without being told.

use std::collections::{BTreeMap, BTreeSet};

use meshlift_api::{DEFAULT_MESH, MeshSpec, MeshType};
use meshlift_istio::version::Version;
use meshlift_model::view::{ControlPlane, InjectionRule, Installer, MeshView};

use super::members::{Members, installer_name};

/// Where Istio is unless someone chose another place.
const ISTIO_SYSTEM: &str = "istio-system";

/// A mesh as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundMesh {
    /// What its object is called if it has none yet.
    pub name: String,
    /// What was found; everything else has its default.
    pub spec: MeshSpec,
    /// What was found, as a sentence.
    pub message: String,
}

/// Every mesh of the cluster, by the namespace of its control planes. Nothing is found while the
/// control planes cannot be listed.
pub fn meshes(view: &MeshView) -> Vec<FoundMesh> {
    let Some(planes) = view.control_planes.present() else {
        return Vec::new();
    };
    let here: BTreeSet<&str> = planes.iter().map(|p| p.namespace.as_str()).collect();
    let elsewhere = served_from_elsewhere(view, &here);
    let sole = here.len() + elsewhere.len() == 1;
    let mut found: Vec<FoundMesh> = here
        .iter()
        .map(|namespace| local(view, planes, namespace))
        .collect();
    found.extend(elsewhere.into_iter().map(|(ns, rule)| remote(ns, rule)));
    for mesh in &mut found {
        let namespace = &mesh.spec.control_plane_namespace;
        mesh.name = if sole || namespace == ISTIO_SYSTEM {
            DEFAULT_MESH.to_owned()
        } else {
            namespace.clone()
        };
    }
    found
}

/// Those of `found` that no object speaks of yet, under names that are free. `objects` are the names
/// of the Mesh objects there are, with their `controlPlaneNamespace`.
pub fn without_object(found: Vec<FoundMesh>, objects: &BTreeMap<String, String>) -> Vec<FoundMesh> {
    let mut taken: BTreeSet<String> = objects.keys().cloned().collect();
    let known: BTreeSet<&String> = objects.values().collect();
    let mut new: Vec<FoundMesh> = found
        .into_iter()
        .filter(|mesh| !known.contains(&mesh.spec.control_plane_namespace))
        .collect();
    for mesh in &mut new {
        let namespace = mesh.spec.control_plane_namespace.clone();
        let wanted = [mesh.name.clone(), namespace.clone()].into_iter();
        let numbered = (2_u32..).map(|n| format!("{namespace}-{n}"));
        if let Some(free) = wanted.chain(numbered).find(|name| !taken.contains(name)) {
            mesh.name = free;
        }
        taken.insert(mesh.name.clone());
    }
    new
}

fn local(view: &MeshView, planes: &[ControlPlane], namespace: &str) -> FoundMesh {
    let members = Members::of(view, planes, namespace);
    let main = members.main;
    let by_helm = main.is_some_and(|p| matches!(p.installer, Installer::Helm { .. }));
    let hosts = members.planes.iter().any(|plane| plane.external);
    let mesh_type = match (by_helm, hosts) {
        (true, true) => MeshType::Hosted,
        (true, false) => MeshType::Dedicated,
        (false, _) => MeshType::External,
    };
    let version = main.and_then(|plane| plane.version.as_ref());
    let spec = MeshSpec {
        mesh_type,
        flavour: version.map(Version::flavour_name).unwrap_or_default(),
        control_plane_namespace: namespace.to_owned(),
        ..MeshSpec::default()
    };
    let named = version.map_or("of an unknown version".to_owned(), Version::to_string);
    let by = main.map_or("unknown", |plane| installer_name(&plane.installer));
    let consequence = match mesh_type {
        MeshType::Dedicated => "it can be upgraded by a MeshUpgrade",
        MeshType::Hosted => "it serves other clusters too",
        MeshType::External => "it is listed and never touched",
    };
    FoundMesh {
        name: String::new(),
        spec,
        message: format!(
            "found istiod {named} in namespace {namespace} (installed by: {by}): {consequence}"
        ),
    }
}

fn remote(namespace: String, rule: &InjectionRule) -> FoundMesh {
    let spec = MeshSpec {
        mesh_type: MeshType::External,
        control_plane_namespace: namespace,
        ..MeshSpec::default()
    };
    FoundMesh {
        name: String::new(),
        spec,
        message: format!("found {}", elsewhere(rule)),
    }
}

/// What is known of a mesh whose control plane is in another cluster.
pub(super) fn elsewhere(rule: &InjectionRule) -> String {
    let through = match &rule.service {
        Some(service) => format!("Service {service}, which has no istiod behind it here"),
        None => "an address outside of this cluster".to_owned(),
    };
    format!(
        "a mesh whose control plane runs in another cluster: MutatingWebhookConfiguration {} injects sidecars through {through}; it is listed here and upgraded where its control plane runs",
        rule.configuration
    )
}

/// Injection webhooks that lead out of the cluster, by the namespace they stand for.
pub(super) fn served_from_elsewhere<'a>(
    view: &'a MeshView,
    here: &BTreeSet<&str>,
) -> BTreeMap<String, &'a InjectionRule> {
    let rules = view.environment.injectors.present();
    let mut found = BTreeMap::new();
    for rule in rules
        .into_iter()
        .flatten()
        .filter(|rule| rule.tag.is_none())
    {
        let namespace = match &rule.service {
            Some(service) => service.split('/').next().unwrap_or_default(),
            None => ISTIO_SYSTEM,
        };
        // A webhook whose Service is gone is a leftover and no mesh.
        let leads_somewhere = rule.service.is_none() || rule.service_exists;
        if leads_somewhere && !here.contains(namespace) {
            found.entry(namespace.to_owned()).or_insert(rule);
        }
    }
    found
}
