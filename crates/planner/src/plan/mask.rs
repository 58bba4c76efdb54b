//! Hides what looks like a secret, before any of it is compared or shown.
//!
//! A plan is read by more people than the values of a release, so it is better to hide a harmless
//! value than to show a password.

use serde_json::Value;

/// What stands in place of a hidden value.
pub(crate) const HIDDEN: &str = "(hidden)";

/// Last words of a key that says its value is a secret: `DB_PASSWORD`, `clientSecret`.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "credentials",
    "apikey",
    "authorization",
];
/// The same for keys in two words; `key` alone is the key of a selector or of a ConfigMap.
const BEFORE_KEY: &[&str] = &[
    "api",
    "private",
    "secret",
    "access",
    "signing",
    "encryption",
    "license",
    "account",
];

/// Hides secrets in an object: all data of a Secret, and scalars under keys that look like secrets.
pub(crate) fn mask(object: &mut Value) {
    if object.get("kind").and_then(Value::as_str) == Some("Secret") {
        for field in ["data", "stringData"] {
            if let Some(Value::Object(data)) = object.get_mut(field) {
                data.values_mut()
                    .for_each(|value| *value = Value::from(HIDDEN));
            }
        }
    }
    walk(object);
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let env_name = map.get("name").and_then(Value::as_str);
            let secret_env = env_name.is_some_and(looks_secret);
            for (key, value) in map.iter_mut() {
                let hides = looks_secret(key) || (secret_env && key == "value");
                match value {
                    Value::String(text) if hides && !text.is_empty() => *text = HIDDEN.to_owned(),
                    Value::Number(_) if hides => *value = Value::from(HIDDEN),
                    other => walk(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        Value::String(text) => *text = masked_text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether the value under this key is a secret, going by its name.
fn looks_secret(key: &str) -> bool {
    let words = words(key);
    let Some((last, before)) = words.split_last() else {
        return false;
    };
    if last == "key" {
        let qualified = before
            .last()
            .is_some_and(|w| BEFORE_KEY.contains(&w.as_str()));
        // An environment variable, which is no field of Kubernetes: `STRIPE_KEY`.
        let variable = !before.is_empty() && key.bytes().all(|b| !b.is_ascii_lowercase());
        return qualified || variable;
    }
    SECRET_WORDS.contains(&last.as_str())
}

/// `clientSecret`, `client-secret` and `CLIENT_SECRET` are `client`, `secret`.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_lower = false;
    for c in key.chars() {
        let begins = c.is_ascii_uppercase() && before_lower;
        if (begins || !c.is_ascii_alphanumeric()) && words.last().is_some_and(|w| !w.is_empty()) {
            words.push(String::new());
        }
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_lowercase());
        }
        before_lower = c.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Configuration inside a string (the mesh configuration, an injection template, Helm values as
/// JSON): judged line by line, because templates are no YAML.
fn masked_text(text: &str) -> String {
    let mut env_name_is_secret = false;
    let lines = text.split('\n').map(|line| {
        let Some((head, key, value)) = key_and_value(line) else {
            return without_login(line);
        };
        let hides = looks_secret(key) || (key == "value" && env_name_is_secret);
        env_name_is_secret = key == "name" && looks_secret(value.trim_matches(['"', '\'', ',']));
        let scalar = !value.is_empty()
            && !value.starts_with(['{', '['])
            && !["\"\"", "\"\",", "''", "|", "|-", ">", ">-", "true", "false"].contains(&value);
        let comma = if value.ends_with(',') { "," } else { "" };
        match hides && scalar {
            true => format!("{head}{HIDDEN}{comma}"),
            false => without_login(line),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Splits `  - "name": value` into what stands before the value, the bare key and the value.
fn key_and_value(line: &str) -> Option<(&str, &str, &str)> {
    let colon = line.find(": ")?;
    let key = line[..colon]
        .trim_start_matches([' ', '-'])
        .trim_matches(['"', '\'']);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if key.is_empty() || !key.chars().all(plain) {
        return None;
    }
    Some((&line[..colon + 2], key, line[colon + 2..].trim()))
}

/// An address without the login in it.
fn without_login(line: &str) -> String {
    let Some((scheme, rest)) = line.split_once("://") else {
        return line.to_owned();
    };
    let end = rest.find(['/', ' ', '"', '\'', '{']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{HIDDEN}{}", without_login(&rest[at..])),
        None => format!("{scheme}://{}", without_login(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_that_name_a_secret_are_told_from_those_that_only_speak_of_one() {
        for secret in [
            "password",
            "DB_PASSWORD",
            "clientSecret",
            "client-secret",
            "apiKey",
            "STRIPE_KEY",
            "privateKey",
            "JWT_TOKEN",
            "Authorization",
        ] {
            assert!(looks_secret(secret), "{secret}");
        }
        for plain in [
            "key",
            "secretName",
            "tokenAudience",
            "imagePullSecrets",
            "topologyKey",
            "keys",
            "path",
            "",
        ] {
            assert!(!looks_secret(plain), "{plain}");
        }
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let mut object = json!({
            "kind": "Deployment",
            "env": [
                { "name": "DB_PASSWORD", "value": "s3cret" },
                { "name": "LEVEL", "value": "debug" },
            ],
            "selector": { "key": "istio.io/rev", "operator": "In" },
            "data": {
                "values": "{\n  \"license_key\": \"s3cret\",\n  \"hub\": \"h\",\n  \"token\": \"\"\n}",
                "mesh": "accessToken: s3cret\nname: X_TOKEN\nvalue: \"s3cret\"\nproxy: http://me:s3cret@proxy:80/x",
            },
        });
        mask(&mut object);
        let text = object.to_string();
        assert!(!text.contains("s3cret"), "{text}");
        for kept in [
            "debug",
            "istio.io/rev",
            "\\\"hub\\\": \\\"h\\\"",
            "@proxy:80/x",
        ] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
        let mut secret = json!({ "kind": "Secret", "data": { "a": "czNjcmV0" }, "stringData": { "b": "s3cret" } });
        mask(&mut secret);
        assert_eq!(
            secret,
            json!({ "kind": "Secret", "data": { "a": HIDDEN }, "stringData": { "b": HIDDEN } })
        );
    }
}
