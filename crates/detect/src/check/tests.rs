//! One row for each thing that Detecting can find: what spoils a healthy mesh, the reason that
//! comes out, and a piece of the sentence that says how to mend it.

mod accepted;
mod charts;
mod cluster;
mod dependents;
mod gateways;
mod in_place;
mod labels_and_webhooks;
mod pods;
mod releases;
mod revisions;
mod risks;
mod table;
mod waves;
mod way;
mod windows;
mod writes;

use meshlift_api::{ClusterRole, MeshType, Phase};
use meshlift_istio::version::KubernetesVersion;
use meshlift_model::decision::{Next, WaitingOn};
use meshlift_model::example::{ago, before, istiod, now, planes, releases, upgrade, version};
use meshlift_model::upgrade::Upgrade;
use meshlift_model::view::{
    Cluster, HelmRunner, InjectorWebhook, Installer, MeshView, ReleaseState, Seen, Validator,
};
use meshlift_planner::decide;
use serde_json::{Map, json};

use crate::detect::detect;

type Spoil = fn(&mut Upgrade, &mut MeshView);

/// Spoils a healthy mesh and expects Detecting to wait with this reason and this advice.
fn blocked_by(reason: &str, advice: &str, spoil: Spoil) {
    let (mut upgrade, mut view) = (upgrade(Phase::Detecting), before());
    spoil(&mut upgrade, &mut view);
    let decision = decide(now(), &upgrade, &view);
    let detected = decision.report.findings.detected.expect("a verdict");
    assert_eq!((detected.reason, detected.holds), (reason, false));
    assert!(detected.message.contains(advice), "{}", detected.message);
    assert_eq!(decision.report.message, detected.message);
    let Next::Wait(waiting) = decision.next else {
        panic!("{reason}: {:?}", decision.next)
    };
    let expected = match reason {
        "Unreadable" => WaitingOn::Unreadable,
        _ => WaitingOn::Environment,
    };
    assert_eq!(waiting.on, expected);
}

fn why<T>() -> Seen<T> {
    Seen::Unreadable("the server is on fire".into())
}

fn present<T>(seen: &mut Seen<T>) -> &mut T {
    match seen {
        Seen::Present(value) => value,
        _ => panic!("nothing was seen"),
    }
}

fn mesh(view: &mut MeshView) -> &mut meshlift_api::MeshSpec {
    match &mut view.mesh {
        Seen::Present(mesh) => mesh,
        _ => panic!("no Mesh"),
    }
}

#[test]
fn a_healthy_mesh_passes() {
    let (upgrade, view) = (upgrade(Phase::Detecting), before());
    let decision = decide(now(), &upgrade, &view);
    let detected = decision.report.findings.detected.expect("a verdict");
    assert!(detected.holds, "{}", detected.message);
    assert!(matches!(decision.next, Next::Record(_)));
}

#[test]
fn the_mesh_must_be_one_that_may_be_upgraded() {
    blocked_by("MeshNotFound", "kubectl get meshes", |upgrade, view| {
        upgrade.spec.mesh = "prod".into();
        view.mesh = Seen::Absent;
    });
    blocked_by("Unreadable", "on fire", |_, view| view.mesh = why());
    blocked_by("MeshExternal", "never touched", |_, view| {
        mesh(view).mesh_type = MeshType::External;
    });
    blocked_by("NoControlPlane", "install Istio first", |_, view| {
        view.mesh = Seen::Absent;
        planes(view).clear();
    });
    blocked_by("ManyMeshes", "name one in spec.mesh", |_, view| {
        view.mesh = Seen::Absent;
        let mut other = istiod("b", "1.30.2");
        other.namespace = "istio-b".into();
        planes(view).push(other);
    });
}

#[test]
fn there_must_be_one_control_plane_to_leave() {
    blocked_by("Unreadable", "on fire", |_, view| {
        view.control_planes = why()
    });
    blocked_by("NoControlPlane", "controlPlaneNamespace", |_, view| {
        planes(view)[0].namespace = "elsewhere".into();
    });
    blocked_by("ManyControlPlanes", "keep one of them", |_, view| {
        planes(view).push(istiod("1-30-1", "1.30.1"));
    });
    blocked_by("VersionUnknown", "app.kubernetes.io/version", |_, view| {
        planes(view)[0].version = None;
    });
    blocked_by(
        "ControlPlaneNotReady",
        "kubectl -n istio-system describe",
        |_, view| {
            planes(view)[0].ready = 1;
            planes(view)[0].trouble = Some("OOMKilled".into());
        },
    );
    blocked_by("RevisionTaken", "uninstall its release", |_, view| {
        planes(view).push(istiod("1-31-0", "1.31.1"));
    });
}

#[test]
fn only_helm_installations_are_upgraded() {
    blocked_by("NotInstalledByHelm", "istioctl", |_, view| {
        planes(view)[0].installer = Installer::Istioctl;
    });
    blocked_by("NotInstalledByHelm", "Sail operator", |_, view| {
        planes(view)[0].installer = Installer::Sail;
    });
    blocked_by("NotInstalledByHelm", "other than Helm", |_, view| {
        planes(view)[0].installer = Installer::Unknown;
    });
    blocked_by("Unreadable", "on fire", |_, view| view.releases = why());
    blocked_by("ReleaseNotFound", "--take-ownership", |_, view| {
        releases(view).retain(|r| r.chart != "istiod");
    });
    blocked_by("BaseReleaseNotFound", "--take-ownership", |_, view| {
        releases(view).retain(|r| r.chart != "base");
    });
}

#[test]
fn a_helm_operation_of_someone_else_is_waited_for_and_ours_is_not() {
    for at in [0, 1] {
        let pending = |by| ReleaseState::Pending { since: ago(60), by };
        let mut view = before();
        releases(&mut view)[at].state = pending(HelmRunner::Foreign);
        let decision = decide(now(), &upgrade(Phase::Detecting), &view);
        let detected = decision.report.findings.detected.expect("a verdict");
        assert_eq!(detected.reason, "ReleasePending");
        assert!(
            detected.message.contains("rollback"),
            "{}",
            detected.message
        );
        releases(&mut view)[at].state = pending(HelmRunner::Before);
        let decision = decide(now(), &upgrade(Phase::Detecting), &view);
        assert!(decision.report.findings.detected.is_some_and(|d| d.holds));
    }
}

#[test]
fn the_target_must_be_known_and_near() {
    let cases: [(&str, Spoil); 5] = [
        ("is no Istio version", |u, _| {
            u.spec.target_version = "v1".into()
        }),
        ("ask for one that is", |u, _| {
            u.spec.target_version = "1.31.7".into()
        }),
        ("a downgrade is refused", |u, _| {
            u.spec.target_version = "1.29.8".into()
        }),
        (
            "the chart repository has not a version of 1.31",
            |u, view| {
                u.spec.target_version = "1.33.0".into();
                view.catalog = Seen::Present(vec![version("1.33.0")]);
            },
        ),
        ("different flavours", |u, view| {
            u.spec.target_version = "1.31.0-x".into();
            view.catalog = Seen::Present(vec![version("1.31.0-x")]);
        }),
    ];
    for (advice, spoil) in cases {
        blocked_by("TargetRefused", advice, spoil);
    }
    blocked_by("Unreadable", "the chart repository https://", |_, view| {
        view.catalog = why()
    });
    blocked_by("RevisionTooLong", "46 characters", |upgrade, view| {
        let suffix = "x".repeat(60);
        upgrade.spec.target_version = format!("1.31.0-{suffix}");
        view.catalog = Seen::Present(vec![version(&format!("1.31.0-{suffix}"))]);
        planes(view)[0].version = Some(version(&format!("1.30.2-{suffix}")));
    });
}

#[test]
fn a_far_target_is_several_steps_each_with_its_own_checks() {
    let (mut upgrade, mut view) = (upgrade(Phase::Detecting), before());
    upgrade.spec.target_version = "1.31.0".into();
    planes(&mut view)[0].version = Some(version("1.28.1"));
    view.kubernetes = Seen::Present(KubernetesVersion {
        major: 1,
        minor: 31,
    });
    let detection = detect(&upgrade, &view);
    let hops: Vec<&str> = detection.hops.iter().map(|h| h.version.as_str()).collect();
    assert_eq!(hops, ["1.29.8", "1.30.2", "1.31.0"]);
    let blocking: Vec<_> = detection.blocking().collect();
    assert_eq!(blocking.len(), 2, "{blocking:?}");
    assert_eq!(blocking[0].hop.as_deref(), Some("1.30.2"));
    assert_eq!(blocking[0].code, "K8S-TOO-OLD");
}

#[test]
fn every_cluster_counts() {
    fn other(view: &mut MeshView, kubernetes: Seen<KubernetesVersion>) {
        view.environment.clusters = Seen::Present(vec![Cluster {
            name: "east".into(),
            role: ClusterRole::Remote,
            kubernetes,
        }]);
    }
    fn minor(minor: u32) -> Seen<KubernetesVersion> {
        Seen::Present(KubernetesVersion { major: 1, minor })
    }
    blocked_by(
        "KubernetesTooOld",
        "Kubernetes 1.31 of cluster east is too old for Istio 1.31.0, which supports 1.32 to 1.37: upgrade cluster east to 1.32 first",
        |_, view| other(view, minor(31)),
    );
    blocked_by(
        "KubernetesTooNew",
        "no Istio that this operator knows fits every cluster",
        |_, view| other(view, minor(38)),
    );
    blocked_by(
        "ClusterUnreachable",
        "cluster east of the mesh cannot be asked for its Kubernetes version: no route",
        |_, view| other(view, Seen::Unreadable("no route".into())),
    );
}

#[test]
fn kubernetes_must_be_inside_the_range() {
    fn minor(view: &mut MeshView, minor: u32) {
        view.kubernetes = Seen::Present(KubernetesVersion { major: 1, minor });
    }
    blocked_by(
        "KubernetesTooOld",
        "upgrade the cluster to 1.32",
        |_, view| minor(view, 31),
    );
    blocked_by("KubernetesTooNew", "upgrade the operator", |_, view| {
        minor(view, 38)
    });
    blocked_by(
        "KubernetesTooNew",
        "only Istio 1.31 fits every cluster: set targetVersion to it",
        |upgrade, view| {
            upgrade.spec.target_version = "1.30.5".into();
            view.catalog = Seen::Present(vec![version("1.30.5")]);
            minor(view, 37);
        },
    );
    blocked_by("Unreadable", "on fire", |_, view| view.kubernetes = why());
    blocked_by(
        "KubernetesUnknown",
        "upgrade the operator",
        |upgrade, view| {
            upgrade.spec.target_version = "1.32.0".into();
            planes(view)[0].version = Some(version("1.31.0"));
        },
    );
}

#[test]
fn the_webhooks_must_be_sane() {
    blocked_by("InjectorBroken", "restart istiod", |_, view| {
        planes(view)[0].injector = Seen::Present(InjectorWebhook {
            name: "istio-sidecar-injector".into(),
            has_ca_bundle: false,
        });
    });
    blocked_by("InjectorBroken", "reinstall release istiod", |_, view| {
        planes(view)[0].injector = Seen::Absent;
    });
    blocked_by("Unreadable", "on fire", |_, view| {
        planes(view)[0].injector = why()
    });
    blocked_by("ValidatorPointsNowhere", "defaultRevision", |_, view| {
        view.validator = Seen::Present(Validator {
            namespace: "istio-system".into(),
            service: "gone".into(),
            has_ca_bundle: true,
        });
    });
    blocked_by("Unreadable", "on fire", |_, view| view.validator = why());
}

#[test]
fn a_base_chart_without_a_default_revision_has_no_validator() {
    let mut view = before();
    view.validator = Seen::Absent;
    let decision = decide(now(), &upgrade(Phase::Detecting), &view);
    assert!(decision.report.findings.detected.is_some_and(|d| d.holds));
}

#[test]
fn rights_and_values_must_suffice() {
    blocked_by(
        "PermissionsMissing",
        "install the chart's RBAC",
        |_, view| {
            view.missing_permissions = Seen::Present(vec!["patch namespaces".into()]);
        },
    );
    blocked_by("Unreadable", "on fire", |_, view| {
        view.missing_permissions = why()
    });
    blocked_by(
        "ValuesNotCarried",
        "spec.values.istiod of the Mesh",
        |_, view| {
            let values = json!({ "global": { "tag": "our-own" } });
            releases(view)[1].values = values.as_object().cloned().unwrap_or_else(Map::new);
        },
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let mut view = before();
    planes(&mut view)[0].ready = 0;
    view.missing_permissions = Seen::Present(vec!["patch namespaces".into()]);
    let message = decide(now(), &upgrade(Phase::Detecting), &view)
        .report
        .message;
    assert!(message.contains("0 of 2 replicas"), "{message}");
    assert!(message.contains("patch namespaces"), "{message}");
}
