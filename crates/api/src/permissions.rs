//! Every right the operator uses, with the reason. RBAC is rendered from this table, and detection
//! asks the API server for the same rights before an upgrade starts.

mod table;

pub use self::table::PERMISSIONS;

/// Where a right holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The whole cluster, or a cluster-scoped kind.
    Cluster,
    /// The namespaces of istiod.
    ControlPlaneNamespace,
    /// The namespace the operator runs in.
    OperatorNamespace,
}

/// One right: verbs on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource in the plural, with its subresource where there is one (`pods/proxy`).
    pub resource: &'static str,
    /// What is done with it.
    pub verbs: &'static [&'static str],
    /// The only objects it holds for; empty for all.
    pub names: &'static [&'static str],
    /// Where it holds.
    pub scope: Scope,
    /// What it is for.
    pub why: &'static str,
}

impl Permission {
    /// The resource without its subresource, and the subresource.
    pub fn split_resource(&self) -> (&'static str, Option<&'static str>) {
        match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource)),
            None => (self.resource, None),
        }
    }
}

/// The CRDs of the Istio releases this operator knows: the only ones it may change.
/// Source: istio `manifests/charts/base/files/crd-all.gen.yaml`.
pub const ISTIO_CRDS: &[&str] = &[
    "authorizationpolicies.security.istio.io",
    "destinationrules.networking.istio.io",
    "envoyfilters.networking.istio.io",
    "gateways.networking.istio.io",
    "peerauthentications.security.istio.io",
    "proxyconfigs.networking.istio.io",
    "requestauthentications.security.istio.io",
    "serviceentries.networking.istio.io",
    "sidecars.networking.istio.io",
    "telemetries.telemetry.istio.io",
    "trafficextensions.extensions.istio.io",
    "virtualservices.networking.istio.io",
    "wasmplugins.extensions.istio.io",
    "workloadentries.networking.istio.io",
    "workloadgroups.networking.istio.io",
];

/// The admission policies of the chart, and their bindings, that bound what the operator's own account may do.
pub const FENCE: &[&str] = &[
    "meshlift-operator-fence-bindings",
    "meshlift-operator-fence-crds",
    "meshlift-operator-fence-evictions",
    "meshlift-operator-fence-gateways",
    "meshlift-operator-fence-namespaces",
    "meshlift-operator-fence-pods",
    "meshlift-operator-fence-releases",
    "meshlift-operator-fence-rights",
    "meshlift-operator-fence-secrets",
    "meshlift-operator-fence-webhooks",
    "meshlift-operator-fence-workloads",
];

/// The rights that hold in `scope`.
pub fn in_scope(scope: Scope) -> impl Iterator<Item = &'static Permission> {
    PERMISSIONS
        .iter()
        .filter(move |permission| permission.scope == scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wildcard_no_impersonation_and_a_reason_each() {
        for permission in PERMISSIONS {
            let words = [permission.group, permission.resource];
            let all = words.iter().chain(permission.verbs).chain(permission.names);
            for word in all {
                assert!(!word.contains('*'), "wildcard in {permission:?}");
                assert_ne!(*word, "impersonate", "{permission:?}");
            }
            assert!(!permission.why.is_empty(), "no reason: {permission:?}");
            assert!(!permission.verbs.is_empty(), "no verb: {permission:?}");
        }
    }

    #[test]
    fn the_fence_is_the_one_of_the_chart() {
        let chart = include_str!("../../../charts/meshlift/templates/operator-fence.yaml");
        let names_of = |line: &str| -> Vec<String> {
            let quoted = line.split('"').skip(1).step_by(2);
            let named = quoted.map(|name| format!("meshlift-operator-fence-{name}"));
            named.collect()
        };
        let heads = chart
            .lines()
            .filter_map(|line| line.strip_prefix("{{ include \"meshlift.fence.head\" "));
        let mut policies: Vec<String> = heads.flat_map(names_of).collect();
        let bound = chart
            .lines()
            .find(|line| line.contains("range $name := list"));
        let mut bindings = bound.map(names_of).unwrap_or_default();
        policies.sort();
        bindings.sort();
        assert_eq!(policies, FENCE);
        assert_eq!(bindings, FENCE);
    }

    #[test]
    fn secrets_are_never_read_cluster_wide() {
        assert!(in_scope(Scope::Cluster).all(|permission| permission.resource != "secrets"));
    }

    #[test]
    fn create_is_never_limited_by_name() {
        // RBAC ignores a name limit on `create` only by refusing everything.
        for permission in PERMISSIONS.iter().filter(|p| !p.names.is_empty()) {
            assert!(!permission.verbs.contains(&"create"), "{permission:?}");
            assert!(!permission.verbs.contains(&"list"), "{permission:?}");
        }
    }
}
