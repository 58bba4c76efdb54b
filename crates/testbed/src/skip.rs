//! Tests that this machine or user cannot run are skipped loudly, not silently.

use std::io::Write;

/// Whether the caller is root; if not, says on standard error that `test` is skipped and how to run it.
pub fn is_root_or_skips(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    // Past the test harness, which would keep it to itself.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED {test}: it needs root for namespaces and containers; run the tests with sudo"
    );
    false
}
