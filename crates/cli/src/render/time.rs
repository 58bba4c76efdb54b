//! Times as kubectl writes them.

use jiff::Timestamp;

/// A span of seconds in its two largest units: `12s`, `4m30s`, `3h5m`, `5d2h`.
pub(crate) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, minutes) => two(minutes, "m", rest, "s"),
        (0, hours, minutes) => two(hours, "h", minutes, "m"),
        (days, hours, _) => two(days, "d", hours, "h"),
    }
}

/// From one time to another.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> String {
    span(to.duration_since(from).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_its_two_largest_units() {
        let spans = [0, 59, 60, 270, 3_600, 11_100, 86_400, 439_000, -5].map(span);
        let shown = ["0s", "59s", "1m", "4m30s", "1h", "3h5m", "1d", "5d1h", "0s"];
        assert_eq!(spans, shown);
    }
}
