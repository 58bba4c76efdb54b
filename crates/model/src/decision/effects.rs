//! What is asked of an effect: what it touches, and its name.

use super::{Effect, TemplateRevision};

impl Effect {
    /// Whether it runs Helm, which may take minutes, and of which only one may run at a time.
    pub fn runs_helm(&self) -> bool {
        matches!(
            self,
            Effect::UpgradeBase(_)
                | Effect::InstallRevision(_)
                | Effect::UpgradeIstiod(_)
                | Effect::RestoreMinimum(_)
                | Effect::PointDefaultRevision(_)
                | Effect::ReleaseTags(_)
                | Effect::RetireRevision { .. }
        )
    }

    /// Whether it changes the mesh, and not only what Meshlift keeps for itself.
    pub fn changes_mesh(&self) -> bool {
        !matches!(
            self,
            Effect::RegisterMesh { .. }
                | Effect::WritePlan { .. }
                | Effect::HoldDeletion
                | Effect::LetGo
                | Effect::BackUp(_)
        )
    }

    /// Whether it begins an upgrade or goes on with it, so that it waits for a maintenance window and a pause holds it.
    pub fn begins(&self) -> bool {
        self.changes_mesh() || matches!(self, Effect::HoldDeletion | Effect::BackUp(_))
    }

    /// Whether Helm's storage is another one after it.
    pub fn changes_releases(&self) -> bool {
        self.runs_helm() || matches!(self, Effect::ClearPendingRelease { .. })
    }

    /// UID of the one object that it writes, if it is about one: what the API server refuses there concerns no other.
    /// Helm writes many at once.
    pub fn object(&self) -> Option<&str> {
        match self {
            Effect::MoveNamespace { uid, .. }
            | Effect::PointTag { uid, .. }
            | Effect::KeepTag { uid, .. }
            | Effect::LabelGateway { uid, .. }
            | Effect::RestartWorkload { uid, .. }
            | Effect::EvictPod { uid, .. } => Some(uid),
            Effect::CopyBudget { owner_uid, .. } => Some(owner_uid),
            Effect::RegisterMesh { .. }
            | Effect::HoldDeletion
            | Effect::LetGo
            | Effect::ClearPendingRelease { .. }
            | Effect::WritePlan { .. }
            | Effect::BackUp(_)
            | Effect::UpgradeBase(_)
            | Effect::InstallRevision(_)
            | Effect::UpgradeIstiod(_)
            | Effect::RestoreMinimum(_)
            | Effect::PointDefaultRevision(_)
            | Effect::ReleaseTags(_)
            | Effect::RetireRevision { .. } => None,
        }
    }

    /// A name for logs, metrics and messages: what it does, to what.
    pub fn describe(&self) -> String {
        match self {
            Effect::RegisterMesh { name, .. } => format!("making Mesh {name}"),
            Effect::WritePlan { .. } => "writing the plan".to_owned(),
            Effect::HoldDeletion => "adding the finalizer".to_owned(),
            Effect::LetGo => "removing the finalizer".to_owned(),
            Effect::BackUp(_) => "backing up the mesh".to_owned(),
            Effect::ClearPendingRelease { release, .. } => {
                format!("clearing the pending Helm operation on {release}")
            }
            Effect::UpgradeBase(target) | Effect::UpgradeIstiod(target) => {
                format!(
                    "upgrading Helm release {} to {}",
                    target.release, target.version
                )
            }
            Effect::InstallRevision(target) => {
                format!(
                    "installing Helm release {} at {}",
                    target.release, target.version
                )
            }
            Effect::RestoreMinimum(target) => {
                format!("restoring autoscaleMin of Helm release {}", target.release)
            }
            Effect::CopyBudget {
                namespace,
                of,
                revision,
                ..
            } => format!("copying PodDisruptionBudget {namespace}/{of} for revision {revision}"),
            Effect::PointDefaultRevision(target) => {
                format!(
                    "pointing the default revision by Helm release {}",
                    target.release
                )
            }
            Effect::MoveNamespace { name, revision, .. } => {
                format!("moving namespace {name} to {revision}")
            }
            Effect::PointTag { tag, revision, .. } => {
                format!("pointing tag {tag} at {revision}")
            }
            Effect::KeepTag { tag, .. } => format!("keeping tag {tag} from Helm"),
            Effect::ReleaseTags(target) => {
                format!(
                    "taking revision tags out of Helm release {}",
                    target.release
                )
            }
            Effect::LabelGateway {
                namespace,
                name,
                revision,
                ..
            } => format!("asking for {revision} in Gateway {namespace}/{name}"),
            Effect::RestartWorkload {
                key,
                mark,
                template_revision,
                ..
            } => {
                let asks = |asked: &TemplateRevision| match &asked.label {
                    Some(label) => format!(", its template asking for {label}"),
                    None => ", its template asking for no revision".to_owned(),
                };
                let asks = template_revision.as_ref().map(asks).unwrap_or_default();
                format!("restarting {key} for {mark}{asks}")
            }
            Effect::EvictPod {
                namespace,
                name,
                workload,
                ..
            } => format!("evicting pod {namespace}/{name} of {workload}"),
            Effect::RetireRevision { release, .. } => {
                format!("uninstalling Helm release {release}")
            }
        }
    }

    /// The kind of effect, as a fixed word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Effect::RegisterMesh { .. } => "register_mesh",
            Effect::WritePlan { .. } => "write_plan",
            Effect::HoldDeletion => "hold_deletion",
            Effect::LetGo => "let_go",
            Effect::BackUp(_) => "back_up",
            Effect::ClearPendingRelease { .. } => "clear_pending_release",
            Effect::UpgradeBase(_) => "upgrade_base",
            Effect::InstallRevision(_) => "install_revision",
            Effect::UpgradeIstiod(_) => "upgrade_istiod",
            Effect::RestoreMinimum(_) => "restore_minimum",
            Effect::CopyBudget { .. } => "copy_budget",
            Effect::PointDefaultRevision(_) => "point_default_revision",
            Effect::MoveNamespace { .. } => "move_namespace",
            Effect::PointTag { .. } => "point_tag",
            Effect::KeepTag { .. } => "keep_tag",
            Effect::ReleaseTags(_) => "release_tags",
            Effect::LabelGateway { .. } => "label_gateway",
            Effect::RestartWorkload { .. } => "restart_workload",
            Effect::EvictPod { .. } => "evict_pod",
            Effect::RetireRevision { .. } => "retire_revision",
        }
    }
}
