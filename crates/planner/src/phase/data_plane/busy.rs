//! Workloads that are waited for although nothing of ours goes on in them: a rollout of their own, a disruption budget
//! that allows no eviction, or somebody who refuses their restart.

use jiff::Timestamp;
use meshlift_api::Phase;
use meshlift_model::data_plane::{Placement, Turn};
use meshlift_model::decision::{Batch, Decision, Next, Report, Waiting, WaitingOn};
use meshlift_model::message::Progress;
use meshlift_model::proof::{self, Expected};
use meshlift_model::time::later;
use meshlift_model::view::Workload;

use super::Drive;
use super::pacing::Pacing;
use super::restarts::{progress_of, refused};
use crate::phase::upgrading::{step_began, timeout};
use crate::phase::{BACKSTOP, POLL};

/// Those workloads, in the order of their names.
pub(super) struct Busy<'d, 'a> {
    drive: &'d Drive<'a>,
    all: Vec<(&'a Workload, &'d Placement)>,
    /// Until when they are waited for; none where they are named instead.
    until: Option<Timestamp>,
}

impl<'d, 'a> Busy<'d, 'a> {
    pub(super) fn of(drive: &'d Drive<'a>) -> Self {
        let all = drive
            .judged
            .in_order(|p| *p == Placement::Busy || p.is_held());
        let until = deadline(drive, &all);
        Self { drive, all, until }
    }

    /// Whether an eviction is to be tried again before long.
    pub(super) fn tries(&self) -> bool {
        self.until.is_some() && self.all.iter().any(|(_, p)| p.is_held())
    }

    /// Evictions that were refused, and are tried again now. Nothing is said of the try: until it
    /// succeeds, the workload is waited for as before.
    pub(super) fn again(&self, pacing: &mut Pacing) -> Batch {
        let drive = self.drive;
        if self.until.is_none() || drive.destination_ill().is_some() {
            return Vec::new();
        }
        let due = self
            .all
            .iter()
            .filter_map(|(workload, placement)| match placement {
                // Restarts that were refused take their turn with the others.
                Placement::Held(held) if refused(placement).is_none() => {
                    Some((workload, held.again.as_ref()?))
                }
                _ => None,
            });
        let expected = Expected::of(drive.heading, drive.record);
        let injects = |workload: &Workload, turn: &Turn| {
            proof::bar(drive.view, &drive.judged, workload, turn, expected).is_none()
        };
        let due = due.filter(|(workload, turn)| injects(workload, turn));
        due.take_while(|_| pacing.begin(1))
            .map(|(workload, turn)| drive.effect(workload, turn))
            .collect()
    }

    /// They get the restart timeout, then they are named.
    pub(super) fn wait(&self, again: Batch, report: Report) -> Option<Decision> {
        let deadline = self.until?;
        let progress = Progress {
            waits: self.all.iter().map(|(w, p)| waiting(w, p)).collect(),
            ..Progress::default()
        };
        let message = self.drive.say(&progress);
        let pause = if self.tries() { POLL } else { BACKSTOP };
        let waiting = Waiting {
            on: WaitingOn::Workloads,
            until: later(self.drive.now, pause).min(deadline),
        };
        let report = Report { message, ..report };
        Some(Decision::new(acts_or_waits(again, waiting), report))
    }
}

/// The batch, if there is anything in it.
pub(super) fn acts_or_waits(batch: Batch, waiting: Waiting) -> Next {
    if batch.is_empty() {
        Next::Wait(waiting)
    } else {
        Next::Act(batch)
    }
}

fn deadline(drive: &Drive<'_>, all: &[(&Workload, &Placement)]) -> Option<Timestamp> {
    // While health is watched they are named, and moved if they settle meanwhile.
    let watched = drive.upgrade.phase() == Phase::HealthChecking
        || drive.is_verifying()
        || drive.proves_back();
    let waits = |(workload, _): &(&Workload, &Placement)| {
        let now = drive.stage() == Some(drive.stages.of_workload(workload));
        now || drive.stages.all().is_empty() || drive.heading.is_back()
    };
    if watched || !all.iter().any(waits) {
        return None;
    }
    // What was refused has a deadline of its own, at which it is named and is none of these.
    if all
        .iter()
        .any(|waiting| waits(waiting) && refused(waiting.1).is_some())
    {
        return Some(Timestamp::MAX);
    }
    let began = step_began(drive.upgrade, drive.restarting_step(), drive.now);
    let since = all.iter().filter_map(|(workload, _)| workload.evicted_at);
    let deadline = later(since.fold(began, Timestamp::max), timeout(drive.upgrade));
    Some(deadline).filter(|deadline| drive.now < *deadline)
}

/// Who is waited for, and what for.
fn waiting(workload: &Workload, placement: &Placement) -> String {
    match placement {
        Placement::Held(held) => format!("{}: {}", workload.key.short(), held.why),
        _ => format!("{}, whose own rollout goes on", progress_of(workload)),
    }
}
