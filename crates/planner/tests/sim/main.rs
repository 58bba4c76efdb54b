//! The planner against a simulated cluster: stories as golden transcripts, the same stories
//! crashed at every point, shown stale views, and in the middle of a cluster's life.
#![allow(unreachable_pub)] // One crate: `pub` here means other modules of it.

mod budgets;
mod chaos;
mod digest;
mod evict;
mod execute;
mod gateways;
mod helm;
mod invariants;
mod istiod;
mod last_release;
mod life;
mod lives;
mod observe;
mod run;
mod scenes;
mod seeded;
mod stories;
mod transcript;
mod world;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
