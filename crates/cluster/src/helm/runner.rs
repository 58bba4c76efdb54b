//! Whose operation a Helm release is in the middle of.
//!
//! Helm takes the labels of a release over from one revision to the next, so a label that names an upgrade is on
//! everyone's operations after our first. Every run of ours therefore writes a label value that was never used before: an
//! operation whose value is also on an earlier revision has inherited it, and is someone else's. (The description, which
//! is not inherited, is only written when an operation ends.)

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meshlift_model::view::HelmRunner;
use sha2::{Digest, Sha256};

/// Label on Helm's storage with who began the operation, and which of its operations it is.
pub const OPERATION_LABEL: &str = "meshlift.io/operation";

/// This process, as it signs what it begins.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Of the pod: it stays the same when its container is started again.
    pod: String,
    /// Of this process.
    process: String,
    runs: Arc<AtomicU64>,
}

impl Runner {
    /// Of a process in this pod; with no name, in one that nobody else is in.
    pub fn new(pod: Option<&str>) -> Self {
        let process = unique();
        let pod = match pod {
            Some(name) => short(&Sha256::digest(name)),
            None => process.clone(),
        };
        Self {
            pod,
            process,
            runs: Arc::default(),
        }
    }

    /// A value for the label that was never used before.
    pub fn sign(&self) -> String {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        format!("{}.{}.{run}", self.pod, self.process)
    }

    /// Who began an operation with this value, if anyone of ours.
    pub fn whose(&self, signature: Option<&str>) -> HelmRunner {
        let mut parts = signature.unwrap_or_default().split('.');
        match (parts.next(), parts.next(), parts.next()) {
            (_, Some(process), Some(_)) if process == self.process => HelmRunner::Here,
            (Some(pod), Some(_), Some(_)) if pod == self.pod => HelmRunner::Before,
            (Some(_), Some(_), Some(_)) => HelmRunner::Elsewhere,
            _ => HelmRunner::Foreign,
        }
    }
}

/// Something that no other process has: the standard library seeds its hash maps from the system's randomness.
pub fn unique() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

fn short(digest: &[u8]) -> String {
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_known_by_process_and_by_pod() {
        let (one, other) = (
            Runner::new(Some("meshlift-0")),
            Runner::new(Some("meshlift-1")),
        );
        let again = Runner::new(Some("meshlift-0"));
        let signed = one.sign();
        assert_ne!(signed, one.sign(), "never used before");
        assert!(signed.len() <= 63, "{signed} is no label value");
        assert_eq!(one.whose(Some(&signed)), HelmRunner::Here);
        assert_eq!(again.whose(Some(&signed)), HelmRunner::Before);
        assert_eq!(other.whose(Some(&signed)), HelmRunner::Elsewhere);
        assert_eq!(one.whose(None), HelmRunner::Foreign);
        assert_eq!(one.whose(Some("flux")), HelmRunner::Foreign);
    }

    #[test]
    fn without_a_name_every_process_is_in_a_pod_of_its_own() {
        let signed = Runner::new(None).sign();
        assert_eq!(
            Runner::new(None).whose(Some(&signed)),
            HelmRunner::Elsewhere
        );
    }
}
