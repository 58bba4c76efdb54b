//! What is in the registry: charts as Helm pushes them, and tags of other things.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::{JUNK, MISLABELLED, PATH, Registry, RegistryOptions};
use crate::tools::{self, Tools};
use crate::{charts, progress, versions};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Daily builds of istiod, whose tags fill several pages.
const DAILY: u32 = 100;
const CHARTS: [&str; 2] = ["base", "istiod"];

/// The directory of a registry's storage, made now if the cache lacks it; blocks meanwhile.
pub(super) fn with_charts(tools: &Tools) -> Result<PathBuf> {
    let (helm, registry) = (tools.program("helm")?, tools.program("registry")?);
    let archives = charts::repository(helm, &versions::ISTIO)?;
    let key = format!(
        "{} {} {JUNK:?} {MISLABELLED} {DAILY} {CHARTS:?}",
        archives.display(),
        registry.display()
    );
    tools::cached(
        &tools::cache_path("registry-charts", &[key.as_bytes()])?,
        |directory| {
            let task = progress::task("push Istio's charts to a registry");
            // Not the runtime of whoever waits: this may be called on a thread of that.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(fill(helm, registry, &archives, directory))?;
            task.done();
            Ok(())
        },
    )
}

async fn fill(helm: &Path, registry: &Path, archives: &Path, directory: &Path) -> Result<()> {
    let registry = Registry::over(registry, directory, false, RegistryOptions::default()).await?;
    for (version, _) in versions::ISTIO {
        for chart in CHARTS {
            let archive = archives.join(format!("{chart}-{version}.tgz"));
            let mut push = Command::new(helm);
            push.arg("push").arg(archive).arg(registry.charts());
            tools::run(push.arg("--plain-http"))?;
        }
    }
    for chart in CHARTS {
        let base = format!("http://{}/v2/{PATH}/{chart}/manifests", registry.address());
        let manifest = manifest(&format!("{base}/{}", versions::ISTIO_TO)).await?;
        for tag in JUNK.iter().chain([&MISLABELLED]) {
            put(&format!("{base}/{tag}"), &manifest).await?;
        }
        let daily = if chart == "istiod" { DAILY } else { 1 };
        for day in 0..daily {
            let commit = tools::sha256_hex(&day.to_le_bytes());
            put(&format!("{base}/1.32-alpha.{}", &commit[..40]), &manifest).await?;
        }
    }
    Ok(())
}

async fn manifest(url: &str) -> Result<String> {
    let request = reqwest::Client::new().get(url).header(ACCEPT, MANIFEST);
    Ok(request.send().await?.error_for_status()?.text().await?)
}

async fn put(url: &str, manifest: &str) -> Result<()> {
    let request = reqwest::Client::new().put(url);
    let request = request.header(CONTENT_TYPE, MANIFEST);
    let answer = request.body(manifest.to_owned()).send().await;
    let status = answer
        .with_context(|| format!("cannot tag {url}"))?
        .status();
    ensure!(
        status.is_success(),
        "the registry answers {status} to {url}"
    );
    Ok(())
}
