//! Reconcile: look, decide, act, record. One direction, no callbacks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};
use meshlift_api::conditions::RECONCILING;
use meshlift_api::{MeshUpgrade, MeshUpgradeStatus, Phase};
use meshlift_cluster::watch::{Guarded, Undecoded};
use meshlift_cluster::{Error, Executor, Observer, Watches, status, undecoded};
use meshlift_model::view::Seen;
use meshlift_model::{Decision, Effect, ErrorClass, Executed, Next, Upgrade};
use meshlift_planner::{decide, fold};

use crate::events::Events;
use crate::journal::{Journal, Told};
use crate::locks::Locks;
use crate::metrics::Metrics;
use crate::refresh::Refresh;
use crate::run::rests;

/// Counts alone are written at most this often: status writes per batch, not per workload.
const COUNTS_EVERY: Duration = Duration::from_secs(2);
/// How soon to look again after someone else wrote in between.
const AGAIN: Duration = Duration::from_millis(200);
/// How soon to try again while another upgrade of the mesh is looked at.
const BUSY: Duration = Duration::from_secs(1);
/// How soon to look at an ended upgrade again; a watch tells before if anything is asked of it.
const REST: Duration = Duration::from_secs(3600);

/// How soon to look again when an upgrade itself cannot be seen.
const BLIND: Duration = Duration::from_secs(5);

/// Everything a reconcile needs.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) watches: Watches,
    pub(crate) observer: Arc<Observer>,
    pub(crate) executor: Executor,
    pub(crate) events: Arc<Events>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) metrics: Arc<Metrics>,
    /// One mutation of a mesh at a time, whatever MeshUpgrade asks for it and by whatever Mesh; by control planes.
    pub(crate) meshes: Locks,
    pub(crate) written: Mutex<HashMap<String, Instant>>,
    pub(crate) refresh: Refresh,
}

/// What became of a status.
enum Recorded {
    /// It was written; the object as it is stored now.
    Written(Box<MeshUpgrade>),
    /// It says the same already, or the object is gone.
    AsItWas,
    /// Only counts and words changed, which are not written at every look.
    Later,
}

/// Reconciles one MeshUpgrade.
pub(crate) async fn reconcile(
    object: Arc<Guarded<MeshUpgrade>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let object = match &*object {
        Guarded::Decoded(object) => object,
        Guarded::Undecoded(object) => return context.refuse(object).await,
    };
    let object = match context.newest(object) {
        Seen::Present(object) => object,
        Seen::Absent => return Ok(Action::await_change()),
        // Its own table is blind: what stands there may be of long ago.
        Seen::Unreadable(_) => return Ok(Action::requeue(BLIND)),
    };
    // Before the lock: a hundred ended upgrades of a mesh must not queue behind the one that runs.
    if rests(&object) {
        return Ok(Action::requeue(REST));
    }
    // Not waited for: whoever waits takes one of the few places that upgrades of other meshes need.
    let mesh = context
        .meshes
        .of(&context.observer.control_planes_of(&object.spec.mesh));
    let Ok(_alone) = mesh.try_lock() else {
        return Ok(Action::requeue(BUSY));
    };
    match context.step(&object).await {
        Err(error) if error.class() == ErrorClass::Conflict => {
            tracing::debug!(upgrade = object.name_any(), %error, "looks again");
            Ok(Action::requeue(AGAIN))
        }
        other => other,
    }
}

/// What follows an error of reconcile itself: the status could not be written.
pub(crate) fn error_policy(
    object: Arc<Guarded<MeshUpgrade>>,
    error: &Error,
    context: Arc<Context>,
) -> Action {
    context.metrics.error(error.class());
    tracing::warn!(upgrade = object.name_any(), %error, "reconcile");
    Action::requeue(Duration::from_secs(2))
}

impl Context {
    /// One look, one decision, and what follows from it.
    async fn step(&self, object: &Arc<MeshUpgrade>) -> Result<Action, Error> {
        let began = Instant::now();
        let now = this_second();
        let looked = self.observer.upgrade(object);
        let view = self.observer.look(now, &looked).await;
        let decision = decide(now, &looked, &view);
        let upgrade = self.announce(now, object, looked, &decision).await?;
        let executed = self.act(object, &upgrade, &view, &decision).await;
        // Acting on the object itself changes it; the status goes to the newest.
        let newest = match self.newest(object) {
            Seen::Present(newest) => newest,
            Seen::Absent => return Ok(Action::await_change()),
            // What was done has to be written down all the same.
            Seen::Unreadable(_) => Arc::clone(object),
        };
        let stands = upgrade.stands_in(&self.observer.upgrade(&newest));
        let after = fold(now, &upgrade, &decision, &executed);
        let told = Told {
            now,
            upgrade: &upgrade,
            decision: &decision,
            executed: &executed,
            after: &after,
        };
        if stands || told.acted() {
            self.journal.tell(&newest, &told).await;
        }
        if !stands {
            return Ok(Action::requeue(AGAIN));
        }
        let recorded = self.record(&newest, &after).await?;
        self.metrics.reconciled(upgrade.phase(), began.elapsed());
        let written = !matches!(recorded, Recorded::Later);
        Ok(next(&decision, &executed, &after, written))
    }

    /// The object as last seen or written, if it is still the same one.
    fn newest(&self, object: &MeshUpgrade) -> Seen<Arc<MeshUpgrade>> {
        match self.watches.upgrades.get(None, &object.name_any()) {
            Seen::Present(newest) if newest.uid() != object.uid() => Seen::Absent,
            seen => seen,
        }
    }

    /// An upgrade that cannot be decoded is left alone, and says so: a value that does not fit, or the words of a newer
    /// version after a downgrade.
    async fn refuse(&self, object: &Undecoded) -> Result<Action, Error> {
        if undecoded::refuse_upgrade(&self.client, this_second(), object).await? {
            let (upgrade, why) = (object.reference(), &object.why);
            tracing::warn!(upgrade, why, "cannot be read, so nothing is done for it");
        }
        Ok(Action::await_change())
    }

    /// Says what is about to be done when that is a new step of Helm's: it may take minutes.
    async fn announce(
        &self,
        now: Timestamp,
        object: &MeshUpgrade,
        upgrade: Upgrade,
        decision: &Decision,
    ) -> Result<Upgrade, Error> {
        let new_step = decision
            .report
            .step
            .is_some_and(|step| upgrade.status.step != Some(step));
        let Next::Act(batch) = &decision.next else {
            return Ok(upgrade);
        };
        if !new_step || !batch.iter().any(Effect::runs_helm) {
            return Ok(upgrade);
        }
        let status = fold(now, &upgrade, decision, &Executed::Begun);
        let told = Told {
            now,
            upgrade: &upgrade,
            decision,
            executed: &Executed::Begun,
            after: &status,
        };
        self.journal.tell(object, &told).await;
        let status = match self.record(object, &status).await? {
            // As it was stored: that is what the next write has to find.
            Recorded::Written(written) => written.status.unwrap_or(status),
            Recorded::AsItWas | Recorded::Later => status,
        };
        Ok(Upgrade { status, ..upgrade })
    }

    async fn act(
        &self,
        object: &MeshUpgrade,
        upgrade: &Upgrade,
        view: &meshlift_model::view::MeshView,
        decision: &Decision,
    ) -> Executed {
        let told = |effect: &Effect, result: &Result<(), Error>| {
            let (name, effect_name) = (&upgrade.name, effect.describe());
            match result {
                Ok(()) => tracing::info!(upgrade = name, effect = effect_name, "done"),
                Err(error) => {
                    tracing::warn!(upgrade = name, effect = effect_name, %error, "failed");
                }
            }
            self.metrics.effect(effect, result.is_ok());
        };
        let executed = self
            .executor
            .execute(object, upgrade, view, decision, &told)
            .await;
        self.observer.forget(upgrade, decision);
        if let Executed::Failed { class, message } = &executed {
            self.metrics.error(*class);
            tracing::warn!(upgrade = upgrade.name, ?class, message, "step failed");
        }
        executed
    }

    /// Writes status and events.
    async fn record(
        &self,
        object: &MeshUpgrade,
        after: &MeshUpgradeStatus,
    ) -> Result<Recorded, Error> {
        let before = object.status.clone().unwrap_or_default();
        if !is_weighty(&before, after) && !self.may_write_counts(object) {
            return Ok(if before == *after {
                Recorded::AsItWas
            } else {
                Recorded::Later
            });
        }
        let written = status::write(&self.client, &self.watches, object, after).await?;
        let Some(written) = written else {
            return Ok(Recorded::AsItWas);
        };
        self.note_written(object);
        if before.phase != after.phase || before.step != after.step {
            tracing::info!(
                upgrade = object.name_any(),
                phase = ?after.phase,
                step = ?after.step,
                message = after.message,
                "status"
            );
        }
        self.events.tell(object, after);
        if has_ended(&before, after) {
            self.refresh.ask(&object.spec.mesh);
        }
        Ok(Recorded::Written(Box::new(written)))
    }

    /// Remembers when its status was written, and forgets upgrades that are gone.
    fn note_written(&self, object: &MeshUpgrade) {
        let mut written = self.written();
        if let Seen::Present(all) = self.watches.upgrades.all() {
            let uids: HashSet<_> = all.iter().filter_map(|upgrade| upgrade.uid()).collect();
            written.retain(|uid, _| uids.contains(uid));
            self.journal.forget_all_but(&uids);
        }
        written.insert(object.uid().unwrap_or_default(), Instant::now());
    }

    fn may_write_counts(&self, object: &MeshUpgrade) -> bool {
        let uid = object.uid().unwrap_or_default();
        self.written()
            .get(&uid)
            .is_none_or(|at| at.elapsed() >= COUNTS_EVERY)
    }

    fn written(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what changed a mesh changes it no more: an upgrade, or a step of it, is over.
fn has_ended(before: &MeshUpgradeStatus, after: &MeshUpgradeStatus) -> bool {
    let locked = |status: &MeshUpgradeStatus| status.phase.is_some_and(Phase::is_locked);
    locked(before) && !locked(after)
}

/// Whether more changed than counts and words.
fn is_weighty(before: &MeshUpgradeStatus, after: &MeshUpgradeStatus) -> bool {
    let plain = |status: &MeshUpgradeStatus| {
        let mut status = status.clone();
        status.message.clear();
        status.progress.clear();
        status.workloads = None;
        status.proxies = None;
        for condition in &mut status.conditions {
            condition.message.clear();
            // Between two restarts it only says whether one was just begun or is waited for.
            if condition.type_ == RECONCILING {
                condition.reason.clear();
            }
        }
        status
    };
    plain(before) != plain(after)
}

/// Now, in whole seconds: what is written to status reads back as the same time.
fn this_second() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// When to look again.
fn next(
    decision: &Decision,
    executed: &Executed,
    after: &MeshUpgradeStatus,
    written: bool,
) -> Action {
    let soon = match (&decision.next, executed) {
        (
            _,
            Executed::Failed {
                class: ErrorClass::Conflict,
                ..
            },
        ) => AGAIN,
        (_, Executed::Failed { .. }) => {
            let next_at = after.attempts.as_ref().and_then(|a| a.next_at.as_ref());
            next_at.map_or(Duration::from_secs(2), |at| until(at.0))
        }
        (Next::Wait(waiting), _) => until(waiting.until),
        (Next::Record(_) | Next::Act(_) | Next::Enter(_), _) => Duration::ZERO,
    };
    Action::requeue(if written {
        soon
    } else {
        soon.min(COUNTS_EVERY)
    })
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::from_millis(10))
}
