//! Who gives the tokens that a registry asks for, as the public registries have it.
//! Source: the distribution project, `docs/content/spec/auth/token.md` and `jwt.md`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use axum::extract::{Query, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::charts::Login;
use crate::tls::{Identity, TlsListener};

pub(super) const SERVICE: &str = "charts";
pub(super) const ISSUER: &str = "testbed";
const KEY: &str = "testbed-key";

/// A server of tokens; it ends when this is dropped.
pub(super) struct Tokens {
    address: SocketAddr,
    tls: bool,
    giver: Arc<Giver>,
    server: JoinHandle<()>,
}

struct Giver {
    key: KeyPair,
    login: Option<Login>,
    given: AtomicUsize,
}

#[derive(Deserialize)]
struct Asked {
    service: String,
    scope: String,
}

impl Tokens {
    pub(super) fn serve(login: Option<Login>, identity: Option<Identity>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let giver = Arc::new(Giver {
            key: KeyPair::generate_for(&PKCS_ED25519)?,
            login,
            given: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/token", get(give))
            .with_state(giver.clone());
        let tls = identity.is_some();
        // Both serve until they are aborted.
        let server = match identity {
            Some(identity) => {
                let listener = TlsListener::new(listener, &identity)?;
                tokio::spawn(async { drop(axum::serve(listener, router).await) })
            }
            None => tokio::spawn(async { drop(axum::serve(listener, router).await) }),
        };
        Ok(Self {
            address,
            tls,
            giver,
            server,
        })
    }

    pub(super) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}/token", self.address)
    }

    pub(super) fn given(&self) -> usize {
        self.giver.given.load(Ordering::SeqCst)
    }

    /// The key that tokens are signed with, as a registry is told of it.
    pub(super) fn keys(&self) -> Value {
        let public = BASE64.encode(self.giver.key.der_bytes());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KEY, "x": public }] })
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn give(
    State(giver): State<Arc<Giver>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let brought = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    if let Some(login) = &giver.login
        && brought != Some(&login.basic())
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match giver.token(&asked) {
        Some(token) => {
            giver.given.fetch_add(1, Ordering::SeqCst);
            Json(json!({ "token": token })).into_response()
        }
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

impl Giver {
    fn token(&self, asked: &Asked) -> Option<String> {
        let [kind, name, actions] = asked.scope.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        let now = jiff::Timestamp::now().as_second();
        let actions: Vec<&str> = actions.split(',').collect();
        let access = json!([{ "type": kind, "name": name, "actions": actions }]);
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": KEY });
        let claims = json!({
            "iss": ISSUER, "sub": "", "aud": asked.service, "exp": now + 300, "nbf": now - 5,
            "iat": now, "jti": now.to_string(), "access": access,
        });
        let part = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", BASE64.encode(signature)))
    }
}
