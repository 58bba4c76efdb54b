//! Every effect on the cluster: observing it, executing decisions, Helm, writing status. Looks and
//! acts, and chooses nothing.

pub mod backup;
pub mod charts;
mod error;
pub mod execute;
pub mod helm;
pub mod journal;
pub mod kubeconfig;
pub mod mesh_status;
pub mod observe;
mod quantity;
mod slim;
pub mod status;
pub mod tenure;
pub mod undecoded;
pub mod watch;
mod words;

pub use error::{Error, Result};
pub use execute::Executor;
pub use observe::Observer;
pub use tenure::Tenure;
pub use watch::Watches;

/// Where this operator runs, and with what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the operator: records and the lease are there.
    pub namespace: String,
    /// Chart repository for a Mesh that is made by discovery.
    pub default_charts_repository: String,
    /// How many backups and records of a mesh are kept; all of them where it is 0.
    pub keep_backups: usize,
    /// The Helm program.
    pub helm: helm::Helm,
}
