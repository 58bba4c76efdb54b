//! What happens to the API server of a cluster that runs: it is upgraded, it goes away, it hangs.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::Cluster;
use super::control_plane::API_SERVER;
use crate::progress;

impl Cluster {
    /// Replaces the API server by one that says it is of `version` (`1.33.2`). Address, certificates and
    /// every object stay, as in an upgrade of Kubernetes.
    pub async fn restart_api_server(&mut self, version: &str) -> Result<()> {
        let (mut tools, stamp) = (self.tools.clone(), version.to_owned());
        self.tools = tokio::task::spawn_blocking(move || {
            tools.stamp_api_server(&stamp)?;
            anyhow::Ok(tools)
        })
        .await??;
        self.options.kubernetes = Some(version.to_owned());
        let task = progress::task(format!("Kubernetes {version} for `{}`", self.options.name));
        self.stop_api_server()?;
        self.start_api_server().await?;
        task.done();
        Ok(())
    }

    /// Stops the API server: connections are refused from now on.
    pub fn stop_api_server(&self) -> Result<()> {
        self.processes.stop(API_SERVER)
    }

    /// Starts an API server that was stopped, and waits until it is ready.
    pub async fn start_api_server(&self) -> Result<()> {
        let inside = |command: &[String]| self.inside(command);
        self.control_plane(&inside)
            .start_api_server(&self.client())
            .await
            .with_context(|| format!("the API server of `{}`", self.options.name))
    }

    /// Holds the API server still: connections are taken and nobody answers.
    pub fn freeze_api_server(&self) -> Result<()> {
        self.processes.signal(API_SERVER, Signal::SIGSTOP)
    }

    /// Lets a frozen API server go on.
    pub fn thaw_api_server(&self) -> Result<()> {
        self.processes.signal(API_SERVER, Signal::SIGCONT)
    }
}
