//! How many workloads may restart now, and when the next one may.

use jiff::Timestamp;
use meshlift_model::decision::Report;
use meshlift_model::message;
use meshlift_model::pace::{Admission, LOOK_EVERY, Pace};
use meshlift_model::time::later;
use meshlift_model::view::Workload;

use super::Drive;

/// The pace of one look, and what it held back.
pub(super) struct Pacing {
    pace: Pace,
    max: u32,
    admission: Admission,
    /// Whether a restart waits only until istiod has taken in those before it.
    held: bool,
}

impl Drive<'_> {
    pub(super) fn pacing(&self) -> Pacing {
        let max = self.upgrade.spec.data_plane.restart.max_concurrent;
        let to = self.destination();
        let other = if self.heading.is_back() {
            &self.record.target_revision
        } else {
            &self.record.source_revision
        };
        let before = self.upgrade.status.pace.as_ref();
        let judged = self.judged.placements.iter();
        let begun = judged.flat_map(|(workload, _)| self.begun(workload));
        Pacing {
            pace: Pace::of(max, before, to, self.view.plane(self.record.plane(other))),
            max,
            admission: Admission::of(self.now, to, begun),
            held: false,
        }
    }

    /// When this run restarted a workload or evicted one of its pods, and how many pods that is.
    fn begun(&self, workload: &Workload) -> impl Iterator<Item = (Timestamp, usize)> {
        let restarted = workload.restarted_at.map(|at| (at, self.pods(workload)));
        let evicted = workload.evicted_at.map(|at| (at, 1));
        restarted.into_iter().chain(evicted)
    }

    /// How many new pods a restart makes. In the middle of one there are new pods beside the old ones.
    pub(super) fn pods(&self, workload: &Workload) -> usize {
        let pods = workload.pods.iter();
        let old = pods.filter(|pod| self.heading.leaves(pod)).count();
        old.max(workload.pods.len() - old)
    }
}

impl Pacing {
    /// How many may restart beside so many.
    pub(super) fn free(&self, in_flight: usize) -> usize {
        (self.pace.limit as usize).saturating_sub(in_flight)
    }

    /// Begins a restart, if istiod can take in so many new pods now.
    pub(super) fn begin(&mut self, pods: usize) -> bool {
        let begins = self.admission.begin(pods);
        self.held |= !begins;
        begins
    }

    /// Whether a restart waits for those before it, and until when.
    pub(super) fn held_until(&self) -> Option<Timestamp> {
        self.held.then(|| self.admission.until())
    }

    /// When to look again at the latest: at istiod, while it is slower, or when the next may begin.
    pub(super) fn until(&self, now: Timestamp, other: Timestamp) -> Timestamp {
        let slower = self.pace.status.is_some().then(|| later(now, LOOK_EVERY));
        let soonest = self.held_until().into_iter().chain(slower).min();
        soonest.map_or(other, |at| at.min(other))
    }

    /// The same report with what is said of the pace.
    pub(super) fn told(&self, report: Report) -> Report {
        Report {
            pace: Some(self.pace.status.clone()),
            ..report
        }
    }

    /// Why it goes slower than the spec allows.
    pub(super) fn why(&self) -> Option<String> {
        let why = message::pace(&self.pace, self.max);
        why.or_else(|| message::admission(self.held_until()?, &self.admission))
    }
}
