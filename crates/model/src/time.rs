//! Times and spans, without overflow: a spec may ask for any.

use jiff::{SignedDuration, Timestamp};
use meshlift_api::GoDuration;

/// So much later; the end of time where that is beyond it.
pub fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A spec duration as the planner counts time.
pub fn signed(duration: GoDuration) -> SignedDuration {
    SignedDuration::try_from(std::time::Duration::from(duration)).unwrap_or(SignedDuration::MAX)
}

/// Times in status have whole seconds, as `metav1.Time` has; the next second, so that a deadline
/// is never early.
pub fn whole_second(at: Timestamp) -> Timestamp {
    match at.subsec_nanosecond() {
        0 => at,
        _ => Timestamp::from_second(at.as_second() + 1).unwrap_or(at),
    }
}
