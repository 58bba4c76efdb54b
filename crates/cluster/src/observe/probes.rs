//! Dry-run pods: what the API server, with all its webhooks, would make of a new pod. Nothing is
//! created.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, Pod, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile,
    SecurityContext,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels::{FIELD_MANAGER, ISTIO_INJECTION, ISTIO_REV, SIDECAR_STATUS};
use meshlift_istio::version::Version;
use meshlift_model::view::{MeshView, Probe, WorkloadKey};
use meshlift_model::{DryRuns, Sample, TemplateRevision};
use tokio::time::{Instant, timeout_at};

use super::cached::Cached;
use super::refusal;
use crate::Error;

/// A proof is worth this long; what is not proved is tried again soon.
const PROOF_AGE: Duration = Duration::from_secs(300);
/// How many are tried at once: each is a request that goes through every webhook of the cluster.
const AT_ONCE: usize = 16;
/// No more time than this for all of them: a rollback that is asked for waits behind them.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Probes {
    client: Client,
    proofs: Cached<Proved, Probe>,
}

/// What a proof is of. Relabelled, a namespace is another one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Proved {
    revision: Option<String>,
    version: Option<Version>,
    namespace: String,
    labels: Vec<Option<String>>,
    sample: String,
}

impl Proved {
    fn is_proved_by(&self, probe: &Probe) -> bool {
        let Probe::Injected { revision, image } = probe else {
            return false;
        };
        let version = || Version::from_image(image);
        let same = |wanted: &Version| version().is_some_and(|found| found.is_same_build(wanted));
        self.revision
            .as_ref()
            .is_none_or(|wanted| wanted == revision)
            && self.version.as_ref().is_none_or(same)
    }
}

impl Probes {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            proofs: Cached::new(PROOF_AGE),
        }
    }

    /// Tries a pod in each namespace.
    pub(super) async fn look(&self, wanted: &DryRuns, view: &MeshView) -> BTreeMap<String, Probe> {
        // Futures of a method, and not of a closure over borrowed pairs: those are Send for one lifetime only.
        let mut tries = Vec::with_capacity(wanted.pods.len());
        for (namespace, sample) in &wanted.pods {
            tries.push(self.tried(wanted, namespace, sample, view).boxed());
        }
        let mut tries = stream::iter(tries).buffer_unordered(AT_ONCE);
        let end = Instant::now() + LIMIT;
        let mut found = BTreeMap::new();
        while let Ok(Some((namespace, probe))) = timeout_at(end, tries.next()).await {
            found.insert(namespace, probe);
        }
        for namespace in wanted.pods.keys() {
            let late = || Probe::Failed(format!("no answer within {} seconds", LIMIT.as_secs()));
            found.entry(namespace.clone()).or_insert_with(late);
        }
        found
    }

    async fn tried(
        &self,
        wanted: &DryRuns,
        namespace: &str,
        sample: &Sample,
        view: &MeshView,
    ) -> (String, Probe) {
        let key = Proved {
            revision: wanted.revision.clone(),
            version: wanted.version.clone(),
            namespace: namespace.to_owned(),
            labels: injection_labels(view, namespace),
            sample: format!("{sample:?}"),
        };
        (namespace.to_owned(), self.proved(&key, sample).await)
    }

    async fn proved(&self, key: &Proved, sample: &Sample) -> Probe {
        let probe = self.proofs.get(key, self.probe(&key.namespace, sample));
        let probe = probe.await.unwrap_or_else(Probe::Failed);
        // What was injected by the istiod of before says nothing of the one that has replaced it.
        if !key.is_proved_by(&probe) {
            self.proofs.forget(key);
        }
        probe
    }

    async fn probe(&self, namespace: &str, sample: &Sample) -> Result<Probe, Error> {
        let pod = match sample {
            Sample::Workload { key, uid, template } => {
                self.restarted_pod_of(key, uid, template.as_ref()).await?
            }
            Sample::Minimal { revision, image } => minimal(revision, image),
        };
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let parameters = PostParams {
            dry_run: true,
            field_manager: Some(FIELD_MANAGER.to_owned()),
        };
        match api.create(&parameters, &pod).await {
            Ok(pod) => Ok(judge(&pod)),
            Err(kube::Error::Api(status)) => Ok(refusal::of(&status)),
            Err(error) => Err(Error::kube(format!("dry-run pod in namespace {namespace}"))(error)),
        }
    }

    /// The pod that a restart of this workload would make.
    async fn restarted_pod_of(
        &self,
        key: &WorkloadKey,
        uid: &str,
        change: Option<&TemplateRevision>,
    ) -> Result<Pod, Error> {
        let kind = key.kind;
        let object = self.get(key, kind.api_version(), kind.kind(), &key.name);
        let mut object = object.await?;
        // A Rollout may have its template in a Deployment.
        if let Some(reference) = object.data.pointer("/spec/workloadRef").cloned() {
            let of = |name: &str| reference[name].as_str().unwrap_or_default().to_owned();
            let (version, kind, name) = (of("apiVersion"), of("kind"), of("name"));
            object = self.get(key, &version, &kind, &name).await?;
        }
        let template = object.data.pointer("/spec/template").cloned();
        let template =
            template.ok_or_else(|| Error::Unreadable(format!("{key} has no template")))?;
        let template: PodTemplateSpec = serde_json::from_value(template)
            .map_err(|error| Error::Unreadable(format!("pod template of {key}: {error}")))?;
        let mut pod = pod_of(key, uid, template);
        if let Some(change) = change {
            let labels = pod.metadata.labels.get_or_insert_default();
            labels.remove(ISTIO_REV);
            let label = change.label.clone();
            labels.extend(label.map(|label| (ISTIO_REV.to_owned(), label)));
        }
        Ok(pod)
    }

    async fn get(
        &self,
        key: &WorkloadKey,
        version: &str,
        kind: &str,
        name: &str,
    ) -> Result<DynamicObject, Error> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let client = self.client.clone();
        let api = Api::<DynamicObject>::namespaced_with(client, &key.namespace, &resource);
        let what = format!("reading {kind} {}/{name}", key.namespace);
        api.get(name).await.map_err(Error::kube(what))
    }
}

/// The labels of a namespace that decide on injection.
fn injection_labels(view: &MeshView, namespace: &str) -> Vec<Option<String>> {
    let mut all = view.namespaces.present().into_iter().flatten();
    let found = all.find(|ns| ns.name == namespace);
    let value = |key: &str| found.and_then(|ns| ns.labels.get(key)).cloned();
    [ISTIO_INJECTION, ISTIO_REV].map(value).into()
}

/// Of a name that is the same each time: refusals name it. It has an owner, as policies against pods without one ask.
fn pod_of(key: &WorkloadKey, uid: &str, template: PodTemplateSpec) -> Pod {
    let metadata = template.metadata.unwrap_or_default();
    let prefix: String = key.name.chars().take(50).collect();
    let owner = OwnerReference {
        api_version: key.kind.api_version().to_owned(),
        kind: key.kind.kind().to_owned(),
        name: key.name.clone(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    Pod {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-dry-run")),
            labels: metadata.labels,
            annotations: metadata.annotations,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// A pod that asks for the revision by its own label, and for nothing that a policy may refuse.
fn minimal(revision: &str, image: &str) -> Pod {
    let labels = BTreeMap::from([(ISTIO_REV.to_owned(), revision.to_owned())]);
    let container = Container {
        name: "probe".to_owned(),
        image: Some(image.to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    };
    Pod {
        metadata: ObjectMeta {
            name: Some("meshlift-dry-run".to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![container],
            automount_service_account_token: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            ..PodSpec::default()
        }),
        status: None,
    }
}
fn judge(pod: &Pod) -> Probe {
    #[derive(serde::Deserialize)]
    struct Injected {
        revision: Option<String>,
    }
    let Some(status) = pod.annotations().get(SIDECAR_STATUS) else {
        return Probe::NotInjected;
    };
    let revision = serde_json::from_str::<Injected>(status)
        .ok()
        .and_then(|i| i.revision);
    // A native sidecar is an init container.
    let spec = pod.spec.as_ref();
    let proxy = spec.into_iter().flat_map(|spec| {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
    });
    let image = proxy
        .filter(|c| c.name == "istio-proxy")
        .find_map(|c| c.image.clone());
    Probe::Injected {
        revision: revision.unwrap_or_default(),
        image: image.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_place_only_a_sidecar_of_the_version_that_is_wanted_proves_anything() {
        let proved = |version: Option<&str>, image: &str| {
            let key = Proved {
                revision: Some("default".into()),
                version: version.map(|version| version.parse().expect("a version")),
                namespace: "shop".into(),
                labels: Vec::new(),
                sample: String::new(),
            };
            key.is_proved_by(&Probe::Injected {
                revision: "default".into(),
                image: image.into(),
            })
        };
        assert!(proved(None, "example.org/proxyv2:1.30.2"));
        assert!(proved(
            Some("1.31.0"),
            "example.org/proxyv2:1.31.0-distroless"
        ));
        assert!(!proved(Some("1.31.0"), "example.org/proxyv2:1.30.2"));
        assert!(!proved(Some("1.31.0"), "example.org/proxyv2@sha256:abc"));
    }
}
