//! Takes the revision out of a rendered control plane, so that two of them can be compared object
//! by object: `istiod` with `istiod-1-31-0`.

use serde_json::Value;

/// What stands in place of a revision.
const REVISION: &str = "(revision)";
/// What stands in place of the name of a release.
const RELEASE: &str = "(release)";

/// The same object with no trace of this revision in names and labels.
pub(crate) fn neutral(object: &mut Value, revision: &str) {
    walk(object, revision, "");
}

fn walk(value: &mut Value, revision: &str, key: &str) {
    match value {
        Value::Object(map) => {
            let of_revision = ["key", "name"].iter().any(|field| {
                let named = map.get(*field).and_then(Value::as_str);
                named.is_some_and(|name| ["istio.io/rev", "REVISION"].contains(&name))
            });
            for (key, value) in map.iter_mut() {
                let key = if of_revision && ["value", "values"].contains(&key.as_str()) {
                    "istio.io/rev"
                } else {
                    key.as_str()
                };
                walk(value, revision, key);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, revision, key)),
        Value::String(text) => *text = without(text, revision, key),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn without(text: &str, revision: &str, key: &str) -> String {
    let is_revision = text == revision || text.is_empty() || text == "default";
    match key {
        "istio.io/rev" | "revision" if is_revision => REVISION.to_owned(),
        "release" | "app.kubernetes.io/instance" => RELEASE.to_owned(),
        _ => {
            let lines = text.split('\n').map(|line| match line.trim() {
                "\"revision\": \"\"" => line.replace("\"\"", &format!("\"{REVISION}\"")),
                "\"revision\": \"\"," => line.replace("\"\"", &format!("\"{REVISION}\"")),
                _ => without_suffix(line, revision),
            });
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

/// A text without `-<revision>`, as names carry it, and with a mark for the bare revision.
pub(crate) fn without_suffix(text: &str, revision: &str) -> String {
    // An installation without a revision carries no suffix, and `default` is a word of many uses.
    if revision.is_empty() || revision == "default" {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(revision) {
        let after = &rest[at + revision.len()..];
        let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let before = rest[..at].chars().next_back();
        if part_of_word(before) || part_of_word(after.chars().next()) {
            out.push_str(&rest[..at + revision.len()]);
        } else if before == Some('-') {
            out.push_str(&rest[..at - 1]);
        } else {
            out.push_str(&rest[..at]);
            out.push_str(REVISION);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_suffix_goes_and_a_word_that_only_looks_like_it_stays() {
        let cases = [
            ("istiod-1-31-0", "istiod"),
            (
                "istiod-clusterrole-1-31-0-istio-system",
                "istiod-clusterrole-istio-system",
            ),
            (
                "istiod-1-31-0.istio-system.svc:15012",
                "istiod.istio-system.svc:15012",
            ),
            ("1-31-0", "(revision)"),
            ("x1-31-0 and 1-31-01", "x1-31-0 and 1-31-01"),
        ];
        for (text, wanted) in cases {
            assert_eq!(without_suffix(text, "1-31-0"), wanted);
        }
        assert_eq!(without_suffix("a-default", "default"), "a-default");
    }

    #[test]
    fn a_control_plane_with_a_revision_looks_like_one_without() {
        let control_plane = |suffix: &str, revision: &str, value: &str| {
            json!({
                "metadata": {
                    "name": format!("istiod{suffix}"),
                    "labels": { "istio.io/rev": revision, "release": format!("istiod{suffix}"), "app": "istiod" },
                },
                "env": [{ "name": "REVISION", "value": revision }],
                "webhooks": [{ "matchExpressions": [{ "key": "istio.io/rev", "values": [revision] }] }],
                "data": { "values": format!("{{\n  \"revision\": \"{value}\",\n  \"caName\": \"\"\n}}") },
            })
        };
        let mut old = control_plane("", "default", "");
        let mut new = control_plane("-1-31-0", "1-31-0", "1-31-0");
        neutral(&mut old, "default");
        neutral(&mut new, "1-31-0");
        assert_eq!(old, new);
        assert_eq!(old["metadata"]["name"], "istiod");
    }
}
