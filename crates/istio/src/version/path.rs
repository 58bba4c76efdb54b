//! The way to a version that is too far for one step.

use std::collections::{BTreeMap, VecDeque};

use super::{Minor, TargetError, Version};
use crate::knowledge::Knowledge;

/// How far one step may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepRule {
    /// How many minors a step may go up.
    pub max_minors: u32,
}

impl StepRule {
    /// Every minor in turn. Upstream asks for that where the control plane is replaced in place, and where
    /// something runs once on each node: ztunnel and the CNI agent may be one minor behind and no more.
    /// Source: istio.io, "In-place Upgrades", "Upgrade with Helm" of ambient mode.
    pub const EACH_MINOR: Self = Self { max_minors: 1 };
    /// A second control plane beside the first one: one minor may be passed over.
    /// Source: istio.io, "Canary Upgrades".
    pub const FEWEST_RESTARTS: Self = Self { max_minors: 2 };

    /// Whether one step may lead there.
    fn allows(self, from: &Version, to: &Version, knowledge: &Knowledge) -> bool {
        from.major == to.major
            && from < to
            && to.minor - from.minor <= self.max_minors
            && (Minor::of(from) == Minor::of(to)
                || lowest_patch(from, Minor::of(to), knowledge).is_none_or(|l| from.patch >= l))
    }
}

/// The patch that `from` must be at before a step to `to`.
fn lowest_patch(from: &Version, to: Minor, knowledge: &Knowledge) -> Option<u32> {
    let known = knowledge.minimum_from(to).iter();
    known
        .filter(|least| Minor::of(least) == Minor::of(from))
        .map(|least| least.patch)
        .max()
}

/// The versions on the way to `to`, which is the last of them; empty when it runs already. As few
/// steps as the rule allows, each to the newest patch of its minor that is available, and of ways
/// that are equally short the one that is at newer releases sooner. Versions that must not be
/// stepped on (those that do not fit a cluster, say) are to be left out of `available`.
pub fn path(
    from: &Version,
    to: &Version,
    available: &[Version],
    rule: StepRule,
    knowledge: &Knowledge,
) -> Result<Vec<Version>, TargetError> {
    super::check_direction(from, to)?;
    if from == to {
        return Ok(Vec::new());
    }
    if !available.contains(to) {
        return Err(TargetError::Unknown {
            target: to.to_string(),
            known: super::newest(available),
        });
    }
    let stops = stops(from, to, available);
    search(from, to, &stops, |a, b| rule.allows(a, b, knowledge)).ok_or_else(|| {
        TargetError::NoWay {
            from: from.clone(),
            to: to.clone(),
            missing: missing(from, to, &stops, rule, knowledge),
        }
    })
}

/// Where a step may end: the newest patch of each minor, newest first; of the target's minor only
/// the target.
fn stops(from: &Version, to: &Version, available: &[Version]) -> Vec<Version> {
    let mut newest: BTreeMap<Minor, &Version> = BTreeMap::new();
    let between = available.iter().filter(|version| {
        version.is_same_flavour(from)
            && !version.is_pre_release()
            && from < version
            && Minor::of(version) < Minor::of(to)
    });
    for version in between {
        let stop = newest.entry(Minor::of(version)).or_insert(version);
        *stop = (*stop).max(version);
    }
    std::iter::once(to.clone())
        .chain(newest.into_values().rev().cloned())
        .collect()
}

/// Breadth first, so the first way that is found is among the shortest.
fn search(
    from: &Version,
    to: &Version,
    stops: &[Version],
    allows: impl Fn(&Version, &Version) -> bool,
) -> Option<Vec<Version>> {
    let mut came_from: BTreeMap<&Version, &Version> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(here) = queue.pop_front() {
        if here == to {
            let back = std::iter::successors(Some(to), |at| came_from.get(at).copied());
            let mut way: Vec<Version> = back.take_while(|at| *at != from).cloned().collect();
            way.reverse();
            return Some(way);
        }
        for next in stops {
            if !came_from.contains_key(next) && allows(here, next) {
                came_from.insert(next, here);
                queue.push_back(next);
            }
        }
    }
    None
}

/// What the repository would have to hold for a way: the first gap.
fn missing(
    from: &Version,
    to: &Version,
    stops: &[Version],
    rule: StepRule,
    knowledge: &Knowledge,
) -> String {
    let reachable =
        |stop: &&Version| search(from, stop, stops, |a, b| rule.allows(a, b, knowledge)).is_some();
    let farthest = stops.iter().find(reachable).unwrap_or(from);
    let next = farthest.minor + 1..=farthest.minor.saturating_add(rule.max_minors).min(to.minor);
    let held_back = stops.iter().find_map(|stop| {
        let patch = lowest_patch(farthest, Minor::of(stop), knowledge)?;
        (next.contains(&stop.minor) && farthest.patch < patch).then_some((patch, stop))
    });
    match held_back {
        Some((patch, stop)) => format!(
            "{}.{patch} or a newer patch of {}, which {} asks for first",
            Minor::of(farthest),
            Minor::of(farthest),
            Minor::of(stop)
        ),
        None => {
            let minors: Vec<String> = next
                .filter(|minor| *minor < to.minor)
                .map(|minor| format!("{}.{minor}", farthest.major))
                .collect();
            format!("a version of {}", minors.join(" or "))
        }
    }
}

#[cfg(test)]
mod tests;
