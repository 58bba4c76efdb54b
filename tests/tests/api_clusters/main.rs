//! A mesh of two clusters: two API servers side by side, the second stamped with the Kubernetes a test
//! wants. The operator runs in the first and must know the second before it touches anything.

mod asked;
mod blocked;
mod fixture;
mod refused;
