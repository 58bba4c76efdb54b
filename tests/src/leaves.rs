//! Specs of our kinds with every leaf changed, one at a time, to something that nobody meant.

use serde_json::{Value, json};

/// A valid spec of a MeshUpgrade that uses every field.
pub fn upgrade() -> Value {
    json!({
        "targetVersion": "1.99.0",
        "mesh": "nowhere",
        "mode": "Preflight",
        "strategy": "Canary",
        "dataPlane": {
            "move": "Auto",
            "waves": [{
                "name": "canary",
                "namespaces": {
                    "names": ["shop"],
                    "matchLabels": { "tier": "canary" },
                    "matchExpressions": [{ "key": "team", "operator": "In", "values": ["a"] }],
                    "percent": 10,
                },
                "soak": "1m",
                "approval": "Required",
            }],
            "restart": {
                "method": "Rollout", "maxConcurrent": 5, "maxConcurrentPerNamespace": 1,
                "timeout": "10m", "retries": 1, "maxFailures": 1,
            },
            "exclude": {
                "matchLabels": { "team": "legacy" },
                "matchExpressions": [{ "key": "team", "operator": "Exists" }],
            },
        },
        "gateways": { "order": "Last" },
        "rollback": "Automatic",
        "windows": [{ "days": ["Mon"], "start": "01:00", "end": "04:00", "timeZone": "UTC" }],
        "healthCheck": { "soak": "5m" },
        "retire": { "after": "1h" },
        "acceptRisks": ["SOME-CODE"],
        "paused": true,
        "approvals": ["canary"],
        "requestRollback": false,
    })
}

/// A valid spec of a Mesh.
pub fn mesh() -> Value {
    json!({
        "type": "Dedicated",
        "flavour": "",
        "controlPlaneNamespace": "istio-nowhere",
        "charts": { "repository": "https://127.0.0.1:9/charts" },
        "hub": "example.org/istio",
        "values": { "istiod": { "pilot": { "env": { "A": "b" } } }, "base": {} },
        "clusters": [{ "name": "far", "role": "Remote", "kubeconfig": { "secretRef": { "name": "far" } } }],
    })
}

/// A valid spec of a ReleaseCatalog.
pub fn catalog() -> Value {
    json!({
        "mode": "Extend",
        "releases": [{
            "minor": "1.99",
            "released": "2030-01-01",
            "endOfLife": "2031-01-01",
            "endOfLifeExpected": true,
            "kubernetes": { "low": "1.40", "high": "1.44" },
            "hub": "example.org/istio",
            "risks": [{
                "code": "A-RISK", "title": "t", "message": "m", "fix": "f", "url": "https://example.org",
                "match": { "flag": "PILOT_X" },
            }],
        }],
    })
}

/// What stands in the place of a value: other types, numbers that fit nothing, words of a newer version.
pub fn odd_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(1.5),
        json!(1e300),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(""),
        json!("0"),
        json!("Levitating"),
        json!("5124095576030431h"),
        json!("99999999999999999999s"),
        json!("8761h"),
        json!("-5m"),
        json!("1.5.5s"),
        json!("\u{1f600}\u{202e}\u{0}é"),
        json!("x".repeat(40)),
        json!("x".repeat(5_000)),
        json!([]),
        json!([null]),
        json!([[["deep"]]]),
        json!({}),
        json!({ "unknown": { "field": 1 } }),
    ]
}

/// A changed spec, and what was changed in it.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Where: `/retire/after`.
    pub place: String,
    /// The spec.
    pub spec: Value,
}

/// Every value of a spec, objects and lists among them, replaced by each of the odd values.
pub fn changed(spec: &Value) -> Vec<Changed> {
    let mut places = Vec::new();
    places_of(spec, String::new(), &mut places);
    let mut all = Vec::new();
    for place in places {
        for odd in odd_values() {
            let mut spec = spec.clone();
            if let Some(value) = spec.pointer_mut(&place) {
                *value = odd;
            }
            let place = place.clone();
            all.push(Changed { place, spec });
        }
    }
    all
}

fn places_of(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                places_of(value, format!("{at}/{name}"), places);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                places_of(item, format!("{at}/{n}"), places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    if !at.is_empty() {
        places.push(at);
    }
}

#[cfg(test)]
mod tests {
    use kube::Resource;
    use meshlift_api::{Mesh, MeshUpgrade, ReleaseCatalog};
    use meshlift_cluster::watch::Guarded;
    use meshlift_istio::knowledge::Knowledge;
    use meshlift_model::Upgrade;
    use meshlift_model::view::MeshView;
    use meshlift_planner::decide;
    use meshlift_planner::fold;
    use serde::de::DeserializeOwned;

    use super::*;

    fn object<K: Resource<DynamicType = ()>>(spec: &Value, status: &Value) -> String {
        let object = json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": K::kind(&()),
            "metadata": { "name": "x", "uid": "u", "resourceVersion": "1" },
            "spec": spec, "status": status,
        });
        object.to_string()
    }

    /// How many could be decoded, and how many not; each of those is named with a place.
    fn read<K>(changed: &[Changed], mut each: impl FnMut(K)) -> (usize, usize)
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let (mut good, mut bad) = (0, 0);
        for Changed { place, spec } in changed {
            let text = object::<K>(spec, &json!({}));
            match serde_json::from_str(&text).unwrap_or_else(|error| panic!("{place}: {error}")) {
                Guarded::Decoded(object) => {
                    good += 1;
                    each(object);
                }
                Guarded::Undecoded(object) => {
                    bad += 1;
                    let first = place.split('/').nth(1).unwrap_or_default();
                    let named = object.why.starts_with(&format!("spec.{first}"));
                    assert!(named, "{place}: {}", object.why);
                }
            }
        }
        (good, bad)
    }

    #[test]
    fn no_leaf_of_a_mesh_upgrade_panics() {
        let now = "2026-11-02T02:00:00Z".parse().expect("a time");
        let all = changed(&upgrade());
        assert!(all.len() > 1_000, "{}", all.len());
        let (good, bad) = read::<MeshUpgrade>(&all, |object| {
            // What is decoded is decided on, whatever stands in it.
            for phase in ["Pending", "Detecting", "Upgrading", "HealthChecking"] {
                let status = json!({ "phase": phase });
                let upgrade = Upgrade {
                    name: "x".into(),
                    uid: "u".into(),
                    generation: 1,
                    created_at: now,
                    deleting: false,
                    held: true,
                    retry: None,
                    redetect: None,
                    accepts: Default::default(),
                    spec: object.spec.clone(),
                    status: serde_json::from_value(status).expect("a status"),
                };
                let decision = decide(now, &upgrade, &MeshView::default());
                fold(now, &upgrade, &decision, &meshlift_model::Executed::Nothing);
            }
        });
        assert!(good > 200 && bad > 500, "{good} {bad}");
    }

    #[test]
    fn no_leaf_of_a_mesh_or_a_catalog_panics() {
        let (good, bad) = read::<Mesh>(&changed(&mesh()), |_| {});
        assert!(good > 50 && bad > 50, "{good} {bad}");
        let (good, bad) = read::<ReleaseCatalog>(&changed(&catalog()), |catalog| {
            // Refused with words, or taken.
            let _ = Knowledge::with(&catalog.spec);
        });
        assert!(good > 50 && bad > 50, "{good} {bad}");
    }

    #[test]
    fn the_specs_that_are_changed_are_good_ones() {
        let good = |text: &str| match serde_json::from_str::<Guarded<MeshUpgrade>>(text) {
            Ok(Guarded::Undecoded(object)) => panic!("{}", object.why),
            read => drop(read.expect("guarded")),
        };
        good(&object::<MeshUpgrade>(&upgrade(), &json!({})));
        serde_json::from_value::<meshlift_api::MeshSpec>(mesh()).expect("a mesh");
        let spec: meshlift_api::ReleaseCatalogSpec =
            serde_json::from_value(catalog()).expect("a catalog");
        Knowledge::with(&spec).expect("a catalog that counts");
    }
}
