//! A shop of a few workloads in the mesh, with visitors that keep calling it.

pub mod serve;
