use meshlift_api::Day::{Fri, Mon, Sat, Sun};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn window(days: &[Day], start: &str, end: &str, time_zone: &str) -> Window {
    Window {
        days: days.to_vec(),
        start: start.into(),
        end: end.into(),
        time_zone: time_zone.into(),
    }
}

/// What is said at a moment: `open`, or the time of the next opening.
fn says(now: &str, windows: &[Window]) -> String {
    match open(at(now), windows) {
        Opening::Open => "open".to_owned(),
        Opening::ClosedUntil(next) => next.to_string(),
        Opening::Never => "never".to_owned(),
    }
}

#[test]
fn a_day_a_night_and_a_weekend() {
    let day = [window(&[], "09:00", "17:00", "UTC")];
    let night = [window(&[Fri], "22:00", "04:00", "UTC")];
    let two = [
        window(&[Mon], "01:00", "02:00", "UTC"),
        window(&[Sat, Sun], "08:00", "20:00", "Asia/Tokyo"),
    ];
    // 2026-11-02 is a Monday.
    let table: &[(&str, &[Window], &str)] = &[
        ("2026-11-02T08:59:59Z", &day, "2026-11-02T09:00:00Z"),
        ("2026-11-02T09:00:00Z", &day, "open"),
        ("2026-11-02T16:59:59.9Z", &day, "open"),
        ("2026-11-02T17:00:00Z", &day, "2026-11-03T09:00:00Z"),
        ("2026-11-02T23:00:00Z", &night, "2026-11-06T22:00:00Z"),
        ("2026-11-06T23:59:59Z", &night, "open"),
        // The morning after the day on which it begins, and no other morning.
        ("2026-11-07T03:59:59Z", &night, "open"),
        ("2026-11-07T04:00:00Z", &night, "2026-11-13T22:00:00Z"),
        ("2026-11-06T03:00:00Z", &night, "2026-11-06T22:00:00Z"),
        ("2026-11-02T01:30:00Z", &two, "open"),
        ("2026-11-02T02:00:00Z", &two, "2026-11-06T23:00:00Z"),
        ("2026-11-07T00:00:00Z", &two, "open"),
        ("2026-11-08T11:00:00Z", &two, "2026-11-09T01:00:00Z"),
        ("2026-11-02T02:00:00Z", &[], "open"),
    ];
    for (now, windows, expected) in table {
        assert_eq!(says(now, windows), *expected, "at {now}");
    }
}

/// On 2026-03-29 clocks in Berlin go from 02:00 to 03:00, at 01:00 UTC.
#[test]
fn clocks_go_forward() {
    let berlin = |days: &[Day], start, end| [window(days, start, end, "Europe/Berlin")];
    let table: &[(&str, [Window; 1], &str)] = &[
        // Over the gap: an hour shorter.
        (
            "2026-03-28T23:59:59Z",
            berlin(&[], "01:00", "04:00"),
            "2026-03-29T00:00:00Z",
        ),
        (
            "2026-03-29T01:59:59Z",
            berlin(&[], "01:00", "04:00"),
            "open",
        ),
        (
            "2026-03-29T02:00:00Z",
            berlin(&[], "01:00", "04:00"),
            "2026-03-29T23:00:00Z",
        ),
        // Begins in what is skipped: open as soon as the clock is past it.
        (
            "2026-03-29T00:59:59Z",
            berlin(&[], "02:30", "03:15"),
            "2026-03-29T01:00:00Z",
        ),
        (
            "2026-03-29T01:14:59Z",
            berlin(&[], "02:30", "03:15"),
            "open",
        ),
        (
            "2026-03-29T01:15:00Z",
            berlin(&[], "02:30", "03:15"),
            "2026-03-30T00:30:00Z",
        ),
        // Ends in what is skipped.
        (
            "2026-03-29T00:59:59Z",
            berlin(&[], "01:30", "02:30"),
            "open",
        ),
        (
            "2026-03-29T01:00:00Z",
            berlin(&[], "01:30", "02:30"),
            "2026-03-29T23:30:00Z",
        ),
        // Skipped as a whole: on the next day, or a week later.
        (
            "2026-03-29T00:30:00Z",
            berlin(&[], "02:00", "03:00"),
            "2026-03-30T00:00:00Z",
        ),
        (
            "2026-03-29T00:30:00Z",
            berlin(&[Sun], "02:15", "02:45"),
            "2026-04-05T00:15:00Z",
        ),
        (
            "2026-03-23T00:30:00Z",
            berlin(&[Sun], "02:15", "02:45"),
            "2026-04-05T00:15:00Z",
        ),
    ];
    for (now, windows, expected) in table {
        assert_eq!(says(now, windows), *expected, "at {now} {windows:?}");
    }
}

/// On 2026-10-25 clocks in Berlin go from 03:00 back to 02:00, at 01:00 UTC.
#[test]
fn clocks_go_back() {
    let berlin = |start, end| [window(&[], start, end, "Europe/Berlin")];
    let table: &[(&str, [Window; 1], &str)] = &[
        // Over the fold: an hour longer.
        ("2026-10-24T23:00:00Z", berlin("01:00", "04:00"), "open"),
        ("2026-10-25T02:59:59Z", berlin("01:00", "04:00"), "open"),
        (
            "2026-10-25T03:00:00Z",
            berlin("01:00", "04:00"),
            "2026-10-26T00:00:00Z",
        ),
        // Shown twice: open twice.
        (
            "2026-10-25T00:00:00Z",
            berlin("02:15", "02:45"),
            "2026-10-25T00:15:00Z",
        ),
        (
            "2026-10-25T00:45:00Z",
            berlin("02:15", "02:45"),
            "2026-10-25T01:15:00Z",
        ),
        ("2026-10-25T01:44:59Z", berlin("02:15", "02:45"), "open"),
        (
            "2026-10-25T01:45:00Z",
            berlin("02:15", "02:45"),
            "2026-10-26T01:15:00Z",
        ),
        // The clock is set back to before its start, and into it.
        ("2026-10-25T00:59:59Z", berlin("02:45", "03:15"), "open"),
        (
            "2026-10-25T01:00:00Z",
            berlin("02:45", "03:15"),
            "2026-10-25T01:45:00Z",
        ),
        (
            "2026-10-25T00:40:00Z",
            berlin("01:00", "02:30"),
            "2026-10-25T01:00:00Z",
        ),
    ];
    for (now, windows, expected) in table {
        assert_eq!(says(now, windows), *expected, "at {now} {windows:?}");
    }
}

#[test]
fn a_window_that_cannot_be_understood_is_never_open_and_is_told() {
    let table = [
        (
            window(&[], "22:00", "22:00", "UTC"),
            "begins and ends at 22:00",
        ),
        (
            window(&[], "22:00", "04:00", "Europe/Berlyn"),
            "Europe/Berlyn, which the IANA",
        ),
        (
            window(&[], "22:00", "4 o'clock", "UTC"),
            "4 o'clock, which is no time",
        ),
    ];
    for (window, said) in &table {
        let found = problem(window).expect("a problem");
        assert!(found.contains(said), "{found}");
        assert_eq!(
            open(at("2026-11-02T22:00:00Z"), std::slice::from_ref(window)),
            Opening::Never
        );
    }
    let fine = window(&[], "22:00", "04:00", "America/New_York");
    assert_eq!(problem(&fine), None);
    let beside = [table[1].0.clone(), fine];
    assert_eq!(
        says("2026-11-02T02:00:00Z", &beside),
        "2026-11-02T03:00:00Z"
    );
}

#[test]
fn a_moment_is_told_in_the_zone_of_the_window_that_opens_then() {
    let windows = [
        window(&[], "09:00", "10:00", "UTC"),
        window(&[Sat], "22:00", "04:00", "Europe/Berlin"),
    ];
    let say = |text| told(at(text), &windows);
    assert_eq!(
        say("2026-11-07T21:00:00Z"),
        "Sat 2026-11-07 22:00 Europe/Berlin (2026-11-07 21:00:00 UTC)"
    );
    assert_eq!(say("2026-11-07T09:00:00Z"), "2026-11-07 09:00:00 UTC");
}

fn any_window() -> impl Strategy<Value = Window> {
    const ZONES: &[&str] = &[
        "UTC",
        "Europe/Berlin",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Africa/Cairo",
    ];
    let days = prop::collection::vec(prop::sample::select(&[Mon, Fri, Sat, Sun][..]), 0..3);
    let time = || (0..24, prop::sample::select(&[0, 15, 30, 59][..]));
    (days, time(), time(), prop::sample::select(ZONES)).prop_map(|(days, from, to, zone)| {
        let text = |(hour, minute)| format!("{hour:02}:{minute:02}");
        window(&days, &text(from), &text(to), zone)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Minute by minute: nothing opens before the next opening, and then something does.
    #[test]
    fn the_next_opening_is_the_first(
        windows in prop::collection::vec(any_window(), 1..4),
        minute in 0_i64..366 * 24 * 60,
    ) {
        let now = at("2026-01-01T00:00:00Z") + SignedDuration::from_mins(minute);
        match open(now, &windows) {
            Opening::Open => {}
            Opening::Never => prop_assert!(windows.iter().all(|window| problem(window).is_some())),
            Opening::ClosedUntil(next) => {
                prop_assert!(next > now);
                prop_assert_eq!(open(next, &windows), Opening::Open);
                let mut between = now;
                while between < next {
                    prop_assert_eq!(open(between, &windows), Opening::ClosedUntil(next));
                    between += SignedDuration::from_mins(7);
                }
                let before = next - SignedDuration::from_nanos(1);
                prop_assert_eq!(open(before, &windows), Opening::ClosedUntil(next));
            }
        }
    }
}
