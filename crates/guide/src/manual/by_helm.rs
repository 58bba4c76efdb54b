//! A control plane that Helm installed: canary by revision, and in place.

use meshlift_istio::version::Version;

use super::found::Found;
use super::guide::{Guide, command, quote};
use super::helm::{self, ISTIOD_VALUES, Releases};
use super::stage::{self, LABELS_BACK, Stage};
use super::values::{Flags, RaisedMinimum, istiod as istiod_flags, raised_minimum, versioned};
use super::{Way, crds, tags};

pub(super) fn canary(
    guide: &mut Guide,
    way: Way,
    found: &Found<'_>,
    istiod: &str,
    hops: &[Version],
) {
    let releases = Releases::of(found, istiod);
    helm::save(guide, found, &releases);
    for stage in stage::stages(found, istiod, hops) {
        stage::heading(guide, &stage, hops);
        let own = istiod_flags(found, releases.istiod_release, &stage);
        let raised = raised_minimum(found, releases.istiod_release);
        let flags = with_minimum(&own, raised.as_ref());
        let default = default_of(&stage);
        crds::upgrade(guide, found, &releases, (&stage.from, &stage.to), &default);
        match found.plane {
            Some(_) => guide.step(&format!(
                "The new control plane, beside the old one: istiod-{}",
                stage.revision
            )),
            None => remote(guide, &stage.to, &format!("revision {}", stage.revision)),
        }
        flags.notes.iter().for_each(|note| guide.say(note));
        guide.run(&format!(
            "{} > /dev/null",
            helm::istiod(found, &stage, &flags, "template", &[])
        ));
        guide.good("it says nothing: the values fit the new chart.");
        guide.run(&helm::istiod(
            found,
            &stage,
            &flags,
            "upgrade",
            &["--install"],
        ));
        stage::prove(guide, found, &stage);
        guide.back("nothing uses it yet, so it can go:");
        guide.run(&command(&[
            "helm",
            "-n",
            &found.home,
            "uninstall",
            &stage.istiod(),
        ]));
        move_data_plane(guide, way, found, &releases, &stage, &flags);
        default_revision(guide, found, &releases, &stage);
        retire(guide, found, &stage);
        if let Some(raised) = raised {
            hand_over(guide, found, &stage, &raised);
        }
    }
}

fn move_data_plane(
    guide: &mut Guide,
    way: Way,
    found: &Found<'_>,
    releases: &Releases<'_>,
    stage: &Stage<'_>,
    flags: &Flags,
) {
    guide.step(&format!("Namespaces to revision {}", stage.revision));
    stage::move_namespaces(guide, found, stage);
    if !found.tags.is_empty() {
        guide.step(&format!("Revision tags to {}", stage.revision));
        let extra: Vec<String> = found.tags.keys().map(|tag| (*tag).to_owned()).collect();
        let set = format!("revisionTags={{{}}}", extra.join(","));
        let by_helm = helm::istiod(
            found,
            stage,
            &without_tags(flags),
            "upgrade",
            &["--take-ownership", "--set", &set],
        );
        let keep = tags::Detach {
            release: &stage.release,
            command: detached(found, releases, stage),
        };
        tags::move_tags(guide, way, found, stage, &keep, &by_helm);
    }
    stage::move_workloads(guide, found, stage, LABELS_BACK);
}

/// The flags with the minimum of the autoscaler raised, while both control planes run.
fn with_minimum(own: &Flags, raised: Option<&RaisedMinimum>) -> Flags {
    let mut flags = own.clone();
    if let Some(RaisedMinimum { path, to, .. }) = raised {
        flags.set("--set", format!("{path}={to}"));
        flags.notes.push(format!(
            "{path} is {to} while both run, because the old control plane has {to} replicas now. The last step puts it back."
        ));
    }
    flags
}

/// With the values as they are now: revision tags may have moved into them.
fn hand_over(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>, raised: &RaisedMinimum) {
    guide.step(&format!(
        "The autoscaler of {} keeps its own minimum again",
        stage.istiod()
    ));
    let RaisedMinimum { path, owned, .. } = raised;
    let chart = helm::chart(found, "istiod");
    let (release, to) = (stage.istiod(), stage.to.to_string());
    let set = format!("{path}={owned}");
    let mut words = vec!["helm", "-n", &found.home, "upgrade", &release];
    words.extend(chart.iter().map(String::as_str));
    words.extend(["--version", &to, "--reuse-values", "--set", &set]);
    guide.run(&command(&words));
    guide.good("it ends with \"STATUS: deployed\"; no pod of istiod is restarted.");
}

/// The flags without those that take revision tags out of the values.
fn without_tags(flags: &Flags) -> Flags {
    let pairs = flags.flags.chunks(2);
    let kept = pairs.filter(|pair| !pair.iter().any(|flag| flag.starts_with("revisionTags=")));
    Flags {
        flags: kept.flatten().cloned().collect(),
        notes: Vec::new(),
    }
}

/// The old release once more, at its own version, without the tags it renders.
fn detached(found: &Found<'_>, releases: &Releases<'_>, stage: &Stage<'_>) -> String {
    let chart = helm::chart(found, "istiod");
    let mut words = vec!["helm", "-n", &found.home, "upgrade", &stage.release];
    words.extend(chart.iter().map(String::as_str));
    let from = stage.from.to_string();
    words.extend(["--version", &from, "--reset-values", "-f", ISTIOD_VALUES]);
    let flags = if stage.first {
        Vec::new()
    } else {
        let before = Stage {
            from: stage.from.clone(),
            from_revision: String::new(),
            release: String::new(),
            saved: stage.saved.clone(),
            to: stage.from.clone(),
            revision: stage.from_revision.clone(),
            namespaces: Vec::new(),
            first: false,
        };
        istiod_flags(found, releases.istiod_release, &before).flags
    };
    words.extend(flags.iter().map(String::as_str));
    if !flags.iter().any(|flag| flag == "revisionTags=[]") {
        words.extend(["--set-json", "revisionTags=[]"]);
    }
    command(&words)
}

/// Where istiod is elsewhere, its release here holds the webhooks and the address of istiod.
fn remote(guide: &mut Guide, to: &Version, revision: &str) {
    guide.step(&format!(
        "When istiod {to} runs in its cluster: webhooks and address here, for {revision}"
    ));
    guide.say("Only then: what is installed here sends new pods to it.");
}

/// What the default revision is when a stage begins, as flags: the saved values say it for the
/// first one, and nothing but the stage before for the others.
fn default_of(stage: &Stage<'_>) -> Vec<String> {
    if stage.first {
        Vec::new()
    } else {
        vec![
            "--set".to_owned(),
            format!("defaultRevision={}", stage.from_revision),
        ]
    }
}

fn default_revision(
    guide: &mut Guide,
    found: &Found<'_>,
    releases: &Releases<'_>,
    stage: &Stage<'_>,
) {
    if !found.view.may_move_validator(&found.home) {
        return;
    }
    guide.step(&format!(
        "The default revision and its validating webhook to {}",
        stage.revision
    ));
    guide.say("Before the old control plane goes: with a webhook that calls nobody, every change to Istio's configuration would be refused.");
    let set = [
        "--set".to_owned(),
        format!("defaultRevision={}", stage.revision),
    ];
    guide.run(&releases.base_to(found, &stage.to, &set));
    guide.run("kubectl get validatingwebhookconfiguration istiod-default-validator -o 'jsonpath={.webhooks[0].clientConfig.service.name}{\" \"}{.webhooks[0].clientConfig.caBundle}'");
    guide.good(&format!(
        "it names {} and then a long CA bundle (look again after a few seconds if that is missing).",
        stage.istiod()
    ));
    guide.back("the same command with the default revision as it was:");
    guide.run(&releases.base_to(found, &stage.to, &default_of(stage)));
}

fn retire(guide: &mut Guide, found: &Found<'_>, stage: &Stage<'_>) {
    guide.step(&format!(
        "The old control plane {} goes",
        stage.old_istiod()
    ));
    stage::before_removal(guide, found, stage);
    guide.run(&command(&[
        "helm",
        "-n",
        &found.home,
        "uninstall",
        &stage.release,
    ]));
    if found.plane.is_some() {
        guide.run(&format!(
            "kubectl -n {} get deployments -l app=istiod",
            quote(&found.home)
        ));
        guide.good(&format!("only {} is left.", stage.istiod()));
    }
    if stage.from_revision == "default" {
        guide.say("From here on istio-injection=enabled and sidecar.istio.io/inject=true alone inject nothing: what is to have a sidecar names a revision or a tag. A tag called default serves them again.");
    }
    guide.back(&format!(
        "from here on it means to install {} anew at {} with the saved values, and to move everything to it in the same way.",
        stage.release, stage.from
    ));
}

/// In place: one minor, nothing beside it.
pub(super) fn in_place(guide: &mut Guide, found: &Found<'_>, istiod: &str, hops: &[Version]) {
    let releases = Releases::of(found, istiod);
    helm::save(guide, found, &releases);
    if found.plane.is_some() {
        super::in_place::ready(guide, found, Some(istiod));
    }
    let mut from = found.from.clone();
    for to in hops {
        if hops.len() > 1 {
            guide.heading(&format!("== From {from} to {to}"));
        }
        crds::upgrade(guide, found, &releases, (&from, to), &[]);
        match found.plane {
            Some(_) => guide.step(&format!("The control plane: release {istiod} to {to}")),
            None => remote(guide, to, "the same revision"),
        }
        let flags = versioned(found, releases.istiod_release, &found.from, to);
        flags.notes.iter().for_each(|note| guide.say(note));
        guide.say(
            "Its revision stays as it is: another one would rename everything of the release.",
        );
        guide.run(&helm::release(found, istiod, to, &flags, "upgrade", &[]));
        super::in_place::proved(guide, found);
        guide.back(
            "as long as no workload was restarted; after that sidecars would be newer than istiod:",
        );
        guide.run(&command(&["helm", "-n", &found.home, "rollback", istiod]));
        super::in_place::restart(guide, found, to);
        from = to.clone();
    }
}
