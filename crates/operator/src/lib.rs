//! Placeholder for the crate root.
