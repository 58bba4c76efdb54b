//! One test for each violation: the decision that would be one, and the same decision allowed.

use meshlift_api::Phase;
use meshlift_model::decision::{Chart, ChartTarget, Report};
use meshlift_model::example::{
    TARGET, cart, labels, moved, namespace, now, planes, pod, releases, upgrade, version, workload,
};
use meshlift_model::view::{Gateway, LiveCounters, Seen, Tag, UndecodedObject, Validator};
use serde_json::Map;

use super::*;

fn target(release: &str) -> ChartTarget {
    ChartTarget {
        release: release.into(),
        namespace: "istio-system".into(),
        chart: Chart::Istiod,
        repository: "https://charts.example.org".into(),
        version: version("1.31.0"),
        digest: None,
        values: Map::new(),
    }
}

fn restart() -> Effect {
    Effect::RestartWorkload {
        key: workload("cart", TARGET).key,
        uid: "u".into(),
        resource_version: "7".into(),
        mark: TARGET.into(),
        template_revision: None,
        at: now(),
    }
}

fn retire(revision: &str) -> Effect {
    Effect::RetireRevision {
        release: "istiod".into(),
        namespace: "istio-system".into(),
        revision: revision.into(),
    }
}

/// Everything moved, and the validator too.
fn unused() -> MeshView {
    let mut view = moved();
    view.validator = Seen::Present(Validator {
        namespace: "istio-system".into(),
        service: "istiod-1-31-0".into(),
        has_ca_bundle: true,
    });
    view
}

fn linted(phase: Phase, view: &MeshView, batch: Vec<Effect>) -> Result<(), Violation> {
    let decision = Decision::new(Next::Act(batch), Report::default());
    lint(&upgrade(phase), view, &decision)
}

#[test]
fn no_record() {
    let mut view = moved();
    assert_eq!(linted(Phase::Upgrading, &view, vec![restart()]), Ok(()));
    for record in [Seen::Absent, Seen::Unreadable("no".into())] {
        view.record = record;
        let found = linted(Phase::Upgrading, &view, vec![restart()]);
        assert!(matches!(found, Err(Violation::NoRecord(_))), "{found:?}");
    }
}

#[test]
fn no_backup() {
    let mut view = moved();
    let mut record = meshlift_model::example::record();
    record.backup.clear();
    view.record = Seen::Present(record);
    let found = linted(Phase::Upgrading, &view, vec![restart()]);
    assert!(matches!(found, Err(Violation::NoBackup(_))), "{found:?}");
    assert_eq!(linted(Phase::Upgrading, &view, vec![Effect::LetGo]), Ok(()));
}

#[test]
fn rendered_by_others() {
    let mut view = moved();
    let installs = || vec![Effect::InstallRevision(target("istiod-1-31-0"))];
    assert_eq!(linted(Phase::Upgrading, &view, installs()), Ok(()));
    let mut record = meshlift_model::example::record();
    record.installer = meshlift_api::MeshInstaller::None;
    view.record = Seen::Present(record);
    let found = linted(Phase::Upgrading, &view, installs());
    assert!(matches!(found, Err(Violation::Rendered(_))), "{found:?}");
    assert_eq!(linted(Phase::Upgrading, &view, vec![restart()]), Ok(()));
}

#[test]
fn late_backup() {
    let plane = || meshlift_api::ControlPlaneRef {
        version: "1.30.2".into(),
        revision: None,
    };
    let backup = || {
        Effect::BackUp(Box::new(meshlift_model::decision::BackupScope {
            name: "b".into(),
            mesh: "default".into(),
            from: plane(),
            to: plane(),
            releases: Vec::new(),
        }))
    };
    let linted = |phase| linted(phase, &moved(), vec![backup()]);
    assert_eq!(linted(Phase::Detecting), Ok(()));
    for phase in [Phase::Upgrading, Phase::HealthChecking, Phase::Done] {
        assert_eq!(linted(phase), Err(Violation::LateBackup(phase)));
    }
}

#[test]
fn wrong_phase() {
    for phase in [Phase::Pending, Phase::Detecting, Phase::Done, Phase::Failed] {
        let found = linted(phase, &moved(), vec![restart()]);
        assert!(matches!(found, Err(Violation::WrongPhase(_, p)) if p == phase));
        assert_eq!(linted(phase, &moved(), vec![Effect::LetGo]), Ok(()));
    }
}

#[test]
fn two_releases() {
    let both = vec![
        Effect::UpgradeBase(target("istio-base")),
        Effect::InstallRevision(target("istiod-1-31-0")),
    ];
    let found = linted(Phase::Upgrading, &moved(), both.clone());
    assert_eq!(found, Err(Violation::TwoReleases));
    for one in both {
        assert_eq!(linted(Phase::Upgrading, &moved(), vec![one]), Ok(()));
    }
}

#[test]
fn target_not_ready() {
    let mut view = unused();
    planes(&mut view)[1].ready = 0;
    let moving = Effect::MoveNamespace {
        name: "shop".into(),
        uid: "u".into(),
        resource_version: "1".into(),
        revision: TARGET.into(),
        labels: meshlift_model::InjectionLabels::bound_to(TARGET),
        mark: true,
    };
    let pointing = Effect::PointDefaultRevision(target("istio-base"));
    let restoring = Effect::RestoreMinimum(target("istiod-1-31-0"));
    for effect in [moving, restart(), pointing, restoring, retire("default")] {
        let found = linted(Phase::HealthChecking, &view, vec![effect.clone()]);
        assert!(
            matches!(found, Err(Violation::TargetNotReady(..))),
            "{found:?}"
        );
        assert_eq!(
            linted(Phase::HealthChecking, &unused(), vec![effect]),
            Ok(())
        );
    }
}

#[test]
fn tag_lost() {
    let tags = |kept: bool| {
        let mut view = unused();
        view.tags_mut().push(Tag {
            name: "prod".into(),
            revision: TARGET.into(),
            helm_release: Some("istio-system/istiod".into()),
            kept,
            ..Tag::default()
        });
        let release = releases(&mut view).iter_mut().find(|r| r.name == "istiod");
        let values = &mut release.expect("the release").values;
        values.insert("revisionTags".into(), serde_json::json!(["prod"]));
        view
    };
    let release = |view: &MeshView| {
        let without = Effect::ReleaseTags(ChartTarget {
            release: "istiod".into(),
            namespace: "istio-system".into(),
            chart: Chart::Istiod,
            repository: String::new(),
            version: version("1.30.2"),
            digest: None,
            values: Map::new(),
        });
        linted(Phase::HealthChecking, view, vec![without])
    };
    let lost = |found: &Result<(), Violation>| matches!(found, Err(Violation::TagLost(..)));
    assert!(lost(&release(&tags(false))));
    assert_eq!(release(&tags(true)), Ok(()));
    // What is kept is still in the manifest until it was taken out.
    let retire = |view: &MeshView| linted(Phase::HealthChecking, view, vec![retire("default")]);
    let mut view = tags(true);
    assert!(lost(&retire(&view)));
    for release in releases(&mut view) {
        release.values.clear();
    }
    assert_eq!(retire(&view), Ok(()));
}

#[test]
fn in_use() {
    type Spoil = fn(&mut MeshView);
    let spoils: [(&str, Spoil); 10] = [
        ("Gateway shop/front", |v| {
            v.gateways = Seen::Present(vec![Gateway {
                namespace: "shop".into(),
                name: "front".into(),
                label: Some("default".into()),
                ..Gateway::default()
            }]);
        }),
        ("namespace shop asks for it", |v| {
            namespace(v).labels = labels(&[("istio-injection", "enabled")]);
        }),
        ("revision tag prod", |v| {
            v.tags_mut().push(Tag {
                name: "prod".into(),
                revision: "default".into(),
                ..Tag::default()
            });
        }),
        ("runs its sidecar", |v| {
            *cart(v) = workload("cart", "default")
        }),
        ("runs its sidecar", |v| {
            v.loose_pods.push(pod("p", "default").into())
        }),
        ("the workloads cannot be read", |v| {
            v.workloads = Seen::Absent
        }),
        ("the workloads cannot be read", |v| {
            v.workloads = Seen::Unreadable("no".into())
        }),
        ("istiod-default-validator", |v| {
            v.validator = moved().validator
        }),
        ("proxies are connected", |v| {
            planes(v)[0].live = Seen::Present(LiveCounters {
                connected: 1,
                injection_failures: 0,
                ..LiveCounters::default()
            });
        }),
        ("nobody knows", |v| planes(v)[0].live = Seen::Absent),
    ];
    for (why, spoil) in spoils {
        let mut view = unused();
        spoil(&mut view);
        let found = linted(Phase::HealthChecking, &view, vec![retire("default")]);
        assert!(
            matches!(&found, Err(Violation::InUse { user, .. }) if user.contains(why)),
            "{found:?}"
        );
    }
}

/// Everything is on the old control plane.
fn back() -> Upgrade {
    let mut upgrade = upgrade(Phase::Upgrading);
    upgrade.status.rollback = Some(meshlift_api::RollbackStatus {
        reason: "a person asks for it".into(),
        since: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()),
        soak: None,
    });
    upgrade
}

fn retire_new() -> Effect {
    Effect::RetireRevision {
        release: "istiod-1-31-0".into(),
        namespace: "istio-system".into(),
        revision: TARGET.into(),
    }
}

#[test]
fn only_the_control_plane_that_is_left_goes() {
    let forward = upgrade(Phase::HealthChecking);
    let mut on_old = moved();
    namespace(&mut on_old).labels = labels(&[("istio-injection", "enabled")]);
    *cart(&mut on_old) = workload("cart", "default");
    let lint = |upgrade: &Upgrade, view: &MeshView, effect: Effect| {
        let decision = Decision::new(Next::Act(vec![effect]), Report::default());
        lint(upgrade, view, &decision)
    };
    assert_eq!(lint(&forward, &unused(), retire("default")), Ok(()));
    assert_eq!(lint(&back(), &on_old, retire_new()), Ok(()));
    let wrong = [
        lint(&forward, &on_old, retire_new()),
        lint(&back(), &unused(), retire("default")),
        lint(
            &back(),
            &on_old,
            Effect::InstallRevision(target("istiod-1-31-0")),
        ),
        lint(&back(), &on_old, Effect::UpgradeBase(target("istio-base"))),
    ];
    for found in wrong {
        assert!(matches!(found, Err(Violation::WrongWay(..))), "{found:?}");
    }
    let mixed = Effect::RetireRevision {
        release: "istiod".into(),
        namespace: "istio-system".into(),
        revision: TARGET.into(),
    };
    let found = lint(&back(), &on_old, mixed);
    assert_eq!(found, Err(Violation::ForeignRelease("istiod".into())));
    let used = lint(&back(), &unused(), retire_new());
    assert!(matches!(used, Err(Violation::InUse { .. })), "{used:?}");
    planes(&mut on_old)[0].ready = 0;
    let ill = lint(&back(), &on_old, retire_new());
    assert!(matches!(ill, Err(Violation::TargetNotReady(..))), "{ill:?}");
}

#[test]
fn a_budget_is_only_for_the_control_plane_that_is_moved_to() {
    let copy = |revision: &str| {
        vec![Effect::CopyBudget {
            namespace: "istio-system".into(),
            name: "copy".into(),
            of: "by-hand".into(),
            revision: revision.into(),
            owner: "istiod".into(),
            owner_uid: "u".into(),
            rule: meshlift_model::view::BudgetRule::default(),
        }]
    };
    assert_eq!(linted(Phase::Upgrading, &moved(), copy(TARGET)), Ok(()));
    let found = linted(Phase::Upgrading, &moved(), copy("default"));
    assert!(matches!(found, Err(Violation::WrongWay(..))), "{found:?}");
}

#[test]
fn foreign_release() {
    let effects = [
        Effect::UpgradeBase(target("someones")),
        Effect::InstallRevision(target("someones")),
        Effect::PointDefaultRevision(target("someones")),
        Effect::RestoreMinimum(target("someones")),
    ];
    for effect in effects {
        let found = linted(Phase::Upgrading, &moved(), vec![effect]);
        assert_eq!(found, Err(Violation::ForeignRelease("someones".into())));
    }
}

#[test]
fn a_wait_is_never_a_violation() {
    let mut view = moved();
    view.record = Seen::Absent;
    let decision = Decision::new(Next::Enter(Phase::Failed), Report::default());
    assert_eq!(lint(&upgrade(Phase::Upgrading), &view, &decision), Ok(()));
}

#[test]
fn every_effect_has_a_name_and_a_kind() {
    let effects = [
        restart(),
        retire("default"),
        Effect::HoldDeletion,
        Effect::LetGo,
    ];
    for effect in effects {
        assert!(!effect.describe().is_empty());
        assert!(
            effect
                .kind()
                .chars()
                .all(|c| c.is_ascii_lowercase() || c == '_')
        );
    }
}

#[test]
fn closed_wave() {
    let mut view = moved();
    let recorded = |name: &str, of: &[&str]| meshlift_model::record::RecordedWave {
        name: name.into(),
        namespaces: of.iter().map(|ns| (*ns).to_owned()).collect(),
    };
    let mut record = meshlift_model::example::record();
    record.waves = vec![recorded("canary", &["blog"]), recorded("rest", &[])];
    view.record = Seen::Present(record);
    let found = linted(Phase::Upgrading, &view, vec![restart()]);
    assert!(
        matches!(&found, Err(Violation::ClosedWave(_, wave)) if wave == "rest"),
        "{found:?}"
    );
    // The turn of the gateways has not come either; before it they may be bound to what they have.
    cart(&mut view).injected_gateway = true;
    if let Seen::Present(record) = &mut view.record {
        record.waves = vec![recorded("rest", &[]), recorded("gateways", &[])];
    }
    let found = linted(Phase::Upgrading, &view, vec![restart()]);
    assert!(
        matches!(&found, Err(Violation::ClosedWave(_, wave)) if wave == "gateways"),
        "{found:?}"
    );
    let label = |revision: &str| Effect::LabelGateway {
        namespace: "shop".into(),
        name: "ingress".into(),
        uid: "u".into(),
        resource_version: "7".into(),
        revision: revision.into(),
        label: Some(revision.into()),
        mark: true,
        at: now(),
    };
    let found = linted(Phase::Upgrading, &view, vec![label(TARGET)]);
    assert!(matches!(found, Err(Violation::ClosedWave(..))), "{found:?}");
    assert_eq!(
        linted(Phase::Upgrading, &view, vec![label("default")]),
        Ok(())
    );
}

/// The control plane that is left.
const OLD: meshlift_model::view::PlaneId<'static> = meshlift_model::view::PlaneId {
    namespace: "istio-system",
    revision: "default",
};

#[test]
fn what_cannot_be_read_counts_as_used() {
    type Spoil = fn(&mut MeshView);
    let parts: [(&str, Spoil); 6] = [
        ("the workloads", |view| view.workloads = unreadable()),
        ("the control planes", |view| {
            view.control_planes = unreadable()
        }),
        ("the namespaces", |view| view.namespaces = unreadable()),
        ("the revision tags", |view| view.tags = unreadable()),
        ("the Gateways", |view| view.gateways = unreadable()),
        ("the validating webhook", |view| {
            view.validator = unreadable()
        }),
    ];
    assert_eq!(
        super::unused(&upgrade(Phase::HealthChecking), &unused(), OLD),
        Ok(())
    );
    for (what, spoil) in parts {
        let mut view = unused();
        spoil(&mut view);
        let refused = super::unused(&upgrade(Phase::HealthChecking), &view, OLD)
            .expect_err(what)
            .to_string();
        let expected = format!("removal of istiod default while {what} cannot be read (429)");
        assert_eq!(refused, expected);
    }
}

#[test]
fn an_object_that_cannot_be_read_keeps_what_it_may_use() {
    let mut view = unused();
    view.undecoded.push(UndecodedObject {
        reference: "Rollout shop/cart".into(),
        why: "spec.replicas: invalid type".into(),
    });
    let refused = super::unused(&upgrade(Phase::HealthChecking), &view, OLD).expect_err("in use");
    assert!(
        refused
            .to_string()
            .contains("Rollout shop/cart cannot be read")
    );
}

fn unreadable<T>() -> Seen<T> {
    Seen::Unreadable("429".to_owned())
}
