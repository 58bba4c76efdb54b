//! The table: each resource, what is done with it, and why.

use super::{FENCE, ISTIO_CRDS, Permission, Scope};

/// What Helm 4 does with the objects of a release.
const HELM: &[&str] = &["get", "create", "patch", "delete"];

impl Scope {
    /// A right to objects of any name.
    const fn right(
        self,
        group: &'static str,
        resource: &'static str,
        verbs: &'static [&'static str],
        why: &'static str,
    ) -> Permission {
        Permission {
            group,
            resource,
            verbs,
            names: &[],
            scope: self,
            why,
        }
    }
}

const fn cluster(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Permission {
    Scope::Cluster.right(group, resource, verbs, why)
}

const fn control_plane(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Permission {
    Scope::ControlPlaneNamespace.right(group, resource, verbs, why)
}

const fn own(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Permission {
    Scope::OperatorNamespace.right(group, resource, verbs, why)
}

/// Every right the operator uses.
pub const PERMISSIONS: &[Permission] = &[
    // Our own kinds.
    cluster(
        "meshlift.io",
        "meshupgrades",
        &["get", "list", "watch", "patch"],
        "the upgrades; patch sets and clears the finalizer",
    ),
    cluster(
        "meshlift.io",
        "meshupgrades/status",
        &["patch"],
        "says what it does",
    ),
    cluster(
        "meshlift.io",
        "meshes",
        &["get", "list", "watch", "create"],
        "the meshes; a mesh found without an object gets one",
    ),
    cluster(
        "meshlift.io",
        "meshes/status",
        &["patch"],
        "says what runs and what it could be upgraded to",
    ),
    cluster(
        "meshlift.io",
        "releasecatalogs",
        &["list", "watch"],
        "what is known of Istio releases besides what is built in",
    ),
    // The data plane.
    cluster(
        "",
        "namespaces",
        &["get", "list", "watch", "patch"],
        "moves a namespace to the new revision; the operator fence limits it to the injection labels",
    ),
    cluster(
        "",
        "pods",
        &["get", "list", "watch", "create"],
        "which revision each sidecar has; create only as a server-side dry run that proves injection (operator fence)",
    ),
    cluster(
        "apps",
        "deployments",
        &["get", "list", "watch", "patch"],
        "restarts workloads; the operator fence limits it to the restart annotation",
    ),
    cluster(
        "apps",
        "statefulsets",
        &["get", "list", "watch", "patch"],
        "restarts workloads; the operator fence limits it to the restart annotation",
    ),
    cluster(
        "apps",
        "daemonsets",
        &["get", "list", "watch", "patch"],
        "restarts workloads; the operator fence limits it to the restart annotation",
    ),
    cluster(
        "apps",
        "replicasets",
        &["get", "list", "watch", "patch"],
        "ReplicaSets that no Deployment owns: whether all their pods are there before the next is evicted; patch notes when that was (operator fence)",
    ),
    cluster(
        "argoproj.io",
        "rollouts",
        &["get", "list", "watch", "patch"],
        "restarts Rollouts of Argo Rollouts by spec.restartAt (operator fence)",
    ),
    cluster(
        "apps.kruise.io",
        "clonesets",
        &["get", "list", "watch", "patch"],
        "restarts workloads of OpenKruise; the operator fence limits it to the restart annotation",
    ),
    cluster(
        "apps.kruise.io",
        "statefulsets",
        &["get", "list", "watch", "patch"],
        "restarts workloads of OpenKruise; the operator fence limits it to the restart annotation",
    ),
    cluster(
        "apps.kruise.io",
        "daemonsets",
        &["get", "list", "watch", "patch"],
        "restarts workloads of OpenKruise; the operator fence limits it to the restart annotation",
    ),
    cluster(
        "",
        "pods/eviction",
        &["create"],
        "restart.method: Evict: one pod after the other, within its disruption budget, each by its UID (operator fence)",
    ),
    // Who would miss a control plane without running now: a detection asks, and its removal again.
    cluster(
        "batch",
        "cronjobs",
        &["list"],
        "CronJobs whose pods ask for a revision that goes: they are named, and keep the old control plane",
    ),
    cluster(
        "batch",
        "jobs",
        &["list"],
        "Jobs that have not ended and whose pods ask for a revision that goes",
    ),
    // What a detection looks at around a mesh.
    cluster(
        "",
        "nodes",
        &["list"],
        "detection: whether the nodes have room for a second istiod, and are new enough",
    ),
    cluster(
        "",
        "services",
        &["get", "list"],
        "detection: whether the Service that an injection webhook calls is there, wherever that is; services that a release treats differently",
    ),
    cluster(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        &["list"],
        "detection: which CRDs of Istio and of the Gateway API there are, in which versions they are stored, and who owns them",
    ),
    cluster(
        "policy",
        "poddisruptionbudgets",
        &["list"],
        "detection: which workloads could not be moved by eviction; whether istiod has a budget, and whether the new one needs a copy of it",
    ),
    cluster(
        "networking.k8s.io",
        "networkpolicies",
        &["list"],
        "detection: network policies that select by the injection labels, which an upgrade changes",
    ),
    cluster(
        "networking.istio.io",
        "envoyfilters",
        &["list"],
        "detection: filters that apply only to some versions of the proxy; the backup",
    ),
    cluster(
        "networking.istio.io",
        "destinationrules",
        &["list"],
        "detection: DestinationRules that a release of Istio treats differently; the backup",
    ),
    cluster(
        "networking.istio.io",
        "gateways",
        &["list"],
        "detection: Gateways that a release of Istio treats differently; the backup",
    ),
    cluster(
        "networking.istio.io",
        "serviceentries",
        &["list"],
        "detection: ServiceEntries that a release of Istio treats differently; the backup",
    ),
    cluster(
        "networking.istio.io",
        "sidecars",
        &["list"],
        "detection: Sidecar objects that a release of Istio treats differently; the backup",
    ),
    cluster(
        "networking.istio.io",
        "virtualservices",
        &["list"],
        "detection: VirtualServices that a release of Istio treats differently; the backup",
    ),
    cluster(
        "networking.istio.io",
        "workloadentries",
        &["list"],
        "detection: WorkloadEntries that a release of Istio treats differently; the backup",
    ),
    cluster(
        "security.istio.io",
        "authorizationpolicies",
        &["list"],
        "detection: AuthorizationPolicies that a release of Istio treats differently; the backup",
    ),
    cluster(
        "telemetry.istio.io",
        "telemetries",
        &["list"],
        "detection: Telemetry objects that a release of Istio treats differently; the backup",
    ),
    cluster(
        "gateway.networking.k8s.io",
        "gateways",
        &["get", "list", "watch", "patch"],
        "moves a Gateway that istiod renders to the new revision; the operator fence limits it to the revision label",
    ),
    // What only the backup reads, besides all of the above.
    cluster(
        "networking.istio.io",
        "proxyconfigs",
        &["list"],
        "the backup of Istio's configuration",
    ),
    cluster(
        "networking.istio.io",
        "workloadgroups",
        &["list"],
        "the backup of Istio's configuration",
    ),
    cluster(
        "security.istio.io",
        "peerauthentications",
        &["list"],
        "the backup of Istio's configuration",
    ),
    cluster(
        "security.istio.io",
        "requestauthentications",
        &["list"],
        "the backup of Istio's configuration",
    ),
    cluster(
        "extensions.istio.io",
        "wasmplugins",
        &["list"],
        "the backup of Istio's configuration",
    ),
    cluster(
        "extensions.istio.io",
        "trafficextensions",
        &["list"],
        "the backup of Istio's configuration",
    ),
    cluster(
        "gateway.networking.k8s.io",
        "httproutes",
        &["list"],
        "the backup of the routes of the Gateway API",
    ),
    cluster(
        "gateway.networking.k8s.io",
        "backendtlspolicies",
        &["list"],
        "detection: BackendTLSPolicies that a release of Istio treats differently",
    ),
    cluster(
        "inference.networking.x-k8s.io",
        "inferencepools",
        &["list"],
        "detection: InferencePools that a release of Istio treats differently",
    ),
    cluster(
        "sailoperator.io",
        "istios",
        &["list"],
        "detection: an Istio that the Sail operator installs",
    ),
    cluster(
        "sailoperator.io",
        "istiorevisions",
        &["list"],
        "detection: an Istio that the Sail operator installs",
    ),
    cluster(
        "install.istio.io",
        "istiooperators",
        &["list"],
        "detection: an Istio that the in-cluster operator of old installs",
    ),
    cluster(
        "helm.toolkit.fluxcd.io",
        "helmreleases",
        &["list"],
        "detection: whether Flux keeps a release of the mesh as it knows it",
    ),
    cluster(
        "events.k8s.io",
        "events",
        &["create", "patch"],
        "tells what happened",
    ),
    Permission {
        group: "admissionregistration.k8s.io",
        resource: "validatingadmissionpolicies",
        verbs: &["get"],
        names: FENCE,
        scope: Scope::Cluster,
        why: "detection: whether the fence around this very account is installed",
    },
    Permission {
        group: "admissionregistration.k8s.io",
        resource: "validatingadmissionpolicybindings",
        verbs: &["get"],
        names: FENCE,
        scope: Scope::Cluster,
        why: "detection: whether the fence is in force",
    },
    // What the charts `base` and `istiod` render outside namespaces.
    cluster(
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        &["get", "list", "watch", "create", "patch", "delete"],
        "reads injectors and tags, points tags at the new revision; Helm writes the injector of a revision, whose name cannot be foreseen (operator fence)",
    ),
    cluster(
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        &["get", "list", "watch", "create", "patch", "delete"],
        "reads validators; Helm writes the validator of a revision and of the default (operator fence)",
    ),
    cluster(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        &["get", "create"],
        "Helm creates the CRDs that a new Istio adds; create cannot be limited by name (operator fence)",
    ),
    Permission {
        group: "apiextensions.k8s.io",
        resource: "customresourcedefinitions",
        verbs: &["patch"],
        names: ISTIO_CRDS,
        scope: Scope::Cluster,
        why: "Helm upgrades the CRDs of Istio, before any control plane; never deletes them",
    },
    cluster(
        "rbac.authorization.k8s.io",
        "clusterroles",
        &["get", "create", "patch", "delete", "escalate", "bind"],
        "Helm grants istiod its own rights, which the operator does not hold itself: RBAC allows that only with escalate and bind (operator fence)",
    ),
    cluster(
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        HELM,
        "Helm grants istiod its own rights; only to service accounts of the control plane namespaces (operator fence)",
    ),
    // What the charts render in the namespace of istiod, and what is asked of istiod.
    control_plane("", "pods/proxy", &["get"], "reads the metrics of istiod"),
    control_plane(
        "",
        "secrets",
        &["get", "list", "create", "update", "delete"],
        "the storage of Helm releases, which is all it writes there (operator fence); reads the remote secrets of istiod, which name the other clusters of the mesh",
    ),
    control_plane(
        "",
        "configmaps",
        HELM,
        "Helm: mesh configuration and injection templates",
    ),
    control_plane(
        "",
        "services",
        HELM,
        "Helm: the Service of istiod; the Service of a tag is pointed at the new revision (operator fence)",
    ),
    control_plane(
        "",
        "serviceaccounts",
        HELM,
        "Helm: the identities of istiod and of its reader",
    ),
    control_plane(
        "apps",
        "deployments",
        &["create", "delete"],
        "Helm: istiod; it is read and patched by the rights above",
    ),
    control_plane(
        "autoscaling",
        "horizontalpodautoscalers",
        HELM,
        "Helm: the autoscaler of istiod",
    ),
    control_plane(
        "autoscaling",
        "horizontalpodautoscalers",
        &["list"],
        "how far istiod is scaled by itself, and how many replicas are enough",
    ),
    control_plane(
        "",
        "resourcequotas",
        &["list"],
        "detection: whether the quotas beside istiod have room for a second one",
    ),
    control_plane(
        "policy",
        "poddisruptionbudgets",
        HELM,
        "Helm: the disruption budget of istiod; a copy, for the new istiod, of one that a person made for the old one (operator fence)",
    ),
    control_plane(
        "networking.k8s.io",
        "networkpolicies",
        HELM,
        "Helm: the network policy of istiod, where its values ask for one",
    ),
    control_plane(
        "rbac.authorization.k8s.io",
        "roles",
        &["get", "create", "patch", "delete", "escalate", "bind"],
        "Helm grants istiod its own rights in its namespace, which takes escalate and bind as above (operator fence)",
    ),
    control_plane(
        "rbac.authorization.k8s.io",
        "rolebindings",
        HELM,
        "Helm grants istiod its own rights in its namespace (operator fence)",
    ),
    // Our own namespace.
    own(
        "coordination.k8s.io",
        "leases",
        &["get", "create", "patch"],
        "leader election",
    ),
    own(
        "",
        "secrets",
        &["get", "list", "create", "update", "delete"],
        "the record of an upgrade, its plan and its backup, written again when the first write was not seen to end, and removed when they are too many; reads the credentials of chart repositories and the kubeconfigs that a Mesh names",
    ),
    own(
        "",
        "configmaps",
        &["get", "create", "update", "delete"],
        "the log of an upgrade, which goes with its record, and which people may read without the right to read Secrets",
    ),
];
