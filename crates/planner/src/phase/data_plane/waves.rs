//! Waves: each begins when the one before is verified, and a person let it where one must.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::{Step, WaveState, WaveStatus};

use super::Drive;
use crate::decision::{Decision, Next, Report, Waiting, WaitingOn};
use crate::message;
use crate::phase::failing::failed;
use crate::phase::health::{Health, HealthLook};
use crate::phase::upgrading::step_began;
use crate::phase::{BACKSTOP, blind, later, signed, wait};
use crate::stages::Stage;

impl Drive<'_> {
    /// Verifies the wave that has moved, or waits for the next one; `None` when all are verified.
    pub(super) fn waves(&self, report: Report) -> Option<Decision> {
        let at = self.stages.current().filter(|_| !self.heading.is_back())?;
        let stage = self.stages.all().get(at)?;
        Some(match self.stages.is_open(at) {
            false => self.wait_for_approval(at, stage, report),
            true => self.verify(at, stage, report),
        })
    }

    fn wait_for_approval(&self, at: usize, stage: &Stage<'_>, report: Report) -> Decision {
        let report = Report {
            step: Some(Step::WaitingForApproval),
            message: message::waits_for_approval(
                &self.upgrade.name,
                stage.name,
                &self.upgrade.spec.approvals,
            ),
            waves: Some(self.statuses(at, WaveState::WaitingForApproval)),
            ..report
        };
        Decision::new(wait(self.now, WaitingOn::Approval, BACKSTOP), report)
    }

    /// Watches the health of everything that has moved, for as long as the wave asks for.
    fn verify(&self, at: usize, stage: &Stage<'_>, report: Report) -> Decision {
        let soak = stage
            .wave
            .and_then(|wave| wave.soak)
            .map(signed)
            .unwrap_or_default();
        let running = stage.status.and_then(|status| status.soak.as_ref());
        let step = Step::VerifyingWave;
        let report = Report {
            step: Some(step),
            ..report
        };
        let look = HealthLook {
            now: self.now,
            planes: self
                .view
                .control_planes
                .present()
                .map_or(&[][..], Vec::as_slice),
            to: self.heading.to,
            beside: Some((&self.record.source_revision, &self.record.source.namespace)),
            restarts: self.judged.restarts,
            soak,
            running,
        };
        let verifying = |soak| {
            let mut waves = self.statuses(at, WaveState::Verifying);
            waves[at].soak = soak;
            Some(waves)
        };
        match look.judge() {
            Health::Unseen(why) => {
                let report = Report {
                    waves: verifying(running.cloned()),
                    ..report
                };
                blind(self.now, report, "the metrics of istiod", &why)
            }
            Health::Ill(problems) => {
                let what = message::first_few(&problems);
                let patience =
                    signed(self.upgrade.spec.data_plane.restart.timeout).saturating_add(soak);
                let deadline = later(step_began(self.upgrade, step, self.now), patience);
                let report = Report {
                    message: format!(
                        "{}not healthy (until {}): {what}",
                        self.wave(),
                        message::moment(deadline)
                    ),
                    waves: verifying(None),
                    ..report
                };
                if self.now >= deadline {
                    let what = format!(
                        "wave {} was not healthy within {}: {what}",
                        stage.name,
                        message::span(patience)
                    );
                    return failed(
                        self.now,
                        self.upgrade,
                        self.view,
                        self.record,
                        &what,
                        report,
                    );
                }
                Decision::new(wait(self.now, WaitingOn::Wave, super::super::POLL), report)
            }
            Health::Going { soak, end } => {
                let message = format!(
                    "{}all moved; healthy, watched until {}",
                    self.wave(),
                    message::moment(end)
                );
                let waves = verifying(Some(soak));
                let until = end.min(later(self.now, super::super::POLL));
                let waiting = Waiting {
                    on: WaitingOn::Wave,
                    until,
                };
                Decision::new(
                    Next::Wait(waiting),
                    Report {
                        message,
                        waves,
                        ..report
                    },
                )
            }
            Health::Passed(_) => {
                let report = Report {
                    message: format!("wave {} has moved and is healthy", stage.name),
                    waves: Some(self.statuses(at, WaveState::Verified)),
                    ..report
                };
                Decision::new(
                    Next::Wait(Waiting {
                        on: WaitingOn::Wave,
                        until: self.now,
                    }),
                    report,
                )
            }
        }
    }

    /// The waves as status shall tell of them, the present one in a state.
    pub(super) fn statuses(&self, at: usize, state: WaveState) -> Vec<WaveStatus> {
        let told = |(n, stage): (usize, &Stage<'_>)| {
            let before = stage.status.cloned();
            let status = before.unwrap_or_else(|| pending(stage.name));
            let status = WaveStatus {
                namespaces: self.namespaces_of(n),
                ..status
            };
            if n == at {
                entered(self.now, status, state)
            } else {
                status
            }
        };
        self.stages.all().iter().enumerate().map(told).collect()
    }

    /// How many namespaces with workloads of this mesh a stage has.
    fn namespaces_of(&self, stage: usize) -> u32 {
        let mine = self.judged.placements.iter().map(|(workload, _)| *workload);
        let names: std::collections::BTreeSet<&str> = mine
            .filter(|workload| self.stages.of_workload(workload) == stage)
            .map(|workload| workload.key.namespace.as_str())
            .collect();
        u32::try_from(names.len()).unwrap_or(u32::MAX)
    }

    /// The same report, saying that the present wave moves.
    pub(super) fn moving(&self, report: Report) -> Report {
        let current = self.stages.current().filter(|_| !self.heading.is_back());
        let Some(at) = current.filter(|at| self.stages.is_open(*at)) else {
            return report;
        };
        Report {
            waves: Some(self.statuses(at, WaveState::Moving)),
            ..report
        }
    }
}

fn pending(name: &str) -> WaveStatus {
    WaveStatus {
        name: name.to_owned(),
        state: WaveState::Pending,
        namespaces: 0,
        started_at: None,
        soak: None,
        finished_at: None,
    }
}

fn entered(now: Timestamp, status: WaveStatus, state: WaveState) -> WaveStatus {
    let now = Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
    let begun = matches!(
        state,
        WaveState::Moving | WaveState::Verifying | WaveState::Verified
    );
    WaveStatus {
        state,
        started_at: status.started_at.or_else(|| now.clone().filter(|_| begun)),
        finished_at: now.filter(|_| state == WaveState::Verified),
        // It belongs to a watch that is under way.
        soak: status.soak.filter(|_| state == WaveState::Verifying),
        ..status
    }
}
