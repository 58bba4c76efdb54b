//! Maintenance windows: when the mesh may be changed, and when next.
//!
//! A window is open while a clock on the wall of its time zone shows a time in it. So it holds through the
//! changes of summer time without a rule of its own: what the clock skips is not open, what it shows twice is
//! open twice. The rules of time zones are those compiled in, never those of the machine.

use std::cmp::Ordering;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use meshlift_api::{Day, Window};

use crate::message;

/// The next opening is looked for this many days ahead: a weekly window that summer time swallows opens a week
/// later.
const AHEAD: i64 = 15;

/// Whether the mesh may be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Now: there are no windows, or one is open.
    Open,
    /// Not before this.
    ClosedUntil(Timestamp),
    /// Never: no window can be understood.
    Never,
}

/// Whether the mesh may be changed now, and if not, when next. A window that cannot be understood is never open.
pub fn open(now: Timestamp, windows: &[Window]) -> Opening {
    if windows.is_empty() {
        return Opening::Open;
    }
    let hours: Vec<Hours> = windows.iter().flat_map(Hours::of).collect();
    if hours.iter().any(|hours| hours.contain(now)) {
        return Opening::Open;
    }
    let next = hours.iter().filter_map(|hours| hours.next(now)).min();
    next.map_or(Opening::Never, Opening::ClosedUntil)
}

/// What is wrong with a window, if anything.
pub fn problem(window: &Window) -> Option<String> {
    if window.start == window.end {
        let at = &window.start;
        return Some(format!("begins and ends at {at}, so it is never open"));
    }
    Hours::of(window).err()
}

/// A moment as the windows' own clocks show it: of the window that opens then.
pub fn told(at: Timestamp, windows: &[Window]) -> String {
    let hours = windows.iter().flat_map(Hours::of);
    let opens = hours.into_iter().find(|hours| hours.contain(at));
    match opens {
        Some(hours) if hours.zone.iana_name() != Some("UTC") => {
            let there = at.to_zoned(hours.zone);
            format!(
                "{} ({})",
                there.strftime("%a %Y-%m-%d %H:%M %Q"),
                message::moment(at)
            )
        }
        _ => message::moment(at),
    }
}

/// A window, understood.
struct Hours {
    days: Vec<Weekday>,
    start: Time,
    end: Time,
    zone: TimeZone,
}

impl Hours {
    fn of(window: &Window) -> Result<Self, String> {
        let time = |text: &str| {
            let time = text.parse::<Time>();
            time.map_err(|_| format!("names {text}, which is no time of the day"))
        };
        let zone = TimeZoneDatabase::bundled().get(&window.time_zone);
        let unknown = || {
            let zone = &window.time_zone;
            format!("is in time zone {zone}, which the IANA database does not have")
        };
        Ok(Self {
            days: window.days.iter().map(weekday).collect(),
            start: time(&window.start)?,
            end: time(&window.end)?,
            zone: zone.map_err(|_| unknown())?,
        })
    }

    fn contain(&self, at: Timestamp) -> bool {
        self.shows(self.zone.to_datetime(at))
    }

    /// Whether it is open when a clock shows this.
    fn shows(&self, clock: DateTime) -> bool {
        let (date, time) = (clock.date(), clock.time());
        let yesterday = || date.yesterday().is_ok_and(|date| self.begins_on(date));
        match self.start.cmp(&self.end) {
            Ordering::Less => self.begins_on(date) && self.start <= time && time < self.end,
            Ordering::Equal => false,
            // Over midnight.
            Ordering::Greater => {
                (self.begins_on(date) && time >= self.start) || (time < self.end && yesterday())
            }
        }
    }

    fn begins_on(&self, date: Date) -> bool {
        self.days.is_empty() || self.days.contains(&date.weekday())
    }

    /// When it opens next. That is when a clock shows its start, or when the clock is set and shows a time in it.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let last = now
            .checked_add(SignedDuration::from_hours(24 * AHEAD))
            .ok()?;
        let set = self.zone.following(now).map(|change| change.timestamp());
        let set = set.take_while(|at| *at <= last);
        let days = self
            .zone
            .to_datetime(now)
            .date()
            .series(jiff::Span::new().days(1));
        let days = days.take(usize::try_from(AHEAD).unwrap_or_default() + 1);
        let starts = days.flat_map(|date| self.shown(date.to_datetime(self.start)));
        let mut openings: Vec<Timestamp> = set.chain(starts).collect();
        openings.retain(|at| *at > now && self.contain(*at));
        openings.into_iter().min()
    }

    /// The moments at which a clock shows this: none if it is skipped, two if the clock is set back over it.
    fn shown(&self, clock: DateTime) -> Vec<Timestamp> {
        let found = self.zone.to_ambiguous_timestamp(clock);
        let offsets = match found.offset() {
            AmbiguousOffset::Unambiguous { offset } => vec![offset],
            AmbiguousOffset::Gap { .. } => Vec::new(),
            AmbiguousOffset::Fold { before, after } => vec![before, after],
        };
        let moments = offsets.into_iter().map(|offset| offset.to_timestamp(clock));
        moments.flatten().collect()
    }
}

fn weekday(day: &Day) -> Weekday {
    match day {
        Day::Mon => Weekday::Monday,
        Day::Tue => Weekday::Tuesday,
        Day::Wed => Weekday::Wednesday,
        Day::Thu => Weekday::Thursday,
        Day::Fri => Weekday::Friday,
        Day::Sat => Weekday::Saturday,
        Day::Sun => Weekday::Sunday,
    }
}

#[cfg(test)]
mod tests;
