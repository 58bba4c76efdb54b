//! Label, annotation and finalizer names: ours and those of Istio and Helm that we read or write.

/// Annotation on a pod template: the revision the workload was restarted for. A revision and not
/// a time, so that writing it twice is one restart.
pub const RESTARTED_FOR: &str = "meshlift.io/revision";
/// Annotation on a workload (not its template) or a Gateway: when it was restarted or moved, RFC 3339. Only for the
/// restart timeout; it causes no rollout.
pub const RESTARTED_AT: &str = "meshlift.io/restarted-at";
/// Annotation on a workload: when this operator last evicted one of its pods, RFC 3339. Only for the
/// restart timeout.
pub const EVICTED_AT: &str = "meshlift.io/evicted-at";
/// Annotation on a workload: the label `istio.io/rev` that its pod template had before this operator
/// wrote it; empty if it had none.
pub const TEMPLATE_REVISION: &str = "meshlift.io/template-revision";
/// Annotation on a namespace, tag or Gateway: the revision this operator moved it to. Tells a label put back by
/// someone else from one never moved.
pub const MOVED_TO: &str = "meshlift.io/revision";
/// Annotation on a MeshUpgrade: any new value makes a blocked detection look again at once.
pub const REDETECT: &str = "meshlift.io/redetect";
/// Annotation on a Mesh: any new value asks the chart repository at once.
pub const REFRESH: &str = "meshlift.io/refresh";
/// Annotation on a Secret with `username` and `password`: the host, with its port where that is not the usual one, of the
/// chart repository that they may be sent to. A Mesh names both the Secret and the repository, and who may write a Mesh
/// need not be trusted with every password in the operator's namespace.
pub const REGISTRY: &str = "meshlift.io/registry";
/// Label on a Mesh that was found and not written by a person.
pub const DISCOVERED: &str = "meshlift.io/discovered";
/// Label of a Secret that lets istiod reach another cluster.
/// Source: istio `pkg/kube/multicluster/secretcontroller.go`.
pub const MULTI_CLUSTER: &str = "istio/multiCluster";
/// Annotation on a MeshUpgrade: a new value starts an ended upgrade again from Detecting.
pub const RETRY: &str = "meshlift.io/retry";
/// Annotation on a MeshUpgrade: codes of checks that a person accepts while it runs, when `spec.acceptRisks` is locked;
/// several are separated by commas.
pub const ACCEPT: &str = "meshlift.io/accept";
/// Finalizer on a MeshUpgrade while it must not go.
pub const FINALIZER: &str = "meshlift.io/upgrade-runs";
/// Field manager of everything the operator writes to objects.
pub const FIELD_MANAGER: &str = "meshlift";
/// Field manager of the status writes.
pub const STATUS_MANAGER: &str = "meshlift-status";
/// Annotation on what the operator keeps of an upgrade: the name of the MeshUpgrade.
pub const UPGRADE: &str = "meshlift.io/upgrade";
/// Label on what the operator keeps of an upgrade and people look for: `backup`, `backup-chunk`, `log`.
pub const CONTENT: &str = "meshlift.io/content";
/// Label on objects that the operator made for itself.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Namespace label: `enabled` injects from the default revision and wins over [`ISTIO_REV`].
pub const ISTIO_INJECTION: &str = "istio-injection";
/// Namespace or pod label: the revision or tag to inject from.
pub const ISTIO_REV: &str = "istio.io/rev";
/// Label of a webhook or service that represents a revision tag.
pub const ISTIO_TAG: &str = "istio.io/tag";
/// Pod label that switches injection on or off for one pod.
pub const SIDECAR_INJECT: &str = "sidecar.istio.io/inject";
/// Pod annotation with the injected revision; the truth about a running sidecar.
/// Source: istio `pkg/kube/inject/webhook.go` (`SidecarInjectionStatus`).
pub const SIDECAR_STATUS: &str = "sidecar.istio.io/status";
/// Pod annotation with the names of the templates to inject; `gateway` makes a pod a gateway.
/// Source: istio chart `gateway/templates/deployment.yaml`.
pub const INJECT_TEMPLATES: &str = "inject.istio.io/templates";
/// Annotation on a pod template that names the image of its sidecar.
/// Source: istio `pkg/kube/inject` (`SidecarProxyImage`).
pub const PROXY_IMAGE: &str = "sidecar.istio.io/proxyImage";
/// Label on Deployments of gateways that istiod itself renders and rolls.
pub const GATEWAY_MANAGED: &str = "gateway.istio.io/managed";
/// Label on them: the name of the Gateway.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// Annotation that Helm writes on everything of a release.
pub const HELM_RELEASE_NAME: &str = "meta.helm.sh/release-name";
/// Annotation that Helm writes beside [`HELM_RELEASE_NAME`].
pub const HELM_RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";
/// Annotation with which Helm leaves an object alone that a release no longer has: `keep`.
pub const HELM_RESOURCE_POLICY: &str = "helm.sh/resource-policy";
/// The revision that an installation without a revision has.
pub const DEFAULT_REVISION: &str = "default";
/// The validating webhook of the default revision.
pub const DEFAULT_VALIDATOR: &str = "istiod-default-validator";
