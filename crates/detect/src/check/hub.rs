//! Where images come from: registries that are switched off.

use std::collections::BTreeSet;

use meshlift_api::Severity;
use meshlift_model::message;
use serde_json::Value;

use super::subject::{about, names, value};
use super::{Check, Finding, Look, Subject};

pub(super) static RETIRED: Check = Check {
    code: "HUB-RETIRED",
    reason: "HubRetired",
    severity: Severity::Warning,
    acceptable: true,
    title: "no image comes from a registry that is switched off",
    explanation: "gcr.io/istio-release and registry.istio.io are switched off in December 2026, after days without them on 2026-09-15, 2026-10-13, 2026-11-17 and 2026-12-08. A pod that starts on a node without the image does not come up after that, a rollback included. Charts of 1.30 take registry.istio.io unless a hub is set.",
    fix: "Set spec.hub of the Mesh to docker.io/istio, or to a mirror of your own.",
    source: "istio.io blog/2026/retirement-of-gcp; 1.31 upgrade notes",
    look: Look::Mesh(retired),
};

pub(super) static WITHOUT_TARGET: Check = Check {
    code: "HUB-WITHOUT-TARGET",
    reason: "HubWithoutTarget",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the registry in the values has images of the target",
    explanation: "The new istiod is pulled from the hub that the running release was given. gcr.io/istio-release and registry.istio.io have no image of 1.31 or later, so its pods would never start.",
    fix: "Set spec.hub of the Mesh to docker.io/istio, or to a mirror of your own.",
    source: "istio.io blog/2026/retirement-of-gcp; 1.31 upgrade notes",
    look: Look::Hop(without_target),
};

/// Registries that are switched off in December 2026, and have nothing of [`FIRST_WITHOUT`] and later.
const SWITCHED_OFF: [&str; 2] = ["gcr.io/istio-release", "registry.istio.io"];
const FIRST_WITHOUT: u32 = 31;
const SET_HUB: &str = "set spec.hub of the Mesh to docker.io/istio, or to a mirror of your own";

/// The registry that is switched off and holds this image or hub, if one does.
fn switched_off(image: &str) -> Option<&'static str> {
    let of = |hub: &&&str| {
        let rest = image.strip_prefix(**hub);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
    };
    SWITCHED_OFF.iter().find(of).copied()
}

/// Where the chart of the target takes images from, and the value that says so; none for the
/// chart's own default.
/// Source: istio `istio-discovery/templates/deployment.yaml`, and `zzy_descope_legacy.yaml`, which
/// lays `pilot` over the root.
fn hub_to_come(subject: &Subject<'_>) -> Option<(Option<&'static str>, String)> {
    let values = subject.istiod_values()?;
    let given = ["pilot.hub", "hub", "global.hub"]
        .into_iter()
        .find_map(|path| {
            let hub = value(&values, path).and_then(Value::as_str)?;
            (!hub.is_empty()).then(|| (Some(path), hub.to_owned()))
        });
    given.or_else(|| Some((None, subject.view.knowledge.hub(subject.to)?.to_owned())))
}

/// How to have images from elsewhere.
fn way_out(path: Option<&str>) -> String {
    match path {
        None | Some("global.hub") => SET_HUB.to_owned(),
        Some(path) => format!(
            "set {path} under spec.values.istiod of the Mesh to docker.io/istio, or to a mirror of your own"
        ),
    }
}

fn retired(subject: &Subject<'_>) -> Vec<Finding> {
    let mut registries = BTreeSet::new();
    let mut objects = Vec::new();
    let mut see = |image: &str, object: String| {
        if let Some(registry) = switched_off(image) {
            registries.insert(registry);
            objects.push(object);
        }
    };
    let plane = subject.course.source;
    see(
        &plane.image,
        format!("Deployment {}/{}", plane.namespace, plane.name),
    );
    let agents = subject.view.environment.node_agents.present();
    for agent in agents.into_iter().flatten() {
        let object = format!("DaemonSet {}/{}", agent.namespace, agent.name);
        see(&agent.image, object);
    }
    let theirs: Vec<_> = subject
        .members()
        .filter_map(|member| Some((switched_off(member.pod.proxy_image.as_deref()?)?, member)))
        .collect();
    registries.extend(theirs.iter().map(|(registry, _)| *registry));
    objects.extend(names(theirs.iter().map(|(_, member)| *member)));
    let fix = match hub_to_come(subject) {
        Some((path, hub)) if switched_off(&hub).is_some() => {
            registries.extend(switched_off(&hub));
            objects.push(format!("images of Istio {} ({hub})", subject.to));
            way_out(path)
        }
        Some((_, hub)) => format!(
            "the upgrade takes its images from {hub}; set another hub for what it does not upgrade"
        ),
        None => SET_HUB.to_owned(),
    };
    let registries: Vec<&str> = registries.into_iter().collect();
    about(objects, |_| {
        Finding::wrong(
            format!(
                "images come from {}, which is switched off in December 2026",
                message::first_few(&registries)
            ),
            fix,
        )
    })
}

fn without_target(subject: &Subject<'_>) -> Vec<Finding> {
    if subject.to.minor < FIRST_WITHOUT {
        return Vec::new();
    }
    let to_come = hub_to_come(subject).filter(|(_, hub)| switched_off(hub).is_some());
    let finding = |(path, hub): (Option<&str>, String)| {
        Finding::wrong(
            format!(
                "{hub}, where the new istiod would come from, has no images of Istio {}",
                subject.to
            ),
            way_out(path),
        )
    };
    to_come.map(finding).into_iter().collect()
}
