//! A real Kubernetes cluster with a real Istio on this machine, for tests, the demo and benchmarks.
//!
//! [`Cluster::up`] installs and builds what is missing, starts the cluster in namespaces of its own
//! and ends it with the process that owns it, however that process ends.

pub mod bench;
pub mod cargo;
pub mod charts;
pub mod cluster;
pub mod demo;
pub mod free_address;
pub mod images;
pub mod istio;
pub mod load;
pub mod owner;
pub mod process;
pub mod progress;
pub mod registry;
pub mod shop;
pub mod simulated;
pub mod skip;
pub mod tls;
pub mod tools;
pub mod versions;

pub use cluster::{Cluster, Options, Profile};
