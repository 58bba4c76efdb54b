//! Who keeps a control plane in use, besides open connections.

use std::collections::BTreeMap;

use crate::injection::{Injector, Revisions};
use crate::owners::Owners;
use crate::view::{ControlPlane, MeshView};

/// Who still uses a revision, by name; `plane` is its istiod, if it is there.
pub(crate) fn users(view: &MeshView, revision: &str, plane: Option<&ControlPlane>) -> Vec<String> {
    let mut users = bound_namespaces(view, revision);
    let tags = view.tags.iter().filter(|tag| tag.revision == revision);
    users.extend(tags.map(|tag| format!("revision tag {}", tag.name)));
    users.extend(owned_gateways(view, revision));
    if let (Some(plane), Some(validator)) = (plane, view.validator.present())
        && validator.service == plane.name
    {
        users.push("webhook istiod-default-validator".to_owned());
    }
    let workloads = view.workloads.present().into_iter().flatten();
    let in_workloads = workloads.flat_map(|workload| &workload.pods);
    for pod in in_workloads.chain(&view.loose_pods) {
        // A sidecar without a readable revision may belong to any control plane.
        if pod.revision.as_ref().is_none_or(|by| by == revision) {
            users.push(format!("pod {}/{}", pod.namespace, pod.name));
        }
    }
    users
}

/// Gateways that it renders: without it nobody would.
fn owned_gateways(view: &MeshView, revision: &str) -> Vec<String> {
    let owners = Owners::now(view);
    let gateways = view.gateways.present().into_iter().flatten();
    gateways
        .filter(|g| owners.owner(g.label.as_deref(), &g.namespace) == Some(revision))
        .map(|gateway| format!("Gateway {}/{}", gateway.namespace, gateway.name))
        .collect()
}

fn bound_namespaces(view: &MeshView, revision: &str) -> Vec<String> {
    // Bound to it they are its users, also when it was uninstalled too early.
    let revisions = Revisions {
        recorded: [Some(revision), None],
        ..Revisions::seen(view)
    };
    let bound = Injector::Namespace(revision.to_owned());
    view.namespaces
        .present()
        .into_iter()
        .flatten()
        .filter(|ns| !ns.terminating)
        .filter(|ns| revisions.injector(&ns.labels, &BTreeMap::new()) == bound)
        .map(|ns| format!("namespace {}", ns.name))
        .collect()
}
