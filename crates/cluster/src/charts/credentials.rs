//! Credentials of a chart repository, from a Secret in the operator's namespace.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use meshlift_api::labels::REGISTRY;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::connection::{is_this_machine, shown};
use crate::Error;

const DOCKER_CONFIG: &str = ".dockerconfigjson";
/// Where the registry of Docker Hub answers.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// A user and a password. Not printable, on purpose.
pub(super) struct Credentials {
    username: String,
    password: String,
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
}

impl Credentials {
    /// Reads the Secret `name` for the repository at `home`.
    pub(super) async fn read(secrets: &Api<Secret>, name: &str, home: &Url) -> Result<Self, Error> {
        if home.scheme() != "https" && !is_this_machine(home) {
            return Err(Error::Unreadable(format!(
                "the credentials of Secret {name} are not sent to {}, where everybody on the way could read them: use https in spec.charts.repository of the Mesh",
                shown(home)
            )));
        }
        let secret = secrets
            .get_opt(name)
            .await
            .map_err(Error::kube(format!("reading Secret {name}")))?;
        let Some(secret) = secret else {
            return Err(Error::Unreadable(format!(
                "there is no Secret {name} in the operator's namespace: create it with the credentials of {}, or remove spec.charts.secretRef of the Mesh",
                shown(home)
            )));
        };
        let annotate = format!(
            "kubectl -n {} annotate secret {name} {REGISTRY}={} --overwrite",
            secrets.namespace().unwrap_or_default(),
            host(home)
        );
        Self::of(&secret, home, &annotate).map_err(|why| {
            Error::Unreadable(format!("Secret {name} (spec.charts.secretRef) {why}"))
        })
    }

    /// The credentials in a Secret; `annotate` is the command that binds it to this repository.
    fn of(secret: &Secret, home: &Url, annotate: &str) -> Result<Self, String> {
        let none = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&none);
        // Made from a file, a value ends with a line break that is no part of it.
        let text = |key: &str| -> Result<Option<String>, String> {
            let Some(value) = data.get(key) else {
                return Ok(None);
            };
            let text = str::from_utf8(&value.0).map_err(|_| format!("has no text in key {key}"))?;
            Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
        };
        if let (Some(username), Some(password)) = (text("username")?, text("password")?) {
            bound(secret, home, annotate)?;
            return Ok(Self { username, password });
        }
        match text(DOCKER_CONFIG)? {
            Some(config) => Self::of_docker(&config, home),
            None => Err(format!(
                "has neither the keys username and password nor {DOCKER_CONFIG}: put the credentials in"
            )),
        }
    }

    fn of_docker(config: &str, home: &Url) -> Result<Self, String> {
        // The parser's own words could quote a secret.
        let config: DockerConfig = serde_json::from_str(config)
            .map_err(|_| format!("has no registry credentials in key {DOCKER_CONFIG}"))?;
        let host = host(home);
        let of_host = |key: &str| {
            let key = key.split_once("://").map_or(key, |(_, rest)| rest);
            key.split('/').next() == Some(host.as_str())
        };
        let unusable = || format!("has no user and password for {host} in key {DOCKER_CONFIG}");
        let (_, auth) = config
            .auths
            .into_iter()
            .find(|(key, _)| of_host(key))
            .ok_or_else(unusable)?;
        if let (Some(username), Some(password)) = (auth.username, auth.password) {
            return Ok(Self { username, password });
        }
        let pair = auth.auth.and_then(|auth| BASE64.decode(auth.trim()).ok());
        let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
        let pair = pair.ok_or_else(unusable)?;
        let (username, password) = pair.split_once(':').ok_or_else(unusable)?;
        Ok(Self {
            username: username.to_owned(),
            password: password.to_owned(),
        })
    }

    /// The header of basic authentication.
    pub(super) fn basic(&self) -> Result<HeaderValue, Error> {
        let pair = BASE64.encode(format!("{}:{}", self.username, self.password));
        header(&format!("Basic {pair}"))
    }
}

/// Whether the Secret itself says that its password is for this repository. Without that, whoever may write a Mesh could
/// have any password of the operator's namespace sent to a server of their own.
fn bound(secret: &Secret, home: &Url, annotate: &str) -> Result<(), String> {
    let annotations = secret.metadata.annotations.as_ref();
    let named = annotations.and_then(|all| all.get(REGISTRY));
    let host = host(home);
    match named {
        Some(named) if names(named, home) => Ok(()),
        Some(named) => Err(format!(
            "is for {named} (annotation {REGISTRY}), and its password is not sent to {host}: correct spec.charts.repository of the Mesh, or, if the password is for {host}, run `{annotate}`"
        )),
        None => Err(format!(
            "has no annotation {REGISTRY} that names the host its password is for, so it is not sent to {host}: if it is for {host}, run `{annotate}`"
        )),
    }
}

/// Whether the value of the annotation is the host of this address, with its port where that is not the usual one.
fn names(annotation: &str, home: &Url) -> bool {
    let host = match annotation.trim() {
        "docker.io" | "index.docker.io" => DOCKER_HUB,
        other => other,
    };
    // A whole address would be judged by its host alone, and look as if the rest of it counted.
    let plain = !host.contains(['/', '\\', '@', '?', '#']);
    let named = Url::parse(&format!("{}://{host}", home.scheme()));
    plain && named.is_ok_and(|named| named.origin() == home.origin())
}

/// The host of an address as Secrets name it: with its port where that is not the usual one.
fn host(home: &Url) -> String {
    match (home.host_str().unwrap_or_default(), home.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        // What Docker Hub is called in files of credentials.
        (DOCKER_HUB, None) => "index.docker.io".to_owned(),
        (host, None) => host.to_owned(),
    }
}

/// A header that logs leave out.
pub(super) fn header(value: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Error::Unreadable("credentials that fit in no HTTP header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use kube::api::ObjectMeta;

    use super::*;

    fn of(data: &[(&str, &str)], home: &str) -> Result<(String, String), String> {
        of_bound(data, None, home)
    }

    /// The Secret with these data, for the host that its annotation names.
    fn of_bound(
        data: &[(&str, &str)],
        registry: Option<&str>,
        home: &str,
    ) -> Result<(String, String), String> {
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().into())))
            .collect();
        let annotations = registry.map(|host| [(REGISTRY.to_owned(), host.to_owned())].into());
        let secret = Secret {
            metadata: ObjectMeta {
                annotations,
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..Secret::default()
        };
        let home = Url::parse(home).expect("an address");
        Credentials::of(&secret, &home, "kubectl annotate").map(|c| (c.username, c.password))
    }

    #[test]
    fn a_password_goes_only_to_the_host_that_its_secret_names() {
        let data = [("username", "me"), ("password", "hush")];
        for (named, home) in [
            ("charts.local", "https://charts.local/istio"),
            ("charts.local:443", "https://charts.local/istio"),
            ("Charts.Local\n", "https://charts.local"),
            ("charts.local:8443", "https://charts.local:8443"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/x"),
            ("[::1]:5000", "http://[::1]:5000/x"),
            ("docker.io", "https://registry-1.docker.io/istio"),
            ("index.docker.io", "https://registry-1.docker.io/istio"),
        ] {
            let read = of_bound(&data, Some(named), home);
            assert_eq!(read, Ok(("me".to_owned(), "hush".to_owned())), "{named}");
        }
        for named in [
            "charts.local",
            "charts.local:8443",
            "evil.com.charts.local",
            "charts.local@evil.com",
            "evil.com/charts.local",
            "https://evil.com",
            "*",
            "",
        ] {
            let why = of_bound(&data, Some(named), "https://evil.com").expect_err(named);
            assert!(why.contains("is not sent to evil.com"), "{named}: {why}");
            assert!(why.contains("kubectl annotate"), "{named}: {why}");
            assert!(!why.contains("hush"), "{why}");
        }
        let why = of_bound(&data, None, "https://evil.com").expect_err("unbound");
        let words = "has no annotation meshlift.io/registry";
        assert!(
            why.contains(words) && why.contains("`kubectl annotate`"),
            "{why}"
        );
    }

    #[test]
    fn every_usual_form_is_read() {
        let expected = Ok(("me".to_owned(), "se:cret".to_owned()));
        let pair = BASE64.encode("me:se:cret");
        let docker = |host: &str, auth: &str| format!(r#"{{"auths":{{"{host}":{auth}}}}}"#);
        let plain = r#"{"username":"me","password":"se:cret"}"#.to_owned();
        let encoded = format!(r#"{{"auth":"{pair}"}}"#);
        assert_eq!(
            of_bound(
                &[("username", "me\n"), ("password", "se:cret\n")],
                Some("x"),
                "https://x"
            ),
            expected
        );
        for (host, auth, home) in [
            ("ghcr.io", &plain, "https://ghcr.io"),
            ("https://ghcr.io/v1/", &encoded, "https://ghcr.io"),
            ("harbor.local:8443", &encoded, "https://harbor.local:8443"),
            (
                "https://index.docker.io/v1/",
                &plain,
                "https://registry-1.docker.io",
            ),
        ] {
            assert_eq!(
                of(&[(DOCKER_CONFIG, &docker(host, auth))], home),
                expected,
                "{host}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        for (data, words) in [
            (vec![], "neither the keys username and password nor"),
            (vec![("username", "me")], "neither"),
            (
                vec![(DOCKER_CONFIG, r#"{"auths": "hush"}"#)],
                "no registry credentials",
            ),
            (
                vec![(DOCKER_CONFIG, r#"{"auths":{"other":{"auth":"hush"}}}"#)],
                "no user and password for ghcr.io",
            ),
            (
                vec![(DOCKER_CONFIG, r#"{"auths":{"ghcr.io":{"auth":"hush"}}}"#)],
                "no user and password for ghcr.io",
            ),
        ] {
            let why = of(&data, "https://ghcr.io").expect_err("unusable");
            assert!(why.contains(words) && !why.contains("hush"), "{why}");
        }
    }
}
