//! Values that clap has no type for.

use meshlift_api::GoDuration;
use meshlift_planner::version::TargetVersion;

/// The text stays as it was written: the types would write it their own way.
pub(super) fn duration(text: &str) -> Result<String, String> {
    positive(text).map(|_| text.to_owned())
}

pub(super) fn positive(text: &str) -> Result<GoDuration, String> {
    let wrong = || "write hours, minutes and seconds as in 90s, 10m or 1h30m".to_owned();
    let parsed: GoDuration = text.parse().map_err(|_| wrong())?;
    match parsed.is_negative() {
        true => Err(wrong()),
        false => Ok(parsed),
    }
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
