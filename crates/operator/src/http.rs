//! `/healthz`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use meshlift_cluster::Watches;
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
    let measured = move || {
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

/// Ready once the MeshUpgrades were listed: without the CRDs or the rights it never is.
async fn ready(watches: Watches) -> (StatusCode, &'static str) {
    match watches.upgrades.is_complete() {
        true => (StatusCode::OK, "ok"),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            "MeshUpgrades are not listed yet",
        ),
    }
}
