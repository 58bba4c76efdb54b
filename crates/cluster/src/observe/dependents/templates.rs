//! Templates of CronJobs and of Jobs that have not ended. Their pods come when nobody looks.

use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use meshlift_model::view::{PodTemplate, asks_itself};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::observe::environment::list::list;
use crate::slim::slim_resource;

slim_resource!(
    /// A CronJob.
    CronJobObject, "CronJob", "cronjobs", "batch", NamespaceResourceScope,
    meta = "crate::slim::slim_meta", { spec: CronJobSpec }
);
slim_resource!(
    /// A Job.
    JobObject, "Job", "jobs", "batch", NamespaceResourceScope,
    meta = "crate::slim::slim_meta", { spec: JobSpec, status: JobStatus }
);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CronJobSpec {
    job_template: JobTemplate,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct JobTemplate {
    spec: JobSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct JobSpec {
    template: Template,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: Option<ObjectMeta>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct JobStatus {
    conditions: Option<Vec<Condition>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

pub(super) async fn look(client: &Client) -> Result<Vec<PodTemplate>, Error> {
    let cron_jobs = Api::<CronJobObject>::all(client.clone());
    let jobs = Api::<JobObject>::all(client.clone());
    let (cron_jobs, jobs) = tokio::join!(list(&cron_jobs, cron_job), list(&jobs, job));
    // Always the same error of two, or each look would say something new.
    let (cron_jobs, jobs) = (cron_jobs?, jobs?);
    let mut all: Vec<PodTemplate> = cron_jobs.into_iter().chain(jobs).flatten().collect();
    all.sort_by(|a, b| (&a.namespace, &a.kind, &a.name).cmp(&(&b.namespace, &b.kind, &b.name)));
    Ok(all)
}

/// A suspended one may go on at any time.
fn cron_job(object: CronJobObject) -> Option<PodTemplate> {
    asking("CronJob", &object, &object.spec.job_template.spec.template)
}

/// What has ended makes no pod any more.
fn job(object: JobObject) -> Option<PodTemplate> {
    let mut conditions = object.status.conditions.iter().flatten();
    let ended =
        |of: &Condition| ["Complete", "Failed"].contains(&of.kind.as_str()) && of.status == "True";
    if conditions.any(ended) {
        None
    } else {
        asking("Job", &object, &object.spec.template)
    }
}

fn asking(kind: &str, object: &impl ResourceExt, template: &Template) -> Option<PodTemplate> {
    let metadata = template.metadata.as_ref();
    let labels = metadata.and_then(|of| of.labels.clone())?;
    asks_itself(&labels).then(|| PodTemplate {
        kind: kind.to_owned(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        labels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cron(labels: Value) -> Option<PodTemplate> {
        let object = json!({
            "metadata": { "name": "sweep", "namespace": "night" },
            "spec": { "jobTemplate": { "spec": { "template": { "metadata": { "labels": labels } } } } },
        });
        cron_job(serde_json::from_value(object).expect("a CronJob"))
    }

    #[test]
    fn only_templates_that_ask_for_injection_themselves_are_kept() {
        let found = cron(json!({ "app": "sweep", "istio.io/rev": "default" })).expect("kept");
        assert_eq!(
            (found.kind.as_str(), found.name.as_str()),
            ("CronJob", "sweep")
        );
        assert_eq!(found.labels["istio.io/rev"], "default");
        assert!(cron(json!({ "sidecar.istio.io/inject": "true" })).is_some());
        for labels in [
            json!({ "app": "sweep" }),
            json!({ "sidecar.istio.io/inject": "false", "istio.io/rev": "default" }),
            Value::Null,
        ] {
            assert_eq!(cron(labels.clone()), None, "{labels}");
        }
        let bare = json!({ "metadata": { "name": "sweep" }, "spec": { "jobTemplate": { "spec": { "template": { "metadata": null } } } } });
        assert_eq!(cron_job(serde_json::from_value(bare).expect("read")), None);
    }

    #[test]
    fn a_job_that_has_ended_asks_for_nothing() {
        for (conditions, kept) in [
            (Value::Null, true),
            (json!([{ "type": "Suspended", "status": "True" }]), true),
            (json!([{ "type": "Complete", "status": "True" }]), false),
            (json!([{ "type": "Failed", "status": "True" }]), false),
            (json!([{ "type": "Failed", "status": "False" }]), true),
        ] {
            let object = json!({
                "metadata": { "name": "move", "namespace": "night" },
                "spec": { "template": { "metadata": { "labels": { "istio.io/rev": "default" } } } },
                "status": { "conditions": conditions },
            });
            let object: JobObject = serde_json::from_value(object).expect("a Job");
            assert_eq!(job(object).is_some(), kept, "{conditions}");
        }
    }
}
