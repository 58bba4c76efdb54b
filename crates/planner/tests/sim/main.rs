//! The planner against a simulated cluster: stories as golden transcripts, the same stories
//! crashed at every point, and shown stale views.
#![allow(unreachable_pub)] // One crate: `pub` here means other modules of it.

mod chaos;
mod digest;
mod evict;
mod execute;
mod gateways;
mod helm;
mod observe;
mod run;
mod scenes;
mod stories;
mod transcript;
mod world;
