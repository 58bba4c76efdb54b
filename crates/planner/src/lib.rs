//! Decides what an upgrade does next, and nothing else.
//!
//! [`decide`] is a total, deterministic function of the time, the MeshUpgrade and the observed
//! mesh. It has no clock, no client, no randomness; CI proves it from the dependency tree. So
//! every story of an upgrade can be told, crashed and told again in a test.

mod legs;
mod lint;
mod phase;
mod status;
pub mod undecoded;
mod wanted;

pub use lint::{Violation, lint};
pub use phase::{decide, drafted, tags_to_move, to_move, trial};
pub use status::fold;
pub use wanted::{ReleasesWanted, Wanted, wanted};
