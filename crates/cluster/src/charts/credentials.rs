//! Credentials of a chart repository, from a Secret in the operator's namespace.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::connection::{is_this_machine, shown};
use crate::Error;

const DOCKER_CONFIG: &str = ".dockerconfigjson";

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
        Self::of(&secret.data.unwrap_or_default(), home).map_err(|why| {
            Error::Unreadable(format!("Secret {name} (spec.charts.secretRef) {why}"))
        })
    }

    fn of(data: &BTreeMap<String, ByteString>, home: &Url) -> Result<Self, String> {
        // Made from a file, a value ends with a line break that is no part of it.
        let text = |key: &str| -> Result<Option<String>, String> {
            let Some(value) = data.get(key) else {
                return Ok(None);
            };
            let text = str::from_utf8(&value.0).map_err(|_| format!("has no text in key {key}"))?;
            Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
        };
        if let (Some(username), Some(password)) = (text("username")?, text("password")?) {
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
        let host = match (home.host_str().unwrap_or_default(), home.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            // What Docker Hub is called in such files.
            ("registry-1.docker.io", None) => "index.docker.io".to_owned(),
            (host, None) => host.to_owned(),
        };
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

/// A header that logs leave out.
pub(super) fn header(value: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Error::Unreadable("credentials that fit in no HTTP header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &[(&str, &str)], home: &str) -> Result<(String, String), String> {
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().into())))
            .collect();
        let home = Url::parse(home).expect("an address");
        Credentials::of(&data, &home).map(|c| (c.username, c.password))
    }

    #[test]
    fn every_usual_form_is_read() {
        let expected = Ok(("me".to_owned(), "se:cret".to_owned()));
        let pair = BASE64.encode("me:se:cret");
        let docker = |host: &str, auth: &str| format!(r#"{{"auths":{{"{host}":{auth}}}}}"#);
        let plain = r#"{"username":"me","password":"se:cret"}"#.to_owned();
        let encoded = format!(r#"{{"auth":"{pair}"}}"#);
        assert_eq!(
            of(
                &[("username", "me\n"), ("password", "se:cret\n")],
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
