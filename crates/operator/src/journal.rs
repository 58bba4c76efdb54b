//! Keeps the logs of upgrades: gathers lines, and writes them in batches, so that a thousand restarts are not a
//! thousand writes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::{Client, ResourceExt};
use meshlift_api::{MeshUpgrade, MeshUpgradeStatus, Phase};
use meshlift_cluster::journal::{self, Line, Log};
use meshlift_model::{Decision, Effect, ErrorClass, Executed, Next, Upgrade};
use tokio::sync::Mutex;

/// Within a step, lines are written at most this often.
const EVERY: Duration = Duration::from_secs(30);
/// So many effects of a batch are named in a line.
const NAMED: usize = 20;

/// The logs of the upgrades under way.
pub(crate) struct Journal {
    client: Client,
    namespace: String,
    /// Each behind a lock of its own: an API server that takes long over one log must not hold up the other meshes.
    held: std::sync::Mutex<HashMap<String, Place>>,
}

type Place = Arc<Mutex<Option<Held>>>;

/// A log, and what is not yet written of it.
struct Held {
    upgrade: String,
    log: Log,
    /// Resource version of what was read or written last; none where there is no ConfigMap yet.
    over: Option<String>,
    unwritten: bool,
    written: Option<Instant>,
}

/// What became of a decision.
pub(crate) struct Told<'a> {
    pub(crate) now: Timestamp,
    /// The upgrade as the decision found it.
    pub(crate) upgrade: &'a Upgrade,
    pub(crate) decision: &'a Decision,
    pub(crate) executed: &'a Executed,
    /// Its status after the decision.
    pub(crate) after: &'a MeshUpgradeStatus,
}

impl Journal {
    pub(crate) fn new(client: Client, namespace: String) -> Self {
        Self {
            client,
            namespace,
            held: std::sync::Mutex::default(),
        }
    }

    /// Takes down a decision. What cannot be written is told in the operator's own log, and tried again with the
    /// next decision.
    pub(crate) async fn tell(&self, object: &MeshUpgrade, told: &Told<'_>) {
        let name = told.upgrade.log_name();
        // What ended says no more: also not what it does with its own finalizer.
        let ended = told.upgrade.phase().is_terminal() && has_ended(told.after);
        let Some(place) = self.place(&name, !ended) else {
            return;
        };
        let mut place = place.lock().await;
        let held = match place.take() {
            Some(held) => held,
            None => match self.read(&name, object).await {
                Ok(held) => held,
                Err(error) => return warn(object, &error),
            },
        };
        *place = self.take_down(object, told, held, ended).await;
        if place.is_none() && has_ended(told.after) {
            self.places().remove(&name);
        }
    }

    /// Adds the line for a decision, and writes the log if it is time to; what is kept of it in memory.
    async fn take_down(
        &self,
        object: &MeshUpgrade,
        told: &Told<'_>,
        mut held: Held,
        ended: bool,
    ) -> Option<Held> {
        if let Some(line) = told.line(&held.log).filter(|_| !ended) {
            held.log.push(line);
            held.unwritten = true;
        }
        let rested = held.written.is_none_or(|at| at.elapsed() >= EVERY);
        if held.unwritten && (told.entered() || ended || rested) {
            match self.write(&told.upgrade.log_name(), &held).await {
                Ok(over) => {
                    held.over = Some(over);
                    held.unwritten = false;
                    held.written = Some(Instant::now());
                }
                Err(error) => {
                    warn(object, &error);
                    if error.class() == ErrorClass::Conflict {
                        // Someone else wrote it: what is there now is read before the next line.
                        return None;
                    }
                }
            }
        }
        (held.unwritten || !has_ended(told.after)).then_some(held)
    }

    /// Where a log is kept; one that is not yet there only if `make` says so.
    fn place(&self, name: &str, make: bool) -> Option<Place> {
        let mut places = self.places();
        if make {
            Some(Arc::clone(places.entry(name.to_owned()).or_default()))
        } else {
            places.get(name).map(Arc::clone)
        }
    }

    fn places(&self) -> std::sync::MutexGuard<'_, HashMap<String, Place>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the logs of upgrades that are no more: `kept` has the UIDs of the others, in which the names of their logs
    /// end.
    pub(crate) fn forget_all_but(&self, kept: &HashSet<String>) {
        let is_kept = |name: &String| kept.iter().any(|uid| name.ends_with(uid.as_str()));
        self.places().retain(|name, _| is_kept(name));
    }

    /// Writes what is not yet written, at the end of the process.
    pub(crate) async fn close(&self) {
        let places = std::mem::take(&mut *self.places());
        for (name, place) in places {
            let Some(held) = place.lock().await.take().filter(|held| held.unwritten) else {
                continue;
            };
            if let Err(error) = self.write(&name, &held).await {
                tracing::warn!(log = name, %error, "the log was not written");
            }
        }
    }

    async fn read(
        &self,
        name: &str,
        object: &MeshUpgrade,
    ) -> Result<Held, meshlift_cluster::Error> {
        let found = journal::read(&self.client, &self.namespace, name).await?;
        let (log, over) = match found {
            Some((log, over)) => (log, Some(over)),
            None => (Log::default(), None),
        };
        Ok(Held {
            upgrade: object.name_any(),
            log,
            over,
            unwritten: false,
            written: None,
        })
    }

    async fn write(&self, name: &str, held: &Held) -> Result<String, meshlift_cluster::Error> {
        let what = (&held.log, held.over.as_deref());
        journal::write(&self.client, &self.namespace, name, &held.upgrade, what).await
    }
}

fn warn(object: &MeshUpgrade, error: &meshlift_cluster::Error) {
    tracing::warn!(upgrade = object.name_any(), %error, "the log was not written");
}

fn has_ended(status: &MeshUpgradeStatus) -> bool {
    status.phase.is_some_and(Phase::is_terminal)
}

impl Told<'_> {
    /// Whether something was tried, whatever becomes of the status.
    pub(crate) fn acted(&self) -> bool {
        matches!(self.decision.next, Next::Act(_) | Next::Record(_))
    }

    /// Whether it entered a phase or a step.
    fn entered(&self) -> bool {
        let before = &self.upgrade.status;
        (before.phase, before.step) != (self.after.phase, self.after.step)
            || self.decision.report.new_run
            || self.decision.report.hop_done
    }

    /// The line for it, if it is worth one after what the log has.
    fn line(&self, log: &Log) -> Option<Line> {
        let begun = *self.executed == Executed::Begun;
        let did = match &self.decision.next {
            Next::Act(batch) if !begun => named(batch),
            Next::Record(_) => vec!["recording what there is".to_owned()],
            Next::Act(_) | Next::Wait(_) | Next::Enter(_) => Vec::new(),
        };
        let error = match self.executed {
            // It is tried again at once.
            Executed::Failed {
                class: ErrorClass::Conflict,
                ..
            } => return None,
            Executed::Failed { message, .. } => Some(message.clone()),
            // The first time: it is tried again and again.
            Executed::Refused(refused) => {
                let mut new = refused.iter().filter(|write| write.count == 1);
                new.next().map(|first| match new.count() {
                    0 => first.message.clone(),
                    more => format!("{}; and {more} more were refused", first.message),
                })
            }
            Executed::Nothing | Executed::Begun | Executed::Done => None,
        };
        let waits = match &self.decision.next {
            Next::Wait(waiting) => Some(format!("{:?}", waiting.on)),
            Next::Act(_) | Next::Record(_) | Next::Enter(_) => None,
        };
        let waited = log
            .lines()
            .iter()
            .rev()
            .find_map(|line| line.waits.as_ref());
        let newly = waits.is_some() && waits.as_ref() != waited;
        let worth = self.entered() || !did.is_empty() || error.is_some() || newly;
        worth.then(|| Line {
            n: 0,
            time: self.now,
            phase: self.after.phase.unwrap_or(Phase::Pending),
            step: self.after.step,
            what: self.after.message.clone(),
            did,
            waits,
            error,
            dropped: 0,
        })
    }
}

fn named(batch: &[Effect]) -> Vec<String> {
    let mut did: Vec<String> = batch.iter().take(NAMED).map(Effect::describe).collect();
    if batch.len() > NAMED {
        did.push(format!("and {} more", batch.len() - NAMED));
    }
    did
}

#[cfg(test)]
mod tests {
    use meshlift_api::{MeshUpgradeSpec, Step};
    use meshlift_model::Report;
    use meshlift_model::Waiting;
    use meshlift_model::WaitingOn;
    use serde_json::json;

    use super::*;

    fn upgrade(phase: Phase, step: Option<Step>) -> Upgrade {
        let spec: MeshUpgradeSpec =
            serde_json::from_value(json!({ "targetVersion": "1.31" })).expect("a spec");
        Upgrade {
            name: "to-1-31".into(),
            uid: "u".into(),
            generation: 1,
            created_at: Timestamp::UNIX_EPOCH,
            deleting: false,
            held: true,
            retry: None,
            redetect: None,
            accepts: None,
            spec,
            status: MeshUpgradeStatus {
                phase: Some(phase),
                step,
                message: "says so".into(),
                ..MeshUpgradeStatus::default()
            },
        }
    }

    /// The line for a decision that leaves phase and step as they are.
    fn line(next: Next, executed: &Executed, log: &Log) -> Option<Line> {
        let upgrade = upgrade(Phase::Upgrading, Some(Step::RestartingWorkloads));
        let decision = Decision {
            next,
            report: Report::default(),
        };
        let told = Told {
            now: Timestamp::UNIX_EPOCH,
            upgrade: &upgrade,
            decision: &decision,
            executed,
            after: &upgrade.status,
        };
        told.line(log)
    }

    fn wait(on: WaitingOn) -> Next {
        Next::Wait(Waiting {
            on,
            until: Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn a_wait_is_told_once_until_it_is_for_something_else() {
        let mut log = Log::default();
        let waits = |on, log: &Log| line(wait(on), &Executed::Nothing, log);
        let first = waits(WaitingOn::Workloads, &log).expect("it is new");
        assert_eq!(
            (first.waits.as_deref(), first.what.as_str()),
            (Some("Workloads"), "says so")
        );
        log.push(first);
        assert_eq!(waits(WaitingOn::Workloads, &log), None);
        let act = line(Next::Act(vec![Effect::LetGo]), &Executed::Done, &log).expect("it acted");
        assert_eq!(act.did, ["removing the finalizer"]);
        log.push(act);
        assert_eq!(
            waits(WaitingOn::Workloads, &log),
            None,
            "between two restarts"
        );
        assert!(waits(WaitingOn::Paused, &log).is_some());
    }

    #[test]
    fn failures_are_told_and_conflicts_are_not() {
        let failed = |class| {
            let message = "helm: no".to_owned();
            let failed = Executed::Failed { class, message };
            line(Next::Act(vec![Effect::LetGo]), &failed, &Log::default())
        };
        assert_eq!(failed(ErrorClass::Conflict), None);
        let told = failed(ErrorClass::Transient).expect("it failed");
        assert_eq!(told.error.as_deref(), Some("helm: no"));
    }

    #[test]
    fn a_large_batch_is_one_line_that_says_how_many() {
        let batch = vec![Effect::LetGo; 30];
        let told = line(Next::Act(batch), &Executed::Done, &Log::default()).expect("it acted");
        assert_eq!(told.did.len(), 21);
        assert_eq!(told.did[20], "and 10 more");
    }
}
