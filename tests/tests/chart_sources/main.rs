//! Chart repositories as they are in the world, on loopback: an HTTP server that is told how to behave and
//! the distribution project's registry. No cluster is needed.

mod fixture;
mod helm;
mod http;
mod oci;
mod pinned;
