//! Waves: each begins when the one before is verified, and a person let it where one must.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::{Rollback, Soak, Step, WaveState, WaveStatus, WorkloadCounts};
use meshlift_model::data_plane::Placement;
use meshlift_model::decision::{Decision, Next, Report, Waiting, WaitingOn};
use meshlift_model::detection::{METRICS_UNREADABLE, WAVE_UNPROVED};
use meshlift_model::message;
use meshlift_model::stages::Stage;
use meshlift_model::view::Workload;

use super::{Drive, to_move};
use crate::phase::failing::failed;
use crate::phase::health::{Health, HealthLook};
use crate::phase::patience::blind_to_metrics;
use crate::phase::upgrading::step_began;
use crate::phase::{BACKSTOP, POLL, later, signed, wait};

impl Drive<'_> {
    /// The stage that moves, is verified or waits for a person: the first that is not verified, or that was
    /// passed over and has something to move after all. None on the way back.
    pub(super) fn stage(&self) -> Option<usize> {
        if self.heading.is_back() {
            return None;
        }
        let waits = |at: &usize| !self.stages.is_open(*at) && !self.is_idle(*at);
        let verified = 0..self.stages.current().unwrap_or(self.stages.all().len());
        verified.into_iter().find(waits).or(self.stages.current())
    }

    /// Verifies the wave that has moved, or waits for the next one; `None` when all are verified.
    pub(super) fn waves(&self, report: Report) -> Option<Decision> {
        let at = self.stage()?;
        let stage = self.stages.all().get(at)?;
        Some(if self.is_idle(at) && !stage.has_begun() {
            self.pass_over(at, stage, report)
        } else if !self.stages.is_open(at) {
            self.wait_for_approval(at, stage, report)
        } else if self.proves_nothing(at, stage) {
            self.wait_for_proof(at, stage, report)
        } else {
            self.verify(at, stage, report)
        })
    }

    /// Whether there is nothing of a stage that has moved or could move.
    fn is_idle(&self, at: usize) -> bool {
        let mut placed = self.judged.placements.iter();
        let movable = placed.any(|(workload, placement)| {
            !placement.is_blocked() && self.stages.of_workload(workload) == at
        });
        let mut namespaces = self.view.namespaces.present().into_iter().flatten();
        let bound = namespaces.any(|namespace| {
            self.stages.of_namespace(&namespace.name) == at
                && to_move(self.upgrade, self.view, self.record, namespace)
        });
        !movable && !bound
    }

    /// Whether a wave that was to show how its workloads bear the new control plane moved none of them, and nobody
    /// accepted that: the waves behind it would be the first to try. The gateways and the rest are there to be moved, not
    /// to show anything.
    fn proves_nothing(&self, at: usize, stage: &Stage<'_>) -> bool {
        let counts = self.counts_of(at);
        stage.wave.is_some()
            && counts.moved == 0
            && counts.total > 0
            && !self.upgrade.accepts(WAVE_UNPROVED)
    }

    /// Waits until something of it moves, or until a person lets the next begin all the same. It counts as moving, so that
    /// what was refused is tried again now and then.
    fn wait_for_proof(&self, at: usize, stage: &Stage<'_>, report: Report) -> Decision {
        let blocked = |(workload, placement): &(&Workload, Placement)| {
            let here = placement.is_blocked() && self.stages.of_workload(workload) == at;
            here.then(|| workload.key.short())
        };
        let blocked: Vec<String> = self.judged.placements.iter().filter_map(blocked).collect();
        let spec = &self.upgrade.spec;
        let may_go_back = spec.rollback != Rollback::Never;
        let upgrade = &self.upgrade.name;
        let report = Report {
            step: Some(Step::VerifyingWave),
            message: message::wave_unproved(upgrade, stage.name, &blocked, may_go_back),
            waves: Some(self.with(at, WaveState::Moving, None)),
            ..report
        };
        Decision::new(wait(self.now, WaitingOn::Person, BACKSTOP), report)
    }

    /// A wave without anything to move needs no approval, and no soak.
    fn pass_over(&self, at: usize, stage: &Stage<'_>, report: Report) -> Decision {
        let report = Report {
            step: Some(Step::VerifyingWave),
            message: format!("wave {} has nothing to move: passed over", stage.name),
            waves: Some(self.with(at, WaveState::Verified, None)),
            ..report
        };
        go_on(self.now, report)
    }

    fn wait_for_approval(&self, at: usize, stage: &Stage<'_>, report: Report) -> Decision {
        let spec = &self.upgrade.spec;
        let waves = &spec.data_plane.waves;
        let known = |name: &&String| waves.iter().any(|wave| wave.name == **name);
        let unknown: Vec<&String> = spec.approvals.iter().filter(|n| !known(n)).collect();
        let report = Report {
            step: Some(Step::WaitingForApproval),
            message: message::waits_for_approval(&self.upgrade.name, stage.name, &unknown),
            waves: Some(self.with(at, WaveState::WaitingForApproval, None)),
            ..report
        };
        Decision::new(wait(self.now, WaitingOn::Approval, BACKSTOP), report)
    }

    /// Watches the health of everything that has moved, for as long as the wave asks for.
    fn verify(&self, at: usize, stage: &Stage<'_>, report: Report) -> Decision {
        let running = stage.status.and_then(|status| status.soak.as_ref());
        let report = Report {
            step: Some(Step::VerifyingWave),
            ..report
        };
        let verifying = |soak| Some(self.with(at, WaveState::Verifying, soak));
        match self.health(stage, running).judge() {
            Health::Unseen(why) => {
                let report = Report {
                    waves: verifying(running.cloned()),
                    ..report
                };
                let what = "the metrics of istiod";
                blind_to_metrics(self.now, self.upgrade, report, what, &why)
            }
            Health::Ill(problems) => {
                let report = Report {
                    waves: verifying(None),
                    ..report
                };
                self.ill(at, stage, &problems, report)
            }
            Health::Going { soak, end } => {
                let report = Report {
                    message: message::wave_watched(stage.name, self.counts_of(at), end),
                    waves: verifying(Some(soak)),
                    ..report
                };
                let waiting = Waiting {
                    on: WaitingOn::Wave,
                    until: end.min(later(self.now, POLL)),
                };
                Decision::new(Next::Wait(waiting), report)
            }
            Health::Passed(_) => {
                let report = Report {
                    message: message::wave_verified(stage.name, self.counts_of(at)),
                    waves: Some(self.with(at, WaveState::Verified, None)),
                    ..report
                };
                go_on(self.now, report)
            }
        }
    }

    fn health<'b>(&'b self, stage: &Stage<'_>, running: Option<&'b Soak>) -> HealthLook<'b> {
        let planes = self.view.control_planes.present();
        HealthLook {
            now: self.now,
            planes: planes.map_or(&[][..], Vec::as_slice),
            to: self.record.plane(self.heading.to),
            moved: self.moved(),
            soak: soak_of(stage),
            accepts_blind: self.upgrade.accepts(METRICS_UNREADABLE),
            running,
        }
    }

    /// Waits until it is healthy, for as long as a workload may take and the soak lasts.
    fn ill(&self, at: usize, stage: &Stage<'_>, problems: &[String], report: Report) -> Decision {
        let what = message::first_few(problems);
        let restart = signed(self.upgrade.spec.data_plane.restart.timeout);
        let patience = restart.saturating_add(soak_of(stage));
        // The wave before may have been verified in this same step.
        let before = at
            .checked_sub(1)
            .and_then(|n| self.stages.all()[n].status)
            .and_then(|status| Some(status.finished_at.as_ref()?.0));
        let began = step_began(self.upgrade, Step::VerifyingWave, self.now);
        let deadline = later(before.map_or(began, |at| at.max(began)), patience);
        if self.now < deadline {
            let message = message::wave_ill(stage.name, &what, deadline);
            let report = Report { message, ..report };
            return Decision::new(wait(self.now, WaitingOn::Wave, POLL), report);
        }
        let (name, patience) = (stage.name, message::span(patience));
        let what = format!("wave {name} was not healthy within {patience}: {what}");
        let Self {
            upgrade,
            view,
            record,
            ..
        } = self;
        failed(self.now, upgrade, view, record, &what, report)
    }

    /// The waves as they are, with what they have and how much of it is on the new control plane.
    pub(in crate::phase) fn statuses(&self) -> Option<Vec<WaveStatus>> {
        if self.stages.all().is_empty() {
            return None;
        }
        let placements = &self.judged.placements;
        let workloads = placements.iter().map(|(workload, _)| *workload);
        let mut namespaces = self.stages.namespaces(self.record, workloads);
        let here: BTreeSet<&str> = self.names().collect();
        for of in &mut namespaces {
            of.retain(|name| here.contains(name));
        }
        let mut moved = vec![(0_u32, 0_u32); namespaces.len()];
        for (workload, placement) in placements {
            if let Some((moved, total)) = moved.get_mut(self.stages.of_workload(workload)) {
                *moved += u32::from(self.is_on_the_new(workload, placement));
                *total += 1;
            }
        }
        let stages = self.stages.all().iter().zip(namespaces).zip(moved);
        let told =
            |((stage, names), (moved, total)): ((&Stage<'_>, BTreeSet<&str>), (u32, u32))| {
                let before = stage.status.cloned();
                let mut wave = WaveStatus {
                    namespaces: u32::try_from(names.len()).unwrap_or(u32::MAX),
                    progress: format!("{moved}/{total}"),
                    ..before.unwrap_or_else(|| WaveStatus::pending(stage.name))
                };
                if self.heading.is_back() && wave.started_at.is_some() {
                    wave.state = match moved {
                        0 => WaveState::MovedBack,
                        _ => WaveState::MovingBack,
                    };
                }
                wave
            };
        Some(stages.map(told).collect())
    }

    /// Whether a workload has moved; on the way back, whether anything of it has still to go.
    fn is_on_the_new(&self, workload: &Workload, placement: &Placement) -> bool {
        if self.heading.is_back() {
            workload.pods.iter().any(|pod| self.heading.leaves(pod))
        } else {
            *placement == Placement::Moved
        }
    }

    /// Workloads of the present wave by state; all of them where there are no waves.
    pub(super) fn counts(&self) -> WorkloadCounts {
        match self.stage() {
            Some(stage) => self.counts_of(stage),
            None => self.judged.counts(),
        }
    }

    fn counts_of(&self, stage: usize) -> WorkloadCounts {
        let of_stage =
            |(workload, _): &&(&Workload, Placement)| self.stages.of_workload(workload) == stage;
        let mut counts = WorkloadCounts::default();
        for (_, placement) in self.judged.placements.iter().filter(of_stage) {
            counts.total += 1;
            counts.moved += u32::from(*placement == Placement::Moved);
            counts.blocked += u32::from(placement.is_blocked());
        }
        counts
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let namespaces = self.view.namespaces.present();
        let all = namespaces.into_iter().flatten();
        all.map(|namespace| namespace.name.as_str())
    }

    /// The waves, one of them in a state.
    fn with(&self, at: usize, state: WaveState, soak: Option<Soak>) -> Vec<WaveStatus> {
        let mut waves = self.statuses().unwrap_or_default();
        if let Some(wave) = waves.get_mut(at) {
            enter(self.now, wave, state);
            wave.soak = soak;
        }
        waves
    }

    /// Whether the health of a wave is watched.
    pub(super) fn is_verifying(&self) -> bool {
        let stage = self.stage().and_then(|at| self.stages.all().get(at));
        stage.is_some_and(|stage| stage.state() == WaveState::Verifying)
    }

    /// The same report, saying that the present wave moves.
    pub(super) fn moving(&self, report: Report) -> Report {
        let moves = |at: &usize| self.stages.is_open(*at) && !self.is_idle(*at);
        let Some(at) = self.stage().filter(moves) else {
            return report;
        };
        Report {
            waves: Some(self.with(at, WaveState::Moving, None)),
            ..report
        }
    }
}

fn soak_of(stage: &Stage<'_>) -> jiff::SignedDuration {
    let soak = stage.wave.and_then(|wave| wave.soak);
    soak.map(signed).unwrap_or_default()
}

/// Looks again at once: nothing but the status changes.
fn go_on(now: Timestamp, report: Report) -> Decision {
    let waiting = Waiting {
        on: WaitingOn::Wave,
        until: now,
    };
    Decision::new(Next::Wait(waiting), report)
}

fn enter(now: Timestamp, wave: &mut WaveStatus, state: WaveState) {
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    if matches!(state, WaveState::Moving | WaveState::Verifying) {
        wave.started_at.get_or_insert(now.clone());
    }
    wave.finished_at = (state == WaveState::Verified).then_some(now);
    wave.state = state;
}
