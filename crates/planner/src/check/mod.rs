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
mod crds;
mod drift;
mod envoy_filters;
mod explain;
pub(crate) mod found;
mod gateway_api;
mod helm;
mod hub;
mod images;
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
pub(crate) mod target;
mod templates;
mod told;
mod values;
mod waves;
mod webhooks;
mod windows;
mod workloads;
mod writes;

use meshlift_api::{CheckStatus, MeshSpec, Severity};

use crate::revision::revision_of;
use crate::upgrade::Upgrade;
use crate::version::Version;
use crate::view::{ControlPlane, MeshView, Release, Seen};

pub use self::charts::{is_loopback, retired_source};
pub use self::explain::explain;
pub use self::kubernetes::clusters;
pub(crate) use self::metrics::METRICS_UNREADABLE;
pub use self::registry::{CHECKS, find};
pub use self::risks::severity as risk_severity;
pub(crate) use self::told::all;
pub use self::told::{blocks, sentence};
pub(crate) use self::values::VALUES;
pub(crate) use self::waves::WAVE_UNPROVED;

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
pub(crate) struct Subject<'a> {
    pub(crate) upgrade: &'a Upgrade,
    pub(crate) view: &'a MeshView,
    pub(crate) course: &'a Course<'a>,
    /// The hop: from here.
    pub(crate) from: &'a Version,
    /// The hop: to there.
    pub(crate) to: &'a Version,
}

/// What the survey settled on: from where to where.
pub(crate) struct Course<'a> {
    /// Who asks for it.
    pub(crate) upgrade: &'a Upgrade,
    /// Every control plane of the cluster.
    pub(crate) planes: &'a [ControlPlane],
    pub(crate) mesh: &'a MeshSpec,
    pub(crate) source: &'a ControlPlane,
    pub(crate) from: &'a Version,
    /// The end of the way.
    pub(crate) to: Version,
    /// Every version on the way, the end last.
    pub(crate) hops: Vec<Version>,
    pub(crate) source_release: Result<&'a Release, Obstacle>,
    pub(crate) base_release: Result<&'a Release, Obstacle>,
}

impl Course<'_> {
    /// Revision that a version gets in this mesh.
    pub(crate) fn revision(&self, version: &Version) -> String {
        revision_of(self.upgrade, version, &self.source.namespace, self.planes)
    }
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    unknown: bool,
    objects: Vec<String>,
    /// How many objects there are; some may not be named.
    total: u32,
    message: String,
    fix: String,
}

impl Finding {
    /// Something is wrong: what, and what to do.
    pub(crate) fn wrong(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            unknown: false,
            objects: Vec::new(),
            total: 0,
            message: message.into(),
            fix: fix.into(),
        }
    }

    /// It could not be looked at.
    pub(crate) fn unknown(what: &str, why: &str) -> Self {
        Self {
            unknown: true,
            objects: Vec::new(),
            total: 0,
            message: format!("{what} cannot be read: {why}"),
            fix: String::new(),
        }
    }

    /// With all the objects it is about.
    pub(crate) fn about(mut self, objects: impl IntoIterator<Item = String>) -> Self {
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
pub(crate) struct Obstacle {
    pub(crate) check: &'static Check,
    pub(crate) finding: Finding,
}

impl Obstacle {
    pub(crate) fn new(
        check: &'static Check,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            check,
            finding: Finding::wrong(message, fix),
        }
    }

    pub(crate) fn unreadable(what: &str, why: &str) -> Self {
        Self {
            check: &found::LOOK_FAILED,
            finding: Finding::unknown(what, why),
        }
    }

    pub(crate) fn status(&self, upgrade: &Upgrade) -> CheckStatus {
        told::status(self.check.told(), &self.finding, None, upgrade)
    }
}

/// Requires something to have been seen.
pub(crate) fn must_see<'a, T>(seen: &'a Seen<T>, what: &str) -> Result<&'a T, Obstacle> {
    match seen {
        Seen::Present(value) => Ok(value),
        Seen::Absent => Err(Obstacle::unreadable(what, "it is not there")),
        Seen::Unreadable(why) => Err(Obstacle::unreadable(what, why)),
    }
}

#[cfg(test)]
mod tests;
