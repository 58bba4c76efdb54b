//! A control plane that the Sail operator runs: its object is changed, the operator does the rest.

use meshlift_istio::version::Version;

use super::Way;
use super::found::Found;
use super::guide::{Guide, command, quote};
use super::stage::{self, Stage, deployment_of};

/// `default-v1-30-2`, as the operator names a revision of the Istio object `default`.
fn revision_of(object: &str, version: &Version) -> String {
    format!("{object}-v{}", version.revision())
}

/// The Istio object behind the control plane: its name is in the revision, or is the revision.
fn object_of(found: &Found<'_>) -> String {
    let suffix = format!("-v{}", found.from.revision());
    let revision = found.revision.as_str();
    revision
        .strip_suffix(&suffix)
        .unwrap_or(revision)
        .to_owned()
}

/// Whether it makes a revision for each version.
fn by_revision(found: &Found<'_>) -> bool {
    object_of(found) != found.revision
}

pub(super) fn guide(
    guide: &mut Guide,
    way: Way,
    found: &Found<'_>,
    hops: &[Version],
) -> Result<(), String> {
    let object = object_of(found);
    if way == Way::InPlace && by_revision(found) {
        return Err(format!(
            "the Istio object {object} makes a revision for each version (updateStrategy RevisionBased): take the canary (--way canary)"
        ));
    }
    save(guide, found, &object);
    if way == Way::InPlace {
        super::in_place::ready(guide, found, None);
    } else if !by_revision(found) {
        strategy(guide, &object);
    }
    let mut stages = stage::stages(found, "", hops);
    let mut before = found.revision.clone();
    for stage in &mut stages {
        stage.revision = revision_of(&object, &stage.to);
        stage.from_revision.clone_from(&before);
        before.clone_from(&stage.revision);
    }
    for stage in &stages {
        stage::heading(guide, stage, hops);
        version(guide, found, &object, stage, way);
        match way {
            Way::InPlace => super::in_place::restart(guide, found, &stage.to),
            Way::Canary | Way::Helm => canary(guide, found, &object, stage),
        }
    }
    Ok(())
}

fn save(guide: &mut Guide, found: &Found<'_>, object: &str) {
    guide.step("Save what there is, and see that the operator knows the version");
    guide.run(&format!(
        "umask 077 && mkdir istio-{mesh}-upgrade && cd istio-{mesh}-upgrade",
        mesh = found.mesh
    ));
    guide.run(&format!(
        "kubectl get istios.sailoperator.io {} -o yaml > istio.yaml",
        quote(object)
    ));
    guide.run("kubectl get istiorevisions.sailoperator.io,istiorevisiontags.sailoperator.io -o yaml > revisions.yaml");
    guide.run("kubectl get istio-io -A -o yaml > configuration.yaml");
    guide.run("kubectl explain istios.sailoperator.io.spec.version");
    guide.good("the version that is gone to is in the list. If not, the Sail operator has to be upgraded first; it brings the CRDs of Istio too.");
}

fn strategy(guide: &mut Guide, object: &str) {
    guide.step("A revision for each version, in place of an upgrade in place");
    patch(
        guide,
        object,
        r#"{"spec":{"updateStrategy":{"type":"RevisionBased"}}}"#,
    );
    guide.run("kubectl get istiorevisions.sailoperator.io");
    guide.say("The operator makes a revision with a name of its own for the version that runs. Go on when it is ready; what follows the old name stays on the old one until it is moved.");
}

fn version(guide: &mut Guide, found: &Found<'_>, object: &str, stage: &Stage<'_>, way: Way) {
    guide.step(&format!("Istio object {object} to {}", stage.to));
    guide.say("If the object comes from Git, change it there.");
    patch(
        guide,
        object,
        &format!(r#"{{"spec":{{"version":"v{}"}}}}"#, stage.to),
    );
    guide.run(&format!(
        "kubectl get istios.sailoperator.io {}",
        quote(object)
    ));
    guide.good("STATUS is Healthy and VERSION the new one.");
    if way == Way::InPlace {
        super::in_place::proved(guide, found);
        guide.back("set the version back, as long as no workload was restarted; after that sidecars would be newer than istiod.");
        return;
    }
    stage::prove(guide, found, stage);
    guide.back("set the version back; nothing uses the new revision yet, and the operator removes it by itself.");
}

fn patch(guide: &mut Guide, object: &str, patch: &str) {
    guide.run(&command(&[
        "kubectl",
        "patch",
        "istios.sailoperator.io",
        object,
        "--type",
        "merge",
        "-p",
        patch,
    ]));
}

fn canary(guide: &mut Guide, found: &Found<'_>, object: &str, stage: &Stage<'_>) {
    guide.step(&format!("Namespaces to revision {}", stage.revision));
    stage::move_namespaces(guide, found, stage);
    if !found.tags.is_empty() {
        guide.say("Tags of the operator (IstioRevisionTag) whose targetRef is the Istio object have moved already. One whose targetRef is a revision is pointed at the new one:");
        for tag in found.tags.keys() {
            let target =
                format!(r#"{{"spec":{{"targetRef":{{"kind":"Istio","name":"{object}"}}}}}}"#);
            guide.run(&command(&[
                "kubectl",
                "patch",
                "istiorevisiontags.sailoperator.io",
                tag,
                "--type",
                "merge",
                "-p",
                &target,
            ]));
        }
    }
    stage::move_workloads(
        guide,
        found,
        stage,
        "put the labels back as above and restart the same workloads again. The old revision stays as long as something uses it.",
    );
    guide.step(&format!(
        "The old control plane {} goes by itself",
        deployment_of(&stage.from_revision)
    ));
    stage::unused(guide, found, stage);
    guide.run("kubectl get istiorevisions.sailoperator.io");
    guide.good(&format!("the operator removes {} some time after nothing uses it any more (updateStrategy.inactiveRevisionDeletionGracePeriodSeconds).", stage.from_revision));
}
