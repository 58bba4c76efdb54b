//! One row for each thing that can be waited for: what causes it, and the reason in the status.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::conditions::RECONCILING;
use meshlift_api::{Attempts, Phase, Step};
use serde_json::json;

use super::{decide, signed};
use crate::decision::{Effect, Next, WaitingOn};
use crate::example::{
    TARGET, ago, before, cart, istiod, moved, namespace, now, passed, planes, releases, upgrade,
    workload,
};
use crate::status::{Executed, fold};
use crate::upgrade::Upgrade;
use crate::view::{LiveCounters, MeshView, Probe, ReleaseState, Rival, Seen, Validator};

type Spoil = fn(&mut Upgrade, &mut MeshView);

/// Expects this wait, its reason in the condition, and a sentence with this piece in it.
fn waits(phase: Phase, on: WaitingOn, reason: &str, sentence: &str, spoil: Spoil) {
    let mut upgrade = upgrade(phase);
    let mut view = if phase.is_locked() { moved() } else { before() };
    spoil(&mut upgrade, &mut view);
    let decision = decide(now(), &upgrade, &view);
    let Next::Wait(waiting) = &decision.next else {
        panic!("{on:?}: {:?}", decision.next)
    };
    assert_eq!(waiting.on, on);
    assert!(waiting.until > now(), "{on:?} looks again at once");
    let status = fold(now(), &upgrade, &decision, &Executed::Nothing);
    assert!(status.message.contains(sentence), "{}", status.message);
    let mut conditions = status.conditions.iter();
    let reconciling = conditions.find(|c| c.type_ == RECONCILING);
    let found = reconciling.map(|c| (c.reason.as_str(), c.status.as_str()));
    let value = if phase.is_terminal() { "False" } else { "True" };
    assert_eq!(found, Some((reason, value)));
}

#[test]
fn for_an_older_upgrade() {
    let spoil: Spoil = |_, view| {
        view.rivals.push(Rival {
            name: "older".into(),
            uid: "a".into(),
            created_at: ago(9999),
            phase: Phase::Pending,
        });
    };
    let on = WaitingOn::Rival;
    let reason = "WaitingForOtherUpgrade";
    waits(Phase::Pending, on, reason, "MeshUpgrade older", spoil);
    waits(Phase::Detecting, on, reason, "MeshUpgrade older", spoil);
}

#[test]
fn a_younger_upgrade_goes_first_only_when_it_already_runs() {
    let goes = |phase: Phase, created: i64| {
        let mut view = before();
        view.rivals.push(Rival {
            name: "other".into(),
            uid: "a".into(),
            created_at: ago(created),
            phase,
        });
        let next = decide(now(), &upgrade(Phase::Pending), &view).next;
        next == Next::Enter(Phase::Detecting)
    };
    assert!(goes(Phase::Detecting, 10), "the older goes first");
    assert!(!goes(Phase::Upgrading, 10), "what runs goes on");
    assert!(!goes(Phase::Detecting, 9999), "the older goes first");
    assert!(
        goes(Phase::Failed, 9999),
        "what has ended is in nobody's way"
    );
}

#[test]
fn for_the_environment() {
    let (on, reason) = (WaitingOn::Environment, "Blocked");
    waits(Phase::Detecting, on, reason, "downgrade", |upgrade, _| {
        upgrade.spec.target_version = "1.29.8".into();
    });
}

#[test]
fn while_paused() {
    let (on, reason) = (WaitingOn::Paused, "Paused");
    waits(
        Phase::Upgrading,
        on,
        reason,
        "set spec.paused to false",
        |upgrade, view| {
            upgrade.spec.paused = true;
            *cart(view) = workload("cart", "default");
        },
    );
}

#[test]
fn for_the_next_try() {
    let (on, reason) = (WaitingOn::Backoff, "Retrying");
    waits(
        Phase::Upgrading,
        on,
        reason,
        "tried again",
        |upgrade, view| {
            let next_at = Some(Time(now() + SignedDuration::from_secs(8)));
            upgrade.status.message = "tried again soon".into();
            upgrade.status.attempts = Some(Attempts {
                count: 3,
                next_at,
                last_error: "no".into(),
            });
            *cart(view) = workload("cart", "default");
        },
    );
}

#[test]
fn for_what_cannot_be_read() {
    let (on, reason) = (WaitingOn::Unreadable, "Unreadable");
    let spoils: [(Phase, &str, Spoil); 9] = [
        (Phase::Detecting, "the Mesh", |_, v| v.mesh = why()),
        (Phase::Detecting, "the record", |_, v| v.record = why()),
        (Phase::Upgrading, "the record", |_, v| v.record = why()),
        (Phase::Upgrading, "the Helm releases", |_, v| {
            v.releases = why()
        }),
        (Phase::Upgrading, "the control planes", |_, v| {
            v.control_planes = why()
        }),
        (Phase::Upgrading, "the namespaces", |_, v| {
            v.namespaces = why()
        }),
        (Phase::HealthChecking, "the workloads", |_, v| {
            v.workloads = why()
        }),
        (Phase::HealthChecking, "the metrics of istiod", |_, v| {
            planes(v)[1].live = why()
        }),
        (Phase::HealthChecking, "the validating webhook", |u, v| {
            u.status.soak = Some(passed(9999));
            v.validator = why();
        }),
    ];
    for (phase, what, spoil) in spoils {
        waits(phase, on, reason, what, spoil);
    }
}

fn why<T>() -> Seen<T> {
    Seen::Unreadable("the server is on fire".into())
}

#[test]
fn for_helm_operations() {
    let (on, reason) = (WaitingOn::ForeignHelm, "WaitingForHelm");
    waits(
        Phase::Upgrading,
        on,
        reason,
        "someone else began",
        |_, view| {
            releases(view)[0].state = ReleaseState::Pending {
                since: ago(600),
                ours: false,
            };
        },
    );
    waits(Phase::Upgrading, on, reason, "still ends", |_, view| {
        releases(view)[0].state = ReleaseState::Pending {
            since: ago(5),
            ours: true,
        };
    });
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "rollback istiod",
        |upgrade, view| {
            retiring(upgrade, view);
            releases(view)[1].state = ReleaseState::Pending {
                since: ago(600),
                ours: false,
            };
        },
    );
}

#[test]
fn an_operation_of_ours_that_was_cut_off_is_cleared() {
    let mut view = moved();
    releases(&mut view)[0].state = ReleaseState::Pending {
        since: ago(60),
        ours: true,
    };
    let Next::Act(batch) = decide(now(), &upgrade(Phase::Upgrading), &view).next else {
        panic!("nothing is done")
    };
    assert!(matches!(batch[..], [Effect::ClearPendingRelease { .. }]));
}

#[test]
fn for_the_new_control_plane() {
    let (on, reason) = (WaitingOn::ControlPlane, "WaitingForControlPlane");
    let spoils: [(&str, Spoil); 5] = [
        ("is not there yet", |_, v| planes(v).truncate(1)),
        ("1 of 2 replicas ready (OOMKilled)", |_, v| {
            planes(v)[1].ready = 1;
            planes(v)[1].trouble = Some("OOMKilled".into());
        }),
        ("no CA bundle", |_, v| {
            if let Seen::Present(webhook) = &mut planes(v)[1].injector {
                webhook.has_ca_bundle = false;
            }
        }),
        ("no injection webhook", |_, v| {
            planes(v)[1].injector = Seen::Absent
        }),
        ("its webhook cannot be read", |_, v| {
            planes(v)[1].injector = why()
        }),
    ];
    for (sentence, spoil) in spoils {
        waits(Phase::Upgrading, on, reason, sentence, spoil);
    }
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "0 of 2",
        |upgrade, view| {
            upgrade.status.soak = Some(passed(9999));
            planes(view)[1].ready = 0;
        },
    );
}

#[test]
fn for_injection() {
    let (on, reason) = (WaitingOn::Injection, "WaitingForInjection");
    fn probe(view: &mut MeshView, probe: Probe) {
        view.probes.insert("istio-system".into(), probe);
    }
    let injected = |revision: &str, tag: &str| Probe::Injected {
        revision: revision.into(),
        image: format!("example.org/proxyv2:{tag}"),
    };
    let wrong = injected("default", "1.31.0");
    let rows = [
        (Probe::NotInjected, "came back without a sidecar"),
        (Probe::Refused("quota".into()), "was refused: quota"),
        (wrong, "by revision default and not by 1-31-0"),
        (injected(TARGET, "1.30.2"), "which is 1.30.2 and not 1.31.0"),
    ];
    for (found, sentence) in rows {
        let mut view = moved();
        probe(&mut view, found);
        let decision = decide(now(), &upgrade(Phase::Upgrading), &view);
        assert!(matches!(&decision.next, Next::Wait(w) if w.on == on));
        assert!(
            decision.report.message.contains(sentence),
            "{}",
            decision.report.message
        );
    }
    waits(Phase::Upgrading, on, reason, "no dry-run pod", |_, view| {
        view.probes.clear()
    });
    let mut own_tag = moved();
    probe(&mut own_tag, injected(TARGET, "our-build"));
    let next = decide(now(), &upgrade(Phase::Upgrading), &own_tag).next;
    assert_eq!(
        next,
        Next::Enter(Phase::HealthChecking),
        "a tag of one's own says nothing"
    );
}

#[test]
fn for_workloads() {
    let (on, reason) = (WaitingOn::Workloads, "WaitingForWorkloads");
    waits(
        Phase::Upgrading,
        on,
        reason,
        "waits for Deployment shop/cart",
        |_, view| {
            let cart = cart(view);
            cart.mark = Some(TARGET.into());
            cart.settled = false;
            cart.restarted_at = Some(ago(5));
        },
    );
    waits(
        Phase::Upgrading,
        on,
        reason,
        "whose own rollout goes on",
        |_, view| {
            *cart(view) = workload("cart", "default");
            cart(view).settled = false;
        },
    );
    waits(
        Phase::Upgrading,
        on,
        reason,
        "held back: a dry-run pod",
        |_, view| {
            *cart(view) = workload("cart", "default");
            view.probes
                .insert("shop".into(), Probe::Refused("quota".into()));
        },
    );
}

#[test]
fn what_is_held_back_has_a_deadline_that_counts_from_then() {
    let mut view = moved();
    *cart(&mut view) = workload("cart", "default");
    let refused = Probe::Refused("quota".into());
    view.probes.insert("shop".into(), refused);
    let mut upgrade = upgrade(Phase::Upgrading);
    upgrade.status.step_started_at = Some(Time(ago(9999)));
    upgrade.status.step = Some(Step::RestartingWorkloads);
    let decision = decide(now(), &upgrade, &view);
    assert!(
        matches!(decision.next, Next::Wait(_)),
        "an hour of restarts is not its deadline"
    );
    upgrade.status.step = decision.report.step;
    let decision = decide(now(), &upgrade, &view);
    assert_eq!(decision.next, Next::Enter(Phase::Failed));
    assert!(
        decision.report.message.contains("quota"),
        "{}",
        decision.report.message
    );
}

#[test]
fn for_the_soak() {
    let (on, reason) = (WaitingOn::Soak, "Soaking");
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "healthy, watched until",
        |_, _| (),
    );
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "1 failed injections",
        |upgrade, view| {
            let mut soak = passed(10);
            soak.passed_at = None;
            upgrade.status.soak = Some(soak);
            planes(view)[1].live = Seen::Present(LiveCounters {
                connected: 1,
                injection_failures: 1,
            });
        },
    );
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "istiod has 0 of 2",
        |_, view| {
            planes(view)[0].ready = 0;
        },
    );
}

#[test]
fn for_the_old_control_plane_to_have_stayed() {
    let (on, reason) = (WaitingOn::RetireDelay, "KeepingOldControlPlane");
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "stays until 2026-11-02 02:59:50 UTC",
        |upgrade, _| {
            upgrade.status.soak = Some(passed(10));
        },
    );
}

/// The soak and the delay passed, the default revision moved.
fn retiring(upgrade: &mut Upgrade, view: &mut MeshView) {
    upgrade.status.soak = Some(passed(9999));
    view.validator = Seen::Present(Validator {
        service: "istiod-1-31-0".into(),
        has_ca_bundle: true,
    });
}

#[test]
fn for_the_validator() {
    let (on, reason) = (WaitingOn::Validator, "WaitingForValidator");
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "writes its CA bundle",
        |upgrade, view| {
            retiring(upgrade, view);
            if let Seen::Present(validator) = &mut view.validator {
                validator.has_ca_bundle = false;
            }
        },
    );
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "calls istiod-1-31-0",
        |upgrade, view| {
            upgrade.status.soak = Some(passed(9999));
            let values = json!({ "defaultRevision": TARGET });
            releases(view)[0].values = values.as_object().cloned().unwrap_or_default();
        },
    );
}

#[test]
fn for_the_retirement() {
    let (on, reason) = (WaitingOn::Retirement, "WaitingForRetirement");
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "3 proxies to leave",
        |upgrade, view| {
            retiring(upgrade, view);
            planes(view)[0].live = Seen::Present(LiveCounters {
                connected: 3,
                injection_failures: 0,
            });
        },
    );
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "istiod to be gone",
        |upgrade, view| {
            retiring(upgrade, view);
            releases(view).remove(1);
        },
    );
}

#[test]
fn the_old_control_plane_goes_only_when_its_connections_were_seen() {
    let mut upgrade = upgrade(Phase::HealthChecking);
    let mut view = moved();
    retiring(&mut upgrade, &mut view);
    let next = |view: &MeshView| decide(now(), &upgrade, view).next;
    assert!(
        matches!(&next(&view), Next::Act(b) if matches!(b[..], [Effect::RetireRevision { .. }]))
    );
    for live in [Seen::Absent, why()] {
        planes(&mut view)[0].live = live;
        assert!(matches!(&next(&view), Next::Wait(w) if w.on == WaitingOn::Unreadable));
    }
    planes(&mut view)[0].live = Seen::Absent;
    planes(&mut view)[0].ready = 0;
    assert!(
        matches!(next(&view), Next::Act(_)),
        "nothing is connected to no pod"
    );
}

#[test]
fn who_uses_the_old_control_plane_keeps_it() {
    let spoils: [(&str, Spoil); 4] = [
        ("pod shop/cart-1", |_, view| {
            *cart(view) = workload("cart", "default");
            cart(view).paused = true;
        }),
        ("namespace shop", |_, view| {
            namespace(view).labels = crate::example::labels(&[("istio-injection", "enabled")]);
        }),
        ("revision tag prod", |_, view| {
            view.tags.push(crate::view::Tag {
                name: "prod".into(),
                revision: "default".into(),
            });
        }),
        ("pod shop/cart-1", |_, view| {
            // Its Deployment was deleted by hand, its release not.
            *cart(view) = workload("cart", "default");
            cart(view).paused = true;
            planes(view).remove(0);
        }),
    ];
    for (user, spoil) in spoils {
        let mut upgrade = upgrade(Phase::HealthChecking);
        let mut view = moved();
        retiring(&mut upgrade, &mut view);
        spoil(&mut upgrade, &mut view);
        let decision = decide(now(), &upgrade, &view);
        assert_eq!(decision.next, Next::Enter(Phase::Done), "{user}");
        let message = decision.report.message;
        assert!(
            message.contains(user) && message.contains("stays"),
            "{message}"
        );
    }
}

#[test]
fn for_nothing_when_it_has_ended() {
    let on = WaitingOn::Nothing;
    for phase in [Phase::Done, Phase::Failed] {
        waits(phase, on, "Ended", "as it was", |upgrade, _| {
            upgrade.held = false;
            upgrade.status.message = "as it was".into();
        });
    }
    let mut deleted = upgrade(Phase::Detecting);
    (deleted.deleting, deleted.held) = (true, false);
    let next = decide(now(), &deleted, &before()).next;
    assert!(matches!(next, Next::Wait(w) if w.on == on));
}

#[test]
fn what_is_asked_for_before_the_finalizer_went_is_not_lost() {
    let mut upgrade = upgrade(Phase::Done);
    upgrade.generation = 2;
    let decision = decide(now(), &upgrade, &before());
    assert_eq!(decision.next, Next::Enter(Phase::Pending));
    assert!(decision.report.new_run);
}

#[test]
fn a_new_control_plane_that_falls_ill_gets_nothing_more() {
    let mut view = moved();
    planes(&mut view)[1].ready = 0;
    *cart(&mut view) = workload("cart", "default");
    namespace(&mut view).labels = crate::example::labels(&[("istio-injection", "enabled")]);
    namespace(&mut view).moved_to = None;
    for phase in [Phase::Upgrading, Phase::HealthChecking] {
        let decision = decide(now(), &upgrade(phase), &view);
        assert!(!decision.mutates(), "{phase}: {:?}", decision.next);
    }
}

#[test]
fn without_its_record_it_stops() {
    let mut view = moved();
    view.record = Seen::Absent;
    for phase in [Phase::Upgrading, Phase::HealthChecking] {
        let decision = decide(now(), &upgrade(phase), &view);
        assert_eq!(decision.next, Next::Enter(Phase::Failed));
        assert!(
            decision.report.message.contains("record"),
            "{}",
            decision.report.message
        );
    }
}

#[test]
fn lists_that_were_not_looked_at_are_not_empty_ones() {
    let mut view = moved();
    view.workloads = Seen::Absent;
    let next = decide(now(), &upgrade(Phase::Upgrading), &view).next;
    assert!(matches!(next, Next::Wait(w) if w.on == WaitingOn::Unreadable));
    let mut view = moved();
    view.control_planes = Seen::Absent;
    let next = decide(now(), &upgrade(Phase::Upgrading), &view).next;
    assert!(matches!(next, Next::Wait(w) if w.on == WaitingOn::ControlPlane));
}

#[test]
fn durations_of_any_size_are_durations() {
    let of = |seconds: u64| signed(std::time::Duration::from_secs(seconds).into());
    assert_eq!(of(90), SignedDuration::from_secs(90));
    assert_eq!(of(u64::MAX), SignedDuration::MAX);
}

#[test]
fn at_the_target_means_a_ready_istiod_of_that_version() {
    let mut view = before();
    *planes(&mut view) = vec![istiod(TARGET, "1.31.0")];
    *cart(&mut view) = workload("cart", TARGET);
    let next = |view: &MeshView| decide(now(), &upgrade(Phase::Detecting), view).next;
    assert_eq!(next(&view), Next::Enter(Phase::Done));
    planes(&mut view)[0].ready = 0;
    assert!(matches!(next(&view), Next::Wait(_)));
}
