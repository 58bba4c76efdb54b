//! The cache: directories named by what went into them, filled by one process at a time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use sha2::{Digest, Sha256};

/// `$MESHLIFT_CACHE`, or `~/.cache/meshlift`.
pub fn directory() -> Result<PathBuf> {
    let path = match std::env::var_os("MESHLIFT_CACHE") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(std::env::var_os("HOME").ok_or_else(|| {
            anyhow!("neither MESHLIFT_CACHE nor HOME is set: set MESHLIFT_CACHE to a directory")
        })?)
        .join(".cache/meshlift"),
    };
    fs::create_dir_all(&path).with_context(|| {
        format!(
            "cannot create the cache {}: set MESHLIFT_CACHE to a writable directory",
            path.display()
        )
    })?;
    Ok(path)
}

/// Hexadecimal SHA-256 of `bytes`.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// The cache directory for `name` made from `inputs`: the same inputs, the same path.
pub fn path(name: &str, inputs: &[&[u8]]) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    for input in inputs {
        // The length keeps ["ab","c"] apart from ["a","bc"].
        hash.update((input.len() as u64).to_le_bytes());
        hash.update(input);
    }
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(directory()?.join(format!("{name}-{}", &hex[..12])))
}

/// Removes what was made under `name` more than `age` ago: for what is made anew with every build of ours.
pub fn prune(name: &str, age: Duration) -> Result<()> {
    for entry in fs::read_dir(directory()?)?.flatten() {
        let made = entry.metadata().and_then(|metadata| metadata.modified());
        let old = made.is_ok_and(|made| made.elapsed().is_ok_and(|elapsed| elapsed > age));
        if old
            && entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("{name}-"))
        {
            // Another process may be removing it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Returns `target`, filled by `fill` if it is not there yet. Other processes that want it wait meanwhile,
/// and never see it half filled: it is filled under another name and renamed.
pub fn cached(target: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    if target.exists() {
        return Ok(target.to_owned());
    }
    let beside = |suffix: &str| {
        let mut name = target.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let lock_path = beside(".lock");
    let lock = File::create(&lock_path)
        .with_context(|| format!("cannot create the lock {}", lock_path.display()))?;
    lock.lock()
        .with_context(|| format!("cannot take the lock {}", lock_path.display()))?;
    if target.exists() {
        return Ok(target.to_owned());
    }
    let partial = beside(".partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    fill(&partial)?;
    fs::rename(&partial, target)
        .with_context(|| format!("cannot move what was made to {}", target.display()))?;
    // Removed while still locked: a waiter that holds the old file sees the target at once.
    let _ = fs::remove_file(&lock_path);
    Ok(target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_target_is_filled_once_by_whoever_comes_first() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let target = directory.path().join("thing");
        let fills = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let fill = || {
                cached(&target, |partial| {
                    fills.fetch_add(1, Ordering::SeqCst);
                    Ok(fs::write(partial.join("file"), "whole")?)
                })
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(fill)).collect();
            for thread in threads {
                let path = thread.join().map_err(|_| anyhow!("a thread panicked"))??;
                assert_eq!(fs::read_to_string(path.join("file"))?, "whole");
            }
            anyhow::Ok(())
        })?;
        assert_eq!(fills.load(Ordering::SeqCst), 1);
        Ok(())
    }

    #[test]
    fn a_failed_fill_leaves_no_target_and_can_be_repeated() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let target = directory.path().join("thing");
        let failed = cached(&target, |partial| {
            fs::write(partial.join("half"), "")?;
            Err(anyhow!("on purpose"))
        });
        assert!(failed.is_err() && !target.exists());
        cached(&target, |partial| {
            Ok(fs::write(partial.join("file"), "whole")?)
        })?;
        assert!(target.join("file").exists() && !target.join("half").exists());
        Ok(())
    }

    #[test]
    fn paths_tell_inputs_apart_also_when_joined_they_are_alike() -> Result<()> {
        assert_ne!(path("x", &[b"ab", b"c"])?, path("x", &[b"a", b"bc"])?);
        assert_eq!(path("x", &[b"ab", b"c"])?, path("x", &[b"ab", b"c"])?);
        Ok(())
    }
}
