//! Everything ends or waits for a person it names: the time goes on, and the world stands still.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use meshlift_api::{MeshUpgradeStatus, Phase, RollbackStatus, Step};
use meshlift_model::view::{MeshView, ReleaseState, Seen};
use meshlift_model::{Executed, Next, Upgrade};
use meshlift_planner::{decide, fold};
use proptest::prelude::*;

use crate::any::{now, rollback, upgrade, view};
use crate::with_status;

/// Far more than every timeout, soak and delay below together.
const LONG: i64 = 48;
/// What is waited for in turns comes up again within this time.
const TURNS: SignedDuration = SignedDuration::from_hours(2);
const PACE: SignedDuration = SignedDuration::from_mins(15);

/// The durations of a person who is in their right mind, and a run that has just entered its phase.
fn sane(mut upgrade: Upgrade, phase: Phase, rollback: Option<RollbackStatus>) -> Upgrade {
    let minutes = |n: u64| Duration::from_secs(60 * n).into();
    upgrade.spec.data_plane.restart.timeout = minutes(10);
    upgrade.spec.health_check.soak = minutes(5);
    upgrade.spec.retire.after = minutes(60);
    for wave in &mut upgrade.spec.data_plane.waves {
        wave.soak = Some(minutes(5));
    }
    let restart = &mut upgrade.spec.data_plane.restart;
    restart.max_concurrent = restart.max_concurrent.max(1);
    restart.max_concurrent_per_namespace = restart.max_concurrent_per_namespace.max(1);
    upgrade.spec.paused = false;
    upgrade.held = true;
    let status = MeshUpgradeStatus {
        phase: Some(phase),
        step: None::<Step>,
        step_started_at: None,
        started_at: None,
        attempts: None,
        soak: None,
        waves: Vec::new(),
        rollback: rollback.map(|rollback| RollbackStatus {
            since: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()),
            soak: None,
            ..rollback
        }),
        ..upgrade.status.clone()
    };
    with_status(&upgrade, status)
}

/// Nothing of what is seen is from the future: no clock is wrong.
fn past(mut view: MeshView) -> MeshView {
    let past = |at: Option<Timestamp>| at.map(|at| at.min(now()));
    if let Seen::Present(workloads) = &mut view.workloads {
        for workload in workloads {
            workload.restarted_at = past(workload.restarted_at);
            workload.evicted_at = past(workload.evicted_at);
            for pod in &mut workload.pods {
                let created_at = past(pod.created_at);
                Arc::make_mut(pod).created_at = created_at;
            }
        }
    }
    if let Seen::Present(gateways) = &mut view.gateways {
        for gateway in gateways {
            gateway.asked_at = past(gateway.asked_at);
        }
    }
    if let Seen::Present(releases) = &mut view.releases {
        for release in releases {
            if let ReleaseState::Pending { since, .. } = &mut release.state {
                *since = (*since).min(now());
            }
        }
    }
    view
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_locked_phase_ends_or_waits_for_a_person(
        upgrade in upgrade(),
        view in view(),
        phase in prop::sample::select(&[Phase::Upgrading, Phase::HealthChecking][..]),
        back in proptest::option::of(rollback()),
    ) {
        let phase = if back.is_some() { Phase::Upgrading } else { phase };
        let mut upgrade = sane(upgrade, phase, back);
        let view = past(view);
        let mut at = now();
        let (mut last, mut asked) = (None, None);
        let end = now() + SignedDuration::from_hours(LONG);
        while at < end && upgrade.phase().is_locked() {
            let decision = decide(at, &upgrade, &view);
            // The world answers to what is done: it would not stand still.
            if decision.mutates() {
                return Ok(());
            }
            let again = match &decision.next {
                Next::Wait(waiting) if waiting.until > at => PACE,
                _ => SignedDuration::from_secs(1),
            };
            upgrade = with_status(&upgrade, fold(at, &upgrade, &decision, &Executed::Nothing));
            if decision.waits_for_person() {
                asked = Some(at);
            }
            last = Some(decision);
            at += again;
        }
        // Two things that are waited for may take turns, each with a deadline of its own.
        let asks = asked.is_some_and(|asked| end.duration_since(asked) < TURNS);
        prop_assert!(!upgrade.phase().is_locked() || asks, "{last:?}");
    }
}
