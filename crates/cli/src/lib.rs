//! The command line of Meshlift.
//!
//! It looks at the cluster with the operator's own eyes (`meshlift-cluster`) and asks the operator's own
//! planner (`meshlift-planner`): what it says is what an upgrade will do.

pub mod args;
mod commands;
mod connect;
mod exit;
mod failure;
mod follow;
mod look;
mod output;
mod render;
mod terminal;

pub use commands::{Called, run};
pub use exit::Exit;
pub use failure::Usage;
pub use terminal::Terminal;
