//! Repositories, Secrets and a client of charts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::core::v1::Secret;
use kube::client::Body;
use kube::{Api, Client};
use meshlift_api::{ChartSource, SecretRef, labels};
use meshlift_cluster::charts::{ChartVersions, ChartsClient};
use meshlift_model::view::Seen;
use meshlift_testbed::charts::{self, Login};
use meshlift_testbed::tools::Tools;
use meshlift_testbed::versions;
use serde_json::{Value, json};

/// The Secret that the operator may read.
pub(crate) const SECRET: &str = "charts-login";

/// A client of charts; `secret` is what is in the Secret [`SECRET`], the only one there is. Nothing says which host it
/// is for.
pub(crate) fn client(secret: Option<Value>) -> ChartsClient {
    client_of(secret, json!({ "name": SECRET }))
}

/// The same with a Secret that says that it is for the host of this repository.
pub(crate) fn client_for(charts: &ChartSource, secret: Value) -> ChartsClient {
    let rest = charts.repository.split("://").nth(1).unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    let annotations = json!({ labels::REGISTRY: host });
    client_of(
        Some(secret),
        json!({ "name": SECRET, "annotations": annotations }),
    )
}

fn client_of(secret: Option<Value>, metadata: Value) -> ChartsClient {
    let secret = Arc::new((secret, metadata));
    let answer = move |request: http::Request<Body>| {
        let found = request
            .uri()
            .path()
            .ends_with(&format!("/secrets/{SECRET}"));
        let (data, metadata) = secret.as_ref().clone();
        async move {
            let (status, body) = match data.filter(|_| found) {
                Some(data) => (200, json!({ "metadata": metadata, "data": data })),
                None => (
                    404,
                    json!({ "kind": "Status", "code": 404, "status": "Failure", "reason": "NotFound" }),
                ),
            };
            http::Response::builder()
                .status(status)
                .body(Body::from(body.to_string().into_bytes()))
        }
    };
    let client = Client::new(tower::service_fn(answer), "meshlift-system");
    ChartsClient::new(Api::<Secret>::namespaced(client, "meshlift-system"))
}

/// The data of a Secret with a user and a password.
pub(crate) fn with_login(login: &Login) -> Value {
    json!({ "username": BASE64.encode(&login.username), "password": BASE64.encode(&login.password) })
}

/// The data of a Secret as `kubectl create secret docker-registry` makes it.
pub(crate) fn with_docker_config(host: &str, login: &Login) -> Value {
    let pair = BASE64.encode(format!("{}:{}", login.username, login.password));
    let auths = BTreeMap::from([(host, json!({ "auth": pair }))]);
    json!({ ".dockerconfigjson": BASE64.encode(json!({ "auths": auths }).to_string()) })
}

/// A repository without anything else.
pub(crate) fn source(repository: impl Into<String>) -> ChartSource {
    ChartSource {
        repository: repository.into(),
        secret_ref: None,
        ca_bundle: None,
    }
}

/// The same with a CA bundle.
pub(crate) fn trusting(source: &ChartSource, bundle: &str) -> ChartSource {
    ChartSource {
        ca_bundle: Some(bundle.to_owned()),
        ..source.clone()
    }
}

/// The same with credentials.
pub(crate) fn with_secret(source: &ChartSource) -> ChartSource {
    ChartSource {
        secret_ref: Some(SecretRef {
            name: SECRET.to_owned(),
        }),
        ..source.clone()
    }
}

pub(crate) fn login() -> Login {
    Login {
        username: "reader".to_owned(),
        password: "hush-hush".to_owned(),
    }
}

/// Helm, and the directory of a repository with Istio's charts.
pub(crate) async fn packed() -> Result<(PathBuf, PathBuf)> {
    let make = || {
        let helm = Tools::for_charts()?.program("helm")?.to_owned();
        let directory = charts::repository(&helm, &versions::ISTIO)?;
        anyhow::Ok((helm, directory))
    };
    tokio::task::spawn_blocking(make).await?
}

/// What a repository offers, read now.
pub(crate) fn offered(known: &ChartVersions) -> Vec<String> {
    known.versions.iter().map(ToString::to_string).collect()
}

pub(crate) fn present(seen: Seen<Arc<ChartVersions>>) -> Result<Arc<ChartVersions>> {
    match seen {
        Seen::Present(known) => Ok(known),
        other => bail!("no versions: {other:?}"),
    }
}

/// Why nothing is known; it has these words and no secret.
pub(crate) fn unreadable(seen: &Seen<Arc<ChartVersions>>, words: &[&str]) -> Result<()> {
    let why = seen.unreadable().context("it could be read")?;
    says(why, words)
}

pub(crate) fn says(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "{text:?} does not say {word:?}");
    }
    for secret in [&login().password, "let-me-in"] {
        let pair = BASE64.encode(format!("reader:{secret}"));
        ensure!(
            !text.contains(secret) && !text.contains(&pair),
            "a secret is told: {text:?}"
        );
    }
    Ok(())
}
