//! What holds of every decision, whatever the upgrade and the view look like.

mod any;
mod liveness;
mod mesh_list;
mod surroundings;
mod waves;

use any::{now, rollback, upgrade, view};
use meshlift_api::{MeshUpgradeStatus, Phase, Strategy, Window};
use meshlift_model::view::{MeshView, Seen};
use meshlift_model::{Decision, Effect, ErrorClass, Executed, Next, Upgrade};
use meshlift_planner::{decide, fold, lint, wanted};
use proptest::prelude::*;

fn effects(decision: &Decision) -> &[Effect] {
    match &decision.next {
        Next::Act(batch) => batch,
        Next::Record(_) | Next::Wait(_) | Next::Enter(_) => &[],
    }
}

fn executed(decision: &Decision) -> Executed {
    match decision.next {
        Next::Act(_) | Next::Record(_) => Executed::Done,
        Next::Wait(_) | Next::Enter(_) => Executed::Nothing,
    }
}

/// Whether an effect changes the mesh, and not only what is ours.
fn touches_mesh(effect: &Effect) -> bool {
    !matches!(
        effect,
        Effect::RegisterMesh { .. }
            | Effect::WritePlan { .. }
            | Effect::HoldDeletion
            | Effect::LetGo
    )
}

fn with_status(upgrade: &Upgrade, status: MeshUpgradeStatus) -> Upgrade {
    Upgrade {
        status,
        ..upgrade.clone()
    }
}

type Spoil = fn(&mut MeshView, String);

/// Every part of the mesh that may use a control plane, made unreadable.
const PARTS: [Spoil; 7] = [
    |view, why| view.control_planes = Seen::Unreadable(why),
    |view, why| view.workloads = Seen::Unreadable(why),
    |view, why| view.namespaces = Seen::Unreadable(why),
    |view, why| view.tags = Seen::Unreadable(why),
    |view, why| view.gateways = Seen::Unreadable(why),
    |view, why| view.validator = Seen::Unreadable(why),
    |view, why| view.record = Seen::Unreadable(why),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_global_rejects: 50_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn total_deterministic_and_lint_clean(upgrade in upgrade(), view in view()) {
        let decision = decide(now(), &upgrade, &view);
        prop_assert_eq!(&decision, &decide(now(), &upgrade, &view));
        prop_assert_eq!(lint(&upgrade, &view, &decision), Ok(()));
        prop_assert_eq!(wanted(now(), &upgrade, &view), wanted(now(), &upgrade, &view));
        if let Next::Wait(waiting) = &decision.next {
            prop_assert!(waiting.until >= now(), "{waiting:?} is over");
        }
        prop_assert!(!matches!(&decision.next, Next::Act(batch) if batch.is_empty()));
    }

    #[test]
    fn what_has_ended_rests_until_it_is_asked_again(
        upgrade in upgrade(),
        view in view(),
        ended in prop::sample::select(&[Phase::Done, Phase::Failed][..]),
    ) {
        let status = MeshUpgradeStatus { phase: Some(ended), ..upgrade.status.clone() };
        let upgrade = with_status(&upgrade, status);
        let decision = decide(now(), &upgrade, &view);
        let touched = effects(&decision).iter().any(touches_mesh);
        prop_assert!(!touched, "{decision:?}");
        if !upgrade.asked_again() || upgrade.deleting {
            let status = fold(now(), &upgrade, &decision, &executed(&decision));
            prop_assert_eq!(status.phase, upgrade.status.phase);
        } else {
            prop_assert_eq!(&decision.next, &Next::Enter(Phase::Pending));
        }
    }

    #[test]
    fn phases_go_forward(upgrade in upgrade(), view in view()) {
        use Phase::{Detecting, Done, Failed, HealthChecking, Pending, Upgrading};
        let decision = decide(now(), &upgrade, &view);
        if let Next::Enter(to) = decision.next {
            let from = upgrade.phase();
            let known = [
                (Pending, Detecting), (Detecting, Upgrading), (Detecting, Done),
                (Upgrading, HealthChecking), (Upgrading, Failed), (HealthChecking, Done),
                (HealthChecking, Failed),
                // The way back.
                (HealthChecking, Upgrading), (Done, Pending), (Failed, Pending),
            ];
            // Only to go back, and only once.
            let turns = decision.report.rollback.is_some() && upgrade.status.rollback.is_none();
            let back = turns && to == Upgrading && from.is_locked();
            prop_assert!(back || known.contains(&(from, to)), "{from} to {to}");
        }
    }

    #[test]
    fn what_goes_back_never_goes_forward(
        upgrade in upgrade(),
        view in view(),
        back in rollback(),
    ) {
        let status = MeshUpgradeStatus {
            phase: Some(Phase::Upgrading), rollback: Some(back), ..upgrade.status.clone()
        };
        let upgrade = with_status(&upgrade, status);
        let decision = decide(now(), &upgrade, &view);
        if let Next::Enter(to) = decision.next {
            prop_assert_eq!(to, Phase::Failed);
        }
        prop_assert!(!matches!(decision.next, Next::Record(_)), "{decision:?}");
        let record = view.record.present();
        let in_place = record.is_some_and(|record| record.strategy == Strategy::InPlace);
        // In place the revision is the same both ways.
        let target = record.filter(|_| !in_place).map(|record| record.target_revision.as_str());
        for effect in effects(&decision) {
            let forward = match effect {
                Effect::RestartWorkload { mark, .. } if in_place => {
                    record.is_some_and(|record| mark.starts_with(&record.target_version.revision()))
                }
                _ if in_place => matches!(
                    effect,
                    Effect::UpgradeBase(_) | Effect::InstallRevision(_) | Effect::MoveNamespace { .. }
                        | Effect::PointTag { .. } | Effect::PointDefaultRevision(_) | Effect::RetireRevision { .. }
                ),
                Effect::UpgradeBase(_) | Effect::InstallRevision(_) => true,
                Effect::MoveNamespace { revision, mark, .. } => *mark || Some(revision.as_str()) == target,
                Effect::PointTag { revision, .. } => Some(revision.as_str()) == target,
                Effect::RestartWorkload { mark, .. } => target.is_some_and(|to| mark.starts_with(to)),
                Effect::PointDefaultRevision(base) => {
                    base.values.get("defaultRevision").and_then(|value| value.as_str()) == target
                }
                Effect::RetireRevision { revision, .. } => Some(revision.as_str()) != target,
                _ => false,
            };
            prop_assert!(!forward, "{effect:?}");
        }
    }

    #[test]
    fn nothing_is_done_blindly(upgrade in upgrade(), view in view(), part in 0..4) {
        let why = || "cannot be read".to_owned();
        let view = match part {
            0 => MeshView { control_planes: Seen::Unreadable(why()), ..view },
            1 => MeshView { releases: Seen::Unreadable(why()), ..view },
            2 => MeshView { record: Seen::Unreadable(why()), ..view },
            _ => MeshView {
                namespaces: Seen::Unreadable(why()),
                workloads: Seen::Unreadable(why()),
                ..view
            },
        };
        let decision = decide(now(), &upgrade, &view);
        for effect in effects(&decision) {
            let helm = matches!(effect, Effect::UpgradeBase(_) | Effect::InstallRevision(_) | Effect::UpgradeIstiod(_) | Effect::ClearPendingRelease { .. });
            let data_plane = matches!(effect, Effect::MoveNamespace { .. } | Effect::RestartWorkload { .. } | Effect::EvictPod { .. });
            let blind = match part {
                0 => touches_mesh(effect) && !helm,
                // In the health check the data plane does not hang on Helm.
                1 => touches_mesh(effect) && !(data_plane && upgrade.phase() == Phase::HealthChecking),
                2 => touches_mesh(effect),
                _ => touches_mesh(effect) && !helm,
            };
            prop_assert!(!blind, "{effect:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_counts_as_used(
        upgrade in upgrade(),
        view in view(),
        phase in prop::sample::select(&[Phase::Upgrading, Phase::HealthChecking][..]),
        back in proptest::option::of(rollback()),
        part in prop::sample::select(&PARTS[..]),
    ) {
        let status = MeshUpgradeStatus { phase: Some(phase), rollback: back, ..upgrade.status.clone() };
        let upgrade = with_status(&upgrade, status);
        let mut view = view;
        part(&mut view, "cannot be read".to_owned());
        let decision = decide(now(), &upgrade, &view);
        let removes = |effect: &Effect| matches!(effect, Effect::RetireRevision { .. } | Effect::ReleaseTags(_));
        prop_assert!(!effects(&decision).iter().any(removes), "{decision:?}");
    }

    #[test]
    fn outside_its_windows_nothing_begins(upgrade in upgrade(), view in view(), back in proptest::option::of(rollback())) {
        // 02:00 UTC is in none of these.
        let windows = [("03:00", "UTC"), ("22:00", "Asia/Tokyo")].map(|(start, zone)| Window {
            days: Vec::new(), start: start.into(), end: "04:00".into(), time_zone: zone.into(),
        });
        let mut upgrade = upgrade;
        upgrade.spec.windows = windows.into();
        upgrade.status.rollback = back;
        let decision = decide(now(), &upgrade, &view);
        // A rollback after the end begins with the finalizer.
        let asked_back = upgrade.spec.request_rollback && upgrade.phase() == Phase::Detecting;
        let begins = |effect: &Effect| match effect {
            Effect::LetGo | Effect::RegisterMesh { .. } | Effect::WritePlan { .. } => false,
            Effect::HoldDeletion => !asked_back,
            _ => true,
        };
        if upgrade.status.rollback.is_none() {
            prop_assert!(!matches!(decision.next, Next::Record(_)), "{decision:?}");
            prop_assert!(!effects(&decision).iter().any(begins), "{decision:?}");
            let locks = decision.next == Next::Enter(Phase::Upgrading) && decision.report.rollback.is_none();
            prop_assert!(!locks, "{decision:?}");
        } else {
            // The way back is the same as if there were no windows.
            let mut always = upgrade.clone();
            always.spec.windows = Vec::new();
            prop_assert_eq!(decision, decide(now(), &always, &view));
        }
    }

    #[test]
    fn paused_and_backing_off_hold_every_mutation(upgrade in upgrade(), view in view(), back in proptest::option::of(rollback())) {
        let status = MeshUpgradeStatus { rollback: back, ..upgrade.status.clone() };
        let upgrade = with_status(&upgrade, status);
        prop_assume!(!upgrade.deleting || upgrade.phase().is_locked());
        prop_assume!(!upgrade.phase().is_terminal());
        let next_at = upgrade.status.attempts.as_ref().and_then(|a| a.next_at.as_ref());
        let backing_off = next_at.is_some_and(|at| at.0 > now());
        prop_assume!(upgrade.spec.paused || backing_off);
        let decision = decide(now(), &upgrade, &view);
        prop_assert!(!decision.mutates(), "{decision:?}");
    }

    #[test]
    fn folding_twice_is_folding_once(upgrade in upgrade(), view in view()) {
        let decision = decide(now(), &upgrade, &view);
        prop_assume!(!decision.report.new_run);
        let executed = executed(&decision);
        let once = fold(now(), &upgrade, &decision, &executed);
        let twice = fold(now(), &with_status(&upgrade, once.clone()), &decision, &executed);
        prop_assert_eq!(&once, &twice);
    }

    #[test]
    fn a_status_fits_what_the_api_server_takes(
        upgrade in upgrade(),
        view in view(),
        length in 0_usize..200_000,
        class in prop::sample::select(&[
            ErrorClass::Conflict, ErrorClass::Transient, ErrorClass::Blocked, ErrorClass::Invalid, ErrorClass::Bug,
        ][..]),
    ) {
        let decision = decide(now(), &upgrade, &view);
        let message = "é".repeat(length);
        let status = fold(now(), &upgrade, &decision, &Executed::Failed { class, message });
        prop_assert!(status.message.len() < 32_768);
        for condition in &status.conditions {
            prop_assert!(condition.message.len() < 32_768);
            let word = |c: char| c.is_ascii_alphanumeric();
            prop_assert!(condition.reason.starts_with(char::is_alphabetic), "{}", condition.reason);
            prop_assert!(condition.reason.chars().all(word), "{}", condition.reason);
        }
        let json = serde_json::to_string(&status).expect("a status");
        prop_assert!(json.len() < 100 * 1024, "{} bytes", json.len());
        let read: MeshUpgradeStatus = serde_json::from_str(&json).expect("a status");
        prop_assert_eq!(read.phase, status.phase);
    }

    #[test]
    fn a_failed_effect_changes_no_phase(upgrade in upgrade(), view in view()) {
        let decision = decide(now(), &upgrade, &view);
        prop_assume!(decision.mutates());
        let failed = Executed::Failed { class: ErrorClass::Transient, message: "no".into() };
        let status = fold(now(), &upgrade, &decision, &failed);
        prop_assert_eq!(status.phase, Some(upgrade.phase()));
        let again = decide(now(), &with_status(&upgrade, status), &view);
        if !upgrade.phase().is_terminal() && !upgrade.deleting {
            // For the backoff, or for what the step now told has to wait for anyway.
            prop_assert!(matches!(&again.next, Next::Wait(_)), "{again:?}");
        }
    }
}
