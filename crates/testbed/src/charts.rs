//! Istio's charts, packed from its sources, and the repository that serves them.

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

pub use self::server::{ChartServer, Login, Mode, Request, ServerOptions, Validator};
use crate::versions::PinnedIstio;
use crate::{progress, tools};

/// Charts and their places below `manifests/charts` in Istio's sources.
const CHARTS: [(&str, &str); 5] = [
    ("base", "base"),
    ("istiod", "istio-control/istio-discovery"),
    ("cni", "istio-cni"),
    ("ztunnel", "ztunnel"),
    ("gateway", "gateway"),
];

/// The directory of a chart repository with these Istio versions, made by this Helm now if the cache
/// lacks it; blocks meanwhile.
pub fn repository(helm: &Path, istio: &[PinnedIstio]) -> Result<PathBuf> {
    let key = format!("{istio:?} {CHARTS:?} {}", helm.display());
    tools::cached(
        &tools::cache_path("charts", &[key.as_bytes()])?,
        |directory| {
            let task = progress::task("pack Istio's charts");
            for (version, _) in istio {
                let sources = tools::istio_sources(version)?.join("manifests/charts");
                for (name, place) in CHARTS {
                    pack(helm, &sources.join(place), version, directory)
                        .with_context(|| format!("cannot pack chart {name} {version}"))?;
                }
            }
            tools::run(Command::new(helm).args(["repo", "index"]).arg(directory))?;
            task.done();
            Ok(())
        },
    )
}

fn pack(helm: &Path, chart: &Path, version: &str, into: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    copy(chart, work.path())?;
    // A release names its own images; the sources name those of the day.
    let values = work.path().join("values.yaml");
    let text = fs::read_to_string(&values)?
        .replace("registry.istio.io/testing", "registry.istio.io/release")
        .replace("tag: latest", &format!("tag: {version}"));
    fs::write(&values, text)?;
    let mut package = Command::new(helm);
    package.args([
        "package",
        "--version",
        version,
        "--app-version",
        version,
        "--destination",
    ]);
    tools::run(package.arg(into).arg(work.path()))
}

// The module cache is read-only, also its directories: copying modes would make what nobody can change.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
