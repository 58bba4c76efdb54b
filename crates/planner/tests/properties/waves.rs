//! Waves: nothing of one moves before its turn, and they come in their order.

use meshlift_api::{WaveState, WaveStatus};
use meshlift_model::view::MeshView;
use meshlift_model::{Effect, Stages, Upgrade};
use meshlift_planner::{decide, fold};
use proptest::prelude::*;

use crate::any::{now, upgrade, view};
use crate::{effects, executed};

fn status<'a>(upgrade: &'a Upgrade, name: &str) -> Option<&'a WaveStatus> {
    upgrade.status.waves.iter().find(|wave| wave.name == name)
}

/// The name of the wave that an effect moves something of, by what the record says.
fn wave_of(upgrade: &Upgrade, view: &MeshView, effect: &Effect) -> Option<String> {
    let record = view.record.present()?;
    let stages = Stages::of(upgrade, record);
    let stage = match effect {
        Effect::MoveNamespace { name, .. } => stages.of_namespace(name),
        Effect::RestartWorkload { key, .. } => {
            let workloads = view.workloads.present()?;
            // The same key may be there twice in an arbitrary view.
            let mut same = workloads.iter().filter(|workload| workload.key == *key);
            let first = stages.of_workload(same.next()?);
            if same.any(|other| stages.of_workload(other) != first) {
                return None;
            }
            first
        }
        _ => return None,
    };
    Some(stages.all().get(stage)?.name.to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_moves_before_it_is_written_that_its_wave_does(upgrade in upgrade(), view in view()) {
        // On the way back everything goes that is on the new control plane, whoever brought it there.
        prop_assume!(upgrade.status.rollback.is_none());
        let decision = decide(now(), &upgrade, &view);
        for effect in effects(&decision) {
            let Some(name) = wave_of(&upgrade, &view, effect) else { continue };
            let told = status(&upgrade, &name);
            let begun = told.is_some_and(|wave| wave.started_at.is_some());
            let passed_over = told.is_some_and(|wave| wave.state == WaveState::Verified);
            prop_assert!(begun || passed_over, "{name} has not begun: {effect:?}");
            let waves = &upgrade.spec.data_plane.waves;
            let asks = waves.iter().any(|wave| wave.name == name && wave.approval == meshlift_api::Approval::Required);
            prop_assert!(begun || !asks || upgrade.spec.approvals.contains(&name), "{name}: nobody let it");
        }
    }

    #[test]
    fn a_wave_begins_when_those_before_it_are_verified(upgrade in upgrade(), view in view()) {
        let decision = decide(now(), &upgrade, &view);
        let after = fold(now(), &upgrade, &decision, &executed(&decision));
        let known = |name: &str| status(&upgrade, name).is_some_and(|wave| wave.started_at.is_some());
        for (at, wave) in after.waves.iter().enumerate() {
            if wave.started_at.is_some() && !known(&wave.name) {
                let before = after.waves[..at].iter().all(|wave| wave.state == WaveState::Verified);
                prop_assert!(before, "{} begins too early: {:?}", wave.name, after.waves);
            }
        }
    }
}
