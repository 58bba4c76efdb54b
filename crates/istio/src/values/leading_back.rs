//! Values of an istiod that was upgraded in place and injects the sidecars of before, while workloads go back.

use serde_json::Value;

use super::{Values, lookup, set};

/// Annotation of the istiod pods while an istiod that was upgraded in place injects the sidecars of before. Its value is the
/// image that the values named until then. It also makes Kubernetes replace the pods: an istiod that runs reads a changed
/// injection template only when the kubelet has brought it there.
const LEADS_BACK: &str = "meshlift.io/leads-back-from-image";
const PROXY_IMAGE: [&str; 3] = ["global", "proxy", "image"];

/// The same with sidecars of this image, by its full name. A name with a "/" wins over hub and tag.
/// Source: istio `istio-discovery/files/injection-template.yaml`.
pub fn leading_back(values: &Values, image: &str) -> Values {
    let mut leading = values.clone();
    let before = lookup(values, &PROXY_IMAGE).and_then(Value::as_str);
    set(
        &mut leading,
        &["podAnnotations", LEADS_BACK],
        before.unwrap_or_default(),
    );
    set(&mut leading, &PROXY_IMAGE, image);
    leading
}

/// Whether these are values that lead back.
pub fn leads_back(values: &Values) -> bool {
    lookup(values, &["podAnnotations", LEADS_BACK]).is_some()
}

/// The values as they were before they led back.
pub fn not_leading_back(values: &Values) -> Values {
    let mut values = values.clone();
    let Some(Value::Object(annotations)) = values.get_mut("podAnnotations") else {
        return values;
    };
    let Some(before) = annotations.remove(LEADS_BACK) else {
        return values;
    };
    if annotations.is_empty() {
        values.remove("podAnnotations");
    }
    match before.as_str() {
        Some("") | None => unset(&mut values, &PROXY_IMAGE),
        Some(image) => set(&mut values, &PROXY_IMAGE, image),
    }
    values
}

/// Takes a value away, and the objects that are empty then.
fn unset(values: &mut Values, path: &[&str]) {
    match path {
        [] => {}
        [last] => {
            values.remove(*last);
        }
        [first, rest @ ..] => {
            let Some(Value::Object(inner)) = values.get_mut(*first) else {
                return;
            };
            unset(inner, rest);
            if inner.is_empty() {
                values.remove(*first);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::values::object;

    #[test]
    fn values_that_lead_back_are_put_back() {
        for given in [
            json!({}),
            json!({ "global": { "proxy": { "image": "example.org/own:1" } }, "podAnnotations": { "a": "b" } }),
            json!({ "global": { "hub": "example.org" } }),
        ] {
            let given = object(given);
            assert!(!leads_back(&given));
            let leading = leading_back(&given, "example.org/istio/proxyv2:1.30.2");
            assert!(leads_back(&leading));
            assert_eq!(
                lookup(&leading, &PROXY_IMAGE),
                Some(&json!("example.org/istio/proxyv2:1.30.2"))
            );
            assert_eq!(not_leading_back(&leading), given);
            assert_eq!(not_leading_back(&given), given);
        }
    }
}
