//! What changes between two rendered manifests, object by object.

mod mask;
mod neutral;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use similar::TextDiff;

use self::mask::mask;
use self::neutral::{neutral, without_suffix};

/// Labels that name the chart's version: they differ on every object of every upgrade.
const VERSION_LABELS: &[&str] = &["helm.sh/chart", "app.kubernetes.io/version"];

/// An object by what identifies it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectId {
    /// Kind.
    pub kind: String,
    /// Namespace; empty for objects of the whole cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Group and version.
    pub api_version: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.api_version, self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Change {
    /// It is made.
    Added,
    /// It is there and becomes another.
    Changed,
    /// It goes.
    Removed,
}

/// What becomes of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectDiff {
    /// Which.
    #[serde(flatten)]
    pub id: ObjectId,
    /// What becomes of it.
    pub change: Change,
    /// Whether only the labels change that name the version of the chart.
    pub only_version: bool,
    /// A unified diff of its YAML, with secrets hidden.
    pub text: String,
}

/// How many objects come, change and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffSummary {
    /// Objects that are made.
    pub added: usize,
    /// Objects that become others.
    pub changed: usize,
    /// Of these, objects in which only the version labels change.
    pub only_version: usize,
    /// Objects that go.
    pub removed: usize,
}

impl fmt::Display for DiffSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} added, {} changed", self.added, self.changed)?;
        if self.only_version > 0 {
            write!(f, " ({} only in version labels)", self.only_version)?;
        }
        write!(f, ", {} removed", self.removed)
    }
}

/// Counts the changes.
pub fn summary(objects: &[ObjectDiff]) -> DiffSummary {
    let count = |change| objects.iter().filter(|o| o.change == change).count();
    DiffSummary {
        added: count(Change::Added),
        changed: count(Change::Changed),
        only_version: objects.iter().filter(|o| o.only_version).count(),
        removed: count(Change::Removed),
    }
}

/// A manifest that cannot be read. Its own words could quote a secret, so only the place is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {side} manifest is no YAML that Kubernetes takes (document {document})")]
pub struct ManifestError {
    side: &'static str,
    document: usize,
}

/// The revisions to take out of names and labels on each side, so that a canary is compared with
/// what it will replace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revisions {
    /// Revision of the old manifest; `default` for one without.
    pub old: String,
    /// Revision of the new manifest.
    pub new: String,
}

/// A step of an upgrade that changes a Helm release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReleaseChange {
    /// CRDs and what else the `base` chart has come to the target version.
    Base,
    /// The autoscaler of istiod gets a higher minimum before it is upgraded in place.
    RaiseMinimum,
    /// The new control plane is installed beside the old one.
    Install,
    /// The autoscaler of the new control plane has its own minimum again.
    RestoreMinimum,
    /// istiod comes to the target version where it is.
    InPlace,
    /// The default revision moves to the new control plane.
    DefaultRevision,
    /// The old control plane is removed.
    Retire,
}

/// What a step does to the objects of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseDiff {
    /// The step.
    pub change: ReleaseChange,
    /// Revisions that were taken out of names and labels first, so that the new control plane is
    /// compared with the one it will replace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revisions: Option<Revisions>,
    /// Every object that comes, changes or goes.
    pub objects: Vec<ObjectDiff>,
}

impl ReleaseDiff {
    /// How many objects come, change and go.
    pub fn summary(&self) -> DiffSummary {
        summary(&self.objects)
    }
}

/// Compares two manifests as `helm get manifest` and `helm template` write them. The order of
/// documents and keys, comments and empty documents do not count.
pub fn diff(
    old: &str,
    new: &str,
    revisions: Option<&Revisions>,
) -> Result<Vec<ObjectDiff>, ManifestError> {
    let old = objects("old", old, revisions.map(|r| r.old.as_str()))?;
    let new = objects("new", new, revisions.map(|r| r.new.as_str()))?;
    let ids: BTreeSet<&ObjectId> = old.keys().chain(new.keys()).collect();
    let mut diffs: Vec<ObjectDiff> = ids
        .into_iter()
        .filter_map(|id| object_diff(id, old.get(id), new.get(id)))
        .collect();
    diffs.sort_by(|a, b| (a.change, &a.id).cmp(&(b.change, &b.id)));
    Ok(diffs)
}

fn objects(
    side: &'static str,
    manifest: &str,
    revision: Option<&str>,
) -> Result<BTreeMap<ObjectId, Value>, ManifestError> {
    let mut objects = BTreeMap::new();
    for (n, document) in serde_yaml_ng::Deserializer::from_str(manifest).enumerate() {
        let refuse = || ManifestError {
            side,
            document: n + 1,
        };
        let object = Value::deserialize(document).map_err(|_| refuse())?;
        if object.is_null() {
            continue;
        }
        let id = identify(&object, revision).ok_or_else(refuse)?;
        objects.insert(id, object);
    }
    if let Some(revision) = revision {
        objects.values_mut().for_each(|o| neutral(o, revision));
    }
    Ok(objects)
}

fn identify(object: &Value, revision: Option<&str>) -> Option<ObjectId> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let metadata = object.get("metadata")?;
    let name = text(metadata.get("name")?)?;
    Some(ObjectId {
        kind: text(object.get("kind")?)?,
        namespace: metadata.get("namespace").and_then(text).unwrap_or_default(),
        name: match revision {
            Some(revision) => without_suffix(&name, revision),
            None => name,
        },
        api_version: text(object.get("apiVersion")?)?,
    })
}

fn object_diff(id: &ObjectId, old: Option<&Value>, new: Option<&Value>) -> Option<ObjectDiff> {
    let change = match (old, new) {
        (Some(old), Some(new)) if old == new => return None,
        (Some(_), Some(_)) => Change::Changed,
        (None, _) => Change::Added,
        (Some(_), None) => Change::Removed,
    };
    let only_version = match (old, new) {
        (Some(old), Some(new)) => without_version(old) == without_version(new),
        _ => false,
    };
    let (before, after) = (shown(old), shown(new));
    let text = if before == after {
        "only hidden values change\n".to_owned()
    } else {
        TextDiff::from_lines(&before, &after)
            .unified_diff()
            .context_radius(3)
            .header(&format!("a/{id}"), &format!("b/{id}"))
            .to_string()
    };
    Some(ObjectDiff {
        id: id.clone(),
        change,
        only_version,
        text,
    })
}

fn without_version(object: &Value) -> Value {
    let mut object = object.clone();
    drop_version(&mut object);
    object
}

fn drop_version(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !VERSION_LABELS.contains(&key.as_str()));
            map.values_mut().for_each(drop_version);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_version),
        _ => {}
    }
}

/// The object as YAML, its secrets hidden; nothing for one that is not there.
fn shown(object: Option<&Value>) -> String {
    let Some(object) = object else {
        return String::new();
    };
    let mut object = object.clone();
    mask(&mut object);
    object.sort_all_objects();
    serde_yaml_ng::to_string(&object).unwrap_or_else(|error| format!("cannot be shown: {error}\n"))
}
