use proptest::prelude::*;

use super::*;
use crate::example::{TARGET, ago, istiod, now};
use crate::view::LiveCounters;

fn well(at: Timestamp) -> Recent {
    Recent {
        at,
        converged: 200,
        slow: 0,
        took: 20_000,
        push_errors: 0,
        rejects: 0,
    }
}

fn live(recent: Option<Recent>) -> ControlPlane {
    ControlPlane {
        live: Seen::Present(LiveCounters {
            recent,
            ..LiveCounters::default()
        }),
        ..istiod(TARGET, "1.31.0")
    }
}

fn status(limit: u32, seconds_ago: i64) -> PaceStatus {
    PaceStatus {
        limit,
        since: Time(ago(seconds_ago)),
        reason: "it was slow".into(),
    }
}

/// The limit after a look, of at most 8, and why.
fn after(before: Option<PaceStatus>, to: &ControlPlane) -> (u32, String) {
    let pace = Pace::of(8, before.as_ref(), Some(to), None);
    let reason = pace.status.map(|status| status.reason);
    (pace.limit, reason.unwrap_or_default())
}

#[test]
fn what_strains_istiod_halves_the_limit_and_is_named() {
    type Spoil = fn(&mut Recent);
    let table: &[(Spoil, u32, &str)] = &[
        (|_| {}, 8, ""),
        // One in a hundred is no reason.
        (|r| r.slow = 2, 8, ""),
        (
            |r| r.slow = 3,
            4,
            "istiod 1-31-0 needed more than 10s for 3 of 200 proxies",
        ),
        (
            |r| (r.slow, r.took) = (150, 2_500_000),
            4,
            "istiod 1-31-0 needs 12s to converge",
        ),
        (
            |r| (r.converged, r.slow, r.took) = (0, 1, 0),
            4,
            "for 1 of 1 proxies",
        ),
        (
            |r| r.push_errors = 2,
            4,
            "could not make or send configuration (times: 2)",
        ),
        (
            |r| r.rejects = 3,
            4,
            "proxies refused configuration of istiod 1-31-0 (times: 3)",
        ),
    ];
    for (spoil, limit, reason) in table {
        let mut recent = well(now());
        spoil(&mut recent);
        let (found, why) = after(None, &live(Some(recent)));
        assert_eq!(found, *limit, "{recent:?}");
        assert!(why.contains(reason), "{why}");
    }
}

#[test]
fn the_control_plane_beside_it_counts_when_it_is_slow() {
    let beside = |spoil: fn(&mut Recent)| {
        let mut recent = well(now());
        spoil(&mut recent);
        let to = live(Some(well(now())));
        let beside = ControlPlane {
            revision: "default".into(),
            ..live(Some(recent))
        };
        Pace::of(8, None, Some(&to), Some(&beside)).limit
    };
    assert_eq!(beside(|r| r.slow = 100), 4);
    // Proxies that go away are no fault of it.
    assert_eq!(beside(|r| r.push_errors = 9), 8);
    assert_eq!(beside(|r| r.rejects = 9), 8);
}

#[test]
fn a_look_is_judged_once_and_wellness_gives_back_one_at_a_time() {
    let look = |at| live(Some(well(at)));
    assert_eq!(after(Some(status(4, 0)), &look(now())).0, 4);
    assert_eq!(
        after(Some(status(4, 5)), &look(now())),
        (5, "it was slow".into())
    );
    assert_eq!(after(Some(status(7, 5)), &look(now())), (8, String::new()));
    let half = now() + SignedDuration::from_millis(500);
    assert_eq!(
        after(Some(status(4, 0)), &look(half)).0,
        4,
        "within the same second"
    );
}

#[test]
fn what_cannot_be_read_makes_it_neither_faster_nor_slower() {
    let unreadable = ControlPlane {
        live: Seen::Unreadable("no answer".into()),
        ..istiod(TARGET, "1.31.0")
    };
    let pace = Pace::of(8, Some(&status(3, 60)), Some(&unreadable), None);
    assert_eq!((pace.limit, pace.blind.as_deref()), (3, Some("no answer")));
    assert_eq!(Pace::of(8, None, Some(&unreadable), None).limit, 8);
    for unseen in [None, Some(&live(None))] {
        let pace = Pace::of(8, Some(&status(3, 60)), unseen, None);
        assert_eq!((pace.limit, pace.blind), (3, None));
    }
}

#[test]
fn what_the_api_server_refuses_halves_it_until_one_is_left() {
    let halved = |max, before: Option<&PaceStatus>| Pace::halved(now(), max, before, "429".into());
    assert_eq!(halved(5, None).map(|told| told.limit), Some(2));
    assert_eq!(
        halved(5, Some(&status(2, 9))).map(|told| told.limit),
        Some(1)
    );
    assert_eq!(halved(5, Some(&status(1, 9))), None);
    assert_eq!(halved(1, None), None);
}

#[test]
fn istiod_admits_by_its_cores() {
    let table = [(0, 20), (1, 20), (2, 25), (4, 35), (17, 100), (64, 100)];
    for (cores, admits) in table {
        assert_eq!(admitted_by(cores), admits, "{cores} cores");
    }
}

/// Restarts that begin in each second, of workloads with so many pods, until all have begun.
fn begins(admits: u32, pods: &[usize]) -> Vec<usize> {
    let mut plane = live(None);
    plane.ready = 1;
    if let Seen::Present(live) = &mut plane.live {
        live.admits = admits;
    }
    let mut begun = Vec::<(Timestamp, usize)>::new();
    let mut seconds = Vec::new();
    let mut waiting = pods.iter().peekable();
    while waiting.peek().is_some() {
        let at = now() + SignedDuration::from_secs(seconds.len() as i64);
        let mut admission = Admission::of(at, Some(&plane), begun.iter().copied());
        let mut count = 0;
        while waiting.peek().is_some_and(|pods| admission.begin(**pods)) {
            begun.push((at, *waiting.next().expect("peeked")));
            count += 1;
        }
        assert!(admission.until() > at || waiting.peek().is_none());
        seconds.push(count);
    }
    seconds
}

#[test]
fn restarts_begin_no_faster_than_half_of_what_istiod_admits() {
    // Ten pods a second.
    assert_eq!(begins(20, &[1; 25]), [10, 10, 5]);
    assert_eq!(begins(20, &[5; 6]), [2, 2, 2]);
    // A large one begins at once, and those after it wait until it is taken in.
    assert_eq!(begins(20, &[35, 1, 1]), [1, 0, 0, 2]);
    // As if with one core, as long as nobody knows.
    assert_eq!(begins(0, &[1; 12]), [10, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_limit_stays_in_its_bounds_and_moves_with_what_is_seen(
        max in 0_u32..1_000,
        before in prop::option::of((0_u32..1_200, -20_i64..20)),
        numbers in any::<[u64; 5]>(),
        seen in any::<bool>(),
    ) {
        let before = before.map(|(limit, ago)| status(limit, ago));
        let [converged, slow, took, push_errors, rejects] = numbers;
        let recent = Recent { at: now(), converged, slow, took, push_errors, rejects };
        let to = live(seen.then_some(recent));
        let pace = Pace::of(max, before.as_ref(), Some(&to), None);
        let was = before.as_ref().map_or(max, |told| told.limit).clamp(1, max.max(1));
        prop_assert!((1..=max.max(1)).contains(&pace.limit));
        prop_assert!(pace.limit <= was + 1 && pace.limit >= was / 2);
        prop_assert_eq!(pace.status.is_some(), pace.limit < max.max(1));
        // The same look again changes nothing.
        let again = Pace::of(max, pace.status.as_ref(), Some(&to), None);
        if pace.status.is_some() {
            prop_assert_eq!(again.limit, pace.limit);
        }
        // More strain never makes it faster.
        let worse = live(seen.then_some(Recent { slow: slow.saturating_add(converged), ..recent }));
        prop_assert!(Pace::of(max, before.as_ref(), Some(&worse), None).limit <= pace.limit);
    }
}
