//! The mesh list: which meshes a cluster has, and what is to be said of each.
//!
//! Pure, like everything here: the same look gives the same status, so that nothing is written while
//! nothing changes.

mod clusters;
mod conditions;
mod found;
mod members;
mod news;
mod offers;
mod status;

pub use found::{FoundMesh, meshes, without_object};
pub use news::{News, news};
pub use status::{KnownMesh, mesh_status};

#[cfg(test)]
mod tests;
