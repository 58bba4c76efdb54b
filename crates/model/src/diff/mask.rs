//! Hides what looks like a secret, before any of it is compared or shown.
//!
//! A plan is read by more people than the values of a release, so it is better to hide a harmless
//! value than to show a password.

mod text;

use serde::Deserialize;
use serde_json::Value;

/// What stands in place of a hidden value.
pub(crate) const HIDDEN: &str = "(hidden)";

/// Last words of a key that says its value is a secret: `DB_PASS`, `clientSecret`.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "passcode",
    "pass",
    "pwd",
    "secret",
    "token",
    "credential",
    "credentials",
    "creds",
    "apikey",
    "auth",
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

/// Hides secrets in an object: all data of a Secret, scalars under keys that look like secrets, and what looks like a secret
/// inside strings.
pub(crate) fn mask(object: &mut Value) {
    walk(object);
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let text = |key: &str| map.get(key).and_then(Value::as_str);
            let is_secret = text("kind") == Some("Secret");
            let named_secret = text("name").is_some_and(looks_secret);
            for (key, value) in map.iter_mut() {
                if is_secret && ["data", "stringData"].contains(&key.as_str()) {
                    hide_all(value);
                } else if looks_secret(key) || (named_secret && key == "value") {
                    hide(value);
                } else {
                    walk(value);
                }
            }
        }
        Value::Array(items) => {
            // `args: [--password, s3cret]`.
            let mut after_flag = false;
            for item in items {
                let is_flag = item.as_str().is_some_and(|item| {
                    item.starts_with('-') && !item.contains('=') && looks_secret(item)
                });
                if after_flag && !is_flag {
                    hide(item)
                } else {
                    walk(item)
                }
                after_flag = is_flag;
            }
        }
        Value::String(text) => *text = masked_text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Hides a secret: a scalar, or a list of them. What lies deeper has keys of its own.
fn hide(value: &mut Value) {
    match value {
        Value::String(text) if is_no_secret(text) => {}
        Value::String(_) | Value::Number(_) => *value = Value::from(HIDDEN),
        Value::Array(items) => items.iter_mut().for_each(hide),
        other => walk(other),
    }
}

/// Hides everything below.
fn hide_all(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(hide_all),
        Value::Array(items) => items.iter_mut().for_each(hide_all),
        other => *other = Value::from(HIDDEN),
    }
}

/// A value that is no secret whatever its key says.
fn is_no_secret(value: &str) -> bool {
    ["", "true", "false", "null", "~"].contains(&value)
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
    let last = last.trim_end_matches(|c: char| c.is_ascii_digit());
    SECRET_WORDS.contains(&last)
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

/// Configuration inside a string: the mesh configuration, an injection template, Helm values as JSON. Lines keep the
/// text as people know it, and work on templates too, which are no YAML. They are only shown if they say what is left when
/// the secrets are taken out of the parsed text; where a form of YAML got past them, that is written instead.
fn masked_text(text: &str) -> String {
    let lines = text::hidden(text);
    let structured = text.contains(['\n', '{', '[']) || text.contains(": ");
    let Some(mut documents) = structured.then(|| parsed(text)).flatten() else {
        return lines;
    };
    documents.iter_mut().for_each(walk);
    if parsed(&lines).as_ref() == Some(&documents) {
        return lines;
    }
    let written: Result<Vec<_>, _> = documents.iter().map(serde_yaml_ng::to_string).collect();
    written.map_or_else(|_| HIDDEN.to_owned(), |documents| documents.join("---\n"))
}

/// The documents in a text, if it is YAML of lists and maps.
fn parsed(text: &str) -> Option<Vec<Value>> {
    let documents = serde_yaml_ng::Deserializer::from_str(text).map(Value::deserialize);
    let documents: Vec<Value> = documents.collect::<Result<_, _>>().ok()?;
    let structured = |value: &Value| value.is_object() || value.is_array() || value.is_null();
    documents.iter().all(structured).then_some(documents)
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
            "DB_PASS",
            "MYSQL_PWD",
            "PASSWORD2",
            "REDIS_AUTH",
            "--password",
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
            "bypass",
            "compass",
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

    /// A text inside an object, masked.
    fn shown(text: &str) -> String {
        let mut object = json!({ "kind": "ConfigMap", "data": { "text": text } });
        mask(&mut object);
        object["data"]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[test]
    fn no_form_of_yaml_gets_a_secret_through() {
        let mut wrong = Vec::new();
        for text in [
            "password: |\n  s3cret\n  s3cret too\nuser: me",
            "password: |-2\n\n    s3cret\n\n    s3cret\nuser: me",
            "auth:\n  - password: >-\n      s3cret\n    user: me",
            "password: one\n  s3cret\nuser: me",
            "password: \"one\n  s3cret\"\nuser: me",
            "password:\n  s3cret\nuser: me",
            "? password\n: s3cret\n? user\n: me",
            "auth: {user: me, password: s3cret}",
            "auth: {user: me, password: 's3cret, it''s3cret'}\nb: c",
            "a: {user: me,\n  password: s3cret}",
            "{\"user\":\"me\",\"password\":\"s3c\\\"s3cret\"}",
            "[{name: DB_PASS, value: s3cret}, {name: USER, value: me}]",
            "env:\n- {value: s3cret, name: MYSQL_PWD}\n- {name: USER, value: me}",
            "args: [--password, s3cret, --user, me]",
            "args:\n- --password=s3cret\n- --user=me",
            "command: mysql --password s3cret --user me",
            "command: mysql --password='s3cret s3cret' --user=me",
            "dsn: user=me password=s3cret host=db",
            "address: https://h/?user=me&token=s3cret",
            "header: 'user: me, Authorization: Bearer s3cret'",
            "tokens:\n  user: me\n  token: [s3cret, s3cret]",
            "key: me\ntls: |\n  -----BEGIN RSA PRIVATE KEY-----\n  s3cret\n  -----END RSA PRIVATE KEY-----\n",
            "{{ if .Values.x }}\n  password: |\n    s3cret\n  {{ end }}\n  user: me",
            "{{ if .Values.x }}\nauth: {user: me, password: s3cret}\n{{ end }}",
            "{{ if .Values.x }}\n- {name: DB_PASS, value: s3cret}\n{{ end }}\nuser: me",
            "user: me\n---\nkind: Secret\ndata: {a: s3cret}\n",
            "user: me\nx: \"{\\\"password\\\": \\\"s3cret\\\"}\"",
        ] {
            let masked = shown(text);
            let whole = !masked.contains("s3cret") && masked.contains("me");
            if !whole || shown(&masked) != masked {
                wrong.push(format!("{text}\nbecame\n{masked}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for text in [
            "image: registry.local/api-token:v1\nsecretName: x\n",
            "tokenAudience: istio-ca\npassword: \"\"\nauth: false\n",
            "  token: {{ .Values.global.token }}\n  {{- if eq .x.secret \"foo\" }}\n",
            "{{ $token := .Values.token }}\n{{ if ne $token \"\" }}",
            "match: request.auth.token == 'x' && a != 'b'\n# a comment\n",
            "secret:\n  name: cert\n  items:\n  - key: a\n",
            "a: b\n\nc: |\n  plain\n\n\n",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn arguments_and_secrets_inside_of_lists_are_hidden_too() {
        let mut object = json!({
            "kind": "List",
            "items": [
                { "kind": "Secret", "data": { "a": "s3cret" } },
                { "args": ["--password", "s3cret", "--db-pass=s3cret", "--level=debug"] },
                { "env": [{ "name": "MYSQL_PWD", "value": "s3cret" }, { "name": "DB_PASS", "valueFrom": { "secretKeyRef": { "name": "db", "key": "k" } } }] },
            ],
        });
        mask(&mut object);
        let text = object.to_string();
        assert!(!text.contains("s3cret"), "{text}");
        for kept in ["--level=debug", "\"name\":\"db\"", "MYSQL_PWD"] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
    }
}
