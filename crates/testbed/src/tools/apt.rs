//! Debian packages: found by their programs, installed when we are root.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress;

/// A program and the Debian package that brings it.
type Program = (&'static str, &'static str);

/// What a cluster with a real node needs.
pub(super) const NODE: &[Program] = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("mmdebstrap", "mmdebstrap"),
    ("/bin/busybox", "busybox-static"),
    ("buildah", "buildah"),
    ("ip", "iproute2"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
];

/// Installs the packages of every program in `programs` that is not here.
pub(super) fn install_missing(programs: &[Program]) -> Result<()> {
    let packages = missing(programs);
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !nix::unistd::geteuid().is_root() {
        bail!("missing programs: run `sudo apt-get install {list}`, or run this as root");
    }
    let task = progress::task(format!(
        "install {} Debian packages: {list}",
        packages.len()
    ));
    // One dead source among many fails the update; the packages may well be in the others.
    let updated = apt_get(&["update"]);
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&packages);
    if let Err(error) = apt_get(&arguments) {
        updated?;
        return Err(error);
    }
    let left = missing(programs);
    if !left.is_empty() {
        bail!(
            "apt-get installed {list}, but programs of {} are still missing",
            left.join(" ")
        );
    }
    task.done();
    Ok(())
}

/// Fails with the command that mends it when one of `programs` (name, Debian package) is missing.
pub fn require_commands(programs: &[(&'static str, &'static str)]) -> Result<()> {
    install_missing(programs)
}

fn missing(programs: &[Program]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

pub(super) fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Path::new(program).exists().then(|| program.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A user's PATH often lacks the sbin directories; what lies there is still installed.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(arguments)
        .output()
        .context("cannot run apt-get: this needs a Debian or Ubuntu machine")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("`apt-get {}` failed: {}", arguments.join(" "), text.trim());
    }
    Ok(())
}
