//! Whether all is well, and has been for long enough.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::Soak;
use meshlift_model::data_plane::Moved;
use meshlift_model::message;
use meshlift_model::view::{ControlPlane, PlaneId, Seen};

use super::later;

/// A look at the health of what has moved.
pub(super) struct HealthLook<'a> {
    pub(super) now: Timestamp,
    pub(super) planes: &'a [ControlPlane],
    /// The control plane that was moved to.
    pub(super) to: PlaneId<'a>,
    /// The workloads that have moved.
    pub(super) moved: Moved<'a>,
    /// How long all must be well.
    pub(super) soak: SignedDuration,
    /// Whether a person accepts that metrics cannot be read: then injections are not judged.
    pub(super) accepts_blind: bool,
    /// The watch under way.
    pub(super) running: Option<&'a Soak>,
}

/// What it comes to.
pub(super) enum Health {
    /// It could not be looked at, and why.
    Unseen(String),
    /// What is wrong.
    Ill(Vec<String>),
    /// Well so far.
    Going {
        /// The watch.
        soak: Soak,
        /// When it has passed.
        end: Timestamp,
    },
    /// Well for long enough.
    Passed(Soak),
}

impl HealthLook<'_> {
    pub(super) fn judge(&self) -> Health {
        // A control plane that is down has no metrics either: that is the problem to name.
        let down = self.planes_not_ready();
        if !down.is_empty() {
            return Health::Ill(down);
        }
        let failures = match self.injection_failures() {
            Ok(failures) => failures,
            Err(_) if self.accepts_blind => self.running.map_or(0, |soak| soak.injection_failures),
            Err(why) => return Health::Unseen(why),
        };
        let problems = self.problems(failures);
        if !problems.is_empty() {
            return Health::Ill(problems);
        }
        let fresh = Soak {
            since: Time(self.now),
            injection_failures: failures,
            passed_at: None,
        };
        let soak = self.running.cloned().unwrap_or(fresh);
        let end = later(soak.since.0, self.soak);
        if self.now >= end {
            Health::Passed(Soak {
                passed_at: Some(Time(self.now)),
                ..soak
            })
        } else {
            Health::Going { soak, end }
        }
    }

    pub(super) fn planes_not_ready(&self) -> Vec<String> {
        let to = self.plane(self.to);
        // Of the one that is left nothing is asked: if it is down, that is a reason to leave it, not to go back to it.
        let mut problems: Vec<String> = to
            .into_iter()
            .filter(|plane| !plane.is_ready())
            .map(message::not_ready)
            .collect();
        if to.is_none() {
            problems.push(format!("istiod {} is gone", self.to.revision));
        }
        problems
    }

    fn plane(&self, id: PlaneId<'_>) -> Option<&ControlPlane> {
        self.planes.iter().find(|plane| plane.id() == id)
    }

    fn problems(&self, failures: u64) -> Vec<String> {
        let since = self.running.map_or(self.now, |soak| soak.since.0);
        let mut problems = self.moved.problems(self.now, since);
        if let Some(soak) = self.running
            && failures > soak.injection_failures
        {
            let grown = failures - soak.injection_failures;
            problems.push(format!("failed injections went up by {grown}"));
        }
        problems
    }

    fn injection_failures(&self) -> Result<u64, String> {
        match self.plane(self.to).map(|plane| &plane.live) {
            Some(Seen::Present(live)) => Ok(live.injection_failures),
            Some(Seen::Unreadable(why)) => Err(why.clone()),
            Some(Seen::Absent) | None => Err("no istiod pod answers".to_owned()),
        }
    }
}
