//! What has to change in the values of a release, as flags for Helm: the values themselves stay in
//! files that Helm writes, because they may hold secrets.

use meshlift_istio::values::{image_tags, merge, named_images};
use meshlift_istio::version::{Minor, Version};
use meshlift_model::replicas::{self, Start};
use meshlift_model::view::Release;
use serde_json::Value;

use super::found::Found;
use super::stage::Stage;

/// Flags for the values of istiod, and what to say about them.
#[derive(Clone, Default)]
pub(super) struct Flags {
    pub(super) flags: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Flags {
    pub(super) fn set(&mut self, how: &str, what: String) {
        self.flags.push(how.to_owned());
        self.flags.push(what);
    }
}

/// The minimum of the new control plane's autoscaler, raised to the replicas of the old one while both run.
pub(super) struct RaisedMinimum {
    /// Path of the value.
    pub(super) path: String,
    /// What it is raised to.
    pub(super) to: u32,
    /// What the owner of the mesh chose.
    pub(super) owned: u32,
}

/// What has to be raised; none where the values ask for enough, or no autoscaler decides.
pub(super) fn raised_minimum(
    found: &Found<'_>,
    release: Option<&Release>,
) -> Option<RaisedMinimum> {
    let mut values = release?.values.clone();
    let own = &found.spec.values.istiod;
    merge(&mut values, own);
    let Start::Minimum(to) = replicas::start(&values, own, found.plane?.desired) else {
        return None;
    };
    Some(RaisedMinimum {
        path: replicas::path(&values, replicas::MINIMUM).join("."),
        to,
        owned: replicas::configured(&values),
    })
}

/// Flags that bring the saved values of istiod to a version.
pub(super) fn istiod(found: &Found<'_>, release: Option<&Release>, stage: &Stage<'_>) -> Flags {
    let mut flags = versioned(found, release, &stage.saved, &stage.to);
    flags.set("--set", format!("revision={}", stage.revision));
    let values = release.map(|release| &release.values);
    let rendered = |path: [&str; 2]| {
        let under = values.and_then(|v| v.get(path[0]));
        match path[1] {
            "" => under.is_some(),
            leaf => under.and_then(|v| v.get(leaf)).is_some(),
        }
    };
    for (path, name) in [
        (["revisionTags", ""], "revisionTags"),
        (["pilot", "revisionTags"], "pilot.revisionTags"),
    ] {
        if rendered(path) {
            flags.set("--set-json", format!("{name}=[]"));
            flags.notes.push(format!(
                "{name} is taken out: two releases that render one tag would fight over it. Tags move in a step of their own."
            ));
        }
    }
    flags
}

/// The same without a revision: what an upgrade in place changes.
pub(super) fn versioned(
    found: &Found<'_>,
    release: Option<&Release>,
    from: &Version,
    to: &Version,
) -> Flags {
    let mut flags = Flags::default();
    if let Some(hub) = &found.spec.hub {
        flags.set("--set-string", format!("global.hub={hub}"));
    }
    let Some(release) = release else {
        return flags;
    };
    for (path, tag) in image_tags(&release.values) {
        let variant = tag.strip_prefix(&from.to_string());
        let variant = variant.filter(|v| v.is_empty() || v.starts_with('-'));
        match variant {
            Some(variant) => flags.set("--set-string", format!("{path}={to}{variant}")),
            None => {
                flags.set("--set-string", format!("{path}=YOUR-TAG-FOR-{to}"));
                flags.notes.push(format!(
                    "{path} is {tag}, which is not a tag of Istio {from}: put your own tag for {to} in its place."
                ));
            }
        }
    }
    for named in named_images(&release.values) {
        let path = named.path.join(".");
        flags.set("--set-string", format!("{path}=YOUR-IMAGE-FOR-{to}"));
        flags.notes.push(format!(
            "{path} is {}, the full name of an image, which wins over hub and tag: put the image of Istio {to} in its place.",
            named.image
        ));
    }
    compatibility(found, release, to, &mut flags);
    flags
}

/// A `compatibilityVersion` that the charts of the target do not have makes Helm fail.
fn compatibility(found: &Found<'_>, release: &Release, to: &Version, flags: &mut Flags) {
    let of = match release.values.get("compatibilityVersion") {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return,
    };
    let shipped = found.view.knowledge.compatibility_versions(to);
    let minor: Option<Minor> = of.parse().ok();
    let known = shipped.is_none_or(|shipped| minor.is_some_and(|minor| shipped.contains(&minor)));
    if known {
        flags.notes.push(format!(
            "compatibilityVersion {of} is carried over and keeps defaults of that release. Take it out in an upgrade of its own, later."
        ));
    } else {
        flags.set("--set-string", "compatibilityVersion=".to_owned());
        flags.notes.push(format!(
            "compatibilityVersion {of} is taken out: {to} does not have it any more, and Helm would fail. Defaults that it kept change with this step."
        ));
    }
}
