//! A shop of a few workloads in the mesh, with visitors that keep calling it.
//!
//! [`deploy`] it, [`wait_ready`], then [`load_start`]: from then on every request of the visitors is
//! counted, over restarts of the shop, of the visitors and of every sidecar between them.

mod ready;
pub mod serve;
mod visitors;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

pub use ready::{Rollout, rollouts, wait_ready_in};
pub use visitors::{LoadHandle, LoadOptions, load_start};

use crate::{Cluster, cargo, images};

/// The image of the shop and of its visitors: this very program on the base image.
pub const IMAGE: &str = "testbed.local/shop:1";
/// Namespaces of the shop.
pub const NAMESPACES: [&str; 2] = ["shop", "orders"];
/// Namespace of the visitors.
pub const VISITORS: &str = "visitors";

/// Loads the image into the cluster and applies the shop's manifests.
pub async fn deploy(cluster: &Cluster) -> Result<()> {
    load_image(cluster).await?;
    let manifests = include_str!("shop.yaml");
    cluster
        .apply_yaml(manifests)
        .await
        .context("applying the shop's manifests")?;
    Ok(())
}

/// Waits until every workload of the shop is rolled out and available.
pub async fn wait_ready(cluster: &Cluster, limit: Duration) -> Result<()> {
    wait_ready_in(&cluster.client(), &NAMESPACES, limit).await
}

async fn load_image(cluster: &Cluster) -> Result<()> {
    let program = tokio::task::spawn_blocking(program).await??;
    let base = cluster.tools().rootfs()?;
    let image = images::Image {
        name: IMAGE,
        base: Some(base),
        files: &[(&program, "/usr/local/bin/testbed")],
        entrypoint: &["/usr/local/bin/testbed"],
        user: "65532:65532",
    };
    cluster
        .load_image(&images::write(&image)?)
        .await
        .context("loading the shop's image")
}

/// The `testbed` program: this process, or, in a test, one that cargo builds.
fn program() -> Result<PathBuf> {
    let current = std::env::current_exe().context("finding the path of this program")?;
    if current.file_stem().is_some_and(|name| name == "testbed") {
        return Ok(current);
    }
    let profile = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    };
    cargo::build("meshlift-testbed", "testbed", profile)
}
