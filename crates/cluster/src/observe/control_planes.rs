//! Every istiod of the cluster, its webhooks, and revision tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshlift_api::labels::{DEFAULT_REVISION, DEFAULT_VALIDATOR, MANAGED_BY};
use meshlift_istio::version::Version;
use meshlift_model::view::{
    ControlPlane, InjectorWebhook, Installer, Seen, Tag, Validator, Workload,
};

use crate::watch::{IstiodFact, Watches, WebhookFact};

pub(super) fn look(watches: &Watches) -> Seen<Vec<ControlPlane>> {
    watches.workloads[0].all().map(|deployments| {
        let planes = deployments.iter().filter_map(|deployment| {
            let istiod = deployment.istiod.as_ref()?;
            Some(control_plane(watches, &deployment.workload, istiod))
        });
        let mut planes: Vec<ControlPlane> = planes.collect();
        planes.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        planes
    })
}

fn control_plane(watches: &Watches, workload: &Workload, istiod: &IstiodFact) -> ControlPlane {
    let key = &workload.key;
    ControlPlane {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        uid: workload.uid.clone(),
        revision: istiod.revision.clone(),
        version: version(&istiod.image, &istiod.labels),
        image: istiod.image.clone(),
        installer: installer(istiod),
        desired: istiod.desired,
        ready: istiod.ready,
        enough: Some(istiod.enough),
        rolling: istiod.rolling,
        trouble: trouble(watches, &key.namespace, &istiod.revision),
        injector: injector(watches, &key.namespace, &istiod.revision),
        live: Seen::Absent,
        requests: istiod.requests,
        external: istiod.external,
        marks: istiod.marks.clone(),
    }
}

/// Version of what an image runs.
pub(super) fn version(image: &str, labels: &BTreeMap<String, String>) -> Option<Version> {
    // An image by digest has no tag; then the label of the chart tells.
    let image = image.split('@').next().unwrap_or_default();
    let tag = image
        .rsplit_once(':')
        .map(|(_, tag)| tag)
        .filter(|tag| !tag.contains('/'));
    let label = || labels.get("app.kubernetes.io/version")?.parse().ok();
    tag.and_then(Version::from_image_tag).or_else(label)
}

fn installer(istiod: &IstiodFact) -> Installer {
    let manager = istiod.labels.get(MANAGED_BY).map(String::as_str);
    match (manager, &istiod.release) {
        (Some("sail-operator"), _) => Installer::Sail,
        (Some("Helm"), Some(release)) => Installer::Helm {
            release: release.clone(),
        },
        _ if istiod.labels.contains_key("operator.istio.io/managed") => Installer::Istioctl,
        _ if istiod.labels.contains_key("operator.istio.io/version") => Installer::Istioctl,
        _ => Installer::Unknown,
    }
}

fn trouble(watches: &Watches, namespace: &str, revision: &str) -> Option<String> {
    let pods = watches.pods.all();
    let mut troubles: Vec<String> = pods
        .present()?
        .iter()
        .filter(|fact| fact.istiod.as_deref() == Some(revision) && fact.pod.namespace == namespace)
        .filter_map(|fact| fact.pod.trouble.clone())
        .collect();
    troubles.sort();
    troubles.into_iter().next()
}

fn injector(watches: &Watches, namespace: &str, revision: &str) -> Seen<InjectorWebhook> {
    match watches.injectors.all() {
        Seen::Present(webhooks) => {
            let ours = webhooks.iter().find(|webhook| {
                webhook.tag.is_none()
                    && webhook.revision.as_deref().unwrap_or(DEFAULT_REVISION) == revision
                    && webhook
                        .service
                        .as_ref()
                        .is_none_or(|(_, ns)| ns == namespace)
            });
            ours.map_or(Seen::Absent, |webhook| {
                Seen::Present(InjectorWebhook {
                    name: webhook.name.clone(),
                    has_ca_bundle: webhook.has_ca_bundle,
                })
            })
        }
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(why) => Seen::Unreadable(why),
    }
}

pub(super) fn tags(watches: &Watches) -> Seen<Vec<Tag>> {
    watches.injectors.all().map(|webhooks| tags_of(&webhooks))
}

fn tags_of(webhooks: &[Arc<WebhookFact>]) -> Vec<Tag> {
    let mut tags: Vec<Tag> = webhooks
        .iter()
        .filter_map(|webhook| {
            Some(Tag {
                name: webhook.tag.clone()?,
                revision: webhook.revision.clone()?,
                namespace: webhook
                    .service
                    .as_ref()
                    .map(|(_, namespace)| namespace.clone())
                    .unwrap_or_default(),
                by_url: webhook.by_url,
                configuration: webhook.name.clone(),
                uid: webhook.uid.clone(),
                resource_version: webhook.resource_version.clone(),
                moved_to: webhook.moved_to.clone(),
                owner: webhook.owner.clone(),
                helm_release: webhook.helm_release.clone(),
                kept: webhook.kept,
            })
        })
        .collect();
    tags.sort_by(|a, b| a.name.cmp(&b.name));
    tags
}

pub(super) fn validator(watches: &Watches) -> Seen<Validator> {
    match watches.validators.get(None, DEFAULT_VALIDATOR) {
        Seen::Present(webhook) => match &webhook.service {
            Some((service, namespace)) => Seen::Present(Validator {
                namespace: namespace.clone(),
                service: service.clone(),
                has_ca_bundle: webhook.has_ca_bundle,
            }),
            None => Seen::Absent,
        },
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(why) => Seen::Unreadable(why),
    }
}
