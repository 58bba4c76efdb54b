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
