//! The program that holds the code of Argo CD.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use meshlift_testbed::tools;
use serde::Deserialize;
use serde_json::Value;

/// A folder or file of deploy/argocd.
pub(crate) fn deployed(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/argocd");
    root.join(path)
}

pub(crate) const CONFIG_MAP: &str = "argocd-cm.yaml";
pub(crate) const CUSTOMIZATIONS: &str = "resource_customizations";

/// What Argo CD makes of an object.
#[derive(Debug, Deserialize)]
pub(crate) struct Shown {
    /// None for a kind without a health check.
    pub(crate) health: Option<Health>,
    /// Actions that are listed and cannot be run.
    pub(crate) disabled: Vec<String>,
    /// The object after each action that can be run.
    pub(crate) actions: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Health {
    pub(crate) status: String,
    pub(crate) message: String,
}

impl Shown {
    pub(crate) fn status(&self) -> &str {
        self.health.as_ref().map_or("none", |health| &health.status)
    }

    /// The names of the actions that can be run.
    pub(crate) fn offered(&self) -> Vec<&str> {
        self.actions.keys().map(String::as_str).collect()
    }
}

/// Runs the tables beside the scripts; an error holds everything that differs.
pub(crate) fn test(scripts: &Path, customizations: &Path) -> Result<()> {
    let run = Command::new(tools::argocd_lua()?)
        .arg("test")
        .args([scripts, customizations])
        .output()?;
    if !run.status.success() {
        bail!("{}", String::from_utf8_lossy(&run.stderr).trim());
    }
    Ok(())
}

/// Shows objects to the scripts of the ConfigMap, in their order.
pub(crate) fn show(objects: &[Value]) -> Result<Vec<Shown>> {
    let mut program = Command::new(tools::argocd_lua()?)
        .arg("run")
        .arg(deployed(CONFIG_MAP))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = program.stdin.take().context("a pipe")?;
    input.write_all(&serde_json::to_vec(objects)?)?;
    drop(input);
    let run = program.wait_with_output()?;
    ensure!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let shown: Vec<Shown> = serde_json::from_slice(&run.stdout)?;
    ensure!(shown.len() == objects.len(), "{} objects", shown.len());
    Ok(shown)
}
