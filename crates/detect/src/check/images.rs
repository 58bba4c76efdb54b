//! Images that the values name in full: hub and tag do not change them, and so no upgrade of the chart does.

use meshlift_api::Severity;
use meshlift_istio::values::{self, NamedImage};
use meshlift_istio::version::Version;
use serde_json::{Value, json};

use super::{Check, Finding, Look, Subject};

const SOURCE: &str = "istio manifests/charts/istio-control/istio-discovery/templates/deployment.yaml, files/injection-template.yaml";

pub(super) static PINNED: Check = Check {
    code: "IMAGE-PINNED",
    reason: "ImagePinned",
    severity: Severity::Blocking,
    acceptable: false,
    title: "no value names an image of another version than the target",
    explanation: "A value with a \"/\" in it (image, global.proxy.image, global.proxy_init.image, also below pilot) is the full name of an image and wins over hub and tag. The chart of the target would install an istiod, or inject a sidecar, of the version that the name has, under the revision of the target.",
    fix: "Set the value in spec.values.istiod of the Mesh to the image of the target.",
    source: SOURCE,
    look: Look::Hop(pinned),
};

pub(super) static UNKNOWN: Check = Check {
    code: "IMAGE-UNKNOWN",
    reason: "ImageUnknown",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the version of every image that a value names in full can be read",
    explanation: "An image by its digest, or with a tag of your own, does not say which version it is. Carried over from the running release it is most likely the image that runs now: the upgrade would end with the old version under a new name. A value that the Mesh sets to something else than the release has is taken at its word, for an upgrade of one step.",
    fix: "Set the value in spec.values.istiod of the Mesh to the image of the target. Accept this only if the image is of the target already.",
    source: SOURCE,
    look: Look::Hop(unknown),
};

fn pinned(subject: &Subject<'_>) -> Vec<Finding> {
    let all = images(subject).into_iter();
    let others = all.filter_map(|named| {
        let found = Version::from_image(&named.image)?;
        (found != *subject.to).then_some((named, found))
    });
    others
        .map(|(named, found)| {
            let NamedImage { path, image } = &named;
            let wanted = renewed(image, &found, subject.to);
            let finding = Finding::wrong(
                format!(
                    "value {} is {image}, the full name of an image: the chart of Istio {} would run it, and it is {found}",
                    path.join("."),
                    subject.to
                ),
                set(subject, path, &wanted),
            );
            finding.about([object(path)])
        })
        .collect()
}

fn unknown(subject: &Subject<'_>) -> Vec<Finding> {
    let all = images(subject).into_iter();
    let unknown = all.filter(|named| {
        Version::from_image(&named.image).is_none() && !is_chosen(subject, &named.path)
    });
    unknown
        .map(|named| {
            let path = named.path.join(".");
            let finding = Finding::wrong(
                format!(
                    "value {path} is {}, which does not say its version: the chart of Istio {} would run it, whatever it is",
                    named.image, subject.to
                ),
                format!(
                    "set spec.values.istiod.{path} of Mesh {} to the image of Istio {}; if it is that already, accept IMAGE-UNKNOWN",
                    subject.upgrade.spec.mesh, subject.to
                ),
            );
            finding.about([object(&named.path)])
        })
        .collect()
}

/// Images in the values of the istiod to come; also where other values cannot be carried over.
fn images(subject: &Subject<'_>) -> Vec<NamedImage> {
    let Some(mut all) = subject.course.running_values() else {
        return Vec::new();
    };
    values::merge(&mut all, &subject.course.mesh.values.istiod);
    values::named_images(&all)
}

/// Whether the Mesh names another image than the release has. In a chain it cannot be right for every step.
fn is_chosen(subject: &Subject<'_>, path: &[&str]) -> bool {
    let course = subject.course;
    let running = course.running_values();
    let running = running
        .as_ref()
        .and_then(|running| values::lookup(running, path));
    let chosen = values::lookup(&course.mesh.values.istiod, path);
    course.hops.len() == 1 && chosen.is_some() && chosen != running
}

/// The same image at the target, with its variant. A digest is of the image before.
fn renewed(image: &str, found: &Version, to: &Version) -> String {
    let name = image.split('@').next().unwrap_or(image);
    match name.rsplit_once(':') {
        Some((name, tag)) => {
            let variant = tag.strip_prefix(&found.to_string()).unwrap_or_default();
            format!("{name}:{to}{variant}")
        }
        None => name.to_owned(),
    }
}

/// The command that sets it. In a chain each step has an image of its own.
fn set(subject: &Subject<'_>, path: &[&str], image: &str) -> String {
    let leaf = Value::String(image.to_owned());
    let istiod = path
        .iter()
        .rev()
        .fold(leaf, |inner, key| json!({ *key: inner }));
    let patch = json!({ "spec": { "values": { "istiod": istiod } } });
    let command = format!(
        "kubectl patch mesh {} --type merge -p '{patch}'",
        subject.upgrade.spec.mesh
    );
    match subject.course.hops.len() {
        2.. => format!(
            "upgrade one version at a time (spec.targetVersion: {}), and before each: {command}",
            subject.to
        ),
        _ => command,
    }
}

fn object(path: &[&str]) -> String {
    format!("value {}", path.join("."))
}
