//! What an upgrade would do, before anything is touched, and how a person does it by hand.

mod manual;
pub mod plan;

pub use manual::{Way, manual};
