//! The scripts of deploy/argocd, run by the code of Argo CD itself: on the objects beside them, and on what the operator
//! really writes. No cluster is needed.

mod meshes;
mod runner;
mod scripts;
mod upgrades;
