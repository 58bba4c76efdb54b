//! The generated manifests and the chart on a real API server: what the CRDs accept, what the
//! admission policies let through, what the operator's account may do.
//!
//! One cluster serves all tests of this binary; the chart is installed on it with Helm.

mod attack;
mod chart;
mod crds;
mod environment;
mod examples;
mod fence;
mod fence_foreign;
mod fence_releases;
mod helm;
mod istio_rights;
mod operator;
mod policies;
mod release_catalog;
mod rights;
mod uninstall;
mod waves;
