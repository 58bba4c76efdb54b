//! New versions, each told once.

use meshlift_api::{AvailableVersion, MeshStatus};

/// A version that was not known of before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The version.
    pub version: String,
    /// What to say of it.
    pub message: String,
}

/// What is new in `after`. The status before is the memory: a restart repeats nothing. The first time
/// a repository is read only the best version is news.
pub fn news(before: &MeshStatus, after: &MeshStatus) -> Vec<News> {
    let read = before
        .charts
        .as_ref()
        .and_then(|charts| charts.changed_at.as_ref());
    if read.is_none() {
        let best = after.upgradable.as_ref().filter(|version| *version != "no");
        let best = best.or(after.available.last().map(|offer| &offer.version));
        let offer = best.and_then(|best| after.available.iter().find(|o| &o.version == best));
        return offer.map(told).into_iter().collect();
    }
    // A mesh that was away and is back sees nothing new.
    if before.version.is_none() {
        return Vec::new();
    }
    let known = |offer: &&AvailableVersion| {
        before
            .available
            .iter()
            .any(|old| old.version == offer.version)
    };
    let new = after.available.iter().filter(|offer| !known(offer));
    new.map(told).collect()
}

fn told(offer: &AvailableVersion) -> News {
    let version = &offer.version;
    let message = match (offer.fits, offer.message.as_str()) {
        (true, "") => format!("{version} is available"),
        (true, how) => format!("{version} is available, {how}"),
        (false, why) => format!("{version} is available, and does not fit yet: {why}"),
    };
    News {
        version: version.clone(),
        message,
    }
}
