//! What a load counts: requests, failures by kind, latency. Totals of several clients add up.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Failures kept word for word, per client: enough to see what went wrong.
const SAMPLES: usize = 10;
/// Steps per doubling of the latency: a percentile is right within 1/8.
const STEPS: u32 = 8;

/// Latencies counted in buckets that grow by an eighth of a doubling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram(BTreeMap<u32, u64>);

impl Histogram {
    /// Counts one latency.
    pub fn add(&mut self, latency: Duration) {
        *self.0.entry(bucket(latency)).or_default() += 1;
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            *self.0.entry(*bucket).or_default() += count;
        }
    }

    /// The latency that the given share of the requests (0 to 1) did not exceed; none without requests.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total: u64 = self.0.values().sum();
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        self.0.iter().find_map(|(bucket, count)| {
            seen += count;
            (seen >= rank).then(|| upper_bound(*bucket))
        })
    }
}

fn bucket(latency: Duration) -> u32 {
    let micros = latency.as_micros().clamp(1, u128::from(u32::MAX)) as f64;
    (micros.log2() * f64::from(STEPS)) as u32
}

fn upper_bound(bucket: u32) -> Duration {
    let micros = (f64::from(bucket + 1) / f64::from(STEPS)).exp2();
    Duration::from_micros(micros as u64)
}

/// What one client, or all of them together, did so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests begun.
    pub sent: u64,
    /// Requests answered with success.
    pub ok: u64,
    /// Requests lost, by kind: `connect`, `reset`, `timeout`, `status 503`, ...
    pub failed: BTreeMap<String, u64>,
    /// The first failures, word for word.
    pub samples: Vec<String>,
    /// When the first request was lost, and when the last.
    pub lost_within: Option<(Timestamp, Timestamp)>,
    /// Latency of the requests that were answered with success.
    pub latency: Histogram,
}

impl Totals {
    /// Counts the start of a request.
    pub fn begin(&mut self) {
        self.sent += 1;
    }

    /// Counts the success of a request.
    pub fn succeed(&mut self, latency: Duration) {
        self.ok += 1;
        self.latency.add(latency);
    }

    /// Counts the loss of a request.
    pub fn fail(&mut self, at: Timestamp, kind: String, detail: &str) {
        *self.failed.entry(kind).or_default() += 1;
        self.lost_within = spanning(self.lost_within, Some((at, at)));
        if self.samples.len() < SAMPLES {
            let time = at.strftime("%H:%M:%S%.3f");
            self.samples.push(format!("{time}: {detail}"));
        }
    }

    /// Requests lost, of all kinds.
    pub fn lost(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Requests begun of which the end is not known (yet).
    pub fn in_flight(&self) -> u64 {
        self.sent.saturating_sub(self.ok + self.lost())
    }

    /// Adds what another client did.
    pub fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.ok += other.ok;
        for (kind, count) in &other.failed {
            *self.failed.entry(kind.clone()).or_default() += count;
        }
        self.samples.extend(other.samples.iter().cloned());
        self.lost_within = spanning(self.lost_within, other.lost_within);
        self.latency.merge(&other.latency);
    }
}

/// The span that holds both.
fn spanning(
    one: Option<(Timestamp, Timestamp)>,
    other: Option<(Timestamp, Timestamp)>,
) -> Option<(Timestamp, Timestamp)> {
    match (one, other) {
        (Some((from, until)), Some((first, last))) => Some((from.min(first), until.max(last))),
        (one, other) => one.or(other),
    }
}

/// One client's cumulative totals, as it sends them to the collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the client, unique for each start of its process.
    pub instance: String,
    /// What its requests go through.
    pub way: String,
    /// Grows with each report of the instance, so that a late one does not replace a newer one.
    pub sequence: u64,
    /// No more will come: the last request of the instance has ended.
    pub ended: bool,
    /// What the instance did so far.
    pub totals: Totals,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_an_eighth_of_a_doubling() {
        let mut histogram = Histogram::default();
        for millis in 1..=1000 {
            histogram.add(Duration::from_millis(millis));
        }
        for (share, millis) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile(share).expect("not empty").as_secs_f64() * 1e3;
            assert!(
                (0.95..1.15).contains(&(found / millis)),
                "{share}: {found} ms"
            );
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn totals_of_two_clients_add_up() {
        let mut one = Totals::default();
        let mut two = Totals::default();
        for _ in 0..3 {
            one.begin();
        }
        one.succeed(Duration::from_millis(1));
        let at = |second| Timestamp::from_second(second).expect("a time");
        one.fail(at(7), "reset".into(), "reset by peer");
        two.begin();
        two.fail(at(5), "reset".into(), "reset by peer");
        one.merge(&two);
        assert_eq!(
            (one.sent, one.ok, one.lost(), one.in_flight()),
            (4, 1, 2, 1)
        );
        assert_eq!(one.failed["reset"], 2);
        assert_eq!(one.lost_within, Some((at(5), at(7))));
        one.merge(&Totals::default());
        assert_eq!(one.lost_within, Some((at(5), at(7))));
    }
}
