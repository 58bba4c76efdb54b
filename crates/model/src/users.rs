//! Who keeps a control plane in use, besides open connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshlift_api::labels::DEFAULT_REVISION;
use meshlift_api::{BlockedWorkload, Predicate};
use meshlift_istio::values;

use crate::injection::{Injector, Revisions, asked_by_template};
use crate::owners::Owners;
use crate::view::{ControlPlane, Labelled, MeshView, Namespace, Pod, PodTemplate, Seen, Workload};
use crate::{message, reference};

/// Who still uses a revision, by name; `plane` is its istiod, if it is there.
pub fn users(view: &MeshView, revision: &str, plane: Option<&ControlPlane>) -> Vec<String> {
    let bound = bound_namespaces(view, revision).into_iter();
    let mut users: Vec<String> = bound.map(|ns| format!("namespace {}", ns.name)).collect();
    let tags = view.tags().iter().filter(|tag| tag.revision == revision);
    users.extend(tags.map(|tag| format!("revision tag {}", tag.name)));
    users.extend(owned_gateways(view, revision));
    if let (Some(plane), Some(validator)) = (plane, view.validator.present())
        && validator.calls(plane)
    {
        users.push("webhook istiod-default-validator".to_owned());
    }
    for pod in view.sidecars() {
        // A sidecar without a readable revision may belong to any control plane.
        if pod.revision.as_ref().is_none_or(|by| by == revision) {
            users.push(format!("pod {}/{}", pod.namespace, pod.name));
        }
    }
    users.extend(asking_templates(view, revision));
    users.extend(labelled_configuration(view, revision));
    users.extend(naming_values(view, revision));
    let undecoded = view.undecoded.iter();
    users.extend(undecoded.map(|object| format!("{} (cannot be read)", object.reference)));
    users
}

/// What could not be read of those who may use a control plane, and why: it counts as used. Read as empty, a list of
/// webhooks that failed once would take away the istiod that a tag points at, and its fail-closed webhook would refuse
/// every new pod.
pub fn unread(view: &MeshView) -> Option<(&'static str, &str)> {
    let of = &view.dependents;
    let parts = [
        ("the workloads", required(&view.workloads)),
        ("the control planes", required(&view.control_planes)),
        ("the namespaces", view.namespaces.unreadable()),
        ("the revision tags", view.tags.unreadable()),
        ("the Gateways", view.gateways.unreadable()),
        ("the validating webhook", view.validator.unreadable()),
        ("the CronJobs and Jobs", of.templates.unreadable()),
        (
            "the labels of the Istio configuration",
            of.configuration.unreadable(),
        ),
    ];
    let mut parts = parts.into_iter();
    parts.find_map(|(what, why)| Some((what, why?)))
}

/// Why there is no value, of what is always there.
fn required<T>(seen: &Seen<T>) -> Option<&str> {
    match seen {
        Seen::Present(_) => None,
        Seen::Absent => Some("not listed yet"),
        Seen::Unreadable(why) => Some(why),
    }
}

/// Who asks for a revision by the labels of its own template, in a namespace that leaves it to that.
struct Asking<'a> {
    view: &'a MeshView,
    revision: &'a str,
    namespaces: BTreeMap<&'a str, &'a Namespace>,
}

impl<'a> Asking<'a> {
    fn of(view: &'a MeshView, revision: &'a str) -> Self {
        let all = view.namespaces.present().into_iter().flatten();
        let staying = all.filter(|namespace| !namespace.terminating);
        Self {
            view,
            revision,
            namespaces: staying.map(|ns| (ns.name.as_str(), ns)).collect(),
        }
    }

    fn asks(&self, namespace: &str, template: &BTreeMap<String, String>) -> bool {
        let planes = self.view.control_planes.present();
        let planes = planes.map_or(&[][..], Vec::as_slice);
        self.namespaces.get(namespace).is_some_and(|of| {
            let asked = asked_by_template(&of.labels, template, planes, self.view.tags());
            asked.as_deref() == Some(self.revision)
        })
    }

    /// A workload whose next pod would need it. Where a pod of it runs on it, that is named already.
    fn uses(&self, workload: &Workload) -> bool {
        let runs = |pod: &Arc<Pod>| pod.revision.as_deref() == Some(self.revision);
        let held = workload.sidecar_in_template.as_deref();
        let holds = held.is_some_and(|held| held.is_empty() || held == self.revision);
        let asks = || {
            let template = &workload.template_labels;
            !workload.host_network && self.asks(&workload.key.namespace, template)
        };
        !workload.pods.iter().any(runs) && (holds || asks())
    }

    /// CronJobs and Jobs.
    fn templates(&self) -> impl Iterator<Item = &'a PodTemplate> {
        let all = self.view.dependents.templates.present();
        all.into_iter()
            .flatten()
            .filter(|of| self.asks(&of.namespace, &of.labels))
    }
}

/// Templates that ask for it themselves. Their next pods would get no sidecar, and nobody would be told.
pub fn asking_templates(view: &MeshView, revision: &str) -> Vec<String> {
    let asking = Asking::of(view, revision);
    let workloads = view.workloads.present().into_iter().flatten();
    let workloads = workloads.filter(|workload| asking.uses(workload));
    let workloads = workloads.map(|workload| workload.key.short());
    let others = asking.templates().map(PodTemplate::short);
    workloads
        .chain(others)
        .map(|of| format!("pod template of {of}"))
        .collect()
}

/// Configuration that nobody else reads.
pub fn labelled_configuration(view: &MeshView, revision: &str) -> Vec<String> {
    labelled(view, revision).map(Labelled::short).collect()
}

fn labelled<'a>(view: &'a MeshView, revision: &'a str) -> impl Iterator<Item = &'a Labelled> {
    // What came with it goes with it.
    let own = |object: &Labelled| {
        view.record.present().is_some_and(|record| {
            let namespace = &record.source.namespace;
            [&record.source.name, &record.target_release()]
                .iter()
                .any(|release| object.is_of(namespace, release))
        })
    };
    let all = view.dependents.configuration.present();
    all.into_iter()
        .flatten()
        .filter(move |object| object.revision == revision && !own(object))
}

/// Those for whom a revision stays and that are no workloads, each with the command that lets it go.
pub fn blocking(view: &MeshView, revision: &str, to: &str) -> Vec<BlockedWorkload> {
    let asking = Asking::of(view, revision);
    let templates = asking.templates().map(|template| BlockedWorkload {
        reference: format!("batch/v1 {}", template.short()),
        predicate: match template.kind.as_str() {
            "Job" => Predicate::Job,
            _ => Predicate::PodLabel,
        },
        message: message::asleep(template, to),
    });
    let configuration = labelled(view, revision).map(|object| {
        let group = object
            .resource
            .split_once('.')
            .map_or("", |(_, group)| group);
        BlockedWorkload {
            reference: format!("{group} {}", object.short()),
            predicate: Predicate::RevisionLabel,
            message: message::read_by_one(object),
        }
    });
    templates.chain(configuration).collect()
}

/// Values of the new control plane that name its Service: the new sidecars ask it for what they need.
pub fn naming_values(view: &MeshView, revision: &str) -> Vec<String> {
    let record = view.record.present();
    let Some(record) = record.filter(|record| record.source_revision == revision) else {
        return Vec::new();
    };
    let service = match revision {
        DEFAULT_REVISION => "istiod".to_owned(),
        revision => format!("istiod-{revision}"),
    };
    let (values, namespace) = (&record.target_values, &record.source.namespace);
    let found = values::naming_service(values, &service, namespace);
    let release = record.target_release();
    found
        .into_iter()
        .map(|(path, _)| format!("value {path} of release {release}"))
        .collect()
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

/// Namespaces that ask for a revision that is gone and have no sidecar to lose, each with the command that has them ask
/// another one. Where sidecars run, the next pod would come up without: that is not in vain, and no success.
pub fn asking_in_vain(view: &MeshView, revision: &str, to: &str) -> Vec<BlockedWorkload> {
    let namespaces = view.sidecars().map(|pod| pod.namespace.as_str());
    let in_mesh: BTreeSet<&str> = namespaces.collect();
    let bound = bound_namespaces(view, revision).into_iter();
    bound
        .filter(|namespace| !in_mesh.contains(namespace.name.as_str()))
        .map(|namespace| BlockedWorkload {
            reference: reference::namespace(&namespace.name),
            predicate: Predicate::NotOurs,
            message: message::asks_in_vain(&namespace.name, to),
        })
        .collect()
}

fn bound_namespaces<'a>(view: &'a MeshView, revision: &str) -> Vec<&'a Namespace> {
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
        .collect()
}
