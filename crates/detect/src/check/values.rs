//! Helm values that the target takes, or refuses, or that are better not carried over.

use meshlift_api::labels::ISTIO_REV;
use meshlift_api::{Move, Severity};
use meshlift_istio::values;
use meshlift_istio::version::Minor;
use meshlift_model::data_plane::excluded;
use meshlift_model::message;
use meshlift_model::view::{Namespace, Tag};
use serde_json::{Map, Value};

use super::subject::about;
use super::{Check, Finding, Look, Subject};

/// A value of the running release cannot be carried over.
pub static VALUES: Check = Check {
    code: "VALUES-NOT-CARRIED",
    reason: "ValuesNotCarried",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the values of the running release fit the target",
    explanation: "The new istiod gets the values that the running one was given. A value that belongs to the old version only, as an image tag, would put the old image under the new chart.",
    fix: "Set the value under spec.values.istiod of the Mesh, or remove it from the release.",
    source: "istio manifests/charts/istio-control/istio-discovery/values.yaml",
    look: Look::Mesh(not_carried),
};

pub(super) static REFUSED: Check = Check {
    code: "VALUES-REFUSED",
    reason: "ValuesRefused",
    severity: Severity::Blocking,
    acceptable: false,
    title: "the charts render with the values that are carried over",
    explanation: "The charts of Istio stop rendering when they are given values under `defaults`: that key is theirs. Helm then fails before it changes anything.",
    fix: "Move what stands under `defaults` one level up.",
    source: "istio manifests/zzz_profile.yaml",
    look: Look::Mesh(refused),
};

pub(super) static COMPATIBILITY: Check = Check {
    code: "COMPATIBILITY-VERSION",
    reason: "CompatibilityVersionGone",
    severity: Severity::Blocking,
    acceptable: true,
    title: "the charts of the target know the compatibilityVersion in the values",
    explanation: "compatibilityVersion keeps the behaviour of an older release for a while. The charts drop a release's profile when it reaches its end of life, and then fail to render with \"unknown compatibility version\".",
    fix: "Set compatibilityVersion in spec.values of the Mesh to one that the target has, or to \"\" to take the new behaviour.",
    source: "istio manifests/charts/istio-control/istio-discovery/files/profile-compatibility-version-*.yaml",
    look: Look::Hop(compatibility),
};

pub(super) static TAGS: Check = Check {
    code: "TAGS-STAY",
    reason: "TagsStay",
    severity: Severity::Warning,
    acceptable: true,
    title: "no revision tag keeps the running revision in use",
    explanation: "A revision tag is pointed at the new control plane once all namespaces that follow it may move. Not where spec.dataPlane.move is Labels, where an excluded namespace follows it, or where its webhooks call an address, of which nobody knows that of the new istiod. Then what still follows the tag stays on the old control plane, and that stays with it.",
    fix: "Once the new control plane is proved, point each such tag at it and restart the workloads of its namespaces; then retry the upgrade.",
    source: "istio.io docs/setup/upgrade/canary, \"Stable revision labels\"",
    look: Look::Mesh(tags),
};

fn not_carried(subject: &Subject<'_>) -> Vec<Finding> {
    let course = subject.course;
    let Some(running) = course.running_values() else {
        return Vec::new();
    };
    let carried = values::istiod(&running, course.mesh, subject.from, subject.to);
    let finding = |error: values::CarryError| Finding::wrong(error.problem(), error.fix());
    carried.err().map(finding).into_iter().collect()
}

/// Values to come of both charts, each with the field of the Mesh that changes it.
fn to_come(subject: &Subject<'_>) -> Vec<(&'static str, Map<String, Value>)> {
    let istiod = subject.istiod_values().map(|values| ("istiod", values));
    let base = subject.base_values().map(|values| ("base", values));
    istiod.into_iter().chain(base).collect()
}

fn is_given(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

fn refused(subject: &Subject<'_>) -> Vec<Finding> {
    let with = to_come(subject)
        .into_iter()
        .filter(|(_, values)| values.get("defaults").is_some_and(is_given));
    with.map(|(chart, _)| {
        Finding::wrong(
            format!("values for chart {chart} have the key `defaults`, with which it does not render"),
            "move what stands under it one level up (`defaults.hub` becomes `hub`), in the release and in spec.values of the Mesh",
        )
    })
    .collect()
}

fn compatibility(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(known) = subject.view.knowledge.compatibility_versions(subject.to) else {
        return Vec::new();
    };
    let said: Vec<String> = known.iter().map(ToString::to_string).collect();
    let choice = if said.is_empty() {
        String::new()
    } else {
        format!(" or one of {}", said.join(", "))
    };
    let gone = to_come(subject).into_iter().filter_map(|(chart, values)| {
        let value = values.get("compatibilityVersion").filter(|v| is_given(v))?;
        let minor = value.as_str().and_then(|text| text.parse::<Minor>().ok());
        let there = minor.is_some_and(|minor| known.contains(&minor));
        (!there).then(|| (chart, value.to_string()))
    });
    gone.map(|(chart, value)| {
        Finding::wrong(
            format!(
                "values for chart {chart} ask for compatibilityVersion {value}, which Istio {} does not have",
                subject.to
            ),
            format!("set spec.values.{chart}.compatibilityVersion of the Mesh to \"\"{choice}"),
        )
    })
    .collect()
}

fn tags(subject: &Subject<'_>) -> Vec<Finding> {
    let source = subject.course.source;
    let data_plane = &subject.upgrade.spec.data_plane;
    let left_out = |tag: &Tag| {
        let follows = |ns: &&Namespace| ns.labels.get(ISTIO_REV) == Some(&tag.name);
        let mut followers = subject.namespaces().filter(follows);
        followers.any(|ns| excluded(data_plane.exclude.as_ref(), &ns.labels))
    };
    let pointing = subject.view.tags().iter().filter(|tag| {
        let stays = data_plane.by == Move::Labels || tag.by_url || left_out(tag);
        let of_mesh = tag.namespace.is_empty() || tag.namespace == source.namespace;
        tag.revision == source.revision && of_mesh && stays
    });
    let names: Vec<&str> = pointing.map(|tag| tag.name.as_str()).collect();
    let to = subject.revision();
    about(names.iter().map(|name| format!("tag {name}")), |_| {
        Finding::wrong(
            format!(
                "revision tags point at {} and are not moved ({}): what follows them stays, and so does the old control plane",
                source.revision,
                message::first_few(&names)
            ),
            format!(
                "when the new control plane is ready, istioctl tag set <tag> --revision {to} --overwrite, and restart the workloads that follow it"
            ),
        )
    })
}
