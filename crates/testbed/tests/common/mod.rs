//! An owner process of a cluster, and what is left of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// `testbed run` in the background, with a state directory of its own.
pub(crate) struct Owner {
    pub(crate) process: Child,
    state: tempfile::TempDir,
    name: String,
}

impl Owner {
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Result<Owner> {
        let state = tempfile::tempdir()?;
        let process = testbed(state.path())
            .args(["run", "--name", name])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Owner {
            process,
            state,
            name: name.into(),
        })
    }

    /// Another command of the program, with the same state.
    pub(crate) fn testbed(&self) -> Command {
        testbed(self.state.path())
    }

    /// The scratch directory, once the cluster is up.
    pub(crate) fn wait_ready(&mut self, limit: Duration) -> Result<PathBuf> {
        let uid = nix::unistd::getuid();
        let ready = self
            .state
            .path()
            .join(format!("meshlift-testbed-{uid}/{}/ready", self.name));
        let end = Instant::now() + limit;
        loop {
            if let Ok(kubeconfig) = std::fs::read_to_string(&ready) {
                return Ok(Path::new(&kubeconfig)
                    .parent()
                    .context("no scratch directory")?
                    .to_owned());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the owner ended: {status}");
            }
            if Instant::now() > end {
                bail!("not ready after {} s", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn testbed(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.env("XDG_RUNTIME_DIR", state);
    command
}

/// The processes that name `scratch` in their arguments.
pub(crate) fn processes_of(scratch: &Path) -> Result<Vec<String>> {
    let scratch = scratch.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path().join("cmdline");
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        if line.contains(&scratch) {
            found.push(line);
        }
    }
    Ok(found)
}

/// Polls until no process names `scratch`.
pub(crate) fn wait_gone(scratch: &Path, limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    loop {
        let left = processes_of(scratch)?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("still running: {left:#?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
