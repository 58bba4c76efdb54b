//! The operator as a process on a real API server, without a node: what ends before anything is
//! touched, how a run is held and stopped, and how the process itself behaves.
//!
//! Istio's releases are real ones, installed by Helm; only what a kubelet and istiod would write is
//! written by the test: that istiod's pods are ready, and the CA bundles of its webhooks.

mod detecting;
mod fixture;
mod helm_runs;
mod keeping;
mod leading;
mod meanwhile;
mod process;
mod release_catalog;
mod repository;
mod rivals;
mod running;
mod settled;
