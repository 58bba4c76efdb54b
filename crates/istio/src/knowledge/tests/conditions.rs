//! Every condition of the embedded data, on objects that it is for and on others.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::knowledge::Knowledge;
use crate::risk::{concerns, matches};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Examples {
    values: Option<Pair<Map<String, Value>>>,
    object: Option<Pair<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair<T> {
    hit: T,
    miss: T,
}

fn examples() -> BTreeMap<String, Examples> {
    serde_yaml_ng::from_str(include_str!("../examples.yaml")).expect("examples")
}

#[test]
fn every_condition_holds_for_its_example_and_not_for_the_other() {
    let mut examples = examples();
    for risk in Knowledge::embedded()
        .releases()
        .flat_map(|release| &release.risks)
    {
        let Some(rule) = &risk.rule else { continue };
        let code = &risk.code;
        let example = examples.remove(code);
        if rule.values.is_some() {
            let pair = example
                .as_ref()
                .and_then(|e| e.values.as_ref())
                .expect(code);
            assert_eq!(concerns(risk, &pair.hit), Ok(true), "{code}");
            assert_eq!(concerns(risk, &pair.miss), Ok(false), "{code}");
        }
        if rule.object.is_some() {
            let pair = example
                .as_ref()
                .and_then(|e| e.object.as_ref())
                .expect(code);
            assert_eq!(matches(risk, &pair.hit), Ok(true), "{code}");
            assert_eq!(matches(risk, &pair.miss), Ok(false), "{code}");
        }
        if let Some(flag) = &rule.flag {
            assert!(
                rule.values.is_some() || concerns(risk, &Map::new()) == Ok(true),
                "{code}"
            );
            let set = json!({ "pilot": { "env": { flag.as_str(): "false" } } });
            assert_eq!(
                concerns(risk, set.as_object().expect("an object")),
                Ok(false),
                "{code}"
            );
        }
    }
    assert!(
        examples.is_empty(),
        "examples of nothing: {:?}",
        examples.keys()
    );
}

/// Objects come in all shapes: with any part of an example missing, a condition must still answer.
#[test]
fn no_condition_fails_on_an_object_that_lacks_a_field() {
    for (code, example) in examples() {
        let knowledge = Knowledge::embedded();
        let risk = knowledge.risk(&code).expect("a risk");
        if let Some(Pair { hit, miss }) = example.object {
            for object in without_each_part(&hit)
                .into_iter()
                .chain(without_each_part(&miss))
            {
                matches(risk, &object).unwrap_or_else(|error| panic!("{code} {object}: {error}"));
            }
        }
        if let Some(Pair { hit, miss }) = example.values {
            for values in [Value::Object(hit), Value::Object(miss)] {
                for values in without_each_part(&values) {
                    let values = values.as_object().expect("an object");
                    concerns(risk, values).unwrap_or_else(|error| panic!("{code}: {error}"));
                }
            }
        }
    }
}

/// The value without each of its parts in turn; metadata and name are always there.
fn without_each_part(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                if !["metadata", "name"].contains(&key.as_str()) {
                    let mut less = fields.clone();
                    less.remove(key);
                    all.push(Value::Object(less));
                }
                for part in without_each_part(field) {
                    let mut changed = fields.clone();
                    changed.insert(key.clone(), part);
                    all.push(Value::Object(changed));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                for part in without_each_part(item) {
                    let mut changed = items.clone();
                    changed[index] = part;
                    all.push(Value::Array(changed));
                }
            }
        }
        _ => {}
    }
    all
}

#[test]
fn every_kind_that_a_risk_names_may_be_listed() {
    use meshlift_api::permissions::{Scope, in_scope};
    for risk in Knowledge::embedded()
        .releases()
        .flat_map(|release| &release.risks)
    {
        let Some(kind) = risk.rule.as_ref().and_then(|rule| rule.resources.as_ref()) else {
            continue;
        };
        let granted = in_scope(Scope::Cluster).any(|right| {
            right.group == kind.group
                && right.resource == kind.resource
                && right.verbs.contains(&"list")
        });
        assert!(granted, "{}: nothing grants list on {kind:?}", risk.code);
    }
}
