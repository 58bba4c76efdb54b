//! The table of goals, and the file of figures.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::figures::{Figures, Memory};
use super::schedule::proxies_a_second;
use crate::cargo;

/// Memory with so many pods or fewer, in MiB.
const MEMORY: (usize, f64) = (10_000, 64.0);
/// From the start of the process to a decision, with so many pods or fewer, in seconds.
const START: (usize, f64) = (10_000, 5.0);
/// CPU of an operator that has nothing to do, with so many pods or fewer, in thousandths of a core.
const IDLE: (usize, f64) = (10_000, 5.0);
/// Memory of the operator and the Helm that it runs, in MiB.
const TOGETHER: f64 = 128.0;
/// Requests a second while waiting.
const QUIET: f64 = 0.5;
/// From Ready to the next restart, in seconds: median and 99 %.
const GAP: (f64, f64) = (1.0, 3.0);
/// Wall time against the floor.
const RATIO: f64 = 1.05;

/// A goal, and what came of it.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    id: &'static str,
    what: String,
    goal: String,
    measured: String,
    reached: bool,
    /// Why it was missed, as far as the figures tell.
    reason: Option<String>,
}

fn rows(figures: &Figures) -> Vec<Row> {
    let mut rows: Vec<Row> = figures.memory.iter().map(memory).collect();
    rows.extend(figures.memory.iter().filter_map(start));
    rows.extend(figures.memory.iter().filter_map(idle));
    rows.extend(figures.memory.iter().filter_map(with_helm));
    rows.extend([restart_writes(figures), status_writes(figures)]);
    rows.extend(waiting(figures));
    rows.extend([gap(figures), ratio(figures), pace(figures)]);
    rows
}

pub(super) fn row(
    id: &'static str,
    what: impl Into<String>,
    goal: String,
    measured: String,
    missed: Option<String>,
) -> Row {
    Row {
        id,
        what: what.into(),
        goal,
        measured,
        reached: missed.is_none(),
        reason: missed,
    }
}

/// Whether a figure is above what is wanted at so many pods or fewer.
fn is_missed(goal: (usize, f64), memory: &Memory, measured: f64) -> bool {
    measured > goal.1 && memory.pods <= goal.0
}

fn memory(memory: &Memory) -> Row {
    let mib = memory.peak_kib as f64 / 1024.0;
    row(
        "P1",
        format!("peak memory, {} pods", memory.pods),
        format!("{} MiB at {} pods", MEMORY.1, MEMORY.0),
        format!("{mib:.1} MiB"),
        is_missed(MEMORY, memory, mib).then(|| format!("measured {}", memory.when)),
    )
}

fn start(memory: &Memory) -> Option<Row> {
    let seconds = memory.start?;
    Some(row(
        "P2",
        format!("start to the first upgrade decided, {} pods", memory.pods),
        format!("{} s at {} pods", START.1, START.0),
        format!("{seconds:.1} s"),
        is_missed(START, memory, seconds).then(|| format!("measured with {}", memory.when)),
    ))
}

fn idle(memory: &Memory) -> Option<Row> {
    let used = memory.idle_millicores?;
    Some(row(
        "P9",
        format!("CPU with nothing to do, {} pods", memory.pods),
        format!("{} millicores at {} pods", IDLE.1, IDLE.0),
        format!("{used:.1} millicores"),
        is_missed(IDLE, memory, used).then(|| "that of the operator's own threads".into()),
    ))
}

fn with_helm(memory: &Memory) -> Option<Row> {
    let helm = memory.helm.as_ref()?;
    let [together, alone] = [helm.together_kib, helm.helm_kib].map(|kib| kib as f64 / 1024.0);
    Some(row(
        "P11",
        format!(
            "peak memory of operator and Helm together, {} pods",
            memory.pods
        ),
        format!("{TOGETHER} MiB at {} pods", MEMORY.0),
        format!("{together:.1} MiB (Helm alone {alone:.1} MiB)"),
        (together > TOGETHER).then(|| format!("measured {}", memory.when)),
    ))
}

fn restart_writes(figures: &Figures) -> Row {
    let writes = &figures.writes;
    let more = writes.restart_patches != writes.workloads;
    row(
        "P3",
        "patches to restart one workload",
        "1".into(),
        format!(
            "{} for {} workloads",
            writes.restart_patches, writes.workloads
        ),
        more.then(|| format!("written during the move: {:?}", writes.kinds)),
    )
}

fn status_writes(figures: &Figures) -> Row {
    let writes = &figures.writes;
    let many = writes.status * 2 > writes.workloads;
    row(
        "P3",
        "status writes during the move",
        "per batch: fewer than half the workloads".into(),
        format!("{} in {:.0} s", writes.status, writes.seconds),
        many.then(|| {
            "counts are written every 2 s, each step and each restart that ended at once".into()
        }),
    )
}

fn waiting(figures: &Figures) -> Vec<Row> {
    let wait = |wait: &super::figures::Wait| {
        let missed = wait.per_second > QUIET || wait.lists > 0;
        row(
            "P4",
            format!("requests while it waits for {}", wait.what),
            format!("{QUIET} a second, no list"),
            format!(
                "{:.2} a second, {} lists, in {:.0} s",
                wait.per_second, wait.lists, wait.seconds
            ),
            missed.then(|| format!("{:?}", wait.kinds)),
        )
    };
    figures.waits.iter().map(wait).collect()
}

fn gap(figures: &Figures) -> Row {
    let run = &figures.operator;
    let missed = run.gap_median > GAP.0 || run.gap_99 > GAP.1;
    let floors: Vec<String> = figures
        .floors
        .iter()
        .map(|floor| format!("{:.2} s, {:.2} s", floor.gap_median, floor.gap_99))
        .collect();
    row(
        "P5",
        "last pod Ready to the next restart",
        format!("median {} s, 99 % {} s", GAP.0, GAP.1),
        format!("{:.2} s, {:.2} s", run.gap_median, run.gap_99),
        missed.then(|| format!("the floor on this machine: {}", floors.join("; "))),
    )
}

fn ratio(figures: &Figures) -> Row {
    let (seconds, floor) = (figures.operator.seconds, figures.floor());
    let ratio = seconds / floor;
    let loads: Vec<String> = figures
        .floors
        .iter()
        .map(|run| format!("{:.1} s at load {:.1}", run.seconds, run.load))
        .collect();
    let load = figures.operator.load;
    // The floors tell how far other work on the machine may have moved the mean.
    let each: Vec<String> = figures
        .floors
        .iter()
        .map(|run| format!("{:.2}", seconds / run.seconds))
        .collect();
    row(
        "P6",
        "wall time of the move, against the floor",
        format!("{RATIO}"),
        format!(
            "{ratio:.2} ({seconds:.1} s; by each floor {})",
            each.join(", ")
        ),
        (ratio > RATIO).then(|| {
            let floors = loads.join(" and ");
            format!("the floors took {floors}; the operator ran at load {load:.1}")
        }),
    )
}

fn pace(figures: &Figures) -> Row {
    let half = proxies_a_second(figures.cores);
    let run = &figures.operator;
    let floors: Vec<String> = figures
        .floors
        .iter()
        .map(|run| format!("{:.1}", run.pods_most))
        .collect();
    row(
        "P8",
        "new proxies a second in the busiest 10 s",
        format!("{half}, half of what istiod admits"),
        format!("{:.1} ({:.1} on average)", run.pods_most, run.pods_mean),
        (run.pods_most > half).then(|| {
            let floors = floors.join(" and ");
            format!(
                "no proxy of a simulated node asks istiod for anything; the floors had {floors}"
            )
        }),
    )
}

/// The table, and the figures beside it.
pub(super) fn table(figures: &Figures) -> String {
    let rows = rows(figures);
    let mut text = String::new();
    let limits = figures.limits;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "\n{}, {} at a time, {} in a namespace; {} cores, {} GiB\n",
        figures.size, limits.total, limits.per_namespace, figures.cores, figures.memory_gib
    );
    text.push_str(&rows_as_table(&rows));
    let _ = writeln!(text, "\n{}", runs(figures));
    text
}

/// Goals as a table.
pub(super) fn rows_as_table(rows: &[Row]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "| | what | goal | measured | |\n|---|---|---|---|---|"
    );
    for row in rows {
        let verdict = match (&row.reason, row.reached) {
            (Some(reason), _) => format!("missed: {reason}"),
            (None, _) => "reached".to_owned(),
        };
        let Row {
            id,
            what,
            goal,
            measured,
            ..
        } = row;
        let _ = writeln!(text, "| {id} | {what} | {goal} | {measured} | {verdict} |");
    }
    text
}

fn runs(figures: &Figures) -> String {
    let floors = figures.floors.iter().enumerate();
    let mut lines: Vec<String> = floors
        .map(|(number, run)| format!("floor {}: {run}", number + 1))
        .collect();
    lines.extend(figures.kubectl.iter().map(|run| format!("kubectl: {run}")));
    lines.push(format!("operator: {}", figures.operator));
    let kinds = |kinds: &std::collections::BTreeMap<String, usize>| {
        let each: Vec<String> = kinds.iter().map(|(k, n)| format!("{k} {n}")).collect();
        each.join(", ")
    };
    lines.push(format!(
        "writes during the move: {}",
        kinds(&figures.writes.kinds)
    ));
    lines.extend(
        figures
            .waits
            .iter()
            .map(|wait| format!("requests waiting for {}: {}", wait.what, kinds(&wait.kinds))),
    );
    lines.join("\n")
}

/// Writes the figures, and the goals with them, to `target/bench/<date>.json`.
pub(super) fn write(figures: &Figures) -> Result<PathBuf> {
    let all = json!({"figures": figures, "goals": rows(figures)});
    write_file(figures.began, "", &all)
}

/// Writes figures to `target/bench/<date><kind>.json`.
pub(super) fn write_file(began: Timestamp, kind: &str, figures: &Value) -> Result<PathBuf> {
    let directory = cargo::workspace().join("target").join("bench");
    fs::create_dir_all(&directory)?;
    let directory = directory.canonicalize()?;
    let date = began.strftime("%Y-%m-%dT%H%M%SZ").to_string();
    let file = directory.join(format!("{date}{kind}.json"));
    fs::write(&file, serde_json::to_vec_pretty(figures)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}
