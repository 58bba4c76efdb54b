//! Following a MeshUpgrade and reading what it says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, pin_mut};
use kube::runtime::{WatchStreamExt, watcher};
use meshlift_api::{MeshUpgradeStatus, Phase, Predicate};
use tokio::task::JoinHandle;

use crate::bed::Bed;
use crate::wait::until;

/// Every status of a MeshUpgrade, from the moment that it is followed.
pub struct Followed {
    statuses: Arc<Mutex<Vec<MeshUpgradeStatus>>>,
    watch: JoinHandle<()>,
}

impl Followed {
    /// Follows it until this is dropped.
    pub fn follow(bed: &Bed, name: &str) -> Self {
        let statuses = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&statuses);
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let upgrades = bed.upgrades();
        let watch = tokio::spawn(async move {
            let changes = watcher(upgrades, config)
                .default_backoff()
                .applied_objects();
            pin_mut!(changes);
            while let Some(change) = changes.next().await {
                // After an error the watcher starts again by itself.
                let status = change.ok().and_then(|upgrade| upgrade.status);
                lock(&kept).extend(status);
            }
        });
        Self { statuses, watch }
    }

    /// Fails if a rollback was begun at any time, or if no status was seen.
    pub fn ensure_no_rollback(&self) -> Result<()> {
        let statuses = lock(&self.statuses);
        ensure!(!statuses.is_empty(), "no status was seen");
        let rollback = statuses.iter().find_map(|s| s.rollback.as_ref());
        ensure!(rollback.is_none(), "a rollback was begun: {rollback:?}");
        Ok(())
    }

    /// Fails unless one of its messages had these words.
    pub fn ensure_said(&self, words: &str) -> Result<()> {
        let said = lock(&self.statuses)
            .iter()
            .any(|status| status.message.contains(words));
        ensure!(said, "no status said {words:?}:\n{}", self.transcript());
        Ok(())
    }

    /// Its messages in their order, each with its step and the time at which that was entered.
    pub fn transcript(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for status in lock(&self.statuses).iter() {
            let since = status.step_started_at.as_ref().map(|at| at.0.to_string());
            let line = format!("{} {}", since.unwrap_or_default(), shown(status));
            if lines.last() != Some(&line) {
                lines.push(line);
            }
        }
        lines.join("\n")
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the status of a MeshUpgrade is as `wanted` says.
pub async fn wait_status(
    bed: &Bed,
    name: &str,
    what: &str,
    limit: Duration,
    wanted: impl Fn(&MeshUpgradeStatus) -> bool,
) -> Result<MeshUpgradeStatus> {
    let upgrades = bed.upgrades();
    until(what, limit, || async {
        let status = upgrades.get(name).await?.status.unwrap_or_default();
        Ok(if wanted(&status) {
            Ok(status)
        } else {
            Err(shown(&status))
        })
    })
    .await
}

/// Waits until a MeshUpgrade is in `phase`; fails at once when it ends in another.
pub async fn wait_phase(
    bed: &Bed,
    name: &str,
    phase: Phase,
    limit: Duration,
) -> Result<MeshUpgradeStatus> {
    let what = format!("{name} is {phase}");
    let there = |status: &MeshUpgradeStatus| {
        status
            .phase
            .is_some_and(|p| p == phase || (p.is_terminal() && !phase.is_terminal()))
            || (phase == Phase::Done && status.phase == Some(Phase::Failed))
    };
    let status = wait_status(bed, name, &what, limit, there).await?;
    ensure!(
        status.phase == Some(phase),
        "{what}: it ended otherwise: {}",
        shown(&status)
    );
    Ok(status)
}

/// Status, reason and message of a condition.
pub fn condition<'a>(
    status: &'a MeshUpgradeStatus,
    kind: &str,
) -> Result<(&'a str, &'a str, &'a str)> {
    let found = status.conditions.iter().find(|c| c.type_ == kind);
    let found = found.with_context(|| format!("no condition {kind}: {}", shown(status)))?;
    Ok((&found.status, &found.reason, &found.message))
}

/// Fails unless a condition has this status and reason.
pub fn ensure_condition(
    status: &MeshUpgradeStatus,
    kind: &str,
    expected: (&str, &str),
) -> Result<()> {
    let (is, reason, _) = condition(status, kind)?;
    ensure!(
        (is, reason) == expected,
        "condition {kind} is {is}/{reason}, not {expected:?}: {}",
        shown(status)
    );
    Ok(())
}

/// Fails unless the message has all these words.
pub fn ensure_says(status: &MeshUpgradeStatus, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(
            status.message.contains(word),
            "{word:?} is missing in: {}",
            shown(status)
        );
    }
    Ok(())
}

/// Why something is not moved, and the words for it; the reference ends in `name`.
pub fn blocked<'a>(status: &'a MeshUpgradeStatus, name: &str) -> Result<(Predicate, &'a str)> {
    let found = status.blocked.iter().find(|b| b.reference.contains(name));
    let found = found.with_context(|| format!("{name} is not named in {:?}", status.blocked))?;
    Ok((found.predicate, &found.message))
}

/// A status on one line.
pub fn shown(status: &MeshUpgradeStatus) -> String {
    let conditions: Vec<String> = status
        .conditions
        .iter()
        .map(|c| format!("{}={}/{}", c.type_, c.status, c.reason))
        .collect();
    format!(
        "{:?} {:?} {} {:?} [{}]",
        status.phase,
        status.step,
        status.progress,
        status.message,
        conditions.join(" ")
    )
}
