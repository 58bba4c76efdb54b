//! The shop's application: answers with its name and version, and first asks its upstreams.
//!
//! It does what an application in a mesh must do itself for a rolling restart to lose nothing; the
//! mesh cannot do it for the application:
//! - keep connections, so that a request is not paid for with a new port;
//! - on SIGTERM go on serving until every caller has heard that this endpoint is going away,
//!   and only then stop accepting, finish what was begun and exit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `testbed serve`.
#[derive(clap::Args, Clone, Debug)]
pub struct ServeArgs {
    /// Name this application answers with.
    #[arg(long)]
    pub name: String,
    /// Version this application answers with.
    #[arg(long, default_value = "1")]
    pub version: String,
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// URL asked before answering `/`; may be given more than once.
    #[arg(long = "upstream", value_name = "URL")]
    pub upstreams: Vec<String>,
    /// Seconds an upstream may take.
    #[arg(long, default_value_t = 5)]
    pub upstream_timeout: u64,
    /// Seconds to go on serving after SIGTERM before the listener closes.
    #[arg(long, default_value_t = 5)]
    pub drain: u64,
}

struct Shop {
    answer: String,
    upstreams: Vec<String>,
    client: reqwest::Client,
    draining: AtomicBool,
}

/// Serves until SIGTERM or SIGINT, then drains and returns.
pub async fn run(args: ServeArgs) -> Result<()> {
    let shop = Arc::new(Shop {
        answer: format!("{} {}\n", args.name, args.version),
        upstreams: args.upstreams,
        client: reqwest::Client::builder()
            .no_proxy()
            .tls_built_in_root_certs(false)
            .timeout(Duration::from_secs(args.upstream_timeout))
            .build()
            .context("building the HTTP client for the upstreams")?,
        draining: AtomicBool::new(false),
    });
    let app = Router::new()
        .route("/", get(answer))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(shop.clone());
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("listening on {}", args.listen))?;
    axum::serve(listener, app)
        .with_graceful_shutdown(drained(shop, Duration::from_secs(args.drain)))
        .await
        .context("serving HTTP")
}

/// Ends when the drain time after the first signal is over.
async fn drained(shop: Arc<Shop>, drain: Duration) {
    match terminated().await {
        // This is not a wait for a condition: how soon the endpoint's removal has reached every
        // Envoy cannot be seen from inside the pod, so a real application, too, picks a time.
        Ok(()) => {
            shop.draining.store(true, Ordering::Relaxed);
            tokio::time::sleep(drain).await;
        }
        Err(error) => tracing::error!("signals cannot be awaited, stopping now: {error}"),
    }
}

/// Ends at the first SIGTERM or SIGINT.
pub(crate) async fn terminated() -> Result<()> {
    let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

async fn answer(State(shop): State<Arc<Shop>>) -> Response {
    let asked = join_all(shop.upstreams.iter().map(|url| ask(&shop.client, url))).await;
    let failures: Vec<String> = asked.into_iter().filter_map(Result::err).collect();
    let mut response = if failures.is_empty() {
        shop.answer.clone().into_response()
    } else {
        (StatusCode::BAD_GATEWAY, failures.join("; ")).into_response()
    };
    if shop.draining.load(Ordering::Relaxed) {
        // The caller then opens its next connection elsewhere, before this one is closed on it.
        let close = header::HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

async fn ask(client: &reqwest::Client, url: &str) -> Result<(), String> {
    let response = client
        .get(url)
        .send()
        .await
        .map_err(|error| format!("{url}: {:#}", anyhow::Error::from(error)))?;
    let status = response.status();
    let body = response
        .text()
        .await
        .map_err(|error| format!("{url}: {:#}", anyhow::Error::from(error)))?;
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("{url}: {status}: {}", body.trim()))
    }
}
