//! The sentences people read in status, events and logs.

mod availability;
mod back;
mod commits;
mod proof;
mod versions;
mod workloads;

use jiff::{SignedDuration, Timestamp};
use meshlift_api::labels::{ISTIO_INJECTION, ISTIO_REV};
use meshlift_api::{BlockedWorkload, PaceStatus, ProxyCounts, Strategy, WorkloadCounts};

pub use self::availability::*;
pub use self::back::*;
pub use self::commits::*;
pub use self::proof::*;
pub use self::versions::*;
pub use self::workloads::*;
use meshlift_istio::version::Version;

use crate::decision::InjectionLabels;
use crate::detection::WAVE_UNPROVED;
use crate::pace::{Admission, Pace};
use crate::record::Record;
use crate::view::{ControlPlane, Recent, Release, Rival};

/// `1h 30m`, without what is smaller than a second.
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let parts = [
        (seconds / 3600, "h"),
        (seconds % 3600 / 60, "m"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if shown.is_empty() {
        "0s".to_owned()
    } else {
        shown.join(" ")
    }
}

/// A time for people, in whole seconds, rounded up. Times and not what is left of them: a
/// countdown would be a status write at each tick.
pub fn moment(at: Timestamp) -> String {
    let seconds = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    let whole = Timestamp::from_second(seconds).unwrap_or(at);
    whole.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The API server refuses conditions with longer messages than 32 KiB, and nobody reads them.
const LONGEST: usize = 2000;

/// A text at the length that status may have: what is too long loses its middle, because errors
/// of tools begin with what failed and end with why.
pub fn capped(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let half = LONGEST / 2 - 3;
    let head: String = text.chars().take(half).collect();
    let tail: Vec<char> = text.chars().rev().take(half).collect();
    let tail: String = tail.into_iter().rev().collect();
    format!("{head} ... {tail}")
}

/// The first few of a list, and how many more.
pub fn first_few<T: AsRef<str>>(items: &[T]) -> String {
    const SHOWN: usize = 3;
    let first: Vec<&str> = items.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match items.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

pub fn paused(next: &str) -> String {
    format!("paused before the next step ({next}): set spec.paused to false to go on")
}

/// Of what is only observed meanwhile.
pub fn paused_meanwhile(observed: &str) -> String {
    format!("paused, and no deadline counts; {observed}")
}

pub fn resumed() -> String {
    "resumed: all deadlines count from now".to_owned()
}

/// Of a wait that has no deadline, and has lasted longer than it should. `back` is the upgrade that may still be
/// rolled back.
pub fn lasts(message: &str, since: Timestamp, back: Option<&String>) -> String {
    let rollback = back.map(|name| format!(", or roll back: {}", request_rollback(name)));
    format!(
        "{message}. This has lasted since {}: fix it, and the rest continues by itself{}",
        moment(since),
        rollback.unwrap_or_default()
    )
}

/// What is held until a window opens, and whether something may be under way.
pub fn outside_windows(opens: &str, begun: bool, next: &str) -> String {
    let meanwhile = if begun {
        "what is under way goes on"
    } else {
        "nothing has begun, so it can still be changed and deleted"
    };
    format!("outside its maintenance windows until {opens}; {meanwhile} (then: {next})")
}

pub fn no_window_opens(next: &str) -> String {
    format!(
        "no maintenance window ever opens, because none can be understood (held: {next}): to move back, set spec.requestRollback to true; then write spec.windows anew"
    )
}

pub fn waits_for_rival(mesh: &str, rival: &Rival) -> String {
    let name = &rival.name;
    let same = if rival.mesh == mesh {
        "which upgrades the same mesh".to_owned()
    } else {
        format!(
            "which upgrades the same control plane under another name (Mesh {})",
            rival.mesh
        )
    };
    format!("waiting for MeshUpgrade {name}, {same}, to end (kubectl describe mup {name})")
}

pub fn already_there(version: &Version, behind: usize, unknown: usize) -> String {
    let found = match behind {
        0 => format!("the mesh runs {version}; nothing was to do"),
        n => format!(
            "the control plane runs {version}; sidecars of another version still run (pods: {n}), as accepted"
        ),
    };
    match unknown {
        0 => found,
        n => format!("{found}; the images of some sidecars do not say their version (pods: {n})"),
    }
}

/// A chart as Helm takes it.
pub fn chart(repository: &str, name: &str) -> String {
    let repository = repository.trim_end_matches('/');
    if repository.starts_with("oci://") {
        format!("{repository}/{name}")
    } else {
        format!("{name} --repo {repository}")
    }
}

/// The command that shows which control plane each sidecar is connected to.
pub fn who_uses() -> &'static str {
    "`istioctl proxy-status` shows who uses which"
}

pub fn done(record: &Record, blocked: &[BlockedWorkload], notes: &[String]) -> String {
    let version = &record.target_version;
    let left = blocked.iter().filter(|b| !b.predicate.moves()).count();
    let done = match (record.strategy, left) {
        (Strategy::Canary, 0) => format!(
            "the mesh is at {version}; every workload runs its sidecar and the old control plane is gone"
        ),
        (Strategy::Canary, n) => format!(
            "the mesh is at {version} and the old control plane is gone; {n} not moved, see status.blocked"
        ),
        (Strategy::InPlace, 0) => {
            format!(
                "the mesh is at {version}: istiod in place, and every workload runs its sidecar"
            )
        }
        (Strategy::InPlace, n) => {
            format!("istiod is at {version} in place; {n} not moved, see status.blocked")
        }
    };
    let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
    format!("{done}{notes}")
}

/// Of a namespace that asks for a control plane that is gone, and has nothing that runs with it.
pub fn asks_in_vain(namespace: &str, to: &str) -> String {
    let labels = InjectionLabels {
        injection: None,
        revision: Some(to.to_owned()),
    };
    format!(
        "asks for sidecars of the control plane that is gone, so new pods get none: {}",
        relabel(namespace, &labels)
    )
}

/// The command that gives a namespace these labels.
pub fn relabel(name: &str, labels: &InjectionLabels) -> String {
    let set = |key: &str, value: &Option<String>| match value {
        Some(value) => format!("{key}={value}"),
        None => format!("{key}-"),
    };
    format!(
        "kubectl label namespace {name} {} {} --overwrite",
        set(ISTIO_REV, &labels.revision),
        set(ISTIO_INJECTION, &labels.injection)
    )
}

pub fn done_old_stays(record: &Record, counts: WorkloadCounts, users: &[String]) -> String {
    let how = match counts.blocked {
        0 => "when that is over,",
        _ => "move them (status.blocked says how), then",
    };
    format!(
        "the control plane is at {} with {} of {} workloads; the old one ({}) stays, because it is used by {}: {how} annotate this object with a new value of meshlift.io/retry to retire it",
        record.target_version,
        counts.moved,
        counts.total,
        record.source.version,
        first_few(users)
    )
}

/// Of what may still move away from the old control plane.
pub fn waits_for_users(users: &[String]) -> String {
    format!(
        "waiting until the old control plane is no longer used by {}",
        first_few(users)
    )
}

/// Of metrics that a person has to open, or do without.
pub fn metrics_unreadable(upgrade: &str, message: &str) -> String {
    format!(
        "{message}. Open port 15014 of the istiod pods to the API server, or continue without them: kubectl annotate mup {upgrade} --overwrite meshlift.io/accept=METRICS-UNREADABLE"
    )
}

/// Of a write that is refused again and again, and without which it does not go on.
pub fn must_be_allowed(message: &str) -> String {
    format!("{message}. Allow that, and the rest continues by itself")
}

/// Said of a soak without metrics, which a person accepted.
pub const INJECTIONS_UNWATCHED: &str =
    "; failed injections are not watched, because the metrics of istiod cannot be read";

/// Said of a removal without metrics, which a person accepted.
pub const CONNECTIONS_UNKNOWN: &str =
    "; no pod of this cluster runs its sidecar, and its connections cannot be read";

/// Of what is still seen to use a control plane that is gone.
pub fn waits_for_orphans(version: &Version, users: &[String]) -> String {
    format!(
        "the old control plane ({version}) is gone; waiting for what still uses it: {}",
        first_few(users)
    )
}

/// The same, where it does not leave.
pub fn gone_and_used(version: &Version, users: &[String]) -> String {
    format!(
        "the old control plane ({version}) is gone and still used by {}: their sidecars get no configuration, and their certificates expire",
        first_few(users)
    )
}

/// How the mesh is left then.
pub fn rest_is_at(version: &Version, counts: WorkloadCounts) -> String {
    format!(
        "{} of {} workloads are on {version}; status.blocked says how the others get there.",
        counts.moved, counts.total
    )
}

/// `the CronJobs and Jobs, which cannot be read (...)`: in the place of a user.
pub fn unread_users(what: &str, why: &str) -> String {
    format!("{what}, which cannot be read ({why})")
}

pub fn stuck_between(record: &Record, next: &Version, users: &[String]) -> String {
    format!(
        "stopped on the way: the mesh is at {}, and the step to {next} cannot begin, because the old control plane ({}) is used by {}: move them (status.blocked says how), then annotate this object with a new value of meshlift.io/retry to go on",
        record.target_version,
        record.source.version,
        first_few(users)
    )
}

/// `istiod has 1 of 2 replicas ready`, with what keeps a pod from it.
pub fn not_ready(plane: &ControlPlane) -> String {
    let trouble = plane.trouble.as_deref();
    let why = trouble.map(|t| format!(" ({t})")).unwrap_or_default();
    let (name, ready, desired, needed) = (&plane.name, plane.ready, plane.desired, plane.needed());
    let enough = if needed < desired {
        format!(" and needs {needed}")
    } else {
        String::new()
    };
    format!("{name} has {ready} of {desired} replicas ready{enough}{why}")
}

/// Of the control plane that everything has left.
pub fn old_is_not_needed(version: &Version, plane: &ControlPlane) -> String {
    format!(
        "; the old control plane ({version}) is not ready and no longer needed: {}",
        not_ready(plane)
    )
}

pub fn foreign_helm(release: &Release, since: Timestamp) -> String {
    let Release {
        name, namespace, ..
    } = release;
    format!(
        "waiting for the Helm operation on {namespace}/{name} that someone else started at {}; if it died: helm -n {namespace} rollback {name}",
        moment(since)
    )
}

pub fn waits_for_approval(upgrade: &str, wave: &str, unknown: &[&String]) -> String {
    let note = if unknown.is_empty() {
        String::new()
    } else {
        format!(
            "; spec.approvals names what is no wave: {}",
            first_few(unknown)
        )
    };
    format!(
        "wave {wave} waits for approval: meshlift approve {upgrade} {wave}, or add {wave} to spec.approvals (kubectl edit mup {upgrade}){note}"
    )
}

/// What of a wave has moved: `wave canary has moved`, with what has not.
fn wave_moved(wave: &str, counts: WorkloadCounts) -> String {
    if counts.moved < counts.total {
        format!(
            "wave {wave}: {} of {} workloads have moved (status.blocked has the others)",
            counts.moved, counts.total
        )
    } else {
        format!("wave {wave} has moved")
    }
}

pub fn wave_watched(wave: &str, counts: WorkloadCounts, end: Timestamp) -> String {
    let (moved, end) = (wave_moved(wave, counts), moment(end));
    format!("{moved}; healthy, watched until {end}")
}

pub fn wave_verified(wave: &str, counts: WorkloadCounts) -> String {
    if counts.moved < counts.total {
        format!("{}; healthy", wave_moved(wave, counts))
    } else {
        format!("wave {wave} has moved and is healthy")
    }
}

/// Of a wave that moved nothing, so that it shows nothing.
pub fn wave_unproved(upgrade: &str, wave: &str, blocked: &[String], may_go_back: bool) -> String {
    let rollback = if may_go_back {
        format!(", or roll back: {}", request_rollback(upgrade))
    } else {
        String::new()
    };
    format!(
        "wave {wave} shows nothing yet, because none of its workloads moved: {} (status.blocked has the reasons). Fix one of them, and the upgrade continues by itself; or continue without: kubectl annotate mup {upgrade} --overwrite meshlift.io/accept={WAVE_UNPROVED}{rollback}",
        first_few(blocked)
    )
}

pub fn wave_ill(wave: &str, what: &str, deadline: Timestamp) -> String {
    let until = moment(deadline);
    format!(
        "wave {wave} has moved and is not healthy, its soak starts over (until {until}): {what}"
    )
}

/// Of proxies that istiod counts and this cluster does not show.
pub fn foreign_proxies(connected: u64) -> String {
    format!(
        "{connected} connected proxies that are no running pods of this cluster (virtual machines, other clusters, or pods that are still terminating)"
    )
}

pub fn own_helm(release: &Release, since: Timestamp, ends: Timestamp) -> String {
    format!(
        "waiting for our Helm operation on {}/{}, started at {}; if it does not end, it is cleared at {}",
        release.namespace,
        release.name,
        moment(since),
        moment(ends)
    )
}

pub fn stopped(what: &str, state: &str) -> String {
    format!(
        "stopped: {what}. {state} Fix it, then annotate this object with a new value of meshlift.io/retry to continue from here"
    )
}

/// How the mesh is left when an upgrade stops.
pub fn mesh_left(record: &Record, counts: WorkloadCounts) -> String {
    if record.strategy == Strategy::InPlace {
        return format!(
            "Nothing is undone: istiod is at {} or on its way there, and {} of {} workloads run its sidecars.",
            record.target_version, counts.moved, counts.total
        );
    }
    format!(
        "Nothing is undone: {} of {} workloads are on {}, and the old control plane ({}) stays.",
        counts.moved, counts.total, record.target_version, record.source.version
    )
}

/// Of an istiod that is not ready, or whose replicas of before still run.
pub fn not_replaced(plane: &ControlPlane) -> String {
    if plane.is_ready() && plane.rolling {
        return format!("{} still has replicas of its older template", plane.name);
    }
    not_ready(plane)
}

/// Of an upgrade in place that is done.
pub fn replaced(record: &Record) -> String {
    format!(
        "istiod {} was replaced in place by {}",
        record.source.version, record.target_version
    )
}

/// What goes on in the data plane, by name.
#[derive(Debug, Default)]
pub struct Progress {
    /// Restarted now.
    pub restarts: Vec<String>,
    /// Restarting since before.
    pub waits: Vec<String>,
    /// Not come up.
    pub failed: Vec<String>,
    /// What holds others back, a sentence each.
    pub held: Vec<String>,
    /// What the API server refused and is tried again.
    pub refused: Vec<String>,
    /// Why it goes slower than it could, or what of that is not known.
    pub pace: Option<String>,
}

pub fn restarting(counts: WorkloadCounts, revision: &str, progress: &Progress) -> String {
    let mut text = format!("{}/{} workloads on {revision}", counts.moved, counts.total);
    if counts.blocked > 0 {
        text.push_str(&format!(", {} not movable", counts.blocked));
    }
    let parts = [
        ("restarting", &progress.restarts),
        ("waiting for", &progress.waits),
        ("did not come up:", &progress.failed),
        ("held back:", &progress.held),
        ("trying again what was refused:", &progress.refused),
    ];
    for (verb, names) in parts.iter().filter(|(_, names)| !names.is_empty()) {
        text.push_str(&format!("; {verb} {}", first_few(names)));
    }
    if let Some(pace) = &progress.pace {
        text.push_str(&format!("; {pace}"));
    }
    text
}

/// That it goes slower, and why; or that nobody knows whether it should.
pub fn pace(pace: &Pace, max: u32) -> Option<String> {
    let slower = pace.status.as_ref().map(|told| {
        let PaceStatus { limit, reason, .. } = told;
        format!("slower: {reason}; {limit} at once instead of {max}")
    });
    match (slower, &pace.blind) {
        (slower, None) => slower,
        (None, Some(why)) => Some(format!(
            "the metrics of istiod cannot be read, so the pace stays as it is: {why}"
        )),
        (Some(slower), Some(why)) => Some(format!(
            "{slower}, until the metrics of istiod can be read: {why}"
        )),
    }
}

/// Said of pauses that a person notices.
pub fn admission(until: Timestamp, admission: &Admission) -> Option<String> {
    let (now, rate) = (admission.now(), admission.per_second());
    let noticed = until.duration_since(now) >= SignedDuration::from_secs(5);
    noticed.then(|| {
        format!(
            "istiod gets at most {rate} new proxies a second, half of what it admits: the next restart at {}",
            moment(until)
        )
    })
}

pub fn converges_slowly(revision: &str, recent: &Recent) -> String {
    let slow = recent.slow;
    // Some may wait in the queue yet.
    let converged = recent.converged.max(slow).max(1);
    match recent.took / 1000 / converged {
        mean @ 10.. => format!("istiod {revision} needs {mean}s to converge"),
        _ => format!("istiod {revision} needed more than 10s for {slow} of {converged} proxies"),
    }
}

pub fn push_errors(revision: &str, times: u64) -> String {
    format!("istiod {revision} could not make or send configuration (times: {times})")
}

pub fn rejects(revision: &str, times: u64) -> String {
    format!("proxies refused configuration of istiod {revision} (times: {times})")
}

pub const API_SERVER_PUSHES_BACK: &str = "the API server did not take every restart";

pub fn moved(proxies: ProxyCounts, revision: &str) -> String {
    format!(
        "{}/{} sidecars on {revision}",
        proxies.current, proxies.total
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_without_zeros() {
        let say = |seconds| span(SignedDuration::from_secs(seconds));
        assert_eq!(say(0), "0s");
        assert_eq!(say(90), "1m 30s");
        assert_eq!(say(3600), "1h");
        assert_eq!(say(-5), "0s");
    }

    #[test]
    fn moments_are_rounded_up_to_seconds() {
        let say = |text: &str| moment(text.parse().expect("a time"));
        assert_eq!(say("2026-11-02T02:00:00Z"), "2026-11-02 02:00:00 UTC");
        assert_eq!(say("2026-11-02T02:00:00.001Z"), "2026-11-02 02:00:01 UTC");
    }

    #[test]
    fn a_long_list_says_how_long_it_is() {
        assert_eq!(first_few(&["a", "b", "c"]), "a, b, c");
        assert_eq!(first_few(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }

    #[test]
    fn a_cap_counts_characters_and_leaves_short_texts_alone() {
        let fits = "\u{e9}".repeat(LONGEST);
        assert_eq!(capped(&fits), fits);
        assert!(capped(&(fits + "x")).chars().count() <= LONGEST);
    }
}
