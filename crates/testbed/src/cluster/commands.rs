//! kubectl, Helm and other programs, run to their end.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Cluster;

impl Cluster {
    /// Runs kubectl as administrator and returns what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run_tool("kubectl", arguments, &[]).await
    }

    /// Runs Helm as administrator and returns what it printed.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.run_tool("helm", arguments, &[]).await
    }

    /// Applies manifests, as `kubectl apply --server-side -f -` does.
    pub async fn apply_yaml(&self, manifests: &str) -> Result<()> {
        let arguments = [
            "apply",
            "--server-side",
            "--field-manager=testbed",
            "-f",
            "-",
        ];
        self.run_tool("kubectl", &arguments, manifests.as_bytes())
            .await
            .map(drop)
    }

    async fn run_tool(&self, tool: &str, arguments: &[&str], input: &[u8]) -> Result<String> {
        let program = self.tools().program(tool)?;
        let mut all = vec![format!("--kubeconfig={}", self.kubeconfig().display())];
        all.extend(arguments.iter().map(|a| (*a).to_owned()));
        let mut command = Command::new(program);
        command.args(&all);
        // Helm keeps its repositories and cache there: not the user's.
        let home = self.scratch().join("helm");
        for (variable, directory) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(variable, home.join(directory));
        }
        finish(command, &format!("{tool} {}", arguments.join(" ")), input).await
    }
}

/// Runs `program` and returns what it printed; fails with what it said.
pub(crate) async fn run(
    program: impl AsRef<Path>,
    arguments: &[String],
    input: &[u8],
) -> Result<String> {
    let program = program.as_ref();
    let mut command = Command::new(program);
    command.args(arguments);
    finish(
        command,
        &format!("{} {}", program.display(), arguments.join(" ")),
        input,
    )
    .await
}

async fn finish(mut command: Command, shown: &str, input: &[u8]) -> Result<String> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if let Some(mut stdin) = child.stdin.take()
        && let Err(error) = stdin.write_all(input).await
    {
        // It stopped reading: its own message, below, says why.
        tracing::debug!("`{shown}` did not read its input: {error}");
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
