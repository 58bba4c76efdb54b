//! The scratch directory of a cluster, and what a cluster that was killed left behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const PREFIX: &str = "meshlift-cluster-";
const LOCK: &str = "owner.lock";
const CGROUPS: &str = "/sys/fs/cgroup";

/// A directory that lives as long as the cluster; its lock says that the owner lives.
pub(super) struct Scratch {
    path: PathBuf,
    id: String,
    // Held, not read: the lock ends with this process, however it ends.
    _lock: File,
}

impl Scratch {
    pub(super) fn new() -> Result<Self> {
        sweep();
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir().context(
            "cannot make a scratch directory: set TMPDIR to a directory with some gigabytes of free space",
        )?;
        let lock = File::create(directory.path().join(LOCK))?;
        lock.try_lock()
            .context("the scratch directory is new, but somebody holds its lock")?;
        let path = directory.keep();
        let id = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(Scratch {
            path,
            id,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the control group above all pods of this cluster.
    pub(super) fn cgroup(&self) -> &str {
        &self.id
    }

    /// Makes that control group in every hierarchy: the kubelet wants to find it.
    pub(super) fn create_cgroups(&self) -> Result<()> {
        for hierarchy in hierarchies() {
            let group = hierarchy.join(&self.id);
            fs::create_dir_all(&group)
                .with_context(|| format!("cannot create the control group {}", group.display()))?;
            inherit_cpuset(&hierarchy, &group)?;
            delegate_controllers(&hierarchy);
            prefer(&group);
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path, &self.id) {
            tracing::warn!("left behind {}: {error:#}", self.path.display());
        }
    }
}

/// Removes what clusters left whose owners are gone.
pub(crate) fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if !id.starts_with(PREFIX) {
            continue;
        }
        // No lock file yet: somebody is just making it.
        let Ok(lock) = File::open(entry.path().join(LOCK)) else {
            continue;
        };
        if lock.try_lock().is_ok()
            && let Err(error) = remove(&entry.path(), &id)
        {
            tracing::warn!("cannot remove what a dead cluster left: {error:#}");
        }
    }
}

fn remove(path: &Path, id: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    for hierarchy in hierarchies() {
        let group = hierarchy.join(id);
        while group.exists() && remove_group(&group).is_err() {
            if Instant::now() > end {
                bail!("{} still holds processes", group.display());
            }
            // The kernel is still taking the dead processes out of it.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // The lock goes last: without it nobody would come back for the rest.
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))
}

fn remove_group(group: &Path) -> Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    Ok(fs::remove_dir(group)?)
}

/// The mount points of the control group hierarchies: one (v2), or one per controller (v1, hybrid).
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(CGROUPS);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists())
        .collect()
}

// A new v1 cpuset is empty, and no process may enter it.
fn inherit_cpuset(hierarchy: &Path, group: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (hierarchy.join(file), group.join(file));
        if from.exists() && to.exists() {
            fs::write(&to, fs::read_to_string(&from)?.trim())
                .with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    Ok(())
}

// What runs in the pods of a node has processors of its own in production. Here the servers, the tests and other clusters
// take theirs from the same two; a request that is lost because nobody ran would be no fault of an upgrade.
fn prefer(group: &Path) {
    // Four times as much as a process beside it: v1, v2.
    for (file, weight) in [("cpu.shares", "4096"), ("cpu.weight", "400")] {
        let file = group.join(file);
        // Where the controller is not there, it is as it was.
        if file.exists() {
            let _ = fs::write(file, weight);
        }
    }
}

// In v2 a group has only the controllers that its parent passes on, and the kubelet insists on most.
fn delegate_controllers(hierarchy: &Path) {
    let controllers = fs::read_to_string(hierarchy.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        // One that cannot be passed on is one that the kubelet may not need: it says so if it does.
        let _ = fs::write(
            hierarchy.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
}
