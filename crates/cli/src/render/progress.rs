//! Where an upgrade is, in one line.

use jiff::Timestamp;
use kube::ResourceExt;
use meshlift_api::{MeshUpgrade, MeshUpgradeStatus, Phase, WaveState, WorkloadCounts, labels};

use super::time::between;

/// Whether it does no more by itself, and no one has asked it to go on. The status of an earlier spec
/// says nothing of the present one.
pub(crate) fn has_ended(upgrade: &MeshUpgrade) -> bool {
    let Some(status) = &upgrade.status else {
        return false;
    };
    let retry = upgrade.annotations().get(labels::RETRY);
    status.phase.is_some_and(Phase::is_terminal)
        && status.observed_generation == upgrade.metadata.generation
        && (retry.is_none() || retry == status.observed_retry.as_ref())
}

/// Phase and step: `Upgrading, RestartingWorkloads`.
pub(crate) fn stage(status: &MeshUpgradeStatus) -> String {
    match (status.phase, status.step) {
        (Some(phase), Some(step)) if !phase.is_terminal() => format!("{phase}, {step}"),
        (Some(phase), _) => phase.to_string(),
        (None, _) => "not seen by the operator yet".to_owned(),
    }
}

/// The wave that moves or is waited for: `wave prod (2 of 4)`.
pub(crate) fn wave(status: &MeshUpgradeStatus) -> Option<String> {
    let all = &status.waves;
    let at = all
        .iter()
        .position(|wave| wave.state != WaveState::Verified)?;
    let moves = matches!(status.phase, Some(Phase::Upgrading)) && status.rollback.is_none();
    moves.then(|| format!("wave {} ({} of {})", all[at].name, at + 1, all.len()))
}

/// A line for a log: the stage, how far, and what is done or waited for.
pub(crate) fn line(status: &MeshUpgradeStatus) -> String {
    let stage = stage(status);
    let mut parts = vec![stage.as_str()];
    if !status.progress.is_empty() && !status.message.contains(&status.progress) {
        parts.push(&status.progress);
    }
    if !status.message.is_empty() {
        parts.push(&status.message);
    }
    parts.join(" | ")
}

/// What the counts say: `41/60 workloads: 5 restarting, 12 waiting, 2 not moved`.
pub(crate) fn counts(workloads: &WorkloadCounts) -> String {
    let parts = [
        (workloads.restarting, "restarting"),
        (workloads.pending, "waiting"),
        (workloads.blocked, "not moved"),
        (workloads.failed, "failed"),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
    let of = format!("{}/{} workloads", workloads.moved, workloads.total);
    if told.is_empty() {
        of
    } else {
        format!("{of}: {}", told.join(", "))
    }
}

/// How long this run takes or took.
pub(crate) fn took(status: &MeshUpgradeStatus, now: Timestamp) -> Option<String> {
    let started = status.started_at.as_ref()?.0;
    let end = status.finished_at.as_ref().map_or(now, |time| time.0);
    Some(between(started, end))
}

/// The last word on an upgrade that has ended.
pub(crate) fn verdict(name: &str, status: &MeshUpgradeStatus, now: Timestamp) -> String {
    let how = match (status.outcome, status.phase) {
        (Some(outcome), _) => outcome.to_string(),
        (None, Some(phase)) => phase.to_string(),
        (None, None) => "ended".to_owned(),
    };
    let took = took(status, now).map_or(String::new(), |took| format!(" in {took}"));
    if status.message.is_empty() {
        format!("{name}: {how}{took}")
    } else {
        format!("{name}: {how}{took}: {}", status.message)
    }
}

#[cfg(test)]
mod tests {
    use meshlift_api::{MeshUpgradeSpec, Step, WaveStatus};
    use serde_json::json;

    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().expect("a time")
    }

    #[test]
    fn a_line_says_each_thing_once() {
        let mut status = MeshUpgradeStatus {
            phase: Some(Phase::Upgrading),
            step: Some(Step::RestartingWorkloads),
            progress: "41/60".into(),
            message: "41/60 workloads on 1-31-0".into(),
            ..Default::default()
        };
        let stage = "Upgrading, RestartingWorkloads";
        assert_eq!(
            line(&status),
            format!("{stage} | 41/60 workloads on 1-31-0")
        );
        status.message = "waiting for Deployment shop/cart".into();
        let expected = format!("{stage} | 41/60 | waiting for Deployment shop/cart");
        assert_eq!(line(&status), expected);
        assert_eq!(line(&Default::default()), "not seen by the operator yet");
    }

    #[test]
    fn the_wave_is_that_which_is_not_verified() {
        let mut status = MeshUpgradeStatus {
            phase: Some(Phase::Upgrading),
            ..Default::default()
        };
        assert_eq!(wave(&status), None);
        status.waves = ["canary", "prod"].map(WaveStatus::pending).into();
        assert_eq!(wave(&status).as_deref(), Some("wave canary (1 of 2)"));
        status.waves[0].state = WaveState::Verified;
        assert_eq!(wave(&status).as_deref(), Some("wave prod (2 of 2)"));
        status.waves[1].state = WaveState::Verified;
        assert_eq!(wave(&status), None);
    }

    #[test]
    fn only_what_there_is_is_counted() {
        let mut workloads = WorkloadCounts {
            total: 60,
            moved: 60,
            ..Default::default()
        };
        assert_eq!(counts(&workloads), "60/60 workloads");
        workloads.moved = 41;
        workloads.restarting = 5;
        workloads.blocked = 2;
        let expected = "41/60 workloads: 5 restarting, 2 not moved";
        assert_eq!(counts(&workloads), expected);
    }

    #[test]
    fn the_status_of_an_earlier_spec_is_no_end() {
        let spec: MeshUpgradeSpec =
            serde_json::from_value(json!({ "targetVersion": "1.31" })).expect("a spec");
        let mut upgrade = MeshUpgrade::new("to-1-31", spec);
        assert!(!has_ended(&upgrade), "no status");
        upgrade.metadata.generation = Some(2);
        upgrade.status = Some(MeshUpgradeStatus {
            phase: Some(Phase::Done),
            observed_generation: Some(1),
            ..Default::default()
        });
        assert!(!has_ended(&upgrade), "an earlier spec");
        upgrade.metadata.generation = Some(1);
        assert!(has_ended(&upgrade));
        let annotations = upgrade.annotations_mut();
        annotations.insert(labels::RETRY.into(), "1".into());
        assert!(!has_ended(&upgrade), "it is to go on");
    }

    #[test]
    fn the_last_word_says_how_and_how_long() {
        let mut status: MeshUpgradeStatus = serde_json::from_value(json!({
            "phase": "Done", "outcome": "Upgraded", "message": "the mesh is at 1.31.0",
            "startedAt": "2026-03-01T10:00:00Z", "finishedAt": "2026-03-01T11:05:00Z",
        }))
        .expect("a status");
        let now = at("2026-03-02T00:00:00Z");
        let expected = "to-1-31: Upgraded in 1h5m: the mesh is at 1.31.0";
        assert_eq!(verdict("to-1-31", &status, now), expected);
        status.finished_at = None;
        assert_eq!(took(&status, now).as_deref(), Some("14h"));
    }
}
