//! `/healthz`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use meshlift_cluster::Watches;
use meshlift_cluster::watch::Health;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// Serves until the process ends.
pub(crate) async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    watches: Watches,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another --http-address"))?;
    let upgrades = Arc::clone(&watches.upgrades);
    let meshes = Arc::clone(&watches.meshes);
    let watched = watches.clone();
    let measured = move || {
        metrics.watches(&watched.health());
        let (upgrades, meshes) = (upgrades.all(), meshes.all());
        let upgrades = upgrades.present().map_or(&[][..], Vec::as_slice);
        let meshes = meshes.present().map_or(&[][..], Vec::as_slice);
        std::future::ready(metrics.text(upgrades, meshes))
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(move || ready(watches.clone())))
        .route("/metrics", get(measured));
    axum::serve(listener, router)
        .await
        .context("the HTTP server ended")
}

/// Ready once the MeshUpgrades were listed (without the CRDs or the rights they never are), and while every table is
/// of now.
async fn ready(watches: Watches) -> (StatusCode, String) {
    if !watches.upgrades.is_complete() {
        let why = "MeshUpgrades are not listed yet".to_owned();
        return (StatusCode::SERVICE_UNAVAILABLE, why);
    }
    let blind = stale(&watches.health());
    if blind.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, blind.join("\n"))
    }
}

/// The tables that were listed and no longer count, and why. Those that may not be listed are named elsewhere.
fn stale(tables: &[(&'static str, Health)]) -> Vec<String> {
    let stale = tables.iter().filter(|(_, health)| health.silence.is_some());
    stale
        .filter_map(|(what, health)| Some(format!("{what}: {}", health.blind.as_ref()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stale_table_is_named() {
        let table = |what, blind: Option<&str>, heard: bool| {
            let health = Health {
                blind: blind.map(str::to_owned),
                silence: heard.then_some(Duration::from_secs(100)),
                errors: 0,
                undecoded: 0,
            };
            (what, health)
        };
        let tables = [
            table("pods", Some("its watch was lost: connection refused"), true),
            table("namespaces", None, true),
            table("rollouts.argoproj.io", None, false),
            table("gateways", Some("not listed yet"), false),
        ];
        assert_eq!(
            stale(&tables),
            ["pods: its watch was lost: connection refused"]
        );
    }
}
