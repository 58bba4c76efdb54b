//! Durations as Go and Kubernetes write them: `90s`, `10m`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration, written as in Go.
///
/// Read with checked arithmetic: the parser of `kube` multiplies floats and panics on what does not fit, so that one
/// object with `5124095576030431h` ended the operator for every mesh, again after each start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(Duration);

/// The longest duration that a spec or a flag may have: a year.
pub const LONGEST: GoDuration = GoDuration(Duration::from_secs(8760 * 3600));

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDuration {
    /// It is not written as one.
    #[error("write hours, minutes and seconds as in 90s, 10m or 1h30m")]
    Malformed,
    /// It is one that no clock counts.
    #[error("is too long: write at most 8760h (a year)")]
    TooLong,
}

const NANOS: u128 = 1_000_000_000;

/// Nanoseconds of a unit.
fn unit(name: &str) -> Option<u128> {
    Some(match name {
        "ns" => 1,
        // The micro sign, and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS,
        "m" => 60 * NANOS,
        "h" => 3600 * NANOS,
        _ => return None,
    })
}

/// `amount` (`1.5`) times a unit, in nanoseconds; what is less than one is dropped.
fn times(amount: &str, unit: u128) -> Result<u128, NoDuration> {
    let (whole, part) = amount.split_once('.').unwrap_or((amount, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || (whole.is_empty() && part.is_empty()) {
        return Err(NoDuration::Malformed);
    }
    let whole: u128 = match whole {
        "" => 0,
        // All are digits, so it can only be too large.
        digits => digits.parse().map_err(|_| NoDuration::TooLong)?,
    };
    // No unit has more digits of nanoseconds than this.
    let part = &part[..part.len().min(14)];
    let fraction = match part.parse::<u128>() {
        Ok(digits) => digits * unit / 10_u128.pow(u32::try_from(part.len()).unwrap_or(0)),
        Err(_) => 0,
    };
    let whole = whole.checked_mul(unit).ok_or(NoDuration::TooLong)?;
    whole.checked_add(fraction).ok_or(NoDuration::TooLong)
}

impl FromStr for GoDuration {
    type Err = NoDuration;

    fn from_str(text: &str) -> Result<Self, NoDuration> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if text.is_empty() {
            return Err(NoDuration::Malformed);
        }
        let is_amount = |c: char| c.is_ascii_digit() || c == '.';
        let (mut rest, mut nanos) = (text, 0_u128);
        while !rest.is_empty() {
            let end = rest.find(|c| !is_amount(c)).ok_or(NoDuration::Malformed)?;
            let (amount, after) = rest.split_at(end);
            let (name, after) = after.split_at(after.find(is_amount).unwrap_or(after.len()));
            let unit = unit(name).ok_or(NoDuration::Malformed)?;
            let more = times(amount, unit)?;
            nanos = nanos.checked_add(more).ok_or(NoDuration::TooLong)?;
            rest = after;
        }
        // As in Go, whose duration counts nanoseconds in 64 bits: what the API server would take for an error is one here.
        let within = i64::try_from(nanos).map_err(|_| NoDuration::TooLong)?;
        Ok(Self(Duration::from_nanos(within.unsigned_abs())))
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<GoDuration> for Duration {
    fn from(duration: GoDuration) -> Self {
        duration.0
    }
}

/// As the standard library prints it (`600s`, `1.5s`), which is a duration of Go; but nothing is `0s` and not `0ns`, which the
/// CRDs refuse.
impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            f.write_str("0s")
        } else {
            fmt::Debug::fmt(&self.0, f)
        }
    }
}

impl fmt::Debug for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = GoDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration as in 90s, 10m or 1h30m")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
                let shown: String = text.chars().take(40).collect();
                text.parse()
                    .map_err(|why| E::custom(format_args!("duration {shown:?}: {why}")))
            }
        }
        from.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Duration, NoDuration> {
        text.parse::<GoDuration>().map(Duration::from)
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("100ms", 100),
            ("1h1m1s1ms", 3_661_001),
            ("2000us", 2),
            ("2000\u{b5}s", 2),
            ("3000000ns", 3),
            ("0.00000000000000000000000000001s", 0),
        ] {
            assert_eq!(read(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_an_error_and_never_a_panic() {
        for text in [
            "", " ", "s", "1", "1d", "-5m", "+5m", "1 s", "1..s", ".s", "1e3s", "NaNs", "infs",
            "1sm", "µ", "1µ",
        ] {
            assert_eq!(read(text), Err(NoDuration::Malformed), "{text:?}");
        }
        for text in [
            "5124095576030431h",
            "99999999999999999999s",
            "99999999999999999999999999999999999999999999999s",
            "340282366920938463463374607431768211455h",
            "18446744073709551615s1s",
        ] {
            assert_eq!(read(text), Err(NoDuration::TooLong), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["0s", "90s", "1.5s", "3600s", "31536000s", "9223372036s"] {
            let read: GoDuration = text.parse().expect(text);
            assert_eq!(read.to_string(), text);
        }
        assert_eq!(LONGEST, "8760h".parse().expect("a year"));
    }

    #[test]
    fn the_error_of_an_object_quotes_what_stands_there() {
        let error = serde_json::from_str::<GoDuration>(r#""5124095576030431h""#);
        let error = error.expect_err("too long").to_string();
        let expected = r#"duration "5124095576030431h": is too long: write at most 8760h (a year)"#;
        assert!(error.starts_with(expected), "{error}");
    }
}
