//! The mesh as it was observed, what is recorded of it before the first change, what may be decided, and how every
//! workload of the data plane stands.

pub mod budgets;
pub mod data_plane;
pub mod decision;
pub mod detection;
pub mod diff;
#[cfg(any(test, feature = "example"))]
#[expect(missing_docs, reason = "only tests use it")]
pub mod example;
pub mod heading;
pub mod injection;
#[expect(
    missing_docs,
    reason = "each function is one sentence, and the sentence says what it is for"
)]
pub mod message;
pub mod outcome;
pub mod owners;
pub mod pace;
pub mod proof;
pub mod record;
pub mod reference;
pub mod refusals;
pub mod replicas;
pub mod route;
pub mod selector;
pub mod stages;
pub mod time;
pub mod upgrade;
pub mod users;
pub mod view;
pub mod windows;

pub use data_plane::{DataPlaneView, Held, Placement, Turn, assess};
pub use decision::{
    BackupScope, Batch, Chart, ChartTarget, Decision, Effect, Findings, HELM_TIMEOUT,
    InjectionLabels, Next, Report, TemplateRevision, Verdict, Waiting, WaitingOn,
};
pub use detection::{Counts, Detection};
pub use heading::Heading;
pub use injection::{Injector, injector_of};
pub use outcome::{ErrorClass, Executed, RefusedWrite, backoff};
pub use pace::admitted_by;
pub use proof::{DryRuns, Sample};
pub use record::{
    ChartDigests, Record, RecordedBudget, RecordedGateway, RecordedNamespace, RecordedRelease,
    RecordedTag, RecordedWave,
};
pub use refusals::{Failure, Refusal, Refusals, Tried};
pub use stages::{GATEWAYS, REST, Stage, Stages};
pub use upgrade::Upgrade;
