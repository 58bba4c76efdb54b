//! Workloads restart, as many at once as may.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use meshlift_api::{Predicate, Step};
use meshlift_model::data_plane::{Held, Placement, Turn, after, stalls_at};
use meshlift_model::decision::{Decision, Effect, Next, Report, Waiting, WaitingOn};
use meshlift_model::message::{self, Progress};
use meshlift_model::proof::{self, Expected};
use meshlift_model::time::later;
use meshlift_model::view::Workload;

use super::Drive;
use super::busy::{Busy, acts_or_waits};
use super::pacing::Pacing;
use crate::phase::upgrading::{step_began, timeout};
use crate::phase::{BACKSTOP, POLL, failing};

impl Drive<'_> {
    /// Restarts what may restart now; `None` when nothing is left to restart or to wait for.
    pub(in crate::phase) fn restarts(&self, report: Report) -> Option<Decision> {
        let report = self.moving(Report {
            step: Some(self.restarting_step()),
            ..report
        });
        let restarting = self.judged.in_order(|p| *p == Placement::Restarting);
        let failed: Vec<String> = self
            .judged
            .failed()
            .map(|(w, why)| format!("{} ({why})", w.key.short()))
            .collect();
        if !failed.is_empty() && restarting.is_empty() {
            return Some(self.failed(&failed, report));
        }
        let mut pacing = self.pacing();
        let (batch, held) = if failed.is_empty() {
            self.next_restarts(restarting.len(), &mut pacing)
        } else {
            (Vec::new(), Vec::new())
        };
        let report = pacing.told(report);
        let progress = Progress {
            restarts: batch.iter().filter_map(restarted).collect(),
            waits: restarting.iter().map(|(w, _)| progress_of(w)).collect(),
            failed,
            held,
            refused: self.refused_workloads(),
            pace: pacing.why(),
        };
        let message = self.say(&progress);
        let held = progress.held;
        let busy = Busy::of(self);
        let again = if progress.failed.is_empty() {
            busy.again(&mut pacing)
        } else {
            Vec::new()
        };
        if !batch.is_empty() {
            let report = self.as_before_if_again(&batch, Report { message, ..report });
            let batch = batch.into_iter().chain(again).collect();
            return Some(Decision::new(Next::Act(batch), report));
        }
        let paced = pacing.held_until().is_some();
        if restarting.is_empty() && held.is_empty() && !paced {
            return busy.wait(again, report);
        }
        // Nothing but injection is waited for: a step of its own, so that its deadline counts from here.
        let proving = if self.heading.is_back() {
            Step::MovingBack
        } else {
            Step::ProvingControlPlane
        };
        let proves = restarting.is_empty() && !paced;
        if proves && self.names_failures() && !self.heading.is_back() {
            // The soak goes on; it is tried again at each decision, and named as long as it does not work.
            return None;
        }
        let report = if proves {
            Report {
                step: Some(proving),
                ..report
            }
        } else {
            report
        };
        let began = step_began(self.upgrade, proving, self.now);
        let late = self.now >= later(began, timeout(self.upgrade));
        if proves && self.heading.is_back() && (late || self.proves_back()) {
            // The others are back: who is not is named, and holds nobody up.
            return None;
        }
        if proves && late {
            return Some(self.failed(&held, report));
        }
        let soon = !held.is_empty() || busy.tries();
        let waiting = Waiting {
            on: WaitingOn::Workloads,
            until: pacing.until(self.now, self.next_deadline(&restarting, soon)),
        };
        let report = Report { message, ..report };
        Some(Decision::new(acts_or_waits(again, waiting), report))
    }

    pub(super) fn say(&self, progress: &Progress) -> String {
        let counts = self.counts();
        let said = message::restarting(counts, &self.heading.name(), progress);
        format!("{}{said}", self.wave())
    }

    /// When the first of them has had its time, or when to look at what is not watched.
    fn next_deadline(&self, restarting: &[(&Workload, &Placement)], held: bool) -> Timestamp {
        let late = SignedDuration::from_secs(1);
        let stalls = |(workload, _): &(&Workload, &Placement)| {
            let began = workload.restarted_at.max(workload.evicted_at)?;
            Some(later(
                stalls_at(workload, began, timeout(self.upgrade)),
                late,
            ))
        };
        let until = restarting.iter().filter_map(stalls).fold(
            later(self.now, if held { POLL } else { BACKSTOP }),
            Timestamp::min,
        );
        until.max(later(self.now, SignedDuration::from_secs(1)))
    }

    fn failed(&self, failed: &[String], report: Report) -> Decision {
        let what = format!(
            "not ready on {}: {}",
            self.heading.name(),
            message::first_few(failed)
        );
        failing::failed(
            self.now,
            self.upgrade,
            self.view,
            self.record,
            &what,
            report,
        )
    }

    /// The restarts that fit into the concurrency now, and what holds others back.
    fn next_restarts(&self, in_flight: usize, pacing: &mut Pacing) -> (Vec<Effect>, Vec<String>) {
        let limits = &self.upgrade.spec.data_plane.restart;
        let mut free = pacing.free(in_flight);
        let mut used = BTreeMap::<&str, usize>::new();
        for (workload, _) in self.judged.in_order(|p| *p == Placement::Restarting) {
            *used.entry(&workload.key.namespace).or_default() += 1;
        }
        let mut held = BTreeMap::<&str, String>::new();
        let mut batch = Vec::new();
        let ill = self.destination_ill();
        for (workload, placement) in self.queue() {
            let Some(turn) = turn_of(placement) else {
                continue;
            };
            let namespace = workload.key.namespace.as_str();
            let expected = Expected::of(self.heading, self.record);
            let barred = || proof::bar(self.view, &self.judged, workload, turn, expected);
            if let Some(why) = ill.clone().or_else(barred) {
                held.entry(namespace).or_insert(why);
                continue;
            }
            let in_namespace = used.entry(namespace).or_default();
            if free == 0 || *in_namespace >= limits.max_concurrent_per_namespace as usize {
                continue;
            }
            let pods = match turn {
                Turn::Restart { .. } => self.pods(workload),
                Turn::Evict(_) => 1,
            };
            if !pacing.begin(pods) {
                break;
            }
            free -= 1;
            *in_namespace += 1;
            batch.push(self.effect(workload, turn));
        }
        (batch, held.into_values().collect())
    }

    pub(super) fn effect(&self, workload: &Workload, turn: &Turn) -> Effect {
        let evicts = self.upgrade.spec.data_plane.restart.evicts();
        let at = after(self.now, self.judged.ended.as_ref());
        match turn {
            Turn::Restart { mark, template } => Effect::RestartWorkload {
                key: workload.key.clone(),
                uid: workload.uid.clone(),
                resource_version: workload.resource_version.clone(),
                mark: mark.clone(),
                template_revision: template.clone(),
                at,
            },
            Turn::Evict(pod) => Effect::EvictPod {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                workload: workload.key.clone(),
                workload_uid: workload.uid.clone(),
                // Once more for a new pod must not give it its time anew; where pods are not moved by eviction it
                // is for one that never was ready.
                at: (self.heading.leaves(pod) && evicts).then_some(at),
            },
        }
    }

    /// What waits for a restart, in its order: wave by wave, on the way back the last one first. What was refused before
    /// takes no slot from what was not.
    fn queue(&self) -> Vec<(&Workload, &Placement)> {
        let mut queue = self.judged.in_order(|p| turn_of(p).is_some());
        queue.sort_by_key(|(workload, _)| self.stages.of_workload(workload));
        if self.heading.is_back() {
            queue.reverse();
        }
        queue.sort_by_key(|(_, placement)| matches!(placement, Placement::Held(_)));
        queue
    }

    /// Workloads whose restart was refused and is tried again.
    fn refused_workloads(&self) -> Vec<String> {
        let held = self.judged.in_order(|p| refused(p).is_some());
        held.into_iter()
            .filter_map(|(workload, p)| {
                Some(format!("{}: {}", workload.key.short(), refused(p)?.why))
            })
            .collect()
    }

    /// The same report, in the step of before if nothing of the batch is new: deadlines count from the beginning of a
    /// step, and one that is tried again and again must not put them off.
    pub(super) fn as_before_if_again(&self, batch: &[Effect], report: Report) -> Report {
        let known = |effect: &Effect| {
            let uid = effect.object();
            uid.is_some_and(|uid| self.view.refusals.contains_key(uid))
        };
        match self.upgrade.status.step {
            Some(step) if batch.iter().all(known) => Report {
                step: Some(step),
                ..report
            },
            _ => report,
        }
    }

    /// Whether all that could be moved back was, and its health is watched.
    pub(super) fn proves_back(&self) -> bool {
        let status = &self.upgrade.status;
        let proving = [Step::ProvingBack, Step::RemovingNewControlPlane];
        let begun = status.rollback.as_ref().is_some_and(|r| r.soak.is_some());
        begun || status.step.is_some_and(|step| proving.contains(&step))
    }
}

/// What would move a workload on now.
fn turn_of(placement: &Placement) -> Option<&Turn> {
    match placement {
        Placement::Stale(turn) => Some(turn),
        Placement::Held(held) if held.predicate == Predicate::Refused => held.again.as_ref(),
        _ => None,
    }
}

/// What was refused and is not given up. A disruption budget refuses nothing: its workloads are waited for.
pub(super) fn refused(placement: &Placement) -> Option<&Held> {
    match placement {
        Placement::Held(held) => {
            let budget = held.predicate == Predicate::DisruptionBudget;
            Some(held).filter(|held| !budget && !held.over)
        }
        _ => None,
    }
}

fn restarted(effect: &Effect) -> Option<String> {
    match effect {
        Effect::RestartWorkload { key, .. } | Effect::EvictPod { workload: key, .. } => {
            Some(key.short())
        }
        _ => None,
    }
}

/// `Deployment shop/cart`, with what keeps a pod from being ready. Without numbers of pods: they
/// would be a status write for each pod.
pub(super) fn progress_of(workload: &Workload) -> String {
    let trouble = workload.pods.iter().find_map(|pod| pod.trouble.as_deref());
    let why = trouble.map(|t| format!(" ({t})")).unwrap_or_default();
    format!("{}{why}", workload.key.short())
}
