//! A control plane that istioctl installed.

use meshlift_istio::version::Version;

use super::Way;
use super::found::Found;
use super::guide::{Guide, command, quote};
use super::stage::{self, LABELS_BACK, Stage, deployment_of};
use super::tags::{self, Detach};

const FILE: &str = "istio-operator.yaml";

/// The file it was installed with, or what can be had of it.
fn save(guide: &mut Guide, found: &Found<'_>) {
    guide.step("Save what there is");
    guide.say("Values may hold secrets, so they go to files that only you can read, in a folder of their own. Every command below is run in it.");
    guide.run(&format!(
        "umask 077 && mkdir istio-{mesh}-upgrade && cd istio-{mesh}-upgrade",
        mesh = found.mesh
    ));
    guide.say(&format!("Copy the IstioOperator file that the mesh was installed with here, as {FILE}: istioctl takes what it does not name from its own defaults, so an incomplete file changes the mesh."));
    if (found.from.major, found.from.minor) >= (1, 26) {
        let values = match found.revision.as_str() {
            "default" => "values".to_owned(),
            revision => format!("values-{revision}"),
        };
        guide.say("If it is lost, istiod's own values can be read back (gateways and settings outside of values cannot):");
        guide.run(&format!(
            "{{ printf 'apiVersion: install.istio.io/v1alpha1\\nkind: IstioOperator\\nspec:\\n  values:\\n'; kubectl -n {} get configmap {} -o 'jsonpath={{.data.original-values}}' | sed 's/^/    /'; }} > {FILE}",
            quote(&found.home),
            quote(&values)
        ));
    }
    guide.say(&format!("In {FILE} take out spec.revision, and spec.tag (or values.global.tag) where it names {}; a tag of your own build has to become the one for the new version. values.global.hub and the rest stay.", found.from));
    guide.run("kubectl get customresourcedefinitions -l app.kubernetes.io/part-of=istio -o yaml > crds.yaml");
    guide.run("kubectl get istio-io -A -o yaml > configuration.yaml");
    guide.run("kubectl get namespaces --show-labels > namespaces.txt");
}

pub(super) fn canary(guide: &mut Guide, found: &Found<'_>, hops: &[Version]) {
    save(guide, found);
    for stage in stage::stages(found, "", hops) {
        stage::heading(guide, &stage, hops);
        install(guide, found, &stage);
        guide.step(&format!("Namespaces to revision {}", stage.revision));
        stage::move_namespaces(guide, found, &stage);
        if !found.tags.is_empty() {
            guide.step(&format!("Revision tags to {}", stage.revision));
            let none = Detach {
                release: "",
                command: String::new(),
            };
            tags::move_tags(guide, Way::Canary, found, &stage, &none, "");
        }
        stage::move_workloads(guide, found, &stage, LABELS_BACK);
        default_revision(guide, found, &stage);
        retire(guide, found, &stage);
    }
}

fn install(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>) {
    guide.step(&format!(
        "CRDs, and the new control plane beside the old one: istiod-{}",
        stage.revision
    ));
    tags::istioctl(guide, &stage.to.to_string());
    guide.run("istioctl x precheck");
    guide.good("no issues, or only such that you know.");
    let words = [
        "istioctl",
        "install",
        "-y",
        "-f",
        FILE,
        "--revision",
        &stage.revision,
        "-i",
        &found.home,
    ];
    guide.run(&command(&words));
    guide.say(&format!("If {FILE} has gateways, they are upgraded in place by this. To keep them on the old version for now, take them out of the file first."));
    stage::prove(guide, found, stage);
    guide.back("nothing uses it yet, so it can go:");
    guide.run(&uninstall(found, &stage.revision));
}

fn default_revision(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>) {
    guide.step(&format!(
        "The default revision and its validating webhook to {}",
        stage.revision
    ));
    guide.say("Before the old control plane goes: with a webhook that calls nobody, every change to Istio's configuration would be refused.");
    let set = |revision: &str| {
        command(&[
            "istioctl",
            "tag",
            "set",
            "default",
            "--revision",
            revision,
            "--overwrite",
            "-i",
            &found.home,
        ])
    };
    guide.run(&set(&stage.revision));
    guide.run("kubectl get validatingwebhookconfiguration istiod-default-validator -o 'jsonpath={.webhooks[0].clientConfig.service.name}'");
    guide.good(&format!(
        "it names {}. istio-injection=enabled is served by it from now on.",
        stage.istiod()
    ));
    match stage.from_revision.as_str() {
        // Setting the tag has taken the webhook of the installation without a revision out of use.
        "default" => {
            guide.back(&format!(
                "take the tag away, then install {} again with its own istioctl and the same file, which brings its webhook back into use:",
                stage.from
            ));
            let remove = [
                "istioctl",
                "tag",
                "remove",
                "default",
                "-y",
                "-i",
                &found.home,
            ];
            guide.run(&command(&remove));
        }
        revision => {
            guide.back("the same command with the revision as it was:");
            guide.run(&set(revision));
        }
    }
}

fn retire(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>) {
    guide.step(&format!(
        "The old control plane {} goes",
        stage.old_istiod()
    ));
    stage::before_removal(guide, found, stage);
    guide.run(&uninstall(found, &stage.from_revision));
    guide.run(&format!(
        "kubectl -n {} get deployments -l app=istiod",
        quote(&found.home)
    ));
    guide.good(&format!(
        "only {} is left. CRDs and configuration stay.",
        stage.istiod()
    ));
    guide.back(&format!("from here on it means to install {} anew with its istioctl, and to move everything to it in the same way.", stage.from));
}

fn uninstall(found: &Found<'_>, revision: &str) -> String {
    command(&[
        "istioctl",
        "uninstall",
        "-y",
        "--revision",
        revision,
        "-i",
        &found.home,
    ])
}

pub(super) fn in_place(
    guide: &mut Guide,
    found: &Found<'_>,
    hops: &[Version],
) -> Result<(), String> {
    if found.revision != "default" {
        return Err(format!(
            "the control plane has revision {}, and istioctl upgrade does not take one with a revision: take the canary (--way canary)",
            found.revision
        ));
    }
    save(guide, found);
    super::in_place::ready(guide, found, None);
    for to in hops {
        guide.step(&format!(
            "CRDs and {} to {to}",
            deployment_of(&found.revision)
        ));
        tags::istioctl(guide, &to.to_string());
        guide.run("istioctl x precheck");
        guide.run(&command(&[
            "istioctl",
            "upgrade",
            "-y",
            "-f",
            FILE,
            "-i",
            &found.home,
        ]));
        super::in_place::proved(guide, found);
        guide.back(&format!("istioctl of {} with the same file, as long as no workload was restarted; after that sidecars would be newer than istiod.", found.from));
        super::in_place::restart(guide, found, to);
    }
    Ok(())
}
