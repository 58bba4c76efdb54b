//! Up to the last restart.

use super::*;

#[test]
fn for_an_older_upgrade() {
    let spoil: Spoil = |_, view| {
        view.rivals.push(Rival {
            mesh: "default".into(),
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
fn two_meshes_of_one_control_plane_go_one_after_the_other() {
    let spoil: Spoil = |_, view| {
        view.rivals.push(Rival {
            mesh: "prod".into(),
            name: "older".into(),
            uid: "a".into(),
            created_at: ago(9999),
            phase: Phase::Upgrading,
        });
    };
    let (on, reason) = (WaitingOn::Rival, "WaitingForOtherUpgrade");
    let says = "the same control plane under another name (Mesh prod)";
    waits(Phase::Pending, on, reason, says, spoil);
    waits(Phase::Detecting, on, reason, says, spoil);
}

#[test]
fn a_younger_upgrade_goes_first_only_when_it_already_runs() {
    let goes = |phase: Phase, created: i64| {
        let mut view = before();
        view.rivals.push(Rival {
            mesh: "default".into(),
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
fn of_two_upgrades_exactly_one_goes() {
    let phases = [Phase::Pending, Phase::Detecting];
    let goes = |own: (i64, &str, Phase), other: (i64, &str, Phase)| {
        let mut upgrade = upgrade(own.2);
        (upgrade.created_at, upgrade.uid) = (ago(own.0), own.1.to_owned());
        let mut view = before();
        view.rivals.push(Rival {
            mesh: "default".into(),
            name: "other".into(),
            uid: other.1.into(),
            created_at: ago(other.0),
            phase: other.2,
        });
        let next = decide(now(), &upgrade, &view).next;
        !matches!(next, Next::Wait(w) if w.on == WaitingOn::Rival)
    };
    for (age, other_age) in [(10, 20), (20, 10), (10, 10)] {
        for phase in phases {
            for other_phase in phases {
                let (one, other) = ((age, "a", phase), (other_age, "b", other_phase));
                assert_ne!(goes(one, other), goes(other, one), "{one:?} {other:?}");
            }
        }
    }
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

/// A long row of failures is somebody's to look at, though it is tried for as long as it takes.
#[test]
fn what_fails_for_long_asks_a_person() {
    for (count, asks) in [(9, false), (10, true)] {
        let mut view = moved();
        *cart(&mut view) = workload("cart", "default");
        let mut upgrade = upgrade(Phase::Upgrading);
        upgrade.status.attempts = Some(Attempts {
            count,
            next_at: Some(Time(now() + SignedDuration::from_secs(8))),
            last_error: "no answer".into(),
        });
        let decision = decide(now(), &upgrade, &view);
        assert!(!decision.mutates());
        assert_eq!(decision.waits_for_person(), asks, "{count}");
    }
}

#[test]
fn for_what_cannot_be_read() {
    let (on, reason) = (WaitingOn::Unreadable, "Unreadable");
    let spoils: [(Phase, &str, Spoil); 11] = [
        (Phase::Detecting, "the Mesh", |_, v| v.mesh = why()),
        (Phase::Detecting, "the record", |_, v| v.record = why()),
        (Phase::Detecting, "the backup", |_, v| v.backup = why()),
        (Phase::Detecting, "the charts of the target", |_, v| {
            v.archives = why()
        }),
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

#[test]
fn for_helm_operations() {
    let (on, reason) = (WaitingOn::ForeignHelm, "WaitingForHelm");
    waits(
        Phase::Upgrading,
        on,
        reason,
        "someone else started",
        |_, view| {
            releases(view)[0].state = ReleaseState::Pending {
                since: ago(600),
                by: HelmRunner::Foreign,
            };
        },
    );
    waits(
        Phase::Upgrading,
        on,
        reason,
        "our Helm operation on",
        |_, view| {
            releases(view)[0].state = ReleaseState::Pending {
                since: ago(5),
                by: HelmRunner::Before,
            };
        },
    );
    // It may be at work as long as Helm's own timeout lets it: nobody knows whether that process is dead.
    waits(
        Phase::Upgrading,
        on,
        reason,
        "our Helm operation on",
        |_, view| {
            releases(view)[0].state = ReleaseState::Pending {
                since: ago(90),
                by: HelmRunner::Elsewhere,
            };
        },
    );
    waits(
        Phase::HealthChecking,
        on,
        reason,
        "rollback istiod",
        |upgrade, view| {
            retiring(upgrade, view);
            releases(view)[1].state = ReleaseState::Pending {
                since: ago(600),
                by: HelmRunner::Foreign,
            };
        },
    );
}

#[test]
fn an_operation_of_ours_that_was_cut_off_is_cleared() {
    for (by, since) in [
        (HelmRunner::Here, ago(0)),
        (HelmRunner::Before, ago(20)),
        (HelmRunner::Elsewhere, ago(120)),
    ] {
        let mut view = moved();
        releases(&mut view)[0].state = ReleaseState::Pending { since, by };
        let Next::Act(batch) = decide(now(), &upgrade(Phase::Upgrading), &view).next else {
            panic!("nothing is done about one of {by:?}")
        };
        assert!(matches!(batch[..], [Effect::ClearPendingRelease { .. }]));
    }
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
        view.probes.clear();
        view.probes.insert("istio-system".into(), probe);
    }
    let injected = |revision: &str, tag: &str| Probe::Injected {
        revision: revision.into(),
        image: format!("example.org/proxyv2:{tag}"),
    };
    let wrong = injected("default", "1.31.0");
    let rows = [
        (Probe::NotInjected, "came back without a sidecar"),
        (
            Probe::Failed("no answer".into()),
            "could not be tried: no answer",
        ),
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
fn restarts_stay_inside_both_limits() {
    // Four stale workloads in each of three namespaces; those that restart already are in the first.
    let restarted = |in_all: u32, in_one: u32, restarting: usize| {
        let mut view = moved();
        let shop = namespace(&mut view).clone();
        let mut workloads = Vec::new();
        let mut namespaces = Vec::new();
        for name in ["a", "b", "c"] {
            let mut namespace = shop.clone();
            namespace.name = name.into();
            namespaces.push(namespace);
            view.probes.insert(name.into(), view.probes["shop"].clone());
            for n in 0..4 {
                let mut stale = workload(&format!("w{n}"), "default");
                stale.key.namespace = name.into();
                workloads.push(stale);
            }
        }
        for workload in workloads.iter_mut().take(restarting) {
            workload.mark = Some(TARGET.into());
            workload.settled = false;
            workload.restarted_at = Some(ago(5));
        }
        view.workloads = Seen::Present(workloads);
        view.namespaces = Seen::Present(namespaces);
        let mut upgrade = upgrade(Phase::Upgrading);
        upgrade.spec.data_plane.restart.max_concurrent = in_all;
        upgrade.spec.data_plane.restart.max_concurrent_per_namespace = in_one;
        match decide(now(), &upgrade, &view).next {
            Next::Act(batch) => batch.len(),
            _ => 0,
        }
    };
    assert_eq!(restarted(5, 1, 0), 3);
    assert_eq!(restarted(5, 4, 0), 5);
    assert_eq!(restarted(100, 100, 0), 12);
    assert_eq!(restarted(5, 4, 4), 1);
    assert_eq!(restarted(5, 2, 2), 3);
    assert_eq!(restarted(2, 4, 2), 0);
}

#[test]
fn for_workloads() {
    let (on, reason) = (WaitingOn::Workloads, "WaitingForWorkloads");
    waits(
        Phase::Upgrading,
        on,
        reason,
        "waiting for Deployment shop/cart",
        |_, view| {
            let cart = cart(view);
            cart.mark = Some(TARGET.into());
            cart.settled = false;
            cart.whole = false;
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
            view.probes.insert(
                "shop".into(),
                refused(Refuser::Quota, "exceeded quota team"),
            );
        },
    );
}

#[test]
fn only_the_charts_that_were_detected_are_installed() {
    let upgrade = upgrade(Phase::Detecting);
    let mut view = surrounded();
    view.archives = Seen::Absent;
    let blind = decide(now(), &upgrade, &view);
    assert!(matches!(blind.next, Next::Wait(_)), "{:?}", blind.next);
    view.archives = Seen::Present(charts());
    let decision = decide(now(), &upgrade, &view);
    let Next::Record(record) = decision.next else {
        panic!("{:?}", decision.next)
    };
    assert_eq!(record.charts, Some(charts()));
    // Replaced before the upgrade began: the detection goes on with what there is.
    view.record = Seen::Present(*record.clone());
    let other = ChartDigests {
        base: "0dd".into(),
        ..charts()
    };
    view.archives = Seen::Present(other.clone());
    let decision = decide(now(), &upgrade, &view);
    let Next::Record(again) = decision.next else {
        panic!("{:?}", decision.next)
    };
    assert_eq!(again.charts, Some(other));

    let upgrade = super::upgrade(Phase::Upgrading);
    let decision = decide(now(), &upgrade, &view);
    let Next::Act(batch) = &decision.next else {
        panic!("{:?}", decision.next)
    };
    let [Effect::UpgradeBase(target)] = batch.as_slice() else {
        panic!("{batch:?}")
    };
    assert_eq!(target.refuses(&charts().base), None);
    let why = target.refuses("0dd").expect("another archive");
    for words in [
        "chart base 1.31.0 in https://",
        "sha256 ba5e then, 0dd now",
        "put the first one back",
        "spec.requestRollback: true",
        "create a new MeshUpgrade",
    ] {
        assert!(why.contains(words), "{words}: {why}");
    }
}

#[test]
fn a_backup_is_taken_before_the_record_which_names_it() {
    let upgrade = upgrade(Phase::Detecting);
    let mut view = surrounded();
    view.backup = Seen::Absent;
    let decision = decide(now(), &upgrade, &view);
    let Next::Act(batch) = &decision.next else {
        panic!("{:?}", decision.next)
    };
    let [Effect::BackUp(scope)] = batch.as_slice() else {
        panic!("{batch:?}")
    };
    assert_eq!(scope.name, upgrade.backup_name());
    assert_eq!(scope.releases.len(), 2);
    assert_eq!(
        (scope.from.version.as_str(), scope.to.version.as_str()),
        ("1.30.2", "1.31.0")
    );
    let told = fold(now(), &upgrade, &decision, &Executed::Done);
    assert_eq!(told.backup, None, "said only when the record names it");
    view.backup = Seen::Present(scope.name.clone());
    let decision = decide(now(), &upgrade, &view);
    let Next::Record(record) = &decision.next else {
        panic!("{:?}", decision.next)
    };
    assert_eq!(record.backup, scope.name);
    let told = fold(now(), &upgrade, &decision, &Executed::Done);
    assert_eq!(told.backup.as_ref(), Some(&scope.name));
    // Written, and never told of: a crash came between.
    view.record = Seen::Present((**record).clone());
    let decision = decide(now(), &upgrade, &view);
    assert_eq!(decision.next, Next::Enter(Phase::Upgrading));
    let told = fold(now(), &upgrade, &decision, &Executed::Nothing);
    assert_eq!(told.backup.as_ref(), Some(&scope.name));
    assert_eq!(told.record, Some(upgrade.record_name()));
}

#[test]
fn what_is_held_back_has_a_deadline_that_counts_from_then() {
    let mut view = moved();
    *cart(&mut view) = workload("cart", "default");
    let refused = refused(Refuser::Quota, "exceeded quota team");
    view.probes.clear();
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
    upgrade.spec.rollback = meshlift_api::Rollback::Never;
    let decision = decide(now(), &upgrade, &view);
    assert_eq!(decision.next, Next::Enter(Phase::Failed));
    assert!(
        decision.report.message.contains("quota"),
        "{}",
        decision.report.message
    );
}
