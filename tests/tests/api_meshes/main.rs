//! The mesh list on a real API server, with Istio installed in every usual way: each mesh is found
//! without help, and its object says what runs and what it could be upgraded to.

mod fixture;
mod found;
mod versions;
