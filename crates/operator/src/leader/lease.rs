//! What a candidate reads in the Lease, and what it writes there.
//!
//! As client-go does, a candidate believes no clock but its own: a lease has run out once it did not change for its whole
//! duration since this candidate first saw it as it is. What another machine wrote down as a time says nothing.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use serde_json::{Value, json};

/// How long a lease holds without being renewed.
pub(super) const DURATION: Duration = Duration::from_secs(15);
/// A longer one than this was written by nobody who means it.
const LONGEST: Duration = Duration::from_secs(300);

/// What is seen of the Lease, and since when.
#[derive(Debug, Default)]
pub(super) struct Sight {
    seen: Option<(Version, Duration)>,
}

/// Which state of which object.
type Version = (Option<String>, Option<String>);

/// Where a candidate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It holds the lease.
    Ours,
    /// Nobody renews it.
    Free,
    /// Someone else may hold it for so long.
    Held(Duration),
}

impl Sight {
    /// Looks at the Lease, at this time of the own clock.
    pub(super) fn see(&mut self, now: Duration, lease: &Lease, me: &str) -> Standing {
        let version = (lease.uid(), lease.resource_version());
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.seen = Some((version, since));
        if holder(lease) == Some(me) {
            return Standing::Ours;
        }
        match since.saturating_add(duration(lease)).checked_sub(now) {
            None | Some(Duration::ZERO) => Standing::Free,
            Some(left) => Standing::Held(left),
        }
    }
}

/// Who holds it.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    let spec = lease.spec.as_ref()?;
    let holder = spec.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}

/// How long it holds since it was last changed. One that nobody holds is no exception: who gave it back wrote a short one,
/// and who took the name out by hand did not stop the leader.
fn duration(lease: &Lease) -> Duration {
    let seconds = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    match (seconds, holder(lease)) {
        (Some(seconds), None) => Duration::from_secs(seconds).min(LONGEST),
        (Some(seconds), Some(_)) => Duration::from_secs(seconds).clamp(DURATION, LONGEST),
        // As the API server makes one that has no spec.
        (None, None) => Duration::ZERO,
        (None, Some(_)) => DURATION,
    }
}

/// The fields of one that is taken or renewed at this time. The times are for people: no candidate reads them.
pub(super) fn taken(before: Option<&Lease>, me: &str, now: &str) -> Value {
    let spec = before.and_then(|lease| lease.spec.as_ref());
    let mut after = json!({
        "holderIdentity": me,
        "leaseDurationSeconds": DURATION.as_secs(),
        "renewTime": now,
    });
    if before.and_then(holder) != Some(me) {
        let transitions = spec.and_then(|spec| spec.lease_transitions);
        after["acquireTime"] = json!(now);
        after["leaseTransitions"] = json!(transitions.map_or(0, |count| count.saturating_add(1)));
    }
    after
}

/// The fields of one that is given back.
pub(super) fn given_back(now: &str) -> Value {
    json!({ "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now })
}

/// A patch to exactly this state of the Lease.
pub(super) fn patch(lease: &Lease, spec: &Value) -> Value {
    json!({
        "metadata": { "uid": lease.uid(), "resourceVersion": lease.resource_version() },
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: u32, spec: Value) -> Lease {
        serde_json::from_value(json!({
            "metadata": { "name": "l", "uid": "u", "resourceVersion": version.to_string() },
            "spec": spec,
        }))
        .expect("a lease")
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The clock of the leader is an hour ahead or a day behind: it holds all the same, and runs out all the same.
    #[test]
    fn times_of_another_machine_say_nothing() {
        for time in ["2020-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"] {
            let spec =
                json!({ "holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": time });
            let mut sight = Sight::default();
            assert_eq!(
                sight.see(secs(100), &lease(1, spec.clone()), "b"),
                Standing::Held(secs(15))
            );
            assert_eq!(
                sight.see(secs(110), &lease(1, spec.clone()), "b"),
                Standing::Held(secs(5))
            );
            // Renewed.
            assert_eq!(
                sight.see(secs(114), &lease(2, spec.clone()), "b"),
                Standing::Held(secs(15))
            );
            assert_eq!(sight.see(secs(129), &lease(2, spec), "b"), Standing::Free);
        }
    }

    #[test]
    fn given_back_it_is_free_soon_and_emptied_by_hand_it_is_not() {
        let mut sight = Sight::default();
        let back = lease(1, given_back("2026-11-02T02:00:00.000000Z"));
        assert_eq!(sight.see(secs(100), &back, "b"), Standing::Held(secs(1)));
        assert_eq!(sight.see(secs(101), &back, "b"), Standing::Free);
        let by_hand = lease(2, json!({ "leaseDurationSeconds": 15 }));
        assert_eq!(
            sight.see(secs(102), &by_hand, "b"),
            Standing::Held(secs(15))
        );
        assert_eq!(
            sight.see(secs(103), &lease(3, json!({})), "b"),
            Standing::Free
        );
    }

    #[test]
    fn what_makes_no_sense_shortens_nothing_and_holds_nobody_up_for_years() {
        for (seconds, left) in [(0, 15), (-5, 15), (1, 15), (i32::MAX, 300)] {
            let spec = json!({ "holderIdentity": "a", "leaseDurationSeconds": seconds });
            let seen = Sight::default().see(secs(100), &lease(1, spec), "b");
            assert_eq!(seen, Standing::Held(secs(left)), "{seconds}");
        }
    }

    #[test]
    fn one_that_was_deleted_and_made_again_is_another() {
        let spec = json!({ "holderIdentity": "a", "leaseDurationSeconds": 15 });
        let mut sight = Sight::default();
        sight.see(secs(100), &lease(7, spec.clone()), "b");
        let mut again = lease(7, spec);
        again.metadata.uid = Some("another".into());
        assert_eq!(sight.see(secs(114), &again, "b"), Standing::Held(secs(15)));
        assert_eq!(sight.see(secs(114), &again, "a"), Standing::Ours);
    }

    #[test]
    fn a_renewal_keeps_when_it_was_taken_and_a_takeover_counts() {
        let now = "2026-11-02T02:00:00.000000Z";
        let held = lease(1, json!({ "holderIdentity": "a", "leaseTransitions": 4 }));
        let renewed = taken(Some(&held), "a", now);
        assert!(renewed.get("acquireTime").is_none() && renewed.get("leaseTransitions").is_none());
        let over = taken(Some(&held), "b", now);
        assert_eq!(
            (&over["leaseTransitions"], &over["acquireTime"]),
            (&json!(5), &json!(now))
        );
        assert_eq!(taken(None, "a", now)["leaseTransitions"], 0);
        let patch = patch(&held, &over);
        assert_eq!(
            patch["metadata"],
            json!({ "uid": "u", "resourceVersion": "1" })
        );
    }
}
