//! Looks whether a mesh can be upgraded: which mesh, from where to where, and every check. The mesh list is made here
//! too, of the same findings.

pub mod check;
pub mod current;
pub mod detect;
pub mod mesh_list;
pub mod revision;
pub mod step;
pub mod steps;
pub mod survey;

pub use detect::{NextCharts, detect, detect_offline, next_charts};
