//! The pace of restarts: as many at once as the spec allows, fewer while istiod or the API server cannot keep up.
//!
//! Two bounds. Every new proxy connects to istiod, which admits a limited number a second: restarts begin no faster
//! than half of that. And the number of workloads that restart at once is halved when istiod is slow, and grows by one
//! with every look at its metrics that finds it well.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::PaceStatus;

use crate::message;
use crate::view::{ControlPlane, Recent, Seen};

/// A look at the metrics of istiod is good for this long.
pub const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// New proxies a second that a replica of istiod with so many cores admits.
/// Source: istio `pilot/pkg/features/tuning.go` (`PILOT_MAX_REQUESTS_PER_SECOND`).
pub fn admitted_by(cores: u32) -> u32 {
    cores.max(1).saturating_mul(5).saturating_add(15).min(100)
}

/// How many workloads may restart at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// So many.
    pub limit: u32,
    /// What status shall say of it; none at full pace.
    pub status: Option<PaceStatus>,
    /// Why the metrics could not be read, so that it stays as it is.
    pub blind: Option<String>,
}

impl Pace {
    /// From what was said before and the metrics of the control plane that is moved to, and of the one beside it.
    pub fn of(
        max: u32,
        before: Option<&PaceStatus>,
        to: Option<&ControlPlane>,
        beside: Option<&ControlPlane>,
    ) -> Self {
        let max = max.max(1);
        let before = before.filter(|pace| pace.limit < max);
        let limit = before.map_or(max, |pace| pace.limit.max(1));
        let kept = |blind| Self {
            limit,
            status: before.cloned(),
            blind,
        };
        let live = match to.map(|plane| (plane, &plane.live)) {
            Some((plane, Seen::Present(live))) => live.recent.map(|recent| (plane, recent)),
            Some((_, Seen::Unreadable(why))) => return kept(Some(why.clone())),
            Some((_, Seen::Absent)) | None => None,
        };
        // Each look is judged once: what it changed is dated by it.
        let judged = |recent: &Recent| before.is_some_and(|pace| whole(recent.at) <= pace.since.0);
        let Some((plane, recent)) = live.filter(|(_, recent)| !judged(recent)) else {
            return kept(None);
        };
        let strain = strain(plane, &recent).or_else(|| slowness(beside?, &recent_of(beside?)?));
        let next = match &strain {
            Some(_) => (limit / 2).max(1),
            None => limit.saturating_add(1).min(max),
        };
        let reason = strain.or_else(|| before.map(|pace| pace.reason.clone()));
        Self {
            limit: next,
            status: (next < max).then(|| PaceStatus {
                limit: next,
                since: Time(whole(recent.at)),
                reason: reason.unwrap_or_default(),
            }),
            blind: None,
        }
    }

    /// Half as many at once from now on, for a reason; `None` where it cannot be less than one.
    pub fn halved(
        now: Timestamp,
        max: u32,
        before: Option<&PaceStatus>,
        reason: String,
    ) -> Option<PaceStatus> {
        let limit = before.map_or(max, |pace| pace.limit.min(max));
        (limit > 1).then(|| PaceStatus {
            limit: limit / 2,
            since: Time(whole(now)),
            reason,
        })
    }
}

fn recent_of(plane: &ControlPlane) -> Option<Recent> {
    plane.live.present()?.recent
}

/// Times in status have whole seconds.
fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// What says that a control plane has too much to do, if anything.
fn strain(plane: &ControlPlane, recent: &Recent) -> Option<String> {
    slowness(plane, recent).or_else(|| match (recent.push_errors, recent.rejects) {
        (0, 0) => None,
        (0, rejects) => Some(message::rejects(&plane.revision, rejects)),
        (errors, _) => Some(message::push_errors(&plane.revision, errors)),
    })
}

/// More than one proxy in a hundred waited too long for its configuration.
fn slowness(plane: &ControlPlane, recent: &Recent) -> Option<String> {
    let slow = recent.slow > 0 && recent.slow.saturating_mul(100) > recent.converged;
    slow.then(|| message::converges_slowly(&plane.revision, recent))
}

/// When restarts may begin, so that istiod gets no more new proxies than half of what it admits.
///
/// Each restart takes the time in which the pods of its workload are admitted; the next begins when that is over.
#[derive(Clone, Debug)]
pub struct Admission {
    now: Timestamp,
    /// What each pod takes.
    each: SignedDuration,
    /// Until when all that has begun takes.
    taken: Timestamp,
}

impl Admission {
    /// Of a control plane, after restarts that began at these times with so many pods.
    pub fn of(
        now: Timestamp,
        plane: Option<&ControlPlane>,
        begun: impl IntoIterator<Item = (Timestamp, usize)>,
    ) -> Self {
        let live = plane.and_then(|plane| plane.live.present());
        let known = live.map(|live| live.admits).filter(|admits| *admits > 0);
        let replicas = plane.map_or(1, |plane| plane.ready.max(1));
        // Not looked at yet: as if each replica had one core.
        let admits = known.unwrap_or_else(|| admitted_by(1).saturating_mul(replicas));
        let mut admission = Self {
            now,
            each: SignedDuration::from_nanos(2 * 1_000_000_000 / i64::from(admits)),
            taken: Timestamp::MIN,
        };
        let mut begun: Vec<_> = begun.into_iter().filter(|(at, _)| *at <= now).collect();
        begun.sort();
        for (at, pods) in begun {
            admission.take(at, pods);
        }
        admission
    }

    fn take(&mut self, at: Timestamp, pods: usize) {
        let pods = i32::try_from(pods.max(1)).unwrap_or(i32::MAX);
        let takes = self.each.saturating_mul(pods);
        let from = self.taken.max(at);
        self.taken = from.checked_add(takes).unwrap_or(Timestamp::MAX);
    }

    /// Now, as the pace counts it.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// New proxies a second.
    pub fn per_second(&self) -> i128 {
        1_000_000_000 / self.each.as_nanos().max(1)
    }

    /// Begins a restart of so many pods, if one may begin now.
    pub fn begin(&mut self, pods: usize) -> bool {
        let free = self.until() <= self.now;
        if free {
            self.take(self.now, pods);
        }
        free
    }

    /// When the next restart may begin: in the second in which all before it are admitted.
    pub fn until(&self) -> Timestamp {
        whole(self.taken.max(Timestamp::UNIX_EPOCH))
    }
}

#[cfg(test)]
mod tests;
