//! Values that clap has no type for.

use meshlift_api::{GoDuration, LONGEST, NoDuration};
use meshlift_istio::version::TargetVersion;

/// The text stays as it was written: the types would write it their own way. The API server takes no longer ones.
pub(super) fn duration(text: &str) -> Result<String, String> {
    if positive(text)? > LONGEST {
        Err(NoDuration::TooLong.to_string())
    } else {
        Ok(text.to_owned())
    }
}

pub(super) fn positive(text: &str) -> Result<GoDuration, String> {
    text.parse().map_err(|why: NoDuration| why.to_string())
}

/// As kubectl reads it: `0` needs no unit.
pub(super) fn request_timeout(text: &str) -> Result<GoDuration, String> {
    match text {
        "0" => Ok(std::time::Duration::ZERO.into()),
        text => positive(text),
    }
}

pub(super) fn target(text: &str) -> Result<String, String> {
    let wrong = |_| "write an exact version (1.31.0), or a minor for its newest patch (1.31)";
    text.parse::<TargetVersion>().map_err(wrong)?;
    Ok(text.to_owned())
}
