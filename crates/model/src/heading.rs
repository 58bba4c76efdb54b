//! Which way the data plane moves: to the new control plane, or back to the old one.

use meshlift_api::{RollbackStatus, Strategy};
use meshlift_istio::version::Version;

use crate::record::Record;
use crate::upgrade::Upgrade;
use crate::view::Pod;

/// What tells a sidecar that has arrived from one that has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By<'a> {
    /// The revision that injected it: two control planes run beside each other.
    Revision,
    /// Its version: one control plane was upgraded in place, and its revision is the same before and after.
    Version {
        /// The version that it gets.
        to: &'a Version,
        /// The version that it had; on the way forward any other one is left behind.
        from: &'a Version,
    },
}

/// A direction between the two control planes of an upgrade, or between the two versions of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading<'a> {
    /// Revision that workloads shall run.
    pub to: &'a str,
    /// The only revision that is left behind; on the way forward every other one is. In place none is.
    pub from: Option<&'a str>,
    /// What tells that a sidecar has arrived.
    pub by: By<'a>,
    back: bool,
}

impl<'a> Heading<'a> {
    /// Forward, to a revision.
    pub fn forward(to: &'a str) -> Self {
        Self {
            to,
            from: None,
            by: By::Revision,
            back: false,
        }
    }

    /// Back, to the one revision from the other.
    pub fn back(to: &'a str, from: &'a str) -> Self {
        Self {
            from: Some(from),
            back: true,
            ..Self::forward(to)
        }
    }

    /// Where an upgrade is heading now.
    pub fn of(upgrade: &Upgrade, record: &'a Record) -> Self {
        Self::recorded(record, rollback(upgrade).is_some())
    }

    /// The way forward that a record describes.
    pub fn ahead(record: &'a Record) -> Self {
        Self::recorded(record, false)
    }

    /// The way forward of an upgrade that has no record yet.
    pub fn planned(
        strategy: Strategy,
        revision: &'a str,
        from: &'a Version,
        to: &'a Version,
    ) -> Self {
        match strategy {
            Strategy::Canary => Self::forward(revision),
            Strategy::InPlace => Self {
                by: By::Version { to, from },
                ..Self::forward(revision)
            },
        }
    }

    fn recorded(record: &'a Record, back: bool) -> Self {
        let (source, target) = (&record.source.version, &record.target_version);
        match (record.strategy, back) {
            (Strategy::Canary, false) => Self::forward(&record.target_revision),
            (Strategy::Canary, true) => {
                Self::back(&record.source_revision, &record.target_revision)
            }
            (Strategy::InPlace, back) => {
                let (to, from) = if back {
                    (source, target)
                } else {
                    (target, source)
                };
                Self {
                    to: &record.source_revision,
                    from: None,
                    by: By::Version { to, from },
                    back,
                }
            }
        }
    }

    /// Whether it leads back.
    pub fn is_back(&self) -> bool {
        self.back
    }

    /// Whether one control plane is upgraded where it is.
    pub fn is_in_place(&self) -> bool {
        matches!(self.by, By::Version { .. })
    }

    /// `forward` or `back`.
    pub fn word(&self) -> &'static str {
        if self.is_back() { "back" } else { "forward" }
    }

    /// What restarts are marked with: another one each time the direction changes.
    pub fn mark(&self) -> String {
        match self.by {
            By::Revision => self.to.to_owned(),
            By::Version { to, .. } => to.revision(),
        }
    }

    /// The mark of the way forward, on the way back.
    pub fn mark_before(&self) -> Option<String> {
        match self.by {
            By::Revision => self.from.map(str::to_owned),
            By::Version { from, .. } => self.back.then(|| from.revision()),
        }
    }

    /// What is moved to, for sentences: `1-31-0`, in place `1.31.0`.
    pub fn name(&self) -> String {
        match self.by {
            By::Revision => self.to.to_owned(),
            By::Version { to, .. } => to.to_string(),
        }
    }

    /// Whether a pod runs a sidecar of what is moved to.
    pub fn arrived(&self, pod: &Pod) -> bool {
        let here = pod.revision.as_deref() == Some(self.to);
        match self.by {
            By::Revision => here,
            By::Version { to, .. } => here && is_of(pod, to),
        }
    }

    /// Whether a pod still runs a sidecar that is left behind.
    pub fn leaves(&self, pod: &Pod) -> bool {
        match (self.by, self.from) {
            (By::Version { from, .. }, _) if self.back => {
                // Sidecars that were only renewed are of both versions, and are left alone.
                let here = pod.revision.as_deref() == Some(self.to);
                here && is_of(pod, from) && !self.arrived(pod)
            }
            (_, Some(from)) => pod.revision.as_deref() == Some(from),
            (_, None) => !self.arrived(pod),
        }
    }
}

/// Whether the image of a sidecar says that it is of this version. Detection lets nothing begin in place where images do
/// not tell.
fn is_of(pod: &Pod, version: &Version) -> bool {
    pod.version().is_some_and(|of| of.is_same_build(version))
}

/// The rollback that is under way.
pub fn rollback(upgrade: &Upgrade) -> Option<&RollbackStatus> {
    upgrade.status.rollback.as_ref()
}

#[cfg(test)]
mod tests {
    use meshlift_api::Phase;

    use super::*;
    use crate::example::{now, pod, record, upgrade, version};

    fn in_place(from: &str) -> Record {
        let mut record = record();
        record.strategy = Strategy::InPlace;
        record.target_revision = "default".into();
        record.source.version = version(from);
        record
    }

    fn sidecar(revision: &str, image: &str) -> Pod {
        Pod {
            proxy_image: Some(format!("example.org/istio/proxyv2{image}").into()),
            ..pod("cart-1", revision)
        }
    }

    fn back(record: &Record) -> Heading<'_> {
        let mut upgrade = upgrade(Phase::Upgrading);
        upgrade.status.rollback = Some(RollbackStatus {
            reason: "why".into(),
            since: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()),
            soak: None,
        });
        Heading::of(&upgrade, record)
    }

    #[test]
    fn beside_the_old_control_plane_the_revision_decides() {
        let record = record();
        let (ahead, back) = (Heading::ahead(&record), back(&record));
        let (old, new) = (pod("a", "default"), pod("a", "1-31-0"));
        assert!(ahead.leaves(&old) && ahead.arrived(&new) && !ahead.leaves(&new));
        assert!(back.leaves(&new) && back.arrived(&old) && !back.leaves(&old));
        assert!(ahead.leaves(&pod("a", "other")), "every other one is left");
        assert!(!back.leaves(&pod("a", "other")), "only the target is left");
        assert_eq!(
            (ahead.mark().as_str(), back.mark().as_str()),
            ("1-31-0", "default")
        );
    }

    #[test]
    fn in_place_the_version_decides() {
        let record = in_place("1.30.2");
        let (ahead, back) = (Heading::ahead(&record), back(&record));
        let (old, new) = (sidecar("default", ":1.30.2"), sidecar("default", ":1.31.0"));
        assert!(ahead.leaves(&old) && ahead.arrived(&new) && !ahead.leaves(&new));
        assert!(back.leaves(&new) && back.arrived(&old) && !back.leaves(&old));
        let unknown = sidecar("default", "@sha256:abc");
        assert!(ahead.leaves(&unknown) && !back.leaves(&unknown));
        let elsewhere = sidecar("team-b", ":1.31.0");
        assert!(!ahead.arrived(&elsewhere) && !back.leaves(&elsewhere));
        assert_eq!(
            (ahead.mark().as_str(), back.mark().as_str()),
            ("1-31-0", "1-30-2")
        );
        assert_eq!(back.mark_before().as_deref(), Some("1-31-0"));
        assert_eq!(ahead.name(), "1.31.0");
    }

    #[test]
    fn sidecars_that_were_only_renewed_do_not_go_back() {
        let record = in_place("1.31.0");
        let renewed = sidecar("default", ":1.31.0");
        assert!(back(&record).arrived(&renewed) && !back(&record).leaves(&renewed));
    }
}
