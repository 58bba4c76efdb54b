//! Everything that a detection checks: one pure function each, behind one registry.
//!
//! A check has a stable code that people may quote, search for and accept. What it found goes to
//! status as a [`CheckStatus`]; what it is about, why it matters and where that is known from is
//! told by `meshlift explain CODE` and docs/checks.md, both from this registry.

mod accepted;
mod capacity;
mod charts;
mod configuration;
mod control_plane;
mod course;
mod crds;
mod drift;
mod envoy_filters;
mod explain;
#[expect(missing_docs, reason = "a check describes itself")]
pub mod found;
mod gateway_api;
mod helm;
mod hub;
mod images;
mod in_place;
mod injection;
mod kubernetes;
mod metrics;
mod named;
mod node_agents;
mod operator;
mod others;
mod proof;
mod proxies;
mod registry;
mod release_owners;
mod risks;
mod selections;
mod subject;
pub mod target;
mod templates;
mod told;
mod values;
mod waves;
mod webhooks;
mod windows;
mod workloads;
mod writes;

use meshlift_api::{CheckStatus, Severity};
use meshlift_istio::version::Version;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{MeshView, Seen};

pub use self::charts::{is_loopback, retired_source};
pub use self::course::Course;
pub use self::explain::explain;
pub use self::kubernetes::clusters;
pub use self::registry::{CHECKS, find};
pub use self::risks::severity as risk_severity;
pub use self::told::all;
pub use self::values::VALUES;
pub use meshlift_model::detection::{METRICS_UNREADABLE, WAVE_UNPROVED, blocks, sentence};

/// A check, and what there is to know of it.
#[derive(Debug)]
pub struct Check {
    /// Stable code: `K8S-TOO-OLD`.
    pub code: &'static str,
    /// Reason of the condition `Detected` when this is the first that blocks.
    pub reason: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// Whether `spec.acceptRisks` may accept its finding.
    pub acceptable: bool,
    /// What it makes sure of, in a few words.
    pub title: &'static str,
    /// Why it matters: what happens to an upgrade otherwise.
    pub explanation: &'static str,
    /// The way out in general; a finding says it for the case.
    pub fix: &'static str,
    /// Where it is known from: a page or a repository path.
    pub source: &'static str,
    look: Look,
}

/// When a check is made.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// While the mesh and the way are searched: what it finds leaves nothing else to check.
    Survey,
    /// Once, on the mesh as it is.
    Mesh(fn(&Subject<'_>) -> Vec<Finding>),
    /// For each hop of the way.
    Hop(fn(&Subject<'_>) -> Vec<Finding>),
}

/// What a check looks at.
pub struct Subject<'a> {
    /// The upgrade.
    pub upgrade: &'a Upgrade,
    /// The mesh as it was observed.
    pub view: &'a MeshView,
    /// From where to where.
    pub course: &'a Course<'a>,
    /// The hop: from here.
    pub from: &'a Version,
    /// The hop: to there.
    pub to: &'a Version,
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    unknown: bool,
    objects: Vec<String>,
    /// How many objects there are; some may not be named.
    total: u32,
    message: String,
    fix: String,
}

impl Finding {
    /// Something is wrong: what, and what to do.
    pub fn wrong(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            unknown: false,
            objects: Vec::new(),
            total: 0,
            message: message.into(),
            fix: fix.into(),
        }
    }

    /// It could not be looked at.
    pub fn unknown(what: &str, why: &str) -> Self {
        Self {
            unknown: true,
            objects: Vec::new(),
            total: 0,
            message: format!("{what} cannot be read: {why}"),
            fix: String::new(),
        }
    }

    /// With all the objects it is about.
    pub fn about(mut self, objects: impl IntoIterator<Item = String>) -> Self {
        self.objects = objects.into_iter().collect();
        self.total = u32::try_from(self.objects.len()).unwrap_or(u32::MAX);
        self
    }

    /// With the number of objects it is about, where not all of them are named.
    fn of(mut self, total: u32) -> Self {
        self.total = total;
        self
    }
}

/// What stands in the way of a course, or of finding one.
#[derive(Clone, Debug)]
pub struct Obstacle {
    /// The check that found it.
    pub check: &'static Check,
    /// What it found.
    pub finding: Finding,
}

impl Obstacle {
    /// What stands in the way, and what to do.
    pub fn new(check: &'static Check, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            check,
            finding: Finding::wrong(message, fix),
        }
    }

    /// Something that is needed cannot be read.
    pub fn unreadable(what: &str, why: &str) -> Self {
        Self {
            check: &found::LOOK_FAILED,
            finding: Finding::unknown(what, why),
        }
    }

    /// The same as status has it.
    pub fn status(&self, upgrade: &Upgrade) -> CheckStatus {
        told::status(self.check.told(), &self.finding, None, upgrade)
    }
}

/// Requires something to have been seen.
pub fn must_see<'a, T>(seen: &'a Seen<T>, what: &str) -> Result<&'a T, Obstacle> {
    match seen {
        Seen::Present(value) => Ok(value),
        Seen::Absent => Err(Obstacle::unreadable(what, "it is not there")),
        Seen::Unreadable(why) => Err(Obstacle::unreadable(what, why)),
    }
}

#[cfg(test)]
mod tests;
