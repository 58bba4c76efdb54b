//! Decides what an upgrade does next, and nothing else.
//!
//! [`decide`] is a total, deterministic function of the time, the MeshUpgrade and the observed
//! mesh. It has no clock, no client, no randomness; CI proves it from the dependency tree. So
//! every story of an upgrade can be told, crashed and told again in a test.

mod budgets;
pub mod check;
mod data_plane;
mod decision;
mod detect;
#[cfg(test)]
mod example;
mod heading;
mod injection;
pub mod knowledge;
mod lint;
mod manual;
pub mod mesh_list;
mod message;
mod owners;
mod pace;
mod phase;
pub mod plan;
mod proof;
mod record;
mod reference;
mod refusals;
mod replicas;
mod revision;
pub mod risk;
mod selector;
mod stages;
mod status;
mod steps;
pub mod undecoded;
mod upgrade;
mod values;
pub mod version;
pub mod view;
mod wanted;
mod windows;

pub use data_plane::{DataPlaneView, Held, Placement, Turn, assess};
pub use decision::{
    BackupScope, Batch, Chart, ChartTarget, Decision, Effect, Findings, HELM_TIMEOUT,
    InjectionLabels, Next, Report, TemplateRevision, Verdict, Waiting, WaitingOn,
};
pub use detect::{Counts, Detection, detect, detect_offline};
pub use heading::Heading;
pub use injection::{Injector, injector_of};
pub use lint::{Violation, lint};
pub use manual::{Way, manual};
pub use pace::admitted_by;
pub use phase::{decide, next_version, trial};
pub use proof::{DryRuns, Sample};
pub use record::{
    ChartDigests, Record, RecordedBudget, RecordedGateway, RecordedNamespace, RecordedRelease,
    RecordedTag, RecordedWave,
};
pub use refusals::{Failure, Refusal, Refusals, Tried};
pub use stages::{GATEWAYS, REST, Stage, Stages};
pub use status::{ErrorClass, Executed, RefusedWrite, backoff, fold};
pub use upgrade::Upgrade;
pub use wanted::{ReleasesWanted, Wanted, wanted};
