//! Pod templates that have no pod now: nothing shows their users until they wake.

use meshlift_api::Severity;
use meshlift_model::injection::asked_by_template;
use meshlift_model::message;
use meshlift_model::view::{Namespace, PodTemplate, Workload};

use super::subject::{about, count};
use super::{Check, Finding, Look, Subject};

pub(super) static ASLEEP: Check = Check {
    code: "TEMPLATE-ASLEEP",
    reason: "TemplateAsleep",
    severity: Severity::Warning,
    acceptable: true,
    title: "no pod template without pods asks for the running revision by itself",
    explanation: "A workload at 0 replicas, a CronJob between two runs and a Job that waits have no pods that anybody could see. If their template asks for the running revision by its own label (istio.io/rev, or sidecar.istio.io/inject without a revision), their next pods would start without a sidecar once that revision is gone, and no error would say so. The upgrade rewrites the label of workloads at 0 replicas, which starts no pod. It does not write CronJobs and Jobs: the old control plane stays as long as one of them asks for it.",
    fix: "Label the template with the target revision, or label its namespace, by the command in the message.",
    source: "istio.io docs/setup/additional-setup/sidecar-injection, \"Controlling the injection policy\"; istio/istio#36838",
    look: Look::Mesh(asleep),
};

fn asleep(subject: &Subject<'_>) -> Vec<Finding> {
    let dependents = &subject.view.dependents;
    if let Some(why) = dependents.templates.unreadable() {
        return vec![Finding::unknown("the CronJobs and Jobs", why)];
    }
    let workloads = subject.workloads().filter(|workload| {
        let wakes = workload.pods.is_empty() && workload.asleep && !workload.host_network;
        wakes && asks(subject, &workload.key.namespace, &workload.template_labels)
    });
    let templates = dependents.templates.present().into_iter().flatten();
    let templates: Vec<&PodTemplate> = templates
        .filter(|template| asks(subject, &template.namespace, &template.labels))
        .collect();
    let of_workloads = about(
        workloads.map(|workload: &Workload| workload.key.short()),
        |all| {
            Finding::wrong(
                format!(
                    "{} without pods whose template asks for revision {} by itself: {}",
                    count(all.len(), "workload"),
                    subject.course.source.revision,
                    message::first_few(all)
                ),
                "nothing: the upgrade labels their templates with the new revision, unless status.blocked names one",
            )
        },
    );
    let to = subject.revision();
    let of_others = about(templates.iter().map(|template| template.short()), |all| {
        let first = templates.first().copied();
        Finding::wrong(
            format!(
                "{} without pods asks for revision {} by itself, and the old control plane stays for it: {}",
                count(all.len(), "pod template"),
                subject.course.source.revision,
                message::first_few(all)
            ),
            first.map_or_else(String::new, |template| {
                let how = message::wakes_elsewhere(template, &to);
                match template.kind.as_str() {
                    "CronJob" => format!("once {to} runs: {how}"),
                    _ => format!("let it end: {how}"),
                }
            }),
        )
    });
    of_workloads.into_iter().chain(of_others).collect()
}

fn asks(
    subject: &Subject<'_>,
    namespace: &str,
    template: &std::collections::BTreeMap<String, String>,
) -> bool {
    let (planes, tags) = (subject.planes(), subject.view.tags());
    let mut here = subject.namespaces();
    let found = here.find(|of: &&Namespace| of.name == namespace);
    let asked = found.and_then(|of| asked_by_template(&of.labels, template, planes, tags));
    asked.as_ref() == Some(&subject.course.source.revision)
}
