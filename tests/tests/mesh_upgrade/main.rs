//! The whole thing, on a real node: istiod of two minors, real sidecars, traffic under the upgrade.
//! Root only; said loudly where it is not.

mod afterwards;
mod bad_luck;
mod by_hand;
mod chain;
mod colleagues;
mod company;
mod data_plane;
mod fixture;
mod in_place;
mod kills;
mod rendered;
mod reports;
mod rollback;
mod street;
mod tags;
mod waves;
