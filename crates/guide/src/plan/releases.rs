//! What happens to Helm releases, leg by leg of the route and without what is done already.

use meshlift_api::ReleaseAction;
use meshlift_istio::version::Version;
use meshlift_model::diff::{ReleaseChange, ReleaseDiff};
use meshlift_model::record::Record;
use meshlift_model::route::{Leg, LegKind, ReleaseLeg};
use meshlift_model::view::{MeshView, Release};

use super::ReleaseStep;

/// The steps of an upgrade that this record describes.
pub(super) fn steps(record: &Record, view: &MeshView) -> Vec<ReleaseStep> {
    if !record.by_helm() {
        return Vec::new();
    }
    let releases = Releases { record, view };
    let steps = record.legs().into_iter();
    steps.filter_map(|leg| releases.step(&leg)).collect()
}

struct Releases<'a> {
    record: &'a Record,
    view: &'a MeshView,
}

impl Releases<'_> {
    /// What is left to do of a leg with its release; nothing of a leg that changes none.
    fn step(&self, leg: &Leg) -> Option<ReleaseStep> {
        let LegKind::Release(of) = &leg.kind else {
            return None;
        };
        let to = &self.record.target_version;
        let at = || self.base_version();
        match of.change {
            ReleaseChange::Base if at() < *to => Some(self.of(of, Some(at()), of.to.clone())),
            // CRDs that are newer stay so.
            ReleaseChange::DefaultRevision if self.moves_default() => {
                let version = Some(to.clone().max(at()));
                Some(self.of(of, version.clone(), version))
            }
            ReleaseChange::Base | ReleaseChange::DefaultRevision => None,
            ReleaseChange::Install | ReleaseChange::InPlace | ReleaseChange::RaiseMinimum
                if self.is_installed() =>
            {
                None
            }
            ReleaseChange::Install
            | ReleaseChange::InPlace
            | ReleaseChange::RaiseMinimum
            | ReleaseChange::RestoreMinimum
            | ReleaseChange::Retire => Some(self.of(of, of.from.clone(), of.to.clone())),
        }
    }

    fn of(&self, leg: &ReleaseLeg, from: Option<Version>, to: Option<Version>) -> ReleaseStep {
        let diffs: &[ReleaseDiff] = self.view.diffs.present().map_or(&[], Vec::as_slice);
        ReleaseStep {
            change: leg.change,
            action: action(&from, &to),
            release: leg.release.clone(),
            namespace: leg.namespace.clone(),
            chart: leg.chart.name().to_owned(),
            from,
            to,
            diff: diffs.iter().find(|diff| diff.change == leg.change).cloned(),
        }
    }

    fn moves_default(&self) -> bool {
        self.view.may_move_validator(&self.record.source.namespace)
    }

    /// Whether the istiod release of the target is at its version.
    fn is_installed(&self) -> bool {
        let release = self.record.target_release();
        let at = self.version_of(&release, &self.record.source.namespace);
        at.as_ref() == Some(&self.record.target_version)
    }

    fn base_version(&self) -> Version {
        let base = &self.record.base;
        let at = self.version_of(&base.name, &base.namespace);
        at.unwrap_or_else(|| base.version.clone())
    }

    fn version_of(&self, name: &str, namespace: &str) -> Option<Version> {
        let releases = self.view.releases.present()?;
        let found = Release::find(releases, name, namespace)?;
        found.version.clone()
    }
}

fn action(from: &Option<Version>, to: &Option<Version>) -> ReleaseAction {
    match (from, to) {
        (None, _) => ReleaseAction::Install,
        (_, None) => ReleaseAction::Uninstall,
        (Some(_), Some(_)) => ReleaseAction::Upgrade,
    }
}
