//! Custom values of the istiod release, which an upgrade must carry over.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Cluster;

/// What people set: a mesh-wide option, resources, and whatever the test cluster itself needs.
pub(super) fn custom() -> Value {
    json!({
        "meshConfig": { "accessLogFile": "/dev/stdout" },
        "resources": { "requests": { "cpu": "60m", "memory": "140Mi" } },
    })
}

/// The custom values that no istiod release has any more: their paths, and what is there instead.
pub(super) async fn missing(cluster: &Cluster) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    let releases = helm_json(cluster, &["list", "--namespace", "istio-system"]).await?;
    let names = releases
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|r| r["name"].as_str());
    for name in names.filter(|name| name.starts_with("istiod")) {
        let values = helm_json(
            cluster,
            &["get", "values", name, "--namespace", "istio-system"],
        )
        .await?;
        for (path, wanted) in leaves(&expected(), "") {
            let found = values.pointer(&path).unwrap_or(&Value::Null);
            if *found != wanted {
                missing.push(format!("{name}: {path} is {found}, not {wanted}"));
            }
        }
    }
    Ok(missing)
}

/// The custom values, and two that the test cluster sets at every installation.
fn expected() -> Value {
    let mut expected = custom();
    expected["global"] = json!({ "hub": "testbed.local/istio", "imagePullPolicy": "Never" });
    expected
}

async fn helm_json(cluster: &Cluster, arguments: &[&str]) -> Result<Value> {
    let output = cluster
        .helm(&[arguments, &["--output", "json"]].concat())
        .await?;
    serde_json::from_str(&output).with_context(|| format!("reading helm {}", arguments.join(" ")))
}

/// Every value that is not an object, with its JSON pointer.
fn leaves(value: &Value, path: &str) -> Vec<(String, Value)> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| leaves(value, &format!("{path}/{key}")))
            .collect(),
        leaf => vec![(path.to_owned(), leaf.clone())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_named_by_their_pointer() {
        let found = leaves(&json!({ "a": { "b": 1 }, "c": "d" }), "");
        assert_eq!(
            found,
            [("/a/b".to_owned(), json!(1)), ("/c".to_owned(), json!("d"))]
        );
    }
}
