//! What people read, made of what programs know. Pure: what is printed can be tested.

pub(crate) mod backups;
pub(crate) mod checks;
pub(crate) mod meshes;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod upgrade;
