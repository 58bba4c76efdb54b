//! Configuration that only the running revision reads.

use std::collections::BTreeMap;

use meshlift_api::Severity;
use meshlift_model::message;
use meshlift_model::view::Labelled;

use super::subject::{about, count, judge};
use super::{Check, Finding, Look, Subject};

pub(super) static REVISION: Check = Check {
    code: "CONFIG-REVISION",
    reason: "ConfigurationOfRevision",
    severity: Severity::Blocking,
    acceptable: true,
    title: "no Istio configuration is labelled with the running revision",
    explanation: "istiod reads an object with the label istio.io/rev only if the value is its own revision; revision tags do not count. The new control plane has another revision, so it does not read such an object: a policy that forbids something ends without an error for every workload that moves, and a route is gone. The old control plane stays as long as there is such an object.",
    fix: "Remove the label, so that every revision reads the object, by the command in the message. If the workloads that move shall do without it, accept it.",
    source: "istio pkg/config/model.go (LabelsInRevision); istio/istio#44047, istio/istio#51582",
    look: Look::Mesh(of_revision),
};

fn of_revision(subject: &Subject<'_>) -> Vec<Finding> {
    judge(
        &subject.view.dependents.configuration,
        "the labels of the Istio configuration",
        |all| {
            let running = &subject.course.source.revision;
            let release = subject.course.source_release.as_ref().ok();
            let own = |of: &Labelled| release.is_some_and(|r| of.is_of(&r.namespace, &r.name));
            let ours = all.iter().filter(|of| of.revision == *running && !own(of));
            let ours: Vec<&Labelled> = ours.collect();
            about(ours.iter().map(|object| object.short()), |named| {
                Finding::wrong(
                    format!(
                        "{} of Istio configuration labelled istio.io/rev={running}, which {} does not read: {}",
                        count(named.len(), "object"),
                        subject.revision(),
                        message::first_few(named)
                    ),
                    unlabel(&ours),
                )
            })
        },
    )
}

/// The commands that take the label away, for the first namespaces.
fn unlabel(objects: &[&Labelled]) -> String {
    let mut by_namespace = BTreeMap::<&str, Vec<String>>::new();
    for object in objects {
        let named = format!("{}/{}", object.resource, object.name);
        by_namespace
            .entry(&object.namespace)
            .or_default()
            .push(named);
    }
    let command = |(namespace, names): (&&str, &Vec<String>)| {
        format!(
            "kubectl -n {namespace} label {} istio.io/rev-",
            names.join(" ")
        )
    };
    let commands: Vec<String> = by_namespace.iter().take(3).map(command).collect();
    let more = match by_namespace.len().saturating_sub(commands.len()) {
        0 => String::new(),
        more => format!(", and the same in {}", count(more, "more namespace")),
    };
    format!(
        "remove the label, so that every revision reads them: {}{more}",
        commands.join(" && ")
    )
}
