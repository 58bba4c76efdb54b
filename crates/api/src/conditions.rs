//! Condition types and reasons: the fixed words that tools match on.

/// The cluster and the target fit; the upgrade may start.
pub const DETECTED: &str = "Detected";
/// The new control plane is ready and injects.
pub const CONTROL_PLANE_READY: &str = "ControlPlaneReady";
/// Every workload that this upgrade moves runs the new sidecar.
pub const DATA_PLANE_UPGRADED: &str = "DataPlaneUpgraded";
/// Nothing got worse through the soak.
pub const HEALTHY: &str = "Healthy";
/// The old control plane is gone.
pub const OLD_REVISION_RETIRED: &str = "OldRevisionRetired";
/// The mesh is at the target version (kstatus).
pub const READY: &str = "Ready";
/// Work is under way or waited for (kstatus, abnormal when true).
pub const RECONCILING: &str = "Reconciling";
/// It stopped and needs a person (kstatus, abnormal when true).
pub const STALLED: &str = "Stalled";
/// Of a Mesh: a version it can be upgraded to is there.
pub const UPGRADE_AVAILABLE: &str = "UpgradeAvailable";
/// Of a Mesh: upstream still supports the running minor.
pub const SUPPORTED: &str = "Supported";
/// Of a Mesh: the Kubernetes of every cluster fits the running minor.
pub const KUBERNETES_COMPATIBLE: &str = "KubernetesCompatible";
/// Of a Mesh: every sidecar is of the version of the control plane.
pub const DATA_PLANE_CURRENT: &str = "DataPlaneCurrent";
