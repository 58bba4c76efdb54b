//! What the integration tests share: a cluster with Meshlift installed, the operator as a process,
//! and what both leave to be read.

pub mod audit;
pub mod bed;
pub mod blocked;
pub mod faulty;
pub mod freeze;
pub mod hands;
pub mod istio;
pub mod leaves;
pub mod operator;
pub mod releases;
pub mod repository;
pub mod upgrades;
pub mod wait;
