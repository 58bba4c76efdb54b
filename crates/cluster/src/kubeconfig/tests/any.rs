//! Whatever stands in a file, reading it never panics and never loosens anything.

use proptest::prelude::*;
use serde_json::Value;

use super::super::Kubeconfig;
use super::{parse, with};

/// Anything that may stand in a document, with the names that mean something.
fn any_value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("clusters"),
        Just("users"),
        Just("contexts"),
        Just("current-context"),
        Just("name"),
        Just("cluster"),
        Just("user"),
        Just("context"),
        Just("server"),
        Just("token"),
        Just("exec"),
        Just("certificate-authority-data"),
        Just("client-key-data"),
        Just("https://a"),
        Just(""),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let fields =
            prop::collection::vec((word.clone().prop_map(str::to_owned), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Kubeconfig::parse(&bytes);
    }

    #[test]
    fn no_document_makes_it_panic(value in any_value()) {
        let text = serde_yaml_ng::to_string(&value).expect("YAML");
        let _ = Kubeconfig::parse(text.as_bytes());
    }

    #[test]
    fn no_value_in_any_place_makes_it_panic_or_loosens_it(
        place in prop::sample::select(vec![
            "/clusters", "/clusters/0/name", "/clusters/0/cluster", "/clusters/0/cluster/server",
            "/clusters/0/cluster/certificate-authority-data", "/users", "/users/0/user",
            "/users/0/user/token", "/users/0/user/client-key-data", "/contexts/0/context",
            "/contexts/0/context/cluster", "/current-context", "/users/0/user/exec",
        ]),
        value in any_value(),
    ) {
        if let Ok(taken) = parse(&with(place, Some(value))) {
            let config = taken.config();
            prop_assert!(config.auth_info.exec.is_none() && config.auth_info.token_file.is_none());
            prop_assert!(!config.accept_invalid_certs && config.root_cert.is_some_and(|all| !all.is_empty()));
            prop_assert_eq!(config.cluster_url.scheme_str(), Some("https"));
        }
    }
}
