//! Dry-run pods: what the API server, with all its webhooks, would make of a new pod. Nothing is
//! created.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodTemplateSpec};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use meshlift_api::labels::{FIELD_MANAGER, ISTIO_INJECTION, ISTIO_REV, SIDECAR_STATUS};
use meshlift_planner::view::{MeshView, Probe, Workload};

use super::cached::Cached;
use crate::Error;

/// A proof is worth this long; what is not proved is tried again soon.
const PROOF_AGE: Duration = Duration::from_secs(300);

pub(super) struct Probes {
    client: Client,
    proofs: Cached<(String, String), Probe>,
}

impl Probes {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            proofs: Cached::new(PROOF_AGE),
        }
    }

    /// Tries a pod in each namespace.
    pub(super) async fn look(
        &self,
        revision: &str,
        namespaces: &BTreeSet<String>,
        view: &MeshView,
    ) -> BTreeMap<String, Probe> {
        let mut found = BTreeMap::new();
        for namespace in namespaces {
            let key = (revision.to_owned(), namespace.clone());
            let probe = self
                .proofs
                .get(&key, self.probe(revision, namespace, view))
                .await;
            let probe = probe.unwrap_or_else(Probe::Refused);
            let proved = matches!(&probe, Probe::Injected { revision: by, .. } if by == revision);
            if !proved {
                self.proofs.forget(&key);
            }
            found.insert(namespace.clone(), probe);
        }
        found
    }

    async fn probe(
        &self,
        revision: &str,
        namespace: &str,
        view: &MeshView,
    ) -> Result<Probe, Error> {
        let pod = match example(view, namespace, revision) {
            Some(workload) => {
                let mut pod = self.restarted_pod_of(workload).await?;
                if by_template(view, namespace) {
                    let asked = (ISTIO_REV.to_owned(), revision.to_owned());
                    pod.metadata.labels.get_or_insert_default().extend([asked]);
                }
                pod
            }
            None => minimal(revision),
        };
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let parameters = PostParams {
            dry_run: true,
            field_manager: Some(FIELD_MANAGER.to_owned()),
        };
        match api.create(&parameters, &pod).await {
            Ok(pod) => Ok(judge(&pod)),
            Err(kube::Error::Api(status)) => Ok(Probe::Refused(status.message.clone())),
            Err(error) => Err(Error::kube(format!("dry-run pod in namespace {namespace}"))(error)),
        }
    }

    /// The pod that a restart of this workload would make.
    async fn restarted_pod_of(&self, workload: &Workload) -> Result<Pod, Error> {
        let key = &workload.key;
        let (group, version) = key.kind.api_version().split_once('/').unwrap_or_default();
        let kind = GroupVersionKind::gvk(group, version, key.kind.kind());
        let resource = ApiResource::from_gvk(&kind);
        let api =
            Api::<DynamicObject>::namespaced_with(self.client.clone(), &key.namespace, &resource);
        let what = format!("reading {key}");
        let object = api.get(&key.name).await.map_err(Error::kube(what))?;
        // A Rollout may have its template elsewhere.
        let template = object.data.pointer("/spec/template").cloned();
        let template: PodTemplateSpec =
            serde_json::from_value(template.unwrap_or_else(|| serde_json::json!({})))
                .map_err(|error| Error::Unreadable(format!("pod template of {key}: {error}")))?;
        Ok(pod_of(&key.name, template))
    }
}

/// Whether it is the templates in a namespace that ask for injection: their label is written with the restart.
fn by_template(view: &MeshView, namespace: &str) -> bool {
    let mut all = view.namespaces.present().into_iter().flatten();
    let found = all.find(|ns| ns.name == namespace);
    found.is_some_and(|ns| {
        [ISTIO_INJECTION, ISTIO_REV]
            .iter()
            .all(|label| !ns.labels.contains_key(*label))
    })
}

/// A workload of the namespace whose restart is due.
fn example<'a>(view: &'a MeshView, namespace: &str, revision: &str) -> Option<&'a Workload> {
    let mut here = view
        .workloads
        .present()?
        .iter()
        .filter(|w| w.key.namespace == namespace);
    here.find(|w| {
        w.pods
            .iter()
            .any(|pod| pod.revision.as_deref() != Some(revision))
    })
}

fn pod_of(name: &str, template: PodTemplateSpec) -> Pod {
    let metadata = template.metadata.unwrap_or_default();
    let prefix: String = name.chars().take(50).collect();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{prefix}-probe-")),
            labels: metadata.labels,
            annotations: metadata.annotations,
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// A pod that asks for the revision by its own label, for a namespace with no workload.
fn minimal(revision: &str) -> Pod {
    let labels = BTreeMap::from([(ISTIO_REV.to_owned(), revision.to_owned())]);
    let container = Container {
        name: "probe".to_owned(),
        image: Some("probe".to_owned()),
        ..Container::default()
    };
    Pod {
        metadata: ObjectMeta {
            generate_name: Some("meshlift-probe-".to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![container],
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
