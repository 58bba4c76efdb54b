//! One upgrade on one screen, and all of them as a table.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use meshlift_api::conditions::{READY, RECONCILING, STALLED};
use meshlift_api::{
    ControlPlaneRef, LegState, MeshUpgrade, MeshUpgradeStatus, Mode, Outcome, Phase, RunSummary,
    WaveState,
};

use super::checks::checks;
use super::progress::{counts, stage, took};
use super::table::{Cell, Column, table};
use super::time::between;
use crate::terminal::{Terminal, Tone};

const BAR: usize = 30;

/// All upgrades, the newest last.
pub(crate) fn upgrades(terminal: &Terminal, upgrades: &[MeshUpgrade], now: Timestamp) -> String {
    let columns = [
        Column::Fixed("NAME"),
        Column::Fixed("MESH"),
        Column::Fixed("FROM"),
        Column::Fixed("TO"),
        Column::Fixed("PHASE"),
        Column::Fixed("PROGRESS"),
        Column::Fixed("AGE"),
        Column::Text("MESSAGE"),
    ];
    let rows = upgrades.iter().map(|upgrade| {
        let none = MeshUpgradeStatus::default();
        let status = upgrade.status.as_ref().unwrap_or(&none);
        let target = status.target.as_ref().map(|to| to.version.as_str());
        let created = upgrade.creation_timestamp();
        vec![
            upgrade.name_any().into(),
            upgrade.spec.mesh.as_str().into(),
            Cell::maybe(status.from.as_ref().map(|from| from.version.as_str())),
            target.unwrap_or(&upgrade.spec.target_version).into(),
            phase(status),
            Cell::maybe((!status.progress.is_empty()).then_some(status.progress.as_str())),
            Cell::maybe(created.map(|created| between(created.0, now))),
            Cell::maybe((!status.message.is_empty()).then_some(status.message.as_str())),
        ]
    });
    table(terminal, &columns, rows)
}

fn phase(status: &MeshUpgradeStatus) -> Cell {
    let text = status
        .phase
        .map_or_else(|| "-".to_owned(), |phase| phase.to_string());
    Cell::toned(tone(status), text)
}

fn tone(status: &MeshUpgradeStatus) -> Tone {
    match (status.phase, status.outcome) {
        (Some(Phase::Done), Some(Outcome::PlanBlocked)) => Tone::Warn,
        (Some(Phase::Done), _) => Tone::Good,
        (Some(Phase::Failed), _) => Tone::Bad,
        (None, _) => Tone::Faint,
        (Some(_), _) => Tone::Plain,
    }
}

/// Everything of one upgrade.
pub(crate) fn upgrade(terminal: &Terminal, upgrade: &MeshUpgrade, now: Timestamp) -> String {
    let none = MeshUpgradeStatus::default();
    let status = upgrade.status.as_ref().unwrap_or(&none);
    let mut parts = vec![head(terminal, upgrade, status, now)];
    let failed: Vec<_> = status.checks.iter().collect();
    if !failed.is_empty() {
        let passed = match status.checks_passed {
            Some(passed) => format!("Checks, besides {passed} that passed"),
            None => "Checks".to_owned(),
        };
        parts.push(section(terminal, &passed, &checks(terminal, failed)));
    }
    if !status.legs.is_empty() {
        parts.push(section(terminal, "Route", &legs(terminal, status, now)));
    }
    if !status.waves.is_empty() {
        parts.push(section(terminal, "Waves", &waves(terminal, status, now)));
    }
    if !status.blocked.is_empty() {
        parts.push(section(
            terminal,
            &not_moved(status),
            &blocked(terminal, status),
        ));
    }
    if !status.conditions.is_empty() {
        let text = conditions(terminal, &status.conditions);
        parts.push(section(terminal, "Conditions", &text));
    }
    if !status.history.is_empty() {
        let text = history(terminal, &status.history);
        parts.push(section(terminal, "Earlier runs", &text));
    }
    parts.join("\n")
}

fn section(terminal: &Terminal, title: &str, body: &str) -> String {
    format!("{}\n{body}", terminal.paint(Tone::Strong, title))
}

fn head(
    terminal: &Terminal,
    upgrade: &MeshUpgrade,
    status: &MeshUpgradeStatus,
    now: Timestamp,
) -> String {
    let title = format!("MeshUpgrade {}", upgrade.name_any());
    let mut lines = vec![terminal.paint(Tone::Strong, &title)];
    let mut say = |name: &str, text: &str| lines.push(field(terminal, name, text));
    say("mesh", &upgrade.spec.mesh);
    say("way", &way(upgrade, status));
    let since = status
        .step_started_at
        .as_ref()
        .filter(|_| !status.phase.is_some_and(Phase::is_terminal))
        .map_or(String::new(), |at| format!(", for {}", between(at.0, now)));
    let held = if upgrade.spec.paused { ", paused" } else { "" };
    let at = format!("{}{since}{held}", stage(status));
    say("phase", &terminal.paint(tone(status), &at));
    if let Some(outcome) = status.outcome {
        say("outcome", &outcome.to_string());
    }
    if let Some(workloads) = &status.workloads {
        let bar = bar(workloads.moved, workloads.total);
        say("progress", &format!("{bar} {}", counts(workloads)));
    }
    if let Some(proxies) = &status.proxies {
        let text = format!(
            "{} of {} on the target, {} on another revision, {} unknown",
            proxies.current, proxies.total, proxies.outdated, proxies.unknown
        );
        say("sidecars", &text);
    }
    if !status.message.is_empty() {
        say("now", &status.message);
    }
    if let Some(rollback) = &status.rollback {
        let since = between(rollback.since.0, now);
        say("rollback", &format!("{} ({since} ago)", rollback.reason));
    }
    if let Some(attempts) = status.attempts.as_ref().filter(|tried| tried.count > 0) {
        let next = attempts.next_at.as_ref().map_or(String::new(), |at| {
            format!(", the next in {}", between(now, at.0))
        });
        let text = format!("{} in a row{next}: {}", attempts.count, attempts.last_error);
        say("failures", &text);
    }
    if let Some(plan) = &status.plan {
        let text = format!(
            "{} Helm releases, {} namespaces, {} restarts, {} not moved; {}",
            plan.releases.len(),
            plan.namespaces,
            plan.restarts,
            plan.blocked,
            plan.estimate
        );
        say("plan", &text);
    }
    if let Some(took) = took(status, now) {
        say("time", &took);
    }
    if let Some(record) = &status.record {
        say("record", &format!("Secret {record}"));
    }
    if let Some(backup) = &status.backup {
        say("backup", backup);
    }
    lines.join("\n") + "\n"
}

/// A named line; what wraps stays under its own beginning.
fn field(terminal: &Terminal, name: &str, text: &str) -> String {
    const MARGIN: usize = 11;
    let wrapped = terminal.wrap(MARGIN, text);
    let rest = wrapped.get(MARGIN..).unwrap_or_default();
    format!("  {name:<9}{rest}")
}

fn way(upgrade: &MeshUpgrade, status: &MeshUpgradeStatus) -> String {
    let plane = |at: &ControlPlaneRef| match &at.revision {
        Some(revision) => format!("{} (revision {revision})", at.version),
        None => at.version.clone(),
    };
    let from = status.from.as_ref().map(plane);
    let to = status.target.as_ref().map(plane);
    let from = from.unwrap_or_else(|| "not looked at yet".to_owned());
    let to = to.unwrap_or_else(|| upgrade.spec.target_version.clone());
    let over = match status.hops.split_last() {
        Some((_, over)) if !over.is_empty() => {
            let over: Vec<&str> = over.iter().map(|hop| hop.version.as_str()).collect();
            format!(" over {}", over.join(", "))
        }
        _ => String::new(),
    };
    let mode = match upgrade.spec.mode {
        Mode::Apply => "",
        Mode::Preflight => "; preflight: nothing is touched",
    };
    format!("{from} to {to}{over}{mode}")
}

fn bar(done: u32, total: u32) -> String {
    let total = total.max(1);
    let filled = BAR * usize::try_from(done.min(total)).unwrap_or(0)
        / usize::try_from(total).unwrap_or(1).max(1);
    format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR - filled))
}

fn legs(terminal: &Terminal, status: &MeshUpgradeStatus, now: Timestamp) -> String {
    let columns = [
        Column::Fixed("LEG"),
        Column::Fixed("STATE"),
        Column::Fixed("TOOK"),
    ];
    let rows = status.legs.iter().map(|leg| {
        let tone = match leg.state {
            LegState::Pending | LegState::RolledBack | LegState::Stays => Tone::Faint,
            LegState::RollingBack => Tone::Warn,
            LegState::Active => Tone::Plain,
            LegState::Done => Tone::Good,
            LegState::Failed => Tone::Bad,
        };
        let end = leg.finished_at.as_ref().map_or(now, |at| at.0);
        let took = leg.started_at.as_ref().map(|at| between(at.0, end));
        vec![
            leg.id.as_str().into(),
            Cell::toned(tone, leg.state.to_string()),
            Cell::maybe(took),
        ]
    });
    table(terminal, &columns, rows)
}

fn waves(terminal: &Terminal, status: &MeshUpgradeStatus, now: Timestamp) -> String {
    let columns = [
        Column::Fixed("WAVE"),
        Column::Fixed("STATE"),
        Column::Fixed("NAMESPACES"),
        Column::Fixed("WORKLOADS"),
        Column::Fixed("TOOK"),
    ];
    let rows = status.waves.iter().map(|wave| {
        let tone = match wave.state {
            WaveState::Pending | WaveState::MovedBack => Tone::Faint,
            WaveState::WaitingForApproval | WaveState::MovingBack => Tone::Warn,
            WaveState::Moving | WaveState::Verifying => Tone::Plain,
            WaveState::Verified => Tone::Good,
        };
        let end = wave.finished_at.as_ref().map_or(now, |at| at.0);
        let took = wave.started_at.as_ref().map(|at| between(at.0, end));
        vec![
            wave.name.as_str().into(),
            Cell::toned(tone, wave.state.to_string()),
            wave.namespaces.to_string().into(),
            Cell::maybe((!wave.progress.is_empty()).then_some(wave.progress.as_str())),
            Cell::maybe(took),
        ]
    });
    table(terminal, &columns, rows)
}

fn not_moved(status: &MeshUpgradeStatus) -> String {
    let shown = status.blocked.len();
    let total = status
        .workloads
        .and_then(|counts| usize::try_from(counts.blocked).ok());
    match total {
        Some(total) if total > shown => format!("Not moved: {shown} of {total}"),
        _ => "Not moved".to_owned(),
    }
}

fn blocked(terminal: &Terminal, status: &MeshUpgradeStatus) -> String {
    let columns = [
        Column::Fixed("WHAT"),
        Column::Fixed("WHY"),
        Column::Text("MESSAGE"),
    ];
    let rows = status.blocked.iter().map(|blocked| {
        vec![
            blocked.reference.as_str().into(),
            Cell::toned(Tone::Warn, blocked.predicate.to_string()),
            blocked.message.as_str().into(),
        ]
    });
    table(terminal, &columns, rows)
}

fn conditions(terminal: &Terminal, conditions: &[Condition]) -> String {
    let columns = [
        Column::Fixed("CONDITION"),
        Column::Fixed("STATUS"),
        Column::Fixed("REASON"),
        Column::Text("MESSAGE"),
    ];
    let rows = conditions.iter().map(|condition| {
        vec![
            condition.type_.as_str().into(),
            Cell::toned(verdict(condition), condition.status.as_str()),
            condition.reason.as_str().into(),
            Cell::maybe((!condition.message.is_empty()).then_some(condition.message.as_str())),
        ]
    });
    table(terminal, &columns, rows)
}

fn verdict(condition: &Condition) -> Tone {
    match (condition.type_.as_str(), condition.status.as_str()) {
        (STALLED, "True") => Tone::Bad,
        (STALLED | RECONCILING, _) => Tone::Plain,
        (_, "True") => Tone::Good,
        (READY, _) => Tone::Plain,
        _ => Tone::Warn,
    }
}

fn history(terminal: &Terminal, runs: &[RunSummary]) -> String {
    let columns = [
        Column::Fixed("FROM"),
        Column::Fixed("TO"),
        Column::Fixed("OUTCOME"),
        Column::Fixed("ENDED"),
        Column::Fixed("TOOK"),
        Column::Text("MESSAGE"),
    ];
    let version =
        |at: &Option<ControlPlaneRef>| Cell::maybe(at.as_ref().map(|plane| plane.version.as_str()));
    let rows = runs.iter().map(|run| {
        let took = run
            .started_at
            .as_ref()
            .zip(run.finished_at.as_ref())
            .map(|(from, to)| between(from.0, to.0));
        vec![
            version(&run.from),
            version(&run.target),
            Cell::maybe(run.outcome.map(|outcome| outcome.to_string())),
            Cell::maybe(run.finished_at.as_ref().map(|time| time.0.to_string())),
            Cell::maybe(took),
            run.message.as_str().into(),
        ]
    });
    table(terminal, &columns, rows)
}

#[cfg(test)]
mod tests;
