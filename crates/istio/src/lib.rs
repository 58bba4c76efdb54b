//! What is known of Istio, whatever mesh it runs in: its versions and the steps between them, its releases and what they
//! change, and the Helm values of its charts.
//!
//! It has no clock, no client and no randomness, like all crates up to `meshlift-guide`; CI proves it from the
//! dependency tree.

pub mod knowledge;
pub mod risk;
pub mod values;
pub mod version;
