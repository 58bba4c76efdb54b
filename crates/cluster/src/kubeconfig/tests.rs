mod any;

use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{KubeconfigError, LARGEST};

/// Stands where a secret does: no message may hold it.
const SECRET: &str = "s3cr3t-t0k3n";

type Kubeconfig = super::Result<super::Kubeconfig>;

fn pem(tag: &str) -> String {
    STANDARD.encode(format!(
        "-----BEGIN {tag}-----\nMAA=\n-----END {tag}-----\n"
    ))
}

/// A kubeconfig as istioctl writes one, with one field set to something else (none: taken away).
fn with(path: &str, value: Option<Value>) -> Value {
    let mut config = json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {},
        "clusters": [{ "name": "east", "cluster": {
            "server": "https://east.example.com:6443", "certificate-authority-data": pem("CERTIFICATE"),
        } }],
        "users": [{ "name": "east", "user": { "token": SECRET } }],
        "contexts": [{ "name": "east", "context": { "cluster": "east", "user": "east" } }],
        "current-context": "east",
    });
    let (place, field) = path.rsplit_once('/').expect("a path");
    let part = config.pointer_mut(place).expect("a place").as_object_mut();
    let part = part.expect("a mapping");
    match value {
        Some(value) => drop(part.insert(field.to_owned(), value)),
        None => drop(part.remove(field)),
    }
    config
}

fn parse(config: &Value) -> Kubeconfig {
    super::Kubeconfig::parse(config.to_string().as_bytes())
}

/// It is refused, and the sentence has these words and nothing of the file.
fn refused(config: &Value, words: &[&str]) -> KubeconfigError {
    let error = match parse(config) {
        Err(error) => error,
        Ok(_) => panic!("taken: {config}"),
    };
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
    assert!(!said.contains(SECRET), "it repeats a secret: {said}");
    error
}

const CLUSTER: &str = "/clusters/0/cluster";
const USER: &str = "/users/0/user";

#[test]
fn a_token_and_a_certificate_make_a_client() {
    let config = parse(&with("/kind", Some(json!("Config"))))
        .expect("taken")
        .config();
    assert_eq!(
        config.cluster_url.to_string(),
        "https://east.example.com:6443/"
    );
    assert_eq!(config.root_cert, Some(vec![vec![0x30, 0]]));
    assert!(config.auth_info.token.is_some() && !config.accept_invalid_certs);
    assert!(config.proxy_url.is_none() && config.root_cert_file.is_none());
    assert!(config.read_timeout.is_some() && config.connect_timeout.is_some());
    assert!(!format!("{config:?}").contains(SECRET));

    let certificate = json!({ "client-certificate-data": pem("CERTIFICATE"), "client-key-data": pem("EC PRIVATE KEY") });
    let config = parse(&with(USER, Some(certificate)))
        .expect("taken")
        .config();
    assert!(config.auth_info.token.is_none() && config.auth_info.client_key_data.is_some());

    let named = with(
        &format!("{CLUSTER}/tls-server-name"),
        Some(json!("kubernetes")),
    );
    let config = parse(&named).expect("taken").config();
    assert_eq!(config.tls_server_name.as_deref(), Some("kubernetes"));
    let placed = with("/contexts/0/context/namespace", Some(json!("shop")));
    assert_eq!(
        parse(&placed).expect("taken").config().default_namespace,
        "shop"
    );
}

#[test]
fn what_runs_reads_or_trusts_anybody_is_refused_by_name() {
    let exec = json!({ "apiVersion": "client.authentication.k8s.io/v1", "command": SECRET, "interactiveMode": "Never" });
    let group = json!([SECRET]);
    let cases = [
        (USER, "exec", exec, "runs no program"),
        (
            USER,
            "auth-provider",
            json!({ "name": SECRET }),
            "runs no program",
        ),
        (USER, "tokenFile", json!(SECRET), "reads no file"),
        (
            USER,
            "client-certificate",
            json!(SECRET),
            "client-certificate-data",
        ),
        (USER, "client-key", json!(SECRET), "client-key-data"),
        (USER, "username", json!(SECRET), "service account"),
        (USER, "password", json!(SECRET), "service account"),
        (USER, "as", json!(SECRET), "nobody else"),
        (USER, "as-uid", json!(SECRET), "nobody else"),
        (USER, "as-groups", group, "nobody else"),
        (
            USER,
            "as-user-extra",
            json!({ "a": [SECRET] }),
            "nobody else",
        ),
        (
            CLUSTER,
            "certificate-authority",
            json!(SECRET),
            "certificate-authority-data",
        ),
        (
            CLUSTER,
            "insecure-skip-tls-verify",
            json!(true),
            "remove it",
        ),
        (CLUSTER, "proxy-url", json!("http://proxy"), "remove it"),
    ];
    for (place, field, value, fix) in cases {
        let full = if place == USER {
            "users[].user"
        } else {
            "clusters[].cluster"
        };
        let config = with(&format!("{place}/{field}"), Some(value));
        let error = refused(&config, &[&format!("{full}.{field}"), fix]);
        assert!(matches!(error, KubeconfigError::Refused { .. }), "{error}");
        // As programs write what is not used.
        for unused in [json!(null), json!("")] {
            assert!(
                parse(&with(&format!("{place}/{field}"), Some(unused))).is_ok(),
                "{field}"
            );
        }
    }
    assert!(
        parse(&with(
            &format!("{CLUSTER}/insecure-skip-tls-verify"),
            Some(json!(false))
        ))
        .is_ok()
    );
    for place in [USER, CLUSTER, "/contexts/0/context", ""] {
        // As in a file whose indentation was lost.
        refused(
            &with(&format!("{place}/{SECRET}"), Some(json!({}))),
            &["unknown field", "flatten"],
        );
    }
}

#[test]
fn an_address_is_https_and_nothing_else() {
    for (address, words) in [
        ("http://east.example.com", "https://"),
        ("http://127.0.0.1:6443", "https://"),
        ("file:///etc/passwd", "https://"),
        ("east.example.com:6443", "https://"),
        ("https://user:s3cr3t-t0k3n@east.example.com", "password"),
        ("https://east.example.com/?token=s3cr3t-t0k3n", "query"),
        ("https://", "address"),
        ("not an address", "address"),
    ] {
        let config = with(&format!("{CLUSTER}/server"), Some(json!(address)));
        refused(&config, &["clusters[].cluster.server", words]);
    }
    refused(
        &with(&format!("{CLUSTER}/server"), None),
        &["server", "https://"],
    );
    let path = with(
        &format!("{CLUSTER}/server"),
        Some(json!("https://rancher/k8s/clusters/c-1")),
    );
    assert_eq!(
        parse(&path).expect("taken").server().path(),
        "/k8s/clusters/c-1"
    );
}

#[test]
fn one_way_to_sign_in_whole_and_readable() {
    let user = |value: Value| with(USER, Some(value));
    let certificate = pem("CERTIFICATE");
    refused(&user(json!({})), &["way to sign in"]);
    refused(&user(json!({ "token": "" })), &["way to sign in"]);
    refused(
        &user(json!({ "client-key-data": pem("PRIVATE KEY") })),
        &["pair"],
    );
    refused(
        &user(json!({ "client-certificate-data": certificate })),
        &["pair"],
    );
    let both = json!({ "token": SECRET, "client-certificate-data": certificate, "client-key-data": pem("PRIVATE KEY") });
    refused(&user(both), &["more than one way"]);
    for token in ["s3cr3t-t0k3n\n", "s3cr3t-t0k3n x", "s3cr3t-t0k3n\u{e9}"] {
        refused(&user(json!({ "token": token })), &["users[].user.token"]);
    }
    for (field, tag) in [
        ("client-certificate-data", "certificate"),
        ("client-key-data", "private key"),
    ] {
        let name = format!("users[].user.{field}");
        for rubbish in [SECRET.to_owned(), STANDARD.encode(SECRET), pem("NOTHING")] {
            let mut pair = json!({ "client-certificate-data": certificate, "client-key-data": pem("PRIVATE KEY") });
            pair[field] = json!(rubbish);
            let error = refused(&user(pair), &[&name]).to_string();
            assert!(error.contains(tag) || error.contains("base64"), "{error}");
        }
    }
    refused(
        &user(json!({ "token": { "a": SECRET } })),
        &["users[].user.token", "a text"],
    );
    let authority = format!("{CLUSTER}/certificate-authority-data");
    refused(
        &with(&authority, None),
        &["certificate-authority-data", "flatten"],
    );
    refused(
        &with(&authority, Some(json!(pem("PRIVATE KEY")))),
        &["certificate-authority-data"],
    );
}

#[test]
fn the_context_is_the_current_one_or_the_only_one() {
    assert!(parse(&with("/current-context", None)).is_ok());
    let two = json!([
        { "name": "a", "context": { "cluster": "east", "user": "east" } },
        { "name": "b", "context": { "cluster": "east", "user": "east" } },
    ]);
    let mut config = with("/contexts", Some(two));
    refused(&config, &["current context"]);
    config["current-context"] = json!("b");
    assert!(parse(&config).is_ok());
    config["current-context"] = json!(null);
    refused(&config, &["current-context"]);
    refused(&with("/contexts", None), &["current context"]);
    refused(&with("/users", None), &["users"]);
    refused(&with("/clusters", Some(json!([]))), &["clusters"]);
    refused(&with("/clusters", Some(json!({}))), &["clusters", "a list"]);
    refused(
        &with("/contexts/0/context", Some(json!(SECRET))),
        &["contexts[].context"],
    );
    refused(
        &with("/contexts/0/context/user", None),
        &["contexts[].context.user"],
    );
    refused(&with("/kind", Some(json!("Secret"))), &["kind"]);
    // What is not chosen is never used, whatever it is.
    let users = json!([
        { "name": "east", "user": { "token": SECRET } },
        { "name": "other", "user": { "exec": { "command": "x" } } },
    ]);
    assert!(parse(&with("/users", Some(users))).is_ok());
}

#[test]
fn rubbish_is_told_without_repeating_it() {
    let cases = [
        String::new(),
        SECRET.to_owned(),
        format!("token: [{SECRET}"),
        format!("a: {SECRET}\na: {SECRET}"),
        format!("- {SECRET}"),
        format!("!{SECRET} a"),
        "a: &a [*a]".to_owned(),
        "[".repeat(10_000),
    ];
    for case in cases {
        let error = super::Kubeconfig::parse(case.as_bytes())
            .err()
            .expect("refused");
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
    let one = with("/kind", Some(json!("Config"))).to_string();
    let several = format!("{one}\n---\n{one}");
    let error = super::Kubeconfig::parse(several.as_bytes()).err();
    assert_eq!(error, Some(KubeconfigError::NotOneDocument));
    let large = vec![b' '; LARGEST + 1];
    let error = super::Kubeconfig::parse(&large).err();
    assert_eq!(error, Some(KubeconfigError::TooLarge));
}

#[tokio::test]
async fn a_program_in_a_kubeconfig_is_not_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let (script, trace) = (directory.path().join("run"), directory.path().join("ran"));
    let text = format!("#!/bin/sh\ntouch {}\n", trace.display());
    std::fs::write(&script, text).expect("written");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("executable");
    let exec = json!({ "apiVersion": "client.authentication.k8s.io/v1", "command": script, "interactiveMode": "Never" });

    let file = with(USER, Some(json!({ "exec": exec }))).to_string();
    // The client's own loader runs it: so this would be seen.
    let theirs = kube::config::Kubeconfig::from_yaml(&file).expect("a kubeconfig");
    let theirs = kube::Config::from_custom_kubeconfig(theirs, &Default::default()).await;
    assert!(theirs.is_err() || theirs.is_ok_and(|config| kube::Client::try_from(config).is_err()));
    assert!(
        trace.exists(),
        "the test proves nothing: nobody runs the program"
    );
    std::fs::remove_file(&trace).expect("removed");

    for user in [
        json!({ "exec": exec }),
        json!({ "token": SECRET, "exec": exec }),
    ] {
        refused(
            &with(USER, Some(user)),
            &["users[].user.exec", "runs no program"],
        );
    }
    assert!(!trace.exists(), "it was run");
}
