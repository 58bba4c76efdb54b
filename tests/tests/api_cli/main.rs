//! The command line as a process, on a real API server: what it prints, and with which code it ends.
//!
//! Istio's releases are real ones, installed by Helm; no operator runs.

mod fixture;
mod following;
mod keeping;
mod kept;
mod looking;
mod reaching;
mod steering;
mod upgrading;
mod without_crds;
