//! The operator: watches, reconcile, leader election, health and metrics.

mod controller;
mod events;
mod http;
mod journal;
mod leader;
mod locks;
mod meshes;
mod metrics;
mod refresh;
mod run;
pub mod telemetry;

pub use run::{Options, run};
