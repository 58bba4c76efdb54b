//! What was measured.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::audit::{Request, by_kind};
use super::mesh::Size;
use super::operator::Followed;
use super::schedule::{Limits, cores, gaps, seconds};
use super::timeline::{Recorded, Timeline};

/// One run of restarts.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    /// From the first restart to the last workload being complete.
    pub(super) seconds: f64,
    /// From a workload's last pod being ready to the next restart.
    pub(super) gap_median: f64,
    pub(super) gap_99: f64,
    pub(super) gap_max: f64,
    /// New pods that got ready in a second: on average, and in the busiest 10 s.
    pub(super) pods_mean: f64,
    pub(super) pods_most: f64,
    /// One-minute load average of the machine at the end.
    pub(super) load: f64,
}

impl Run {
    pub(super) fn of(recorded: &Recorded, limits: Limits) -> Result<Self> {
        let Recorded { timeline, pods } = recorded;
        let (first, last) = span(timeline).context("nothing was restarted")?;
        let span = seconds(first, last);
        let mut gaps = gaps(timeline, limits);
        gaps.sort_by(f64::total_cmp);
        Ok(Self {
            seconds: span,
            pods_mean: pods.len() as f64 / span,
            pods_most: busiest(pods),
            gap_median: quantile(&gaps, 0.5),
            gap_99: quantile(&gaps, 0.99),
            gap_max: quantile(&gaps, 1.0),
            load: load(),
        })
    }
}

impl Display for Run {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} s; from Ready to the next restart: median {:.2} s, 99 % {:.2} s, most {:.2} s; \
             {:.1} new pods a second, at most {:.1}; load {:.1}",
            self.seconds,
            self.gap_median,
            self.gap_99,
            self.gap_max,
            self.pods_mean,
            self.pods_most,
            self.load
        )
    }
}

/// Requests of the operator while it had nothing to do but wait.
#[derive(Debug, Serialize)]
pub(super) struct Wait {
    pub(super) what: &'static str,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    pub(super) lists: usize,
    pub(super) kinds: BTreeMap<String, usize>,
}

/// Memory of the operator.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    /// Pods with a sidecar in the cluster.
    pub(super) pods: usize,
    pub(super) when: String,
    pub(super) peak_kib: u64,
    /// With Helm, where it ran.
    pub(super) helm: Option<WithHelm>,
    /// Seconds from the start of the process to the end of that upgrade.
    pub(super) start: Option<f64>,
    /// Thousandths of a core that it used with nothing to do.
    pub(super) idle_millicores: Option<f64>,
}

/// Memory of the operator with the Helm that it runs.
#[derive(Debug, Serialize)]
pub(super) struct WithHelm {
    /// The most that they had at the same time.
    pub(super) together_kib: u64,
    /// The most that Helm had.
    pub(super) helm_kib: u64,
}

/// What the operator wrote while it moved the data plane.
#[derive(Debug, Serialize)]
pub(super) struct Writes {
    /// Workloads that it restarted.
    pub(super) workloads: usize,
    pub(super) restart_patches: usize,
    pub(super) status: usize,
    /// Until the slow workload, too, was ready.
    pub(super) seconds: f64,
    pub(super) kinds: BTreeMap<String, usize>,
}

/// Everything of one benchmark.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) began: Timestamp,
    pub(super) cores: usize,
    pub(super) memory_gib: u64,
    pub(super) size: Size,
    pub(super) limits: Limits,
    pub(super) floors: Vec<Run>,
    pub(super) kubectl: Option<Run>,
    pub(super) operator: Run,
    pub(super) steps: Vec<(String, f64)>,
    pub(super) writes: Writes,
    pub(super) waits: Vec<Wait>,
    pub(super) memory: Vec<Memory>,
}

impl Figures {
    /// Those of the operator; the rest is added as it is measured.
    pub(super) fn new(
        size: Size,
        limits: Limits,
        operator: Run,
        followed: &Followed,
        timeline: &Timeline,
        requests: &[Request],
        memory: Memory,
    ) -> Self {
        Self {
            began: Timestamp::now(),
            cores: cores(),
            memory_gib: total_memory_gib(),
            size,
            limits,
            floors: Vec::new(),
            kubectl: None,
            operator,
            steps: steps(followed),
            writes: writes(size, followed, timeline, requests),
            waits: waits(followed, timeline, requests),
            memory: vec![memory],
        }
    }

    /// The mean of the floors before and after the operator, in seconds.
    pub(super) fn floor(&self) -> f64 {
        let sum: f64 = self.floors.iter().map(|run| run.seconds).sum();
        sum / self.floors.len().max(1) as f64
    }
}

/// From the first restart to the last workload being complete.
fn span(timeline: &Timeline) -> Option<(Timestamp, Timestamp)> {
    let first = timeline
        .values()
        .filter_map(|times| times.restarted)
        .min()?;
    let last = timeline.values().filter_map(|times| times.complete).max()?;
    Some((first, last))
}

/// The most of these moments in any 10 s, for each second of them.
fn busiest(moments: &[Timestamp]) -> f64 {
    const WINDOW: f64 = 10.0;
    let mut moments = moments.to_vec();
    moments.sort();
    let mut first = 0;
    let mut most = 0;
    for (last, at) in moments.iter().enumerate() {
        while seconds(moments[first], *at) >= WINDOW {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most as f64 / WINDOW
}

fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted
        .get((last * part).round() as usize)
        .copied()
        .unwrap_or(0.0)
}

fn steps(followed: &Followed) -> Vec<(String, f64)> {
    let pairs = followed.steps.iter().zip(followed.steps.iter().skip(1));
    pairs
        .map(|((step, from), (_, to))| (step.clone(), seconds(*from, *to)))
        .collect()
}

fn within(requests: &[Request], from: Timestamp, to: Timestamp) -> impl Iterator<Item = &Request> {
    requests
        .iter()
        .filter(move |request| request.at >= from && request.at <= to)
}

fn writes(size: Size, followed: &Followed, timeline: &Timeline, requests: &[Request]) -> Writes {
    let (first, last) = span(timeline).unwrap_or_default();
    // The patch comes before anybody sees it.
    let from = first - SignedDuration::from_secs(1);
    let to = checked_from(followed).unwrap_or(last);
    let kinds = by_kind(within(requests, from, to).filter(|request| request.is_write()));
    let of = |kind: &str| kinds.get(kind).copied().unwrap_or_default();
    Writes {
        // And the slow one.
        workloads: size.workloads() + 1,
        restart_patches: of("patch deployments"),
        status: of("patch meshupgrades/status"),
        seconds: seconds(first, to),
        kinds,
    }
}

/// When the health check began: everything had moved, also the slow workload.
fn checked_from(followed: &Followed) -> Option<Timestamp> {
    followed.span("HealthChecking").map(|(from, _)| from)
}

fn waits(followed: &Followed, timeline: &Timeline, requests: &[Request]) -> Vec<Wait> {
    let slow = span(timeline)
        .zip(checked_from(followed))
        .map(|((_, last), to)| (last, to));
    let soak = followed.span("HealthChecking Soaking");
    let windows = [("a slow workload", slow), ("the soak", soak)];
    let wait = |(what, window): (&'static str, Option<(Timestamp, Timestamp)>)| {
        let (from, to) = window?;
        // Its edges still have work in them.
        let edge = SignedDuration::from_secs(2);
        let (from, to) = (from + edge, to - edge);
        let requests: Vec<&Request> = within(requests, from, to).collect();
        let seconds = seconds(from, to);
        (seconds > 0.0).then(|| Wait {
            what,
            seconds,
            per_second: requests.len() as f64 / seconds,
            lists: requests.iter().filter(|r| r.verb == "list").count(),
            kinds: by_kind(requests.into_iter()),
        })
    };
    windows.into_iter().filter_map(wait).collect()
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

fn total_memory_gib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).div_ceil(1024 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_row() {
        let row: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&row, 0.5), 50.0);
        assert_eq!(quantile(&row, 0.99), 99.0);
        assert_eq!(quantile(&row, 1.0), 100.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn the_busiest_ten_seconds_count_wherever_they_begin() {
        let at = |s: i64| Timestamp::from_second(s).expect("a small number");
        // Three at once, then eight within 10 s, the last 10 s after the first of them.
        let moments: Vec<Timestamp> = [0, 0, 0, 25, 26, 27, 28, 29, 30, 31, 34, 35]
            .into_iter()
            .map(at)
            .collect();
        assert_eq!(busiest(&moments), 0.8);
        assert_eq!(busiest(&[]), 0.0);
    }
}
