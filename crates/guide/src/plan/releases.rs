//! What happens to Helm releases, in the order of the upgrade and without what is done already.

use meshlift_api::{ReleaseAction, Strategy};
use meshlift_istio::version::Version;
use meshlift_model::diff::{ReleaseChange, ReleaseDiff};
use meshlift_model::record::{Record, RecordedRelease};
use meshlift_model::view::{MeshView, Release};

use super::ReleaseStep;

/// The steps of an upgrade that this record describes.
pub(super) fn steps(record: &Record, view: &MeshView) -> Vec<ReleaseStep> {
    if !record.by_helm() {
        return Vec::new();
    }
    let releases = Releases { record, view };
    let mut steps: Vec<ReleaseStep> = releases.base().into_iter().collect();
    match record.strategy {
        Strategy::Canary => steps.extend(releases.beside()),
        Strategy::InPlace => steps.extend(releases.in_place()),
    }
    steps
}

struct Releases<'a> {
    record: &'a Record,
    view: &'a MeshView,
}

impl Releases<'_> {
    /// CRDs, unless they are at the target.
    fn base(&self) -> Option<ReleaseStep> {
        let (from, to) = (self.base_version(), &self.record.target_version);
        let versions = (Some(from.clone()), Some(to.clone()));
        let base = &self.record.base;
        (from < *to).then(|| self.of_base(ReleaseChange::Base, base, versions))
    }

    fn in_place(&self) -> Option<ReleaseStep> {
        let (from, to) = (&self.record.source.version, &self.record.target_version);
        let versions = (Some(from.clone()), Some(to.clone()));
        let upgrade = ReleaseAction::Upgrade;
        (!self.is_installed()).then(|| self.of_target(ReleaseChange::InPlace, upgrade, versions))
    }

    fn beside(&self) -> Vec<ReleaseStep> {
        let to = Some(self.record.target_version.clone());
        let mut steps = Vec::new();
        if !self.is_installed() {
            let install = ReleaseAction::Install;
            steps.push(self.of_target(ReleaseChange::Install, install, (None, to.clone())));
        }
        if self.view.may_move_validator(&self.record.source.namespace) {
            let version = Some(self.record.target_version.clone().max(self.base_version()));
            let versions = (version.clone(), version);
            let base = &self.record.base;
            steps.push(self.of_base(ReleaseChange::DefaultRevision, base, versions));
        }
        if self.record.raised_minimum.is_some() {
            let upgrade = ReleaseAction::Upgrade;
            steps.push(self.of_target(ReleaseChange::RestoreMinimum, upgrade, (to.clone(), to)));
        }
        let source = &self.record.source;
        let name = (source.name.as_str(), source.namespace.as_str(), "istiod");
        let versions = (Some(source.version.clone()), None);
        let uninstall = ReleaseAction::Uninstall;
        steps.push(self.step(ReleaseChange::Retire, uninstall, name, versions));
        steps
    }

    fn of_base(
        &self,
        change: ReleaseChange,
        base: &RecordedRelease,
        versions: (Option<Version>, Option<Version>),
    ) -> ReleaseStep {
        let name = (base.name.as_str(), base.namespace.as_str(), "base");
        self.step(change, ReleaseAction::Upgrade, name, versions)
    }

    fn of_target(
        &self,
        change: ReleaseChange,
        action: ReleaseAction,
        versions: (Option<Version>, Option<Version>),
    ) -> ReleaseStep {
        let release = self.record.target_release();
        let namespace = self.record.source.namespace.as_str();
        self.step(change, action, (&release, namespace, "istiod"), versions)
    }

    fn step(
        &self,
        change: ReleaseChange,
        action: ReleaseAction,
        (release, namespace, chart): (&str, &str, &str),
        (from, to): (Option<Version>, Option<Version>),
    ) -> ReleaseStep {
        let diffs: &[ReleaseDiff] = self.view.diffs.present().map_or(&[], Vec::as_slice);
        ReleaseStep {
            change,
            action,
            release: release.to_owned(),
            namespace: namespace.to_owned(),
            chart: chart.to_owned(),
            from,
            to,
            diff: diffs.iter().find(|diff| diff.change == change).cloned(),
        }
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
