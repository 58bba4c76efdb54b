//! Objects decoded one by one: one that cannot be decoded costs one object, and not its whole list.

use std::borrow::Cow;
use std::sync::Arc;

use kube::Resource;
use kube::api::ObjectMeta;
use meshlift_api::GROUP;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Why something cannot be decoded is shown in one line: an enum may have many names.
const LONGEST: usize = 400;

/// An object, or what is known of one that could not be decoded.
#[derive(Clone, Debug)]
pub enum Guarded<K> {
    /// It could be decoded.
    Decoded(K),
    /// It could not.
    Undecoded(Arc<Undecoded>),
}

/// An object that could not be decoded: a value that its type does not take, or that a newer version wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Undecoded {
    /// Kind of it.
    pub kind: String,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Where and why: `spec.retire.after: duration "99999999999999999999h": is too long ...`.
    pub why: String,
    /// What it has as `spec.mesh`.
    pub mesh: Option<String>,
    /// Its status as it is stored. Only of our own kinds.
    pub status: Value,
}

impl Undecoded {
    /// `kind namespace/name`.
    pub fn reference(&self) -> String {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        match &self.metadata.namespace {
            Some(namespace) => format!("{} {namespace}/{name}", self.kind),
            None => format!("{} {name}", self.kind),
        }
    }

    /// What its status has as phase.
    pub fn phase(&self) -> Option<&str> {
        self.status.get("phase").and_then(Value::as_str)
    }
}

impl<'de, K: DeserializeOwned + Resource<DynamicType = ()>> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        if let Ok(object) = K::deserialize(&value) {
            return Ok(Self::Decoded(object));
        }
        match decode_again(value.clone()) {
            Ok(object) => Ok(Self::Decoded(object)),
            Err(why) => undecoded::<K>(value, why)
                .map(|object| Self::Undecoded(Arc::new(object)))
                .map_err(D::Error::custom),
        }
    }
}

/// Decodes what could not be decoded at once: without what another kind may have and no type takes, and so as to learn
/// the path of the field that is wrong.
fn decode_again<K>(mut value: Value) -> Result<K, String>
where
    K: DeserializeOwned + Resource<DynamicType = ()>,
{
    // A kind whose schema keeps unknown fields may have null where others have nothing. In ours, null has a meaning:
    // in Helm values it takes a default away.
    if K::group(&()) != GROUP {
        without_nulls(&mut value);
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let why = format!("{}: {}", error.path(), error.inner());
        why.chars().take(LONGEST).collect()
    })
}

fn undecoded<K: Resource<DynamicType = ()>>(
    value: Value,
    why: String,
) -> Result<Undecoded, serde_json::Error> {
    #[derive(Deserialize)]
    struct Known {
        metadata: ObjectMeta,
        #[serde(default)]
        spec: Value,
        #[serde(default)]
        status: Value,
    }
    let known: Known = serde_json::from_value(value)?;
    let ours = K::group(&()) == GROUP;
    let mesh = known.spec.get("mesh").and_then(Value::as_str);
    Ok(Undecoded {
        kind: K::kind(&()).into_owned(),
        metadata: ObjectMeta {
            managed_fields: None,
            ..known.metadata
        },
        why,
        mesh: mesh.map(str::to_owned).filter(|_| ours),
        status: if ours { known.status } else { Value::Null },
    })
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(without_nulls);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Guarded<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind(dynamic: &()) -> Cow<'_, str> {
        K::kind(dynamic)
    }
    fn group(dynamic: &()) -> Cow<'_, str> {
        K::group(dynamic)
    }
    fn version(dynamic: &()) -> Cow<'_, str> {
        K::version(dynamic)
    }
    fn plural(dynamic: &()) -> Cow<'_, str> {
        K::plural(dynamic)
    }
    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Decoded(object) => object.meta(),
            Self::Undecoded(object) => &object.metadata,
        }
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Decoded(object) => object.meta_mut(),
            Self::Undecoded(object) => &mut Arc::make_mut(object).metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectList;
    use kube::core::WatchEvent;
    use meshlift_api::MeshUpgrade;
    use serde_json::json;

    use super::*;
    use crate::watch::RolloutObject;

    fn upgrade(name: &str, after: &str) -> Value {
        json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgrade",
            "metadata": { "name": name, "uid": "u", "resourceVersion": "7" },
            "spec": { "targetVersion": "1.31.0", "mesh": "prod", "retire": { "after": after } },
            "status": { "phase": "Upgrading" },
        })
    }

    #[test]
    fn one_bad_object_costs_one_object() {
        let list = json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgradeList", "metadata": { "resourceVersion": "9" },
            "items": [upgrade("good", "1h"), upgrade("bad", "5124095576030431h"), upgrade("fine", "2h")],
        });
        let list: ObjectList<Guarded<MeshUpgrade>> =
            serde_json::from_str(&list.to_string()).expect("a list");
        let [
            Guarded::Decoded(_),
            Guarded::Undecoded(bad),
            Guarded::Decoded(_),
        ] = &list.items[..]
        else {
            panic!("{:?}", list.items);
        };
        assert_eq!(bad.reference(), "MeshUpgrade bad");
        assert_eq!(
            (bad.mesh.as_deref(), bad.phase()),
            (Some("prod"), Some("Upgrading"))
        );
        assert_eq!(
            bad.why,
            r#"spec.retire.after: duration "5124095576030431h": is too long: write at most 8760h (a year)"#
        );
    }

    #[test]
    fn an_event_of_a_bad_object_is_an_event() {
        let event = json!({ "type": "MODIFIED", "object": upgrade("bad", "x") }).to_string();
        let event: WatchEvent<Guarded<MeshUpgrade>> =
            serde_json::from_str(&event).expect("an event");
        assert!(
            matches!(event, WatchEvent::Modified(Guarded::Undecoded(bad)) if bad.metadata.uid.is_some())
        );
    }

    #[test]
    fn a_phase_of_a_newer_version_is_named_and_kept() {
        let mut object = upgrade("newer", "1h");
        object["status"]["phase"] = "Levitating".into();
        let read: Guarded<MeshUpgrade> =
            serde_json::from_str(&object.to_string()).expect("guarded");
        let Guarded::Undecoded(bad) = read else {
            panic!("decoded");
        };
        assert_eq!(bad.phase(), Some("Levitating"));
        assert!(
            bad.why
                .starts_with("status.phase: unknown variant `Levitating`"),
            "{}",
            bad.why
        );
    }

    #[test]
    fn numbers_and_nulls_of_a_schema_that_keeps_everything_are_read() {
        let rollout = |container: Value| {
            let object = json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
                "metadata": { "name": "shop", "namespace": "shop" },
                "spec": {
                    "replicas": 2,
                    "template": {
                        "metadata": null,
                        "spec": { "containers": [container], "nodeSelector": null, "tolerations": null, "overhead": null },
                    },
                },
                "status": null,
            });
            serde_json::from_str::<Guarded<RolloutObject>>(&object.to_string()).expect("guarded")
        };
        for container in [
            json!({ "name": "c", "resources": { "requests": { "cpu": 1, "memory": 1.5 } } }),
            json!({ "name": "c", "env": null, "resources": null }),
            json!({ "name": "c", "env": [null, { "name": "A", "value": null }], "resources": { "requests": { "cpu": null } } }),
        ] {
            let read = rollout(container.clone());
            assert!(matches!(read, Guarded::Decoded(_)), "{container}: {read:?}");
        }
        let Guarded::Undecoded(bad) = rollout(json!({ "name": ["a", "list"] })) else {
            panic!("decoded");
        };
        assert_eq!(bad.reference(), "Rollout shop/shop");
        let place = "spec.template.spec.containers[0].name: invalid type: sequence";
        assert!(bad.why.starts_with(place), "{}", bad.why);
    }
}
