//! Revision tags from the old control plane to the new one.

use std::collections::BTreeSet;

use meshlift_model::view::Release;

use super::Way;
use super::found::Found;
use super::guide::{Guide, command, quote};
use super::stage::Stage;

/// How tags are taken out of a release that renders them, without their objects going.
pub(super) struct Detach<'a> {
    pub(super) release: &'a str,
    pub(super) command: String,
}

/// Tags that a release renders itself.
fn rendered(release: Option<&Release>) -> BTreeSet<String> {
    let Some(release) = release else {
        return BTreeSet::new();
    };
    let pilot = release
        .values
        .get("pilot")
        .and_then(|p| p.get("revisionTags"));
    let root = release.values.get("revisionTags");
    let tags = [root, pilot]
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_array());
    let tags = tags.flatten().filter_map(|tag| tag.as_str());
    tags.map(str::to_owned).collect()
}

pub(super) fn move_tags(
    guide: &mut Guide,
    way: Way,
    found: &Found<'_>,
    stage: &Stage<'_>,
    detach: &Detach<'_>,
    by_helm: &str,
) {
    for (tag, namespaces) in &found.tags {
        let whose = match namespaces[..] {
            [] => "no namespace follows it".to_owned(),
            _ => format!("followed by {}", namespaces.join(", ")),
        };
        guide.say(&format!("Tag {tag}: {whose}."));
    }
    guide.say(
        "Gateways that istiod renders and that follow a tag are rolled at once when it moves.",
    );
    let names: Vec<&str> = found.tags.keys().copied().collect();
    let release = found.release("istiod", Some(&stage.release));
    // After a hop by Helm the tags belong to the release of that hop.
    let owned: Vec<&str> = if stage.first {
        let rendered = rendered(release);
        names
            .iter()
            .copied()
            .filter(|t| rendered.contains(*t))
            .collect()
    } else if way == Way::Helm {
        names.clone()
    } else {
        Vec::new()
    };
    if !owned.is_empty() {
        guide.say(&format!(
            "Release {} renders {}: uninstalling it would delete them, and their namespaces would get no sidecars. So their objects are marked to stay, and taken out of it first.",
            detach.release,
            owned.join(", ")
        ));
        keep(guide, found, &owned);
        guide.run(&detach.command);
        guide.run("kubectl get mutatingwebhookconfigurations -l istio.io/tag -L istio.io/tag,istio.io/rev");
        guide.good(&format!("still listed: {}.", owned.join(", ")));
    }
    match way {
        Way::Helm => {
            guide.say("The new release renders them from now on (--take-ownership needs Helm 3.17 or newer).");
            guide.run(by_helm);
        }
        Way::Canary | Way::InPlace => set(guide, found, &names, &stage.revision),
    }
    guide.run(
        "kubectl get mutatingwebhookconfigurations -l istio.io/tag -L istio.io/tag,istio.io/rev",
    );
    guide.good(&format!(
        "REV of {} is {}.",
        names.join(", "),
        stage.revision
    ));
    guide.back("point them at the old control plane, which is still there:");
    set(guide, found, &names, &stage.from_revision);
}

/// Marks the objects of tags so that Helm leaves them.
fn keep(guide: &mut Guide, found: &Found<'_>, tags: &[&str]) {
    let mark = "helm.sh/resource-policy=keep";
    for tag in tags {
        let selector = format!("istio.io/tag={tag}");
        let webhook = [
            "kubectl",
            "annotate",
            "mutatingwebhookconfigurations",
            "-l",
            &selector,
            mark,
            "--overwrite",
        ];
        guide.run(&command(&webhook));
        // From 1.28 on a tag has a Service too.
        let service = [
            "kubectl",
            "-n",
            &found.home,
            "annotate",
            "services",
            "-l",
            &selector,
            mark,
            "--overwrite",
        ];
        guide.run(&command(&service));
    }
}

fn set(guide: &mut Guide, found: &Found<'_>, tags: &[&str], revision: &str) {
    for tag in tags {
        let words = [
            "istioctl",
            "tag",
            "set",
            tag,
            "--revision",
            revision,
            "--overwrite",
            "-i",
            &found.home,
        ];
        guide.run(&command(&words));
    }
}

/// Checks that the istioctl at hand is the right one.
pub(super) fn istioctl(guide: &mut Guide, version: &str) {
    guide.run("istioctl version --remote=false");
    guide.good(&format!(
        "it prints {}: istioctl of the version that is gone to.",
        quote(version)
    ));
}
