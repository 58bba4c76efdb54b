//! Helm values for the target, from those of the running releases.

mod leading_back;

use meshlift_api::MeshSpec;
use serde_json::{Map, Value, json};

use crate::version::Version;

pub use self::leading_back::{leading_back, leads_back, not_leading_back};

type Values = Map<String, Value>;

impl CarryError {
    /// What is wrong.
    pub fn problem(&self) -> String {
        let Self::ForeignTag { path, tag, from } = self;
        format!("release value {path} is {tag:?}, which is not a tag of Istio {from}")
    }

    /// What to do.
    pub fn fix(&self) -> String {
        let Self::ForeignTag { path, .. } = self;
        format!(
            "set {path} under spec.values.istiod of the Mesh to the tag for the target, or remove it from the release"
        )
    }
}

/// A value that cannot be carried over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarryError {
    /// An image tag that is not the running version's.
    #[error("{}: {}", self.problem(), self.fix())]
    ForeignTag {
        /// Path of the value.
        path: String,
        /// The tag that it has.
        tag: String,
        /// The version that runs.
        from: Version,
    },
}

/// Revision tags that the istiod chart renders; `pilot` is an alias of the root.
const TAGS: &str = "revisionTags";

/// Where an image tag can stand in the values of the istiod chart.
/// Source: `istio-discovery/values.yaml`.
const TAGS_OF_IMAGES: &[&[&str]] = &[&["tag"], &["global", "tag"]];

/// Where an image can stand; one with a "/" in it is a full name, and wins over hub and tag.
/// Source: `istio-discovery/templates/deployment.yaml`, `files/injection-template.yaml`.
const IMAGES: &[&[&str]] = &[
    &["image"],
    &["global", "proxy", "image"],
    &["global", "proxy_init", "image"],
];

/// What the chart takes for its root: `pilot` is an alias, and the keys of its defaults are merged like the rest.
/// Source: `zzy_descope_legacy.yaml`, `zzz_profile.yaml`.
const ROOTS: &[&[&str]] = &[
    &[],
    &["pilot"],
    &["_internal_defaults_do_not_set"],
    &["_internal_defaults_do_not_set", "pilot"],
    &["defaults"],
    &["defaults", "pilot"],
];

fn below_roots(leaves: &[&[&'static str]]) -> Vec<Vec<&'static str>> {
    let below = |root: &&[&'static str]| -> Vec<Vec<&'static str>> {
        leaves.iter().map(|leaf| [*root, leaf].concat()).collect()
    };
    ROOTS.iter().flat_map(below).collect()
}

/// An image that a value names in full.
pub struct NamedImage {
    /// Path of the value.
    pub path: Vec<&'static str>,
    /// The image.
    pub image: String,
}

/// Images that these values name in full.
pub fn named_images(values: &Values) -> Vec<NamedImage> {
    let named = |path: Vec<&'static str>| {
        let image = lookup(values, &path)?.as_str()?.to_owned();
        image.contains('/').then_some(NamedImage { path, image })
    };
    below_roots(IMAGES).into_iter().filter_map(named).collect()
}

/// Image tags that the user set, with the paths of their values.
pub fn image_tags(values: &Values) -> Vec<(String, String)> {
    let set = |path: &Vec<&str>| {
        let tag = match lookup(values, path)? {
            Value::String(tag) if !tag.is_empty() => tag.clone(),
            Value::Number(tag) => tag.to_string(),
            _ => return None,
        };
        Some((path.join("."), tag))
    };
    below_roots(TAGS_OF_IMAGES).iter().filter_map(set).collect()
}

/// Values for the new istiod release: what the user gave the running one, the Mesh's on top,
/// tags brought to the target, and the revision.
///
/// # Errors
/// If an image tag is not that of the running version.
pub fn istiod(
    running: &Values,
    mesh: &MeshSpec,
    from: &Version,
    to: &Version,
) -> Result<Values, CarryError> {
    // A tag object rendered by two releases would be fought over; tags are not moved this way.
    let mut values = istiod_in_place(&without_tags(running), mesh, from, to)?;
    values.insert("revision".to_owned(), Value::String(to.revision()));
    Ok(values)
}

/// The same for the release that runs: it keeps its revision and its revision tags.
///
/// # Errors
/// If an image tag is not that of the running version.
pub fn istiod_in_place(
    running: &Values,
    mesh: &MeshSpec,
    from: &Version,
    to: &Version,
) -> Result<Values, CarryError> {
    let mut values = running.clone();
    for path in below_roots(TAGS_OF_IMAGES) {
        carry_tag(&mut values, &path, &mesh.values.istiod, from, to)?;
    }
    merge(&mut values, &mesh.values.istiod);
    if let Some(hub) = &mesh.hub {
        merge(&mut values, &object(json!({ "global": { "hub": hub } })));
    }
    Ok(values)
}

/// The same for a control plane of this revision.
pub fn of_revision(mut values: Values, revision: &str) -> Values {
    let revision = Value::String(revision.to_owned());
    values.insert("revision".to_owned(), revision);
    values
}

/// The same without revision tags: Helm renders none.
pub fn without_tags(running: &Values) -> Values {
    let mut values = running.clone();
    values.remove(TAGS);
    if let Some(Value::Object(pilot)) = values.get_mut("pilot") {
        pilot.remove(TAGS);
    }
    values
}

/// Whether Helm renders revision tags with these values.
pub fn has_tags(values: &Values) -> bool {
    let pilot = values.get("pilot").and_then(|pilot| pilot.get(TAGS));
    let mut tags = values.get(TAGS).into_iter().chain(pilot);
    tags.any(|tags| tags.as_array().is_some_and(|tags| !tags.is_empty()))
}

/// The Service that the default validator of a `base` release calls; none where it renders none.
/// Source: istio chart `base/templates/defaultrevision-validatingwebhookconfiguration.yaml`.
pub fn default_service(base: &Values) -> Option<String> {
    match default_revision(base) {
        Some("") => None,
        None | Some("default") => Some("istiod".to_owned()),
        Some(revision) => Some(format!("istiod-{revision}")),
    }
}

/// Values of a `base` release, with the default revision that the cluster shows. Who points the default validator at
/// a revision without Helm (`istioctl tag set default`) changes no values, and the next Helm operation would take it
/// back to a Service that may not exist. `live` is the Service that the validator calls, and the revision behind it.
pub fn base_as_live(running: &Values, live: Option<(&str, &str)>) -> Values {
    let mut values = running.clone();
    let rendered = default_service(running);
    if let (Some((service, revision)), Some(rendered)) = (live, rendered)
        && service != rendered
    {
        let revision = Value::String(revision.to_owned());
        values.insert("defaultRevision".to_owned(), revision);
    }
    values
}

/// Values that name a Service by its full name, by their path. Lists are passed over.
pub fn naming_service(values: &Values, name: &str, namespace: &str) -> Vec<(String, String)> {
    let service = format!("{name}.{namespace}");
    let mut found = Vec::new();
    find_service(values, &service, "", &mut found);
    found
}

fn find_service(values: &Values, service: &str, at: &str, found: &mut Vec<(String, String)>) {
    for (key, value) in values {
        let path = match at {
            "" => key.clone(),
            at => format!("{at}.{key}"),
        };
        match value {
            Value::Object(inner) => find_service(inner, service, &path, found),
            Value::String(text) if names(text, service) => found.push((path, text.clone())),
            _ => {}
        }
    }
}

/// Whether a text names `istiod.istio-system` and not `my-istiod.istio-system-2`.
fn names(text: &str, service: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices(service).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + service.len()..].chars().next();
        !before.is_some_and(|c| part(c) || c == '.') && !after.is_some_and(part)
    })
}

/// Values for the `base` release at the target version. The default revision stays where it is.
pub fn base(running: &Values, mesh: &MeshSpec) -> Values {
    let mut values = running.clone();
    merge(&mut values, &mesh.values.base);
    values
}

/// The same with the default revision moved.
pub fn base_with_default(base: &Values, revision: &str) -> Values {
    let mut values = base.clone();
    values.insert(
        "defaultRevision".to_owned(),
        Value::String(revision.to_owned()),
    );
    values
}

/// The same with the default revision as it was found, before this operator moved it.
pub fn base_as_found(base: &Values, found: &Values) -> Values {
    let mut values = base.clone();
    match found.get("defaultRevision") {
        Some(default) => values.insert("defaultRevision".to_owned(), default.clone()),
        None => values.remove("defaultRevision"),
    };
    values
}

/// The default revision that the values of a `base` release name.
pub fn default_revision(base: &Values) -> Option<&str> {
    base.get("defaultRevision")?.as_str()
}

fn carry_tag(
    values: &mut Values,
    path: &[&str],
    overrides: &Values,
    from: &Version,
    to: &Version,
) -> Result<(), CarryError> {
    let Some((leaf, parents)) = path.split_last() else {
        return Ok(());
    };
    if lookup(overrides, path).is_some() {
        return Ok(());
    }
    let Some(parent) = descend(values, parents) else {
        return Ok(());
    };
    let tag = match parent.get(*leaf) {
        Some(Value::String(tag)) if !tag.is_empty() => tag.clone(),
        Some(Value::Number(tag)) => tag.to_string(),
        _ => return Ok(()),
    };
    let variant = tag
        .strip_prefix(&from.to_string())
        .filter(|v| v.is_empty() || v.starts_with('-'));
    let Some(variant) = variant else {
        return Err(CarryError::ForeignTag {
            path: path.join("."),
            tag,
            from: from.clone(),
        });
    };
    parent.insert((*leaf).to_owned(), Value::String(format!("{to}{variant}")));
    Ok(())
}

fn descend<'v>(values: &'v mut Values, path: &[&str]) -> Option<&'v mut Values> {
    path.iter()
        .try_fold(values, |at, key| at.get_mut(*key)?.as_object_mut())
}

/// The value at a path.
pub fn lookup<'v>(values: &'v Values, path: &[&str]) -> Option<&'v Value> {
    let (leaf, parents) = path.split_last()?;
    parents
        .iter()
        .try_fold(values, |at, key| at.get(*key)?.as_object())?
        .get(*leaf)
}

/// Sets the value at a path. What is no object on the way there stays as it is: the chart refuses that by itself.
pub fn set(values: &mut Values, path: &[&str], value: impl Into<Value>) {
    let Some((leaf, parents)) = path.split_last() else {
        return;
    };
    let mut at = values;
    for key in parents {
        let next = at.entry((*key).to_owned()).or_insert_with(|| json!({}));
        let Value::Object(next) = next else {
            return;
        };
        at = next;
    }
    at.insert((*leaf).to_owned(), value.into());
}

/// Lays `over` on `values`, objects by key, as Helm does with several values files.
pub fn merge(values: &mut Values, over: &Values) {
    for (key, value) in over {
        match (values.get_mut(key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            _ => {
                values.insert(key.clone(), value.clone());
            }
        }
    }
}

fn object(value: Value) -> Values {
    match value {
        Value::Object(map) => map,
        _ => Values::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        text.parse().expect("a version")
    }

    fn carried(running: Value, mesh: Value) -> Result<Value, CarryError> {
        let mut spec = MeshSpec::default();
        spec.values.istiod = object(mesh);
        istiod(&object(running), &spec, &v("1.30.2"), &v("1.31.0")).map(Value::Object)
    }

    #[test]
    fn what_the_user_gave_survives_and_the_mesh_lies_over_it() {
        let running = json!({
            "global": { "hub": "example.org/istio", "imagePullPolicy": "Never" },
            "meshConfig": { "accessLogFile": "/dev/stdout" },
            "resources": { "requests": { "cpu": "50m" } },
        });
        let values = carried(
            running,
            json!({ "resources": { "requests": { "cpu": "100m" } } }),
        );
        assert_eq!(
            values,
            Ok(json!({
                "global": { "hub": "example.org/istio", "imagePullPolicy": "Never" },
                "meshConfig": { "accessLogFile": "/dev/stdout" },
                "resources": { "requests": { "cpu": "100m" } },
                "revision": "1-31-0",
            }))
        );
    }

    #[test]
    fn an_image_tag_follows_the_version_and_a_foreign_one_is_refused() {
        let values = carried(
            json!({ "global": { "tag": "1.30.2-distroless" } }),
            json!({}),
        );
        assert_eq!(
            values,
            Ok(json!({ "global": { "tag": "1.31.0-distroless" }, "revision": "1-31-0" }))
        );
        let error = carried(json!({ "tag": "our-build-7" }), json!({})).expect_err("a foreign tag");
        assert!(
            error
                .to_string()
                .contains("release value tag is \"our-build-7\""),
            "{error}"
        );
        let mended = carried(
            json!({ "tag": "our-build-7" }),
            json!({ "tag": "our-build-8" }),
        );
        assert_eq!(
            mended,
            Ok(json!({ "tag": "our-build-8", "revision": "1-31-0" }))
        );
    }

    #[test]
    fn a_tag_is_found_wherever_the_chart_takes_one() {
        for path in below_roots(TAGS_OF_IMAGES) {
            let at = |tag: &str| {
                let leaf = Value::String(tag.to_owned());
                path.iter()
                    .rev()
                    .fold(leaf, |inner, key| json!({ *key: inner }))
            };
            let mut after = object(at("1.31.0"));
            after.insert("revision".into(), "1-31-0".into());
            assert_eq!(
                carried(at("1.30.2"), json!({})),
                Ok(Value::Object(after)),
                "{path:?}"
            );
            let by_digest = carried(at("1.30.2@sha256:11"), json!({}));
            assert!(by_digest.is_err(), "{path:?}: {by_digest:?}");
        }
    }

    #[test]
    fn only_a_full_name_is_an_image_that_wins_over_hub_and_tag() {
        let values = object(json!({
            "image": "pilot",
            "pilot": { "image": "reg.corp/istio/pilot:1.30.2" },
            "global": {
                "proxy": { "image": "reg.corp/proxyv2@sha256:22" },
                "proxy_init": { "image": "proxyv2" },
            },
        }));
        let found = named_images(&values).into_iter();
        let found: Vec<(String, String)> = found.map(|n| (n.path.join("."), n.image)).collect();
        let expected = [
            ("global.proxy.image", "reg.corp/proxyv2@sha256:22"),
            ("pilot.image", "reg.corp/istio/pilot:1.30.2"),
        ];
        assert_eq!(
            found,
            expected.map(|(path, image)| (path.into(), image.into()))
        );
    }

    #[test]
    fn tags_and_the_old_revision_stay_behind() {
        let running = json!({ "revision": "1-30-2", "revisionTags": ["prod"] });
        assert!(has_tags(&object(running.clone())));
        assert_eq!(
            carried(running, json!({})),
            Ok(json!({ "revision": "1-31-0" }))
        );
        let in_pilot = object(json!({ "pilot": { "revisionTags": ["prod"], "replicaCount": 2 } }));
        assert!(has_tags(&in_pilot));
        let without = without_tags(&in_pilot);
        assert_eq!(
            Value::Object(without.clone()),
            json!({ "pilot": { "replicaCount": 2 } })
        );
        assert!(!has_tags(&without) && !has_tags(&object(json!({ "revisionTags": [] }))));
    }
}
