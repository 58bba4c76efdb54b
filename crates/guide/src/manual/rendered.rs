//! A control plane that others render, for example Argo CD from Git: canary by revision, with commits where Helm would work.

use meshlift_istio::version::Version;
use meshlift_model::message::Commits;

use super::found::Found;
use super::guide::Guide;
use super::stage::{self, LABELS_BACK, Stage};

pub(super) fn canary(guide: &mut Guide, found: &Found<'_>, hops: &[Version]) {
    for stage in stage::stages(found, "", hops) {
        stage::heading(guide, &stage, hops);
        hop(guide, found, &stage);
    }
}

fn hop(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>) {
    let commits = Commits {
        namespace: &found.home,
        from: &stage.from,
        from_revision: &stage.from_revision,
        to: &stage.to,
        to_revision: &stage.revision,
        tags: found.tags.keys().copied().collect(),
    };
    let commit = |guide: &mut Guide, title: &str, change: String| {
        guide.step(title);
        guide.say(&format!("Commit: {change}."));
    };
    commit(guide, "The CRDs", commits.base());
    guide.run("kubectl get crd gateways.networking.istio.io -o 'jsonpath={.metadata.labels.app\\.kubernetes\\.io/version}'");
    guide.good(&format!(
        "{}. Charts up to 1.23 write no such label.",
        stage.to
    ));
    commit(
        guide,
        "The new control plane, beside the old one",
        commits.istiod(),
    );
    stage::prove(guide, found, stage);
    guide.back("nothing uses it yet, so it can be removed from Git.");
    guide.step("Namespaces");
    stage::move_namespaces(guide, found, stage);
    for tag in found.tags.keys() {
        guide.step(&format!("Revision tag {tag}"));
        guide.say(&format!(
            "Commit: point it at revision {}, where its webhook and its Service are rendered.",
            stage.revision
        ));
    }
    stage::move_workloads(guide, found, stage, LABELS_BACK);
    if found.view.may_move_validator(&found.home) {
        commit(
            guide,
            "The default revision and its validating webhook",
            commits.default_revision(),
        );
        guide.run("kubectl get validatingwebhookconfiguration istiod-default-validator -o 'jsonpath={.webhooks[0].clientConfig.service.name}'");
        guide.good(&format!("it names {}.", stage.istiod()));
    }
    guide.step("The old control plane is removed");
    stage::before_removal(guide, found, stage);
    guide.say(&format!("Commit: {}.", commits.removal()));
}
