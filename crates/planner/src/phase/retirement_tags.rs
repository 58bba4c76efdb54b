//! Revision tags that are part of the old Helm release: it would take them along.

use meshlift_api::Step;
use meshlift_istio::values;
use meshlift_model::decision::{Chart, ChartTarget, Decision, Effect, Next};
use meshlift_model::view::{Release, Tag};

use super::control_plane::helm_step;
use super::health_checking::Look;

impl Look<'_> {
    /// Takes tags out of the old release, and has them stay; `None` when it has none.
    ///
    /// Helm asks the live object whether to keep what a release no longer has, and the stored manifest when it
    /// uninstalls: so the tag is marked first, then left out of the release, and only then may the release go.
    pub(super) fn release_tags(&self, release: &Release) -> Option<Decision> {
        let of_release = format!("{}/{}", release.namespace, release.name);
        let owned = |tag: &&Tag| tag.helm_release.as_ref() == Some(&of_release);
        let tags: Vec<&Tag> = self.view.tags().iter().filter(owned).collect();
        if tags.is_empty() || !values::has_tags(&release.values) {
            return None;
        }
        let step = Step::RetiringControlPlane;
        let keep: Vec<Effect> = tags
            .iter()
            .filter(|tag| !tag.kept)
            .map(|tag| kept(tag))
            .collect();
        let names: Vec<&str> = tags.iter().map(|tag| tag.name.as_str()).collect();
        let names = meshlift_model::message::first_few(&names);
        if !keep.is_empty() {
            let message = format!(
                "marking revision tags of Helm release {of_release} to stay when it is uninstalled: {names}"
            );
            return Some(Decision::new(Next::Act(keep), self.report(step, message)));
        }
        let target = ChartTarget {
            release: release.name.clone(),
            namespace: release.namespace.clone(),
            chart: Chart::Istiod,
            repository: self.record.repository.clone(),
            version: self.record.source.version.clone(),
            // Of the version that is left no archive was looked at: a repository may not have it any more.
            digest: None,
            values: values::without_tags(&release.values),
        };
        let has_tags = |release: &Release| values::has_tags(&release.values);
        let all = self.view.releases.present().map_or(&[][..], Vec::as_slice);
        let decision = helm_step(self.now, all, target, step, has_tags, Effect::ReleaseTags)?;
        let message = match &decision.next {
            Next::Act(batch) if matches!(batch[..], [Effect::ReleaseTags(_)]) => {
                format!(
                    "taking revision tags out of Helm release {of_release}, which would delete them: {names}"
                )
            }
            _ => decision.report.message,
        };
        Some(Decision::new(decision.next, self.report(step, message)))
    }
}

fn kept(tag: &Tag) -> Effect {
    Effect::KeepTag {
        tag: tag.name.clone(),
        configuration: tag.configuration.clone(),
        uid: tag.uid.clone(),
        resource_version: tag.resource_version.clone(),
        namespace: tag.namespace.clone(),
    }
}
