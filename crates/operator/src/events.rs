//! Kubernetes Events with fixed reasons: what changed in an upgrade or a mesh, for `kubectl describe`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use meshlift_api::{
    Mesh, MeshUpgrade, MeshUpgradeStatus, Outcome, Phase, Step, WaveState, WaveStatus,
};
use meshlift_detect::mesh_list::News;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Longest note that the API takes.
const NOTE: usize = 1024;

/// So many events may wait to be written; those that come while so many wait are only logged.
const WAITING: usize = 256;
/// At the end of the process the last ones get this long.
const LAST: Duration = Duration::from_secs(3);

/// Publishes events, one after the other and in the background: an API server that is slow with them must not hold up an
/// upgrade.
pub(crate) struct Events {
    queue: Mutex<Option<Queue>>,
}

struct Queue {
    waiting: mpsc::Sender<(Event, ObjectReference)>,
    publishing: JoinHandle<()>,
}

impl Events {
    pub(crate) fn new(client: kube::Client, instance: Option<String>) -> Self {
        let reporter = Reporter {
            controller: "meshlift".to_owned(),
            instance,
        };
        let (waiting, queue) = mpsc::channel(WAITING);
        let publishing = tokio::spawn(publish(Recorder::new(client, reporter), queue));
        let queue = Queue {
            waiting,
            publishing,
        };
        Self {
            queue: Mutex::new(Some(queue)),
        }
    }

    /// Tells what changed.
    pub(crate) fn tell(&self, object: &MeshUpgrade, after: &MeshUpgradeStatus) {
        let before = object.status.clone().unwrap_or_default();
        let about = object.object_ref(&());
        for change in changes(&before, after) {
            self.enqueue(&about, change, "Reconcile");
        }
    }

    /// Tells of a version that a mesh can be upgraded to.
    pub(crate) fn new_version(&self, mesh: &Mesh, new: &News) {
        let change = (EventType::Normal, "UpgradeAvailable", new.message.clone());
        // Events of one reason and action soon after each other become one, with the words of the first.
        let action = format!("Offer-{}", new.version);
        self.enqueue(&mesh.object_ref(&()), change, &action);
    }

    /// Tells why a mesh has an object that nobody wrote.
    pub(crate) fn mesh_found(&self, mesh: &Mesh, message: &str) {
        let change = (EventType::Normal, "MeshFound", message.to_owned());
        self.enqueue(&mesh.object_ref(&()), change, "Discover");
    }

    /// An event that finds no room is logged: nobody waits for it.
    fn enqueue(&self, about: &ObjectReference, change: Change, action: &str) {
        let (type_, reason, note) = change;
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(NOTE).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let room = queue
            .as_ref()
            .is_some_and(|queue| queue.waiting.try_send((event, about.clone())).is_ok());
        if !room {
            tracing::warn!(reason, note, "event was not written: too many wait");
        }
    }

    /// Ends the queue, and gives what waits in it a moment.
    pub(crate) async fn close(&self) {
        let queue = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Queue {
            waiting,
            publishing,
        }) = queue
        else {
            return;
        };
        drop(waiting);
        let stop = publishing.abort_handle();
        if tokio::time::timeout(LAST, publishing).await.is_err() {
            tracing::warn!("the last events were not written");
            stop.abort();
        }
    }
}

async fn publish(recorder: Recorder, mut queue: mpsc::Receiver<(Event, ObjectReference)>) {
    while let Some((event, about)) = queue.recv().await {
        if let Err(error) = recorder.publish(&event, &about).await {
            let reason = event.reason;
            tracing::warn!(%error, reason, "event was not written");
        }
    }
}

type Change = (EventType, &'static str, String);

fn changes(before: &MeshUpgradeStatus, after: &MeshUpgradeStatus) -> Vec<Change> {
    let mut changes = Vec::new();
    let message = || after.message.clone();
    if before.phase != after.phase {
        changes.push(match after.phase {
            Some(Phase::Detecting) => (EventType::Normal, "DetectionStarted", message()),
            Some(Phase::Upgrading) => (EventType::Normal, "UpgradeStarted", message()),
            Some(Phase::HealthChecking) => (EventType::Normal, "HealthCheckStarted", message()),
            Some(Phase::Done) => (ended_type(after), ended_reason(after), message()),
            Some(Phase::Failed) if after.outcome == Some(Outcome::RolledBack) => {
                (EventType::Warning, "RolledBack", message())
            }
            Some(Phase::Failed) => (EventType::Warning, "UpgradeStopped", message()),
            Some(Phase::Pending) | None => (EventType::Normal, "Accepted", message()),
        });
    } else if before.step != after.step
        && after.outcome != Some(Outcome::Stopped)
        // The wave tells it.
        && after.step != Some(Step::WaitingForApproval)
    {
        changes.extend(
            after
                .step
                .map(|step| (EventType::Normal, step_reason(step), message())),
        );
    }
    changes.extend(after.waves.iter().filter_map(|wave| told(before, wave)));
    if let (None, Some(rollback)) = (&before.rollback, &after.rollback) {
        let note = format!("everything goes back: {}", rollback.reason);
        changes.push((EventType::Warning, "RollbackStarted", note));
    }
    let failures = |status: &MeshUpgradeStatus| status.attempts.as_ref().map_or(0, |a| a.count);
    if failures(after) > failures(before) {
        let error = after
            .attempts
            .as_ref()
            .map(|a| a.last_error.clone())
            .unwrap_or_default();
        changes.push((EventType::Warning, "EffectFailed", error));
    }
    if blocked(after) && after.message != before.message {
        changes.push((EventType::Warning, "DetectionBlocked", message()));
    }
    let retired = condition(after, meshlift_api::conditions::OLD_REVISION_RETIRED);
    if let Some((_, "InUse", note)) = retired.filter(|_| before.phase != after.phase) {
        changes.push((EventType::Warning, "OldControlPlaneStays", note.to_owned()));
    }
    changes
}

/// That a wave begins, waits for a person, or is verified.
fn told(before: &MeshUpgradeStatus, wave: &WaveStatus) -> Option<Change> {
    let known = before.waves.iter().find(|known| known.name == wave.name);
    if known.is_some_and(|known| known.state == wave.state) {
        return None;
    }
    let begins = known.is_none_or(|known| known.started_at.is_none());
    let WaveStatus {
        name,
        namespaces,
        progress,
        ..
    } = wave;
    let (reason, note) = match wave.state {
        WaveState::WaitingForApproval => (
            "WaveWaitsForApproval",
            format!("wave {name} waits until a person approves it (namespaces: {namespaces})"),
        ),
        WaveState::Moving if begins => (
            "WaveStarted",
            format!("wave {name} begins (namespaces: {namespaces})"),
        ),
        WaveState::Verified if wave.started_at.is_some() => (
            "WaveVerified",
            format!("wave {name} is healthy ({progress} workloads moved)"),
        ),
        _ => return None,
    };
    Some((EventType::Normal, reason, note))
}

fn ended_reason(status: &MeshUpgradeStatus) -> &'static str {
    match status.outcome {
        Some(Outcome::PlanReady) => "PlanReady",
        Some(Outcome::PlanBlocked) => "PlanBlocked",
        // Those end in Failed.
        Some(Outcome::Stopped | Outcome::RolledBack) => "UpgradeStopped",
        Some(Outcome::Upgraded) | None => "Upgraded",
    }
}

fn ended_type(status: &MeshUpgradeStatus) -> EventType {
    match status.outcome {
        Some(Outcome::PlanBlocked) => EventType::Warning,
        _ => EventType::Normal,
    }
}

fn blocked(status: &MeshUpgradeStatus) -> bool {
    status.phase == Some(Phase::Detecting)
        && condition(status, meshlift_api::conditions::DETECTED).is_some_and(|(holds, ..)| !holds)
}

fn condition<'a>(status: &'a MeshUpgradeStatus, kind: &str) -> Option<(bool, &'a str, &'a str)> {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)?;
    Some((found.status == "True", &found.reason, &found.message))
}

fn step_reason(step: Step) -> &'static str {
    match step {
        Step::CheckingEnvironment => "CheckingEnvironment",
        Step::Recording => "Recording",
        Step::EnsuringReplicas => "EnsuringReplicas",
        Step::UpgradingBase => "UpgradingBase",
        Step::InstallingControlPlane => "InstallingControlPlane",
        Step::ProvingControlPlane => "ProvingControlPlane",
        Step::WaitingForApproval => "WaitingForApproval",
        Step::MovingNamespaces => "MovingNamespaces",
        Step::RestartingWorkloads => "RestartingWorkloads",
        Step::VerifyingWave => "VerifyingWave",
        Step::Soaking => "Soaking",
        Step::KeepingOldControlPlane => "KeepingOldControlPlane",
        Step::MovingDefaultRevision => "MovingDefaultRevision",
        Step::RestoringAutoscaler => "RestoringAutoscaler",
        Step::RetiringControlPlane => "RetiringControlPlane",
        Step::MovingBack => "MovingBack",
        Step::RestartingBack => "RestartingBack",
        Step::ProvingBack => "ProvingBack",
        Step::RemovingNewControlPlane => "RemovingNewControlPlane",
        Step::RestoringControlPlane => "RestoringControlPlane",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_change_and_a_failure_are_told_and_nothing_else() {
        let before = MeshUpgradeStatus {
            phase: Some(Phase::Upgrading),
            ..Default::default()
        };
        assert!(changes(&before, &before).is_empty());
        let after = MeshUpgradeStatus {
            phase: Some(Phase::Failed),
            outcome: Some(Outcome::Stopped),
            message: "stopped: x".into(),
            ..Default::default()
        };
        let told = changes(&before, &after);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].1, told[0].2.as_str()),
            ("UpgradeStopped", "stopped: x")
        );
    }

    #[test]
    fn a_wave_is_told_when_it_waits_begins_and_is_verified() {
        let at = |state, begun: bool| {
            let time = "2026-11-02T02:00:00Z".parse().expect("a time");
            let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time);
            MeshUpgradeStatus {
                waves: vec![WaveStatus {
                    state,
                    started_at: begun.then_some(time),
                    progress: "2/2".into(),
                    ..WaveStatus::pending("prod")
                }],
                ..Default::default()
            }
        };
        let told = |before: &MeshUpgradeStatus, after: &MeshUpgradeStatus| -> Vec<&'static str> {
            let changes = changes(before, after);
            changes.into_iter().map(|(_, reason, _)| reason).collect()
        };
        let (waits, moves) = (
            at(WaveState::WaitingForApproval, false),
            at(WaveState::Moving, true),
        );
        let (verifies, done) = (
            at(WaveState::Verifying, true),
            at(WaveState::Verified, true),
        );
        let none = MeshUpgradeStatus::default();
        assert_eq!(told(&none, &waits), ["WaveWaitsForApproval"]);
        assert_eq!(told(&waits, &moves), ["WaveStarted"]);
        assert!(told(&moves, &verifies).is_empty());
        assert!(told(&verifies, &moves).is_empty(), "its soak starts over");
        assert_eq!(told(&verifies, &done), ["WaveVerified"]);
        assert!(told(&done, &done).is_empty());
        assert!(told(&none, &at(WaveState::Verified, false)).is_empty());
    }
}
