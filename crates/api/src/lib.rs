//! The custom resources of Meshlift and the words it shares with the people who use it:
//! spec, status, phases, conditions, labels and names.
//!
//! This crate knows no client and no runtime; CI proves it from its dependency tree.

pub mod conditions;
mod data_plane;
mod detection;
mod duration;
pub mod labels;
mod mesh;
mod mesh_status;
mod mesh_upgrade;
pub mod permissions;
mod release_catalog;
mod schema;
mod status;
mod tolerant;

pub use data_plane::{
    Approval, DataPlane, Day, GatewayOrder, Gateways, Move, NamespaceSelector, Restart,
    RestartMethod, Rollback, Wave, Window,
};
pub use detection::{
    CheckResult, CheckStatus, ClusterCheck, ClusterVerdict, Hop, PlanSummary, PlannedRelease,
    ReleaseAction, Severity,
};
pub use duration::{GoDuration, LONGEST, NoDuration};
pub use mesh::{
    ChartSource, ClusterRole, KubeconfigSource, Mesh, MeshCluster, MeshInstaller, MeshSpec,
    MeshType, MeshValues, SecretRef,
};
pub use mesh_status::{
    AvailableVersion, ChartsStatus, ClusterFit, ClusterStatus, DataPlaneStatus, ManualReference,
    MeshStatus, ProxyVersion, RevisionStatus,
};
pub use mesh_upgrade::{
    HealthCheck, InPlace, MeshUpgrade, MeshUpgradeSpec, Mode, Retire, Strategy, UpgradePath,
};
pub use release_catalog::{
    CatalogMode, GatewayApiMinimum, IstioRelease, KubernetesVersions, RELEASE_CATALOG,
    ReleaseCatalog, ReleaseCatalogSpec, ReleaseRisk, RiskResources, RiskRule,
};
pub use status::{
    Attempts, BlockedWorkload, ControlPlaneRef, EndedRestarts, LegState, LegStatus,
    MeshUpgradeStatus, Outcome, PaceStatus, Phase, Predicate, ProxyCounts, RollbackStatus,
    RunSummary, Soak, Step, WaveState, WaveStatus, WorkloadCounts,
};

/// API group of every Meshlift kind.
pub const GROUP: &str = "meshlift.io";
/// API version of every Meshlift kind.
pub const VERSION: &str = "v1alpha1";
/// The public chart repository of Istio releases from 1.31 on, which also holds all earlier ones.
/// Source: Istio 1.31 upgrade notes ("artifact hosting moved").
pub const DEFAULT_CHARTS_REPOSITORY: &str = "https://blob.istio.io/istio-release/charts";
/// Name of the Mesh that a MeshUpgrade means when it names none.
pub const DEFAULT_MESH: &str = "default";
