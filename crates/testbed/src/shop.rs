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
pub use visitors::{LoadHandle, LoadOptions, SIDECARS, load_start};

use crate::istio::Injection;
use crate::{Cluster, cargo, images};

/// The image of the shop and of its visitors: this very program on the base image.
pub const IMAGE: &str = "testbed.local/shop:1";
/// Namespaces of the shop.
pub const NAMESPACES: [&str; 2] = ["shop", "orders"];
/// Namespaces of what stands beside the shop: a copy of it to try things on, and a blog.
pub const NEIGHBOURS: [&str; 2] = ["shop-staging", "blog"];
/// What the neighbours answer to.
pub const NEIGHBOUR_URLS: [&str; 2] = ["http://storefront.shop-staging/", "http://blog.blog/"];
/// Namespace of the visitors.
pub const VISITORS: &str = "visitors";
/// Namespace of the guests, who have no sidecar.
pub const GUESTS: &str = "guests";

/// Loads the image into the cluster and applies the shop's manifests.
pub async fn deploy(cluster: &Cluster, injection: &Injection) -> Result<()> {
    load_image(cluster).await?;
    apply(cluster, include_str!("shop/shop.yaml"), injection)
        .await
        .context("applying the shop's manifests")
}

/// Applies what stands beside the shop, once the shop is deployed: two namespaces more, two replicas in each.
pub async fn deploy_neighbours(cluster: &Cluster, injection: &Injection) -> Result<()> {
    apply(cluster, include_str!("shop/neighbours.yaml"), injection)
        .await
        .context("applying the manifests of the shop's neighbours")
}

/// The manifests ask for sidecars by the default revision; another way is written over that.
async fn apply(cluster: &Cluster, manifests: &str, injection: &Injection) -> Result<()> {
    let default = Injection::default().label();
    let manifests = manifests.replace(&default, &injection.label());
    cluster.apply_yaml(&manifests).await
}

/// Waits until every workload of the shop is rolled out and available.
pub async fn wait_ready(cluster: &Cluster, limit: Duration) -> Result<()> {
    wait_ready_in(&cluster.client(), &NAMESPACES, limit).await
}

/// Loads the image of the shop into the cluster, for workloads that others make of it.
pub async fn load_image(cluster: &Cluster) -> Result<()> {
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
    cargo::build("testbed", profile)
}
