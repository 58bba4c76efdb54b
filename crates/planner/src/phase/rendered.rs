//! A control plane that somebody else renders, for example Argo CD or Flux from Git. What Helm does otherwise is reported as a
//! change to commit and waited for: two installers would undo each other.

use jiff::Timestamp;
use meshlift_api::Step;
use meshlift_model::decision::{Decision, Findings, Report, Verdict, WaitingOn};
use meshlift_model::message;
use meshlift_model::record::Record;
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{MeshView, Seen, version_of_crds};

use super::health_checking::Look;
use super::upgrading::{is_proving, same_step};
use super::{BACKSTOP, blind, wait};

/// Waits for the CRDs and for the new control plane; `None` when both are there. Whether the control plane works is
/// proved as after an installation by Helm.
pub(super) fn control_plane(
    now: Timestamp,
    upgrade: &Upgrade,
    view: &MeshView,
    record: &Record,
) -> Option<Decision> {
    crds(now, upgrade, view, record).or_else(|| istiod(now, view, record))
}

/// CRDs come first: a new istiod reads its configuration through them, and the API server drops the fields that they do
/// not know. CRDs that do not say their version cannot be waited for.
fn crds(now: Timestamp, upgrade: &Upgrade, view: &MeshView, record: &Record) -> Option<Decision> {
    if !is_proving(upgrade) {
        return None;
    }
    let crds = match &view.environment.crds {
        Seen::Present(crds) => crds,
        Seen::Absent => return None,
        Seen::Unreadable(why) => return Some(blind(now, same_step(upgrade), "the CRDs", why)),
    };
    let version = version_of_crds(crds).filter(|version| *version < record.target_version)?;
    let why = format!("the CRDs of Istio are of {version}");
    let report = Report {
        step: Some(Step::UpgradingBase),
        message: message::waits_for_commit(&why, &message::Commits::of(record).base()),
        ..Report::default()
    };
    Some(commit(now, report))
}

fn istiod(now: Timestamp, view: &MeshView, record: &Record) -> Option<Decision> {
    // One that cannot be read is reported by the proof.
    view.control_planes.present()?;
    if view.plane(record.target_plane()).is_some() {
        return None;
    }
    let why = format!("there is no istiod of revision {}", record.target_revision);
    let report = Report {
        step: Some(Step::InstallingControlPlane),
        message: message::waits_for_commit(&why, &message::Commits::of(record).istiod()),
        findings: Findings {
            control_plane_ready: Verdict::no("NotFound", why),
            ..Findings::default()
        },
        ..Report::default()
    };
    Some(commit(now, report))
}

impl Look<'_> {
    /// Waits until whoever renders the validating webhook points it at the new control plane.
    pub(super) fn default_is_committed(&self, step: Step) -> Decision {
        let why = "istiod-default-validator calls the old control plane";
        let message =
            message::waits_for_commit(why, &message::Commits::of(self.record).default_revision());
        commit(self.now, self.report(step, message))
    }

    /// Waits until whoever renders the old control plane removes it. Nothing uses it any more.
    pub(super) fn removal_is_committed(&self, step: Step) -> Decision {
        let why = "nothing uses the old control plane any more";
        let message = message::waits_for_commit(why, &message::Commits::of(self.record).removal());
        commit(self.now, self.report(step, message))
    }
}

fn commit(now: Timestamp, report: Report) -> Decision {
    Decision::new(wait(now, WaitingOn::Git, BACKSTOP), report)
}
