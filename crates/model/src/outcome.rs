//! What became of a decision that was executed.

use jiff::SignedDuration;

/// How an effect that failed is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Someone else wrote in between: look again at once.
    Conflict,
    /// Passes by itself: backoff.
    Transient,
    /// Someone must act: slow backoff, and said so.
    Blocked,
    /// The spec asks for something that cannot be: Stalled.
    Invalid,
    /// A defect of this program: Stalled.
    Bug,
}

/// What became of the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    /// There was nothing to execute.
    Nothing,
    /// It is about to be executed: said before, because it may take a while.
    Begun,
    /// All effects were executed.
    Done,
    /// The API server refused some of the batch, each for its object's sake. They are remembered
    /// ([`crate::Refusals`]) and hold nobody else.
    Refused(Vec<RefusedWrite>),
    /// An effect failed.
    Failed {
        /// How it is treated.
        class: ErrorClass,
        /// What failed and why, as a sentence.
        message: String,
    },
}

/// One write that the API server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedWrite {
    /// How it would be treated if it were all.
    pub class: ErrorClass,
    /// How often it was refused by now.
    pub count: u32,
    /// What was tried, who refused it and why.
    pub message: String,
}

/// How long to wait after this many failures in a row: 2 s doubled up to 5 min; what needs a
/// person is tried each minute, what cannot succeed each five.
pub fn backoff(class: ErrorClass, failures: u32) -> SignedDuration {
    let seconds = match class {
        ErrorClass::Conflict => 0,
        ErrorClass::Transient => 2_i64.saturating_pow(failures.clamp(1, 9)).min(300),
        ErrorClass::Blocked => 60,
        ErrorClass::Invalid | ErrorClass::Bug => 300,
    };
    SignedDuration::from_secs(seconds)
}
