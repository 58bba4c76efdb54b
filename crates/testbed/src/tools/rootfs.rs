//! The base root filesystem of every image that is more than one static program.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cache;
use crate::{progress, versions};

// iptables for istio-init and the agent, curl and certificates for people who look inside.
const PACKAGES: &str = "iptables,ca-certificates,curl";

/// The root filesystem as an uncompressed tar, made now if the cache lacks it.
pub(super) fn ensure() -> Result<PathBuf> {
    let inputs = [versions::DEBIAN.as_bytes(), PACKAGES.as_bytes()];
    let directory = cache::cached(&cache::path("rootfs", &inputs)?, |directory| {
        let task = progress::task(format!("make the Debian {} base image", versions::DEBIAN));
        let output = Command::new("mmdebstrap")
            .args([
                "--variant=minbase",
                "--quiet",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
            ])
            .args([
                "--dpkgopt=path-exclude=/usr/share/man/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
            ])
            .arg(format!("--include={PACKAGES}"))
            .arg(versions::DEBIAN)
            .arg(directory.join("base.tar"))
            .output()
            .context("cannot run mmdebstrap: run `apt-get install mmdebstrap`")?;
        if !output.status.success() {
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("mmdebstrap failed ({}): {}", output.status, log.trim());
        }
        task.done();
        Ok(())
    })?;
    Ok(directory.join("base.tar"))
}
