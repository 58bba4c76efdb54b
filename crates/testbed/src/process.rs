//! What the kernel says of a process: its memory, that of what it runs, and the CPU that it uses.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

/// How often memory is looked at. Helm renders a chart in a second or two.
const EVERY: Duration = Duration::from_millis(50);

/// The most memory that a process ever had, in KiB.
pub fn peak_kib(pid: u32) -> Result<u64> {
    kib(pid, "VmHWM:").context("the kernel says no VmHWM")
}

/// A line of `/proc/PID/status`, in KiB; none once the process is gone.
fn kib(pid: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The processes that a process started and that still run, whichever of its threads did.
pub fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut pids = Vec::new();
    for list in lists {
        pids.extend(
            list.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    pids
}

/// The name of a process; none once it is gone.
pub fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// The CPU time that the threads of a process have used.
pub fn cpu(pid: u32) -> Result<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")?;
    let mut nanoseconds = 0;
    for thread in threads.flatten() {
        // A thread that ends meanwhile is left out.
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else {
            continue;
        };
        let used = text.split_whitespace().next().context("no time on a CPU")?;
        nanoseconds += used.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Looks at a process and its children again and again, until it is dropped.
pub struct Together {
    all: Arc<AtomicU64>,
    children: Arc<AtomicU64>,
    watching: JoinHandle<()>,
}

impl Together {
    /// Begins to look.
    pub fn watch(pid: u32) -> Self {
        let (all, of_children) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let most = (Arc::clone(&all), Arc::clone(&of_children));
        let watching = tokio::spawn(async move {
            loop {
                let resident = |pid: u32| kib(pid, "VmRSS:").unwrap_or_default();
                let theirs = children(pid).into_iter().map(resident).sum();
                most.0.fetch_max(resident(pid) + theirs, Ordering::Relaxed);
                most.1.fetch_max(theirs, Ordering::Relaxed);
                tokio::time::sleep(EVERY).await;
            }
        });
        Self {
            all,
            children: of_children,
            watching,
        }
    }

    /// The most that the process and its children had at the same time, in KiB.
    pub fn most_kib(&self) -> u64 {
        self.all.load(Ordering::Relaxed)
    }

    /// The most that its children had, in KiB.
    pub fn most_of_children_kib(&self) -> u64 {
        self.children.load(Ordering::Relaxed)
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_seen_with_what_it_runs() {
        let own = std::process::id();
        let together = Together::watch(own);
        let mut child = std::process::Command::new("sleep")
            .arg("5")
            .spawn()
            .expect("a child");
        tokio::time::sleep(4 * EVERY).await;
        assert!(children(own).contains(&child.id()));
        assert_eq!(name(child.id()).as_deref(), Some("sleep"));
        assert!(together.most_of_children_kib() > 0);
        assert!(together.most_kib() > together.most_of_children_kib());
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }

    #[test]
    fn a_busy_process_uses_cpu() {
        let own = std::process::id();
        let before = cpu(own).expect("it runs");
        let until = std::time::Instant::now() + Duration::from_millis(50);
        while std::time::Instant::now() < until {}
        assert!(cpu(own).expect("it runs") > before);
        assert!(peak_kib(own).expect("it runs") > 0);
    }
}
