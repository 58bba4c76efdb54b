//! A control plane that others render, for example Argo CD from Git: canary by revision, with commits where Helm would work.

use meshlift_istio::version::Version;
use meshlift_model::message::Commits;

use super::found::Found;
use super::guide::Guide;
use super::stage::{self, Sees, Stage};

pub(super) fn canary(guide: &mut Guide, found: &Found<'_>, hops: &[Version]) {
    for stage in stage::stages(found, "", hops) {
        if hops.len() > 1 {
            guide.heading(&format!("== From {} to {}", stage.from, stage.to));
        }
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
    guide.step("Workloads");
    let moves = found.moves(&stage.revision, false);
    stage::restart(guide, &moves, &Sees::Revision(&stage.revision));
    guide.back("put the labels (and tags) back as above and restart the same workloads again.");
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
    guide.say("Leave it for as long as you want to be able to go back quickly: an hour at least, a day if you can.");
    stage::unused(guide, found, stage);
    guide.say(&format!("Commit: {}.", commits.removal()));
}
