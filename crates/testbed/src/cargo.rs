//! Programs of this workspace, built by cargo when they are needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Builds a program of the workspace, in the given profile, and returns its path. The features of its dependencies are
/// those of the whole workspace, so that what the tests were built with serves it too: with `--package` half of the
/// dependencies would be compiled a second time.
pub fn build(program: &str, profile: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // It ends with us, also when only we are interrupted.
    let mut command = Command::new("setpriv");
    // What cargo tells a test of its package is not for the build: build scripts that read it would run again, and
    // with them most of what is built, now and the next time without it.
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if told.iter().any(|of| name.to_string_lossy().starts_with(of)) {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["--pdeathsig", "TERM", "--"])
        .arg(cargo)
        .args(["build", "--locked", "--workspace", "--bin", program])
        .args([
            "--profile",
            profile,
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(workspace())
        .output()
        .with_context(|| format!("cannot run cargo to build `{program}`: is Rust installed?"))?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        bail!("cargo could not build `{program}`:\n{}", log.trim_end());
    }
    executable(&output.stdout, program)
        .with_context(|| format!("cargo built `{program}`, but does not say where"))
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The program among cargo's messages: where the target directory is, only cargo knows.
fn executable(messages: &[u8], program: &str) -> Option<PathBuf> {
    let messages = String::from_utf8_lossy(messages);
    let message = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|message| {
            message["target"]["name"] == program && message["executable"].is_string()
        })?;
    message["executable"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"operator","kind":["lib"]},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"operator","kind":["bin"]},"executable":"/t/operator"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(
            executable(messages.as_bytes(), "operator"),
            Some("/t/operator".into())
        );
        assert_eq!(executable(messages.as_bytes(), "testbed"), None);
    }
}
