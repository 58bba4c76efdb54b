//! Upgrades that a detection holds back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshlift_api::{MeshUpgradeStatus, Phase, conditions};
use serde_json::Value;

use crate::audit::Audit;
use crate::bed::{Bed, OPERATOR_USER};
use crate::upgrades::{ensure_condition, wait_status};
use crate::wait::SOON;

/// Fails if the operator wrote anything to the mesh.
pub fn ensure_untouched(audit: &Audit) -> Result<()> {
    let writes = audit.mesh_writes(OPERATOR_USER)?;
    ensure!(writes.is_empty(), "the mesh was written to: {writes:?}");
    Ok(())
}

/// An upgrade with this spec ends in Detecting, for this reason and with these words, and the mesh is
/// not written to; then it can be deleted.
pub async fn ends_blocked(bed: &Bed, spec: Value, reason: &str, words: &[&str]) -> Result<()> {
    let what = format!("{spec} is blocked by {reason}");
    ends_blocked_inner(bed, spec, reason, words)
        .await
        .context(what)
}

async fn ends_blocked_inner(bed: &Bed, spec: Value, reason: &str, words: &[&str]) -> Result<()> {
    let audit = bed.audit()?;
    let name = "blocked";
    bed.create_upgrade(name, spec).await?;
    is_blocked(bed, name, reason, words, SOON).await?;
    ensure_untouched(&audit)?;
    bed.delete_upgrade(name).await
}

/// Waits until an upgrade is blocked in Detecting for this reason and with these words.
pub async fn is_blocked(
    bed: &Bed,
    name: &str,
    reason: &str,
    words: &[&str],
    limit: Duration,
) -> Result<MeshUpgradeStatus> {
    let what = format!("{name} is blocked by {reason}, with the words {words:?}");
    let status = wait_status(bed, name, &what, limit, |status| {
        let mut all = status.conditions.iter();
        let detected = all.find(|c| c.type_ == conditions::DETECTED);
        detected.is_some_and(|c| c.reason == reason)
            && words.iter().all(|word| status.message.contains(word))
    })
    .await?;
    ensure!(status.phase == Some(Phase::Detecting), "{status:?}");
    ensure_condition(&status, conditions::DETECTED, ("False", reason))?;
    ensure_condition(&status, conditions::READY, ("False", "Detecting"))?;
    ensure_condition(&status, conditions::STALLED, ("False", "NotStalled"))?;
    let waits = if reason == "Unreadable" {
        "Unreadable"
    } else {
        "Blocked"
    };
    ensure_condition(&status, conditions::RECONCILING, ("True", waits))?;
    Ok(status)
}
