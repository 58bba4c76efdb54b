//! A minor release of Istio: `1.31`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Version, VersionError, plain_number};

/// A minor release of Istio, whatever its flavour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Minor {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
}

impl Minor {
    /// The minor of a version.
    pub fn of(version: &Version) -> Self {
        Self {
            major: version.major,
            minor: version.minor,
        }
    }
}

impl FromStr for Minor {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let refuse = || VersionError(text.to_owned());
        let (major, minor) = text.split_once('.').ok_or_else(refuse)?;
        Ok(Self {
            major: plain_number(major).ok_or_else(refuse)?,
            minor: plain_number(minor).ok_or_else(refuse)?,
        })
    }
}

impl TryFrom<String> for Minor {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Minor> for String {
    fn from(minor: Minor) -> Self {
        minor.to_string()
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::Minor;

    #[test]
    fn a_minor_is_two_numbers() {
        let minor: Minor = "1.31".parse().expect("a minor");
        assert_eq!(minor.to_string(), "1.31");
        assert!(minor > "1.9".parse().expect("a minor"));
        for text in ["1", "1.", ".1", "1.31.0", "1.x", "+1.2", "1.2-x", ""] {
            assert!(text.parse::<Minor>().is_err(), "{text:?} was accepted");
        }
    }
}
