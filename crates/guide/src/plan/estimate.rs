//! How long an upgrade may take. An estimate and said to be one: nobody knows how long an
//! application takes to become ready before it was tried.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use meshlift_api::{MeshUpgradeSpec, Strategy};
use meshlift_model::message::span;
use meshlift_model::time::signed;
use meshlift_model::view::WorkloadKind;
use serde::Serialize;

use super::Restart;

/// How long one step of a rolling update takes: a pod is scheduled, its containers start and
/// become ready, the old one drains.
const STEP: (i64, i64) = (20, 60);
/// CRDs, then istiod until it is ready and injects; images may have to be pulled.
const CONTROL_PLANE: (i64, i64) = (30, 240);
/// The default revision moves, the old control plane goes.
const RETIREMENT: (i64, i64) = (15, 120);
/// What all waves but the last wait before the next begins.
const WAVES: &str = "soaks of the waves (spec.dataPlane.waves)";
/// A Deployment's rolling update replaces a quarter of its pods at a time unless it says otherwise.
const DEPLOYMENT_STEPS: usize = 4;

/// A time as a range, and what it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// The least it may take.
    pub low: SignedDuration,
    /// What it may well take.
    pub high: SignedDuration,
    /// Its parts, in their order.
    pub parts: Vec<EstimatedPart>,
}

/// A part of the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EstimatedPart {
    /// What happens.
    pub what: String,
    /// The least it may take.
    pub low: SignedDuration,
    /// What it may well take.
    pub high: SignedDuration,
}

impl Estimate {
    /// `1h 6m to 1h 17m`.
    pub fn range(&self) -> String {
        between(self.low, self.high)
    }
}

/// A range of time, rounded to what an estimate can know.
pub(crate) fn between(low: SignedDuration, high: SignedDuration) -> String {
    let (low, high) = (span(rounded(low)), span(rounded(high)));
    if low == high {
        low
    } else {
        format!("{low} to {high}")
    }
}

/// To minutes from five minutes on: seconds would pretend to know.
fn rounded(time: SignedDuration) -> SignedDuration {
    match time.as_secs() {
        seconds @ ..300 => SignedDuration::from_secs(seconds),
        seconds => SignedDuration::from_mins((seconds + 30) / 60),
    }
}

/// The time of an upgrade that restarts these, in this order, one wave after the other, with at most so many new
/// proxies a second. Nobody knows how long a person takes to let a wave begin.
pub(crate) fn estimate(spec: &MeshUpgradeSpec, waves: &[&[Restart]], admitted: u32) -> Estimate {
    let limits = &spec.data_plane.restart;
    let all = limits.max_concurrent as usize;
    let each = limits.max_concurrent_per_namespace as usize;
    let restarting = |step| {
        let of_wave = |of: &&[Restart]| schedule(of, all, each, step).max(taken_in(of, admitted));
        SignedDuration::from_secs(waves.iter().map(of_wave).sum())
    };
    let soaks = spec.data_plane.waves.iter().filter_map(|wave| wave.soak);
    let soaks = soaks
        .map(signed)
        .fold(SignedDuration::ZERO, SignedDuration::saturating_add);
    let seconds = |(low, high)| {
        (
            SignedDuration::from_secs(low),
            SignedDuration::from_secs(high),
        )
    };
    let soak = signed(spec.health_check.soak);
    let after = signed(spec.retire.after);
    let parts = [
        ("CRDs and the new control plane", seconds(CONTROL_PLANE)),
        ("restarts", (restarting(STEP.0), restarting(STEP.1))),
        (WAVES, (soaks, soaks)),
        ("soak (spec.healthCheck.soak)", (soak, soak)),
    ];
    let removal = [
        (
            "the old control plane stays (spec.retire.after)",
            (after, after),
        ),
        ("default revision and removal", seconds(RETIREMENT)),
    ];
    // In place nothing stays, and nothing is removed.
    let removal = removal
        .into_iter()
        .filter(|_| spec.strategy == Strategy::Canary);
    let parts: Vec<EstimatedPart> = parts
        .into_iter()
        .chain(removal)
        .filter(|(what, (_, high))| *what != WAVES || !high.is_zero())
        .map(|(what, (low, high))| EstimatedPart {
            what: what.to_owned(),
            low,
            high,
        })
        .collect();
    let sum = |of: fn(&EstimatedPart) -> SignedDuration| {
        parts
            .iter()
            .map(of)
            .fold(SignedDuration::ZERO, SignedDuration::saturating_add)
    };
    Estimate {
        low: sum(|part| part.low),
        high: sum(|part| part.high),
        parts,
    }
}

/// Seconds in which istiod takes in all of their pods.
fn taken_in(restarts: &[Restart], admitted: u32) -> i64 {
    let pods: usize = restarts.iter().map(|restart| restart.pods).sum();
    i64::try_from(pods).unwrap_or(i64::MAX) / i64::from(admitted.max(1))
}

/// How many pods are replaced one after another.
fn steps(restart: &Restart) -> usize {
    match restart.workload.kind {
        WorkloadKind::Deployment => restart.pods.clamp(1, DEPLOYMENT_STEPS),
        _ => restart.pods.max(1),
    }
}

/// Seconds until all are through, `all` at a time and `each` in one namespace, as the upgrade
/// takes them: in their order, each as soon as there is room for it.
fn schedule(restarts: &[Restart], all: usize, each: usize, step: i64) -> i64 {
    let mut queues = BTreeMap::<&str, Vec<usize>>::new();
    for restart in restarts.iter().rev() {
        let queue = queues.entry(&restart.workload.namespace).or_default();
        queue.push(steps(restart));
    }
    let mut running = Vec::<(i64, &str)>::new();
    let mut now = 0;
    loop {
        for (namespace, queue) in &mut queues {
            let in_namespace =
                |running: &[(i64, &str)]| running.iter().filter(|(_, ns)| ns == namespace).count();
            while running.len() < all && in_namespace(&running) < each {
                let Some(steps) = queue.pop() else { break };
                running.push((
                    now + step * i64::try_from(steps).unwrap_or(i64::MAX / step),
                    namespace,
                ));
            }
        }
        queues.retain(|_, queue| !queue.is_empty());
        let Some(next) = running.iter().map(|(end, _)| *end).min() else {
            return now;
        };
        now = next;
        running.retain(|(end, _)| *end > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshlift_model::view::WorkloadKey;

    fn restart(namespace: &str, kind: WorkloadKind, pods: usize) -> Restart {
        Restart {
            workload: WorkloadKey {
                namespace: namespace.into(),
                kind,
                name: "x".into(),
            },
            pods,
            waits: false,
        }
    }

    #[test]
    fn restarts_share_the_room_there_is() {
        let deployment = |namespace: &str| restart(namespace, WorkloadKind::Deployment, 1);
        let one_namespace = [deployment("a"), deployment("a"), deployment("a")];
        assert_eq!(schedule(&one_namespace, 5, 1, 20), 60);
        assert_eq!(schedule(&one_namespace, 5, 2, 20), 40);
        let three = [deployment("a"), deployment("b"), deployment("c")];
        assert_eq!(schedule(&three, 5, 1, 20), 20);
        assert_eq!(schedule(&three, 2, 1, 20), 40);
        assert_eq!(schedule(&[], 5, 1, 20), 0);
    }

    #[test]
    fn no_restart_is_faster_than_istiod_takes_in_its_pods() {
        let spec = serde_json::json!({ "targetVersion": "1.31.0" });
        let spec: MeshUpgradeSpec = serde_json::from_value(spec).expect("a spec");
        let large = [restart("a", WorkloadKind::Deployment, 6000)];
        let restarts = |admitted| {
            estimate(&spec, &[&large[..]], admitted).parts[1]
                .low
                .as_secs()
        };
        assert_eq!(restarts(20), 300);
        assert_eq!(restarts(1000), 80);
    }

    #[test]
    fn pods_are_replaced_as_their_kind_does_it() {
        let time = |kind, pods| schedule(&[restart("a", kind, pods)], 5, 1, 20);
        assert_eq!(time(WorkloadKind::Deployment, 2), 40);
        assert_eq!(time(WorkloadKind::Deployment, 100), 80);
        assert_eq!(time(WorkloadKind::StatefulSet, 10), 200);
        assert_eq!(time(WorkloadKind::DaemonSet, 0), 20);
    }

    #[test]
    fn an_estimate_does_not_pretend_to_know_seconds() {
        let between = |low, high| {
            between(
                SignedDuration::from_secs(low),
                SignedDuration::from_secs(high),
            )
        };
        assert_eq!(between(40, 130), "40s to 2m 10s");
        assert_eq!(between(3990, 4655), "1h 7m to 1h 18m");
        assert_eq!(between(600, 610), "10m");
    }
}
