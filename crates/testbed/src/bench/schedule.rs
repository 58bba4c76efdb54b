//! How many workloads may restart at once, and how long a free place stood empty.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use super::mesh::Key;
use super::timeline::Timeline;

/// How many workloads may restart at the same time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Limits {
    /// In the whole mesh.
    pub(super) total: usize,
    /// In one namespace.
    pub(super) per_namespace: usize,
}

/// New proxies a second: half of what one replica of istiod with so many cores admits, by the rule of
/// its own limit of requests (`PILOT_MAX_REQUESTS_PER_SECOND`).
pub(super) fn proxies_a_second(cores: usize) -> f64 {
    (15.0 + 5.0 * cores as f64).min(100.0) / 2.0
}

/// How many cores this machine has.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The places for restarts: how many are taken, and by which namespace.
#[derive(Debug)]
pub(super) struct Places {
    limits: Limits,
    taken: usize,
    /// By namespace: those that restart, and those that wait for it.
    namespaces: BTreeMap<String, (usize, usize)>,
}

impl Places {
    /// All places are free, all workloads wait.
    pub(super) fn new<'a>(limits: Limits, waiting: impl Iterator<Item = &'a Key>) -> Self {
        let mut namespaces = BTreeMap::<String, (usize, usize)>::new();
        for key in waiting {
            namespaces.entry(key.namespace.clone()).or_default().1 += 1;
        }
        Self {
            limits,
            taken: 0,
            namespaces,
        }
    }

    /// Whether a workload of this namespace may restart now.
    pub(super) fn admits(&self, namespace: &str) -> bool {
        let here = self
            .namespaces
            .get(namespace)
            .map_or(0, |(taken, _)| *taken);
        self.taken < self.limits.total && here < self.limits.per_namespace
    }

    pub(super) fn take(&mut self, namespace: &str) {
        self.taken += 1;
        let (taken, waiting) = self.namespaces.entry(namespace.to_owned()).or_default();
        *taken += 1;
        *waiting = waiting.saturating_sub(1);
    }

    pub(super) fn give(&mut self, namespace: &str) {
        self.taken = self.taken.saturating_sub(1);
        let (taken, _) = self.namespaces.entry(namespace.to_owned()).or_default();
        *taken = taken.saturating_sub(1);
    }

    /// How many of those that wait may restart now.
    fn free(&self) -> usize {
        let by_namespace = self.namespaces.values().map(|(taken, waiting)| {
            let free = self.limits.per_namespace.saturating_sub(*taken);
            free.min(*waiting)
        });
        let total = self.limits.total.saturating_sub(self.taken);
        total.min(by_namespace.sum())
    }
}

/// From the last pod of a workload being ready to the next restart that this made room for, in
/// seconds; the first fill of all places made room for itself and does not count.
pub(super) fn gaps(timeline: &Timeline, limits: Limits) -> Vec<f64> {
    let mut places = Places::new(limits, timeline.keys());
    // Since when each free place is free; none for those that were from the start.
    let mut since: VecDeque<Option<Timestamp>> = (0..places.free()).map(|_| None).collect();
    let mut gaps = Vec::new();
    for (at, key, restarted) in events(timeline) {
        if restarted {
            match since.pop_front() {
                Some(Some(free)) => gaps.push(seconds(free, at)),
                Some(None) => {}
                // The watch of the pods told it later than that of the workloads.
                None => gaps.push(0.0),
            }
            places.take(&key.namespace);
        } else {
            places.give(&key.namespace);
            if places.free() > since.len() {
                since.push_back(Some(at));
            }
        }
    }
    gaps
}

fn events(timeline: &Timeline) -> Vec<(Timestamp, &Key, bool)> {
    let mut events: Vec<_> = timeline
        .iter()
        .flat_map(|(key, times)| {
            let restarted = times.restarted.map(|at| (at, key, true));
            let ready = times.pods_ready.map(|at| (at, key, false));
            restarted.into_iter().chain(ready)
        })
        .collect();
    events.sort();
    events
}

/// The seconds between two moments.
pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::timeline::Times;

    fn timeline(rows: &[(&str, &str, i64, i64)]) -> Timeline {
        let at = |ms| Timestamp::from_millisecond(ms).expect("a small number");
        let row = |(namespace, name, restarted, ready): &(&str, &str, i64, i64)| {
            let key = Key {
                namespace: (*namespace).into(),
                name: (*name).into(),
            };
            let times = Times {
                restarted: Some(at(*restarted)),
                pods_ready: Some(at(*ready)),
                complete: Some(at(*ready)),
            };
            (key, times)
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn a_gap_begins_when_a_place_gets_free_and_the_first_fill_has_none() {
        let limits = Limits {
            total: 2,
            per_namespace: 2,
        };
        let rows = [
            ("a", "1", 0, 1000),
            ("a", "2", 5, 2000),
            ("b", "1", 1100, 3000),
            ("b", "2", 2500, 4000),
        ];
        assert_eq!(gaps(&timeline(&rows), limits), [0.1, 0.5]);
    }

    #[test]
    fn a_namespace_that_is_full_leaves_no_free_place() {
        let limits = Limits {
            total: 2,
            per_namespace: 1,
        };
        // Only `a` is left to restart: that `b` is ready makes no room for it.
        let rows = [
            ("a", "1", 0, 2000),
            ("b", "1", 0, 1000),
            ("a", "2", 2200, 3000),
        ];
        assert_eq!(gaps(&timeline(&rows), limits), [0.2]);
    }
}
