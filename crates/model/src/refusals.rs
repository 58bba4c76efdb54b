//! Writes that the API server refused, object by object. One workload that a policy keeps as it is must not keep a
//! thousand others waiting, so what is refused steps aside, is tried again by a clock of its own, and is given up by name.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::decision::Effect;
use crate::outcome::{ErrorClass, Executed, RefusedWrite, backoff};
use crate::upgrade::Upgrade;

/// How soon an eviction is tried again that a disruption budget does not allow: budgets open and close as pods come
/// and go, without anybody doing anything. Shorter than the time between two observations while one is waited for.
const BUDGET: SignedDuration = SignedDuration::from_secs(4);

/// A write that the API server refused, since the upgrade heads where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who refused it, and why, in the API server's words.
    pub why: String,
    /// Whether a disruption budget did, which is no failure.
    pub budget: bool,
    /// How often.
    pub count: u32,
    /// The first time.
    pub first_at: Timestamp,
    /// The last time.
    pub last_at: Timestamp,
}

impl Refusal {
    /// Whether it is given up: it was refused again when its time was over. (The clock alone is no reason: while the
    /// API server was away nothing was tried.)
    pub fn is_over(&self, timeout: SignedDuration) -> bool {
        !self.budget && self.last_at >= self.deadline(timeout)
    }

    /// When it is tried again; the last time at its deadline.
    pub fn next_at(&self, timeout: SignedDuration) -> Timestamp {
        if self.budget {
            return later(self.last_at, BUDGET);
        }
        let next = later(self.last_at, backoff(ErrorClass::Transient, self.count));
        next.min(self.deadline(timeout))
    }

    /// Whether it is to be tried again now.
    pub fn is_due(&self, now: Timestamp, timeout: SignedDuration) -> bool {
        !self.is_over(timeout) && now >= self.next_at(timeout)
    }

    /// Whether one that is given up is worth a try all the same, while others still move.
    pub fn is_worth_a_try(&self, now: Timestamp) -> bool {
        now >= later(self.last_at, backoff(ErrorClass::Transient, u32::MAX))
    }

    /// Whether the time is over in which it is tried again.
    pub fn had_its_time(&self, now: Timestamp, timeout: SignedDuration) -> bool {
        !self.budget && now >= self.deadline(timeout)
    }

    fn deadline(&self, timeout: SignedDuration) -> Timestamp {
        later(self.first_at, timeout)
    }
}

/// An effect that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How it is treated.
    pub class: ErrorClass,
    /// Whether the API server answered, so that the answer is about the object.
    pub answered: bool,
    /// Who refused, and why.
    pub why: String,
    /// The same, with what was tried.
    pub message: String,
}

/// What became of one effect.
pub type Tried<'a> = (&'a Effect, Option<Failure>);

/// Refusals by the UID of the object. They live as long as the process: after a crash each is tried once more.
#[derive(Clone, Debug, Default)]
pub struct Refusals(BTreeMap<String, Refusal>);

impl Refusals {
    /// Those of an upgrade on its present way.
    pub fn of(&self, upgrade: &Upgrade) -> BTreeMap<String, Refusal> {
        let since = began(upgrade);
        let rows = self.0.iter().filter(|(_, row)| row.first_at >= since);
        rows.map(|(uid, row)| (uid.clone(), row.clone())).collect()
    }

    /// Notes that a disruption budget does not allow the eviction of a pod.
    pub fn note_budget(&mut self, now: Timestamp, upgrade: &Upgrade, uid: &str, why: String) {
        self.note(now, upgrade, uid, why).budget = true;
    }

    /// Remembers what was refused and forgets what was not, and sums up.
    ///
    /// Only what is not about one object is a failure of the whole: that the API server does not answer, or is so busy
    /// that nothing of a batch got through.
    pub fn settle(&mut self, now: Timestamp, upgrade: &Upgrade, tried: Vec<Tried<'_>>) -> Executed {
        let got_through = tried.iter().any(|(_, failure)| failure.is_none());
        let mut refused = Vec::new();
        let mut whole: Option<Failure> = None;
        for (effect, failure) in tried {
            let Some(failure) = failure else {
                self.forget(effect);
                continue;
            };
            let own = effect
                .object()
                .filter(|_| failure.class != ErrorClass::Conflict);
            let own = own.filter(|_| got_through || failure.answered);
            let Some(uid) = own else {
                whole = worse(whole, failure);
                continue;
            };
            let row = self.note(now, upgrade, uid, failure.why.clone());
            refused.push(RefusedWrite {
                class: failure.class,
                count: row.count,
                message: failure.message,
            });
        }
        if let Some(Failure { class, message, .. }) = whole {
            return Executed::Failed { class, message };
        }
        let busy = |write: &RefusedWrite| write.class == ErrorClass::Transient;
        match refused.first() {
            None => Executed::Done,
            Some(first) if !got_through && refused.iter().all(busy) => Executed::Failed {
                class: ErrorClass::Transient,
                message: first.message.clone(),
            },
            Some(_) => Executed::Refused(refused),
        }
    }

    fn note(&mut self, now: Timestamp, upgrade: &Upgrade, uid: &str, why: String) -> &mut Refusal {
        let since = began(upgrade);
        let new = Refusal {
            why: String::new(),
            budget: false,
            count: 0,
            first_at: now,
            last_at: now,
        };
        let row = self.0.entry(uid.to_owned()).or_insert_with(|| new.clone());
        if row.first_at < since {
            *row = new;
        }
        row.why = why;
        row.budget = false;
        row.count = row.count.saturating_add(1);
        row.last_at = now;
        row
    }

    /// An evicted pod is gone for good, and one that its budget keeps has been noted by whoever asked for the eviction.
    fn forget(&mut self, effect: &Effect) {
        if !matches!(effect, Effect::EvictPod { .. })
            && let Some(uid) = effect.object()
        {
            self.0.remove(uid);
        }
    }
}

/// The worse of two, where a person's attention is worst.
fn worse(one: Option<Failure>, other: Failure) -> Option<Failure> {
    match one {
        Some(one) if one.class as u8 >= other.class as u8 => Some(one),
        _ => Some(other),
    }
}

/// When the upgrade began to head where it does. What was refused before was another write.
fn began(upgrade: &Upgrade) -> Timestamp {
    let status = &upgrade.status;
    let back = status.rollback.as_ref().map(|rollback| rollback.since.0);
    let began = back.or(status.started_at.as_ref().map(|at| at.0));
    began.unwrap_or(Timestamp::MIN)
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
