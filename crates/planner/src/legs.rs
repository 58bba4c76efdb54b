//! How far the route of an upgrade is travelled, from its status alone.
//!
//! | what the status says | what becomes of a leg |
//! |---|---|
//! | a step of this leg | it is active, and all before it are done |
//! | a leg behind was travelled before | it stays as it is: what appears later moves without starting over |
//! | `Done` | it is done; an old control plane that is used stays |
//! | `Failed` without a rollback | the active one failed |
//! | a rollback | everything rolls back; CRDs stay, a new control plane that is used stays, a watch is forgotten |

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::conditions::{CONTROL_PLANE_READY, OLD_REVISION_RETIRED};
use meshlift_api::{LegState, LegStatus, MeshUpgradeStatus, Outcome, Phase, Step, WaveState};
use meshlift_model::route::{self, NO_LONGER_MOVED_TO};
use meshlift_model::time::whole_second;

/// Brings the legs of a status up to what else it says. `step` is the one that was just decided: an end is reported in
/// the step that led to it, which an ended status does not have any more.
pub(crate) fn advance(now: Timestamp, status: &mut MeshUpgradeStatus, step: Option<Step>) {
    let mut legs = std::mem::take(&mut status.legs);
    let id = step.and_then(|step| leg_of(step, status));
    let at = id.and_then(|id| legs.iter().position(|leg| leg.id == id));
    for (n, leg) in legs.iter_mut().enumerate() {
        if status.rollback.is_some() {
            let state = back(status, leg);
            enter(now, leg, state);
            continue;
        }
        let state = forward(leg, n, at);
        enter(now, leg, state);
        let state = match status.phase {
            Some(Phase::Done) => ended(status, leg),
            Some(Phase::Failed) => failed(leg),
            _ => leg.state,
        };
        enter(now, leg, state);
    }
    status.legs = legs;
}

/// The leg of a step.
fn leg_of(step: Step, status: &MeshUpgradeStatus) -> Option<String> {
    let id = match step {
        Step::EnsuringReplicas => route::REPLICAS,
        Step::UpgradingBase => route::BASE,
        Step::InstallingControlPlane | Step::ProvingControlPlane => route::CONTROL_PLANE,
        Step::WaitingForApproval
        | Step::MovingNamespaces
        | Step::RestartingWorkloads
        | Step::VerifyingWave => return Some(workloads(status)),
        Step::Soaking => route::SOAK,
        Step::KeepingOldControlPlane => route::KEEP,
        Step::MovingDefaultRevision => route::DEFAULT_REVISION,
        Step::RestoringAutoscaler => route::AUTOSCALER,
        Step::RetiringControlPlane => route::RETIREMENT,
        Step::CheckingEnvironment
        | Step::Recording
        | Step::MovingBack
        | Step::RestartingBack
        | Step::ProvingBack
        | Step::RemovingNewControlPlane
        | Step::RestoringControlPlane => return None,
    };
    Some(id.to_owned())
}

/// The first wave that is not verified, the last where all are; without waves the leg of all workloads.
fn workloads(status: &MeshUpgradeStatus) -> String {
    let mut waves = status.waves.iter();
    let open = waves.find(|wave| wave.state != WaveState::Verified);
    let wave = open.or(status.waves.last());
    wave.map_or(route::WORKLOADS.to_owned(), |wave| {
        route::of_wave(&wave.name)
    })
}

fn forward(leg: &LegStatus, n: usize, at: Option<usize>) -> LegState {
    match at {
        Some(at) if n < at => LegState::Done,
        Some(at) if n == at && leg.state == LegState::Pending => LegState::Active,
        _ => leg.state,
    }
}

fn ended(status: &MeshUpgradeStatus, leg: &LegStatus) -> LegState {
    let mut conditions = status.conditions.iter();
    let stays = conditions.any(|c| c.type_ == OLD_REVISION_RETIRED && c.status == "False");
    if leg.id == route::RETIREMENT && stays {
        return LegState::Stays;
    }
    LegState::Done
}

fn failed(leg: &LegStatus) -> LegState {
    match leg.state {
        LegState::Active => LegState::Failed,
        state => state,
    }
}

/// Whatever it had come to: that a leg began may have been lost with the status that said so, and what is rolled back is
/// everything that is found.
fn back(status: &MeshUpgradeStatus, leg: &LegStatus) -> LegState {
    match (leg.id.as_str(), status.outcome) {
        (route::BASE, _) => LegState::Stays,
        (route::SOAK | route::KEEP | route::RETIREMENT, _) => LegState::Pending,
        (route::CONTROL_PLANE, Some(Outcome::RolledBack)) if new_stays(status) => LegState::Stays,
        (_, Some(Outcome::RolledBack)) => LegState::RolledBack,
        (_, Some(Outcome::Stopped)) => LegState::Failed,
        _ => LegState::RollingBack,
    }
}

/// Whether the new control plane still exists after the rollback: something uses it, or only who renders it can remove it.
fn new_stays(status: &MeshUpgradeStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|c| c.type_ == CONTROL_PLANE_READY && c.reason == NO_LONGER_MOVED_TO)
}

fn enter(now: Timestamp, leg: &mut LegStatus, state: LegState) {
    if leg.state == state {
        return;
    }
    let now = Some(Time(whole_second(now)));
    leg.state = state;
    match state {
        LegState::Pending => (leg.started_at, leg.finished_at) = (None, None),
        LegState::Active => leg.started_at = now,
        LegState::RollingBack => leg.finished_at = None,
        LegState::Done | LegState::Failed | LegState::RolledBack | LegState::Stays => {
            leg.finished_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
    use meshlift_api::{RollbackStatus, WaveStatus};
    use meshlift_model::example::{now, record};

    use super::*;

    fn status(step: Step) -> MeshUpgradeStatus {
        MeshUpgradeStatus {
            phase: Some(Phase::Upgrading),
            step: Some(step),
            legs: route::pending(&record().legs()),
            ..MeshUpgradeStatus::default()
        }
    }

    fn states(status: &mut MeshUpgradeStatus) -> String {
        let step = status.step;
        advance(now(), status, step);
        let of = |leg: &LegStatus| format!("{} {}", leg.id, leg.state);
        status.legs.iter().map(of).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn forward_the_legs_before_are_done_and_none_starts_over() {
        let mut status = status(Step::Soaking);
        let soaking = "base Done, control-plane Done, workloads Done, soak Active, keep Pending, default-revision Pending, retirement Pending";
        assert_eq!(states(&mut status), soaking);
        // A workload that appears later moves too.
        status.step = Some(Step::RestartingWorkloads);
        assert_eq!(states(&mut status), soaking);
        status.phase = Some(Phase::Failed);
        status.step = None;
        assert!(states(&mut status).contains("soak Failed, keep Pending"));
    }

    #[test]
    fn a_wave_is_active_until_it_is_verified() {
        let mut status = status(Step::RestartingWorkloads);
        status.waves = vec![WaveStatus::pending("canary"), WaveStatus::pending("rest")];
        let at = |status: &MeshUpgradeStatus| leg_of(Step::RestartingWorkloads, status);
        assert_eq!(at(&status).as_deref(), Some("wave/canary"));
        status.waves[0].state = WaveState::Verified;
        assert_eq!(at(&status).as_deref(), Some("wave/rest"));
        status.waves[1].state = WaveState::Verified;
        assert_eq!(at(&status).as_deref(), Some("wave/rest"));
    }

    #[test]
    fn back_goes_what_was_travelled_and_crds_stay() {
        let mut status = status(Step::Soaking);
        advance(now(), &mut status, Some(Step::Soaking));
        status.step = Some(Step::MovingBack);
        status.rollback = Some(RollbackStatus {
            reason: "why".into(),
            since: Time(now()),
            soak: None,
        });
        let back = "base Stays, control-plane RollingBack, workloads RollingBack, soak Pending, keep Pending, default-revision RollingBack, retirement Pending";
        assert_eq!(states(&mut status), back);
        status.phase = Some(Phase::Failed);
        status.outcome = Some(Outcome::RolledBack);
        let back = back.replace("RollingBack", "RolledBack");
        assert_eq!(states(&mut status), back);
    }

    #[test]
    fn an_old_control_plane_that_is_used_stays() {
        let mut status = status(Step::RetiringControlPlane);
        status.phase = Some(Phase::Done);
        assert!(states(&mut status).ends_with("retirement Done"));
        let mut status = self::status(Step::RetiringControlPlane);
        status.phase = Some(Phase::Done);
        status.conditions.push(Condition {
            type_: OLD_REVISION_RETIRED.into(),
            status: "False".into(),
            reason: "InUse".into(),
            message: "used".into(),
            last_transition_time: Time(now()),
            observed_generation: None,
        });
        assert!(states(&mut status).ends_with("retirement Stays"));
    }
}
