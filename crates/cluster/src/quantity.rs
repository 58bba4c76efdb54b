//! Quantities of Kubernetes (`100m`, `1.5Gi`), in whole units.
//!
//! Sources: apimachinery `pkg/api/resource/{quantity,suffix}.go`. Parts of a unit count as a whole one, as
//! its `Value` and `MilliValue` have it.

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// CPU in thousandths of a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu(pub(crate) i64);

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory(pub(crate) i64);

/// `text` in units of which `per_one` make one; none for what is no quantity, and for less than nothing.
fn parse(text: &str, per_one: i128) -> Option<i64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let (times, by) = factor(suffix)?;
    let by = by.checked_mul(10_i128.checked_pow(u32::try_from(part.len()).ok()?)?)?;
    let value = digits.checked_mul(times)?.checked_mul(per_one)?;
    let rounded_up = value / by + i128::from(value % by != 0);
    Some(i64::try_from(rounded_up).unwrap_or(i64::MAX))
}

/// What a suffix multiplies with and divides by.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let exact = match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "" => (1, 1),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return exponent(suffix),
    };
    Some(exact)
}

/// `e3`, `E-3`.
fn exponent(suffix: &str) -> Option<(i128, i128)> {
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent < 0 { (1, power) } else { (power, 1) })
}

macro_rules! quantity {
    ($type:ident, $per_one:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a quantity")
                    }
                    // A custom resource whose schema keeps unknown fields is stored as it was written: `cpu: 1`.
                    fn visit_u64<E: Error>(self, number: u64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                    fn visit_i64<E: Error>(self, number: i64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                    fn visit_f64<E: Error>(self, number: f64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                    fn visit_unit<E: Error>(self) -> Result<$type, E> {
                        Ok($type::default())
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        // The API server refuses what is no quantity, and a watch must not end over one.
                        Ok($type(parse(text, $per_one).unwrap_or_default()))
                    }
                }
                from.deserialize_any(Text)
            }
        }
    };
}
quantity!(Cpu, 1000);
quantity!(Memory, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_whole_units_rounded_up() {
        for (text, milli, whole) in [
            ("0", 0, 0),
            ("2", 2_000, 2),
            ("100m", 100, 1),
            ("0.5", 500, 1),
            (".5", 500, 1),
            ("1.", 1_000, 1),
            ("2500u", 3, 1),
            ("1n", 1, 1),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("128Mi", 134_217_728_000, 134_217_728),
            ("129e6", 129_000_000_000, 129_000_000),
            ("1E3", 1_000_000, 1_000),
            ("5e-1", 500, 1),
            ("123M", 123_000_000_000, 123_000_000),
            ("128974848000m", 128_974_848_000, 128_974_848),
            ("8Ei", i64::MAX, i64::MAX),
        ] {
            assert_eq!(parse(text, 1000), Some(milli), "{text}");
            assert_eq!(parse(text, 1), Some(whole), "{text}");
        }
    }

    #[test]
    fn numbers_are_quantities_too() {
        for (json, milli) in [
            ("1", 1_000),
            ("1.5", 1_500),
            ("0.1", 100),
            ("-1", 0),
            ("1e300", 0),
            ("null", 0),
            (r#""250m""#, 250),
        ] {
            let read: Cpu = serde_json::from_str(json).expect(json);
            assert_eq!(read, Cpu(milli), "{json}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in ["", "m", "1.2.3", "1KiB", "1 Gi", "-1", "e3", "1e99", "x"] {
            assert_eq!(parse(text, 1), None, "{text}");
        }
    }
}
