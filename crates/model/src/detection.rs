//! What a detection found: the control planes, the way, and every check.

use std::collections::BTreeSet;

use meshlift_api::{CheckResult, CheckStatus, ClusterCheck, ControlPlaneRef, Hop, Severity};

/// Check that a person accepts where a wave moved nothing and so proves nothing.
pub const WAVE_UNPROVED: &str = "WAVE-UNPROVED";
/// Check that a person accepts where the metrics of the control planes cannot be read.
pub const METRICS_UNREADABLE: &str = "METRICS-UNREADABLE";

/// What a detection found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detection {
    /// The control plane that runs.
    pub from: Option<ControlPlaneRef>,
    /// The control plane to come.
    pub target: Option<ControlPlaneRef>,
    /// The way, its last hop being the target; empty where there is none to go.
    pub hops: Vec<Hop>,
    /// Every cluster of the mesh, and how its Kubernetes fits the target.
    pub clusters: Vec<ClusterCheck>,
    /// Every check that was made, also those that passed.
    pub checks: Vec<CheckStatus>,
    /// Whether the mesh is at the target already.
    pub at_target: bool,
    /// Namespace of a mesh that was found and has no Mesh object yet.
    pub unregistered: Option<String>,
}

/// How many checks came to what; a check that speaks of several hops counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Those because of which an upgrade may not start.
    pub blocking: usize,
    /// Those that a person accepted.
    pub accepted: usize,
    /// Those that an upgrade goes on in spite of.
    pub warnings: usize,
    /// Those that are only good to know.
    pub notes: usize,
    /// Those that passed.
    pub passed: usize,
}

impl Detection {
    /// The checks because of which an upgrade may not start, in the order of the registry.
    pub fn blocking(&self) -> impl Iterator<Item = &CheckStatus> {
        self.checks.iter().filter(|told| blocks(told))
    }

    /// Whether an upgrade may not start.
    pub fn is_blocked(&self) -> bool {
        self.blocking().next().is_some()
    }

    /// The result for a person: `every check passed`, or how many checks block, were accepted, warn or only note.
    pub fn summary(&self) -> String {
        let counts = self.counts();
        let plural = |n: usize, one: &str| match n {
            1 => format!("1 {one}"),
            n => format!("{n} {one}s"),
        };
        let parts = [
            (counts.blocking, format!("{} blocking", counts.blocking)),
            (counts.accepted, format!("{} accepted", counts.accepted)),
            (counts.warnings, plural(counts.warnings, "warning")),
            (counts.notes, plural(counts.notes, "note")),
        ];
        let found: Vec<String> = parts
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(_, text)| text)
            .collect();
        if found.is_empty() {
            return "every check passed".to_owned();
        }
        found.join(", ")
    }

    /// How many checks came to what.
    pub fn counts(&self) -> Counts {
        let found = |severity: Severity| {
            self.codes(|check| check.severity == severity && check.result == CheckResult::Failed)
        };
        let unread = |severity: Severity| {
            self.codes(|check| check.severity == severity && check.result == CheckResult::Unknown)
        };
        Counts {
            blocking: self.codes(blocks),
            accepted: self.codes(|check| check.result == CheckResult::Accepted),
            warnings: found(Severity::Warning) + unread(Severity::Warning),
            notes: found(Severity::Info) + unread(Severity::Info),
            passed: self.codes(|check| check.result == CheckResult::Passed),
        }
    }

    /// A check that speaks of several hops or groups of objects is one thing to know.
    fn codes(&self, counted: impl Fn(&CheckStatus) -> bool) -> usize {
        let counted = self.checks.iter().filter(|check| counted(check));
        let codes: BTreeSet<&String> = counted.map(|check| &check.code).collect();
        codes.len()
    }

    /// Whether an upgrade may not start only because something could not be read: nothing is known to be wrong.
    pub fn is_only_unread(&self) -> bool {
        let mut blocking = self.blocking().peekable();
        blocking.peek().is_some() && blocking.all(|check| check.result == CheckResult::Unknown)
    }

    /// Checks that were not passed, for the record: code and what it came to.
    pub fn open_ends(&self) -> Vec<String> {
        let open = self
            .checks
            .iter()
            .filter(|told| told.result != CheckResult::Passed);
        let mut told: Vec<String> = open
            .map(|told| format!("{}: {:?}", told.code, told.result))
            .collect();
        told.sort();
        told.dedup();
        told
    }

    /// The same with one more check.
    pub fn and(mut self, told: CheckStatus) -> Self {
        self.checks.push(told);
        self
    }
}

/// Whether an upgrade may not start because of it.
pub fn blocks(told: &CheckStatus) -> bool {
    told.severity == Severity::Blocking
        && matches!(told.result, CheckResult::Failed | CheckResult::Unknown)
}

/// What was found and what to do, as one sentence.
pub fn sentence(told: &CheckStatus) -> String {
    match told.fix.as_str() {
        "" => told.message.clone(),
        fix => format!("{}: {fix}", told.message),
    }
}
