//! The mesh, the control plane and the target.

use std::sync::Arc;

use meshlift_api::{ClusterRole, MeshInstaller, MeshType, Phase, Strategy};
use meshlift_istio::knowledge::Knowledge;
use meshlift_istio::version::KubernetesVersion;
use meshlift_model::example::{TARGET, ago, istiod, planes, releases, version, workload};
use meshlift_model::view::{
    Cluster, InjectorWebhook, Installer, MeshView, PodRefusal, Probe, Refuser, Rival, Seen,
    Validator,
};

use super::table::{Row, fine, unknown, wrong};
use super::{mesh, present, why};

const V1_31: KubernetesVersion = KubernetesVersion {
    major: 1,
    minor: 31,
};

fn other(view: &mut MeshView, role: ClusterRole, kubernetes: Seen<KubernetesVersion>) {
    present(&mut view.environment.clusters).push(Cluster {
        name: "east".into(),
        role,
        kubernetes,
    });
}

fn rival(view: &mut MeshView, phase: Phase) {
    view.rivals.push(Rival {
        mesh: "default".into(),
        name: "to-1-32".into(),
        uid: "r".into(),
        created_at: ago(10),
        phase,
    });
}

/// A control plane that was upgraded in place to the target, and three workloads with these sidecars.
fn in_place(view: &mut MeshView, sidecars: [&str; 3]) {
    *planes(view) = vec![istiod("default", "1.31.0")];
    for release in releases(view) {
        release.version = Some(version("1.31.0"));
    }
    let named = ["cart", "db", "web"].into_iter().zip(sidecars);
    let workloads = named.map(|(name, of)| {
        let mut with = workload(name, "default");
        for pod in &mut with.pods {
            let image = format!("example.org/proxyv2:{of}");
            Arc::make_mut(pod).proxy_image = Some(image.into());
        }
        with
    });
    view.workloads = Seen::Present(workloads.collect());
    view.loose_pods.clear();
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = found();
    rows.extend(target_and_clusters());
    rows.extend(control_plane());
    rows.extend(others());
    rows.extend(accepted());
    rows.extend(proofs());
    rows.push(wrong(
        "CATALOG-IGNORED",
        &["ReleaseCatalog default"],
        "releases[0].minor is twice there",
        |_, v| v.knowledge = Arc::new(Knowledge::despite("releases[0].minor is twice there")),
    ));
    rows
}

fn refused(view: &mut MeshView, by: Refuser, why: &str) {
    let why = why.into();
    let probe = Probe::Refused(PodRefusal { by, why });
    view.probes.insert("shop".into(), probe);
}

fn proofs() -> Vec<Row> {
    const NOWHERE: &str = "INJECTION-PROOF";
    const SOMEWHERE: &str = "INJECTION-REFUSED";
    vec![
        wrong(
            NOWHERE,
            &["Namespace shop"],
            "by policy registries",
            |_, v| {
                refused(v, Refuser::Policy("registries".into()), "no");
            },
        ),
        wrong(NOWHERE, &["Namespace shop"], "without a sidecar", |_, v| {
            v.probes.insert("shop".into(), Probe::NotInjected);
        }),
        fine(NOWHERE, |_, v| {
            refused(v, Refuser::NoDryRun("old.example".into()), "");
        }),
        wrong(
            SOMEWHERE,
            &["Namespace shop"],
            "exceeded quota team",
            |_, v| {
                refused(v, Refuser::Quota, "exceeded quota team");
            },
        ),
        wrong(SOMEWHERE, &["Namespace shop"], "by Pod Security", |_, v| {
            refused(v, Refuser::PodSecurity, "NET_ADMIN");
            let by_default = Probe::Injected {
                revision: "default".into(),
                image: "example.org/proxyv2:1.30.2".into(),
            };
            v.probes.insert("blog".into(), by_default);
        }),
        unknown(SOMEWHERE, |_, v| {
            v.probes
                .insert("shop".into(), Probe::Failed("on fire".into()));
        }),
    ]
}

fn accepted() -> Vec<Row> {
    const CODE: &str = "ACCEPTS-NOTHING";
    vec![
        wrong(CODE, &["NO-ROM"], "no check and of no risk", |u, _| {
            u.spec.accept_risks = vec!["NO-ROM".into(), "NO-ROOM".into()];
        }),
        wrong(CODE, &["ISTIOD-NOT-READY"], "surely fail", |u, _| {
            u.spec.accept_risks = vec!["ISTIOD-NOT-READY".into()];
        }),
        fine(CODE, |u, v| {
            let risks = v.knowledge.risks(&version("1.30.2"), &version("1.31.0"));
            u.spec.accept_risks = vec![risks[0].code.clone()];
        }),
    ]
}

fn found() -> Vec<Row> {
    vec![
        unknown("LOOK-FAILED", |_, v| v.control_planes = why()),
        wrong("MESH-NOT-FOUND", &[], "kubectl get meshes", |u, v| {
            u.spec.mesh = "prod".into();
            v.mesh = Seen::Absent;
        }),
        wrong("NO-CONTROL-PLANE", &[], "controlPlaneNamespace", |_, v| {
            planes(v).clear();
        }),
        wrong("MANY-MESHES", &[], "istio-b, istio-system", |_, v| {
            v.mesh = Seen::Absent;
            let mut other = istiod("b", "1.30.2");
            other.namespace = "istio-b".into();
            planes(v).push(other);
        }),
        wrong(
            "MANY-CONTROL-PLANES",
            &[],
            "uninstall the others",
            |_, v| {
                planes(v).push(istiod("1-30-1", "1.30.1"));
            },
        ),
        wrong(
            "VERSION-UNKNOWN",
            &[],
            "app.kubernetes.io/version",
            |_, v| {
                planes(v)[0].version = None;
            },
        ),
        wrong("MESH-EXTERNAL", &[], "meshlift manual", |_, v| {
            mesh(v).mesh_type = MeshType::External;
        }),
        wrong("MESH-HOSTED", &[], "mode: Preflight", |_, v| {
            mesh(v).mesh_type = MeshType::Hosted;
        }),
        wrong("RENDERED-IN-PLACE", &[], "rendered by others", |u, v| {
            u.spec.strategy = Strategy::InPlace;
            mesh(v).installer = MeshInstaller::None;
        }),
        wrong("NOT-HELM", &[], "the Sail operator", |_, v| {
            planes(v)[0].installer = Installer::Sail;
        }),
        wrong("RELEASE-NOT-FOUND", &[], "an umbrella chart", |_, v| {
            releases(v).retain(|release| release.chart != "istiod");
        }),
        wrong(
            "BASE-NOT-FOUND",
            &[],
            "find it with helm list -A",
            |_, v| {
                releases(v).retain(|release| release.chart != "base");
                present(&mut v.environment.crds).clear();
            },
        ),
        wrong(
            "BASE-NOT-FOUND",
            &[],
            "they belong to release crds/istio-base",
            |_, v| {
                releases(v).retain(|release| release.chart != "base");
                for crd in present(&mut v.environment.crds) {
                    crd.helm_release = Some("crds/istio-base".into());
                }
            },
        ),
        wrong(
            "SIDECARS-BEHIND",
            &["Deployment shop/web"],
            "1 of 3 sidecars are of another version (1.30.2): renew them, and the upgrade ends by itself (kubectl -n shop rollout restart deployment/web)",
            |_, v| {
                in_place(v, ["1.31.0", "1.31.0", "1.30.2"]);
            },
        ),
        wrong(
            "BASE-BEHIND",
            &[],
            "helm -n istio-system upgrade istio-base base --repo",
            |_, v| {
                in_place(v, ["1.31.0"; 3]);
                releases(v)[0].version = Some(version("1.30.2"));
            },
        ),
    ]
}

fn target_and_clusters() -> Vec<Row> {
    vec![
        wrong("TARGET-REFUSED", &[], "a downgrade is refused", |u, _| {
            u.spec.target_version = "1.29.8".into();
        }),
        wrong(
            "K8S-TOO-OLD",
            &["cluster local"],
            "upgrade the cluster to 1.32",
            |_, v| {
                v.kubernetes = Seen::Present(V1_31);
            },
        ),
        wrong("K8S-TOO-OLD", &["cluster east"], "cluster east", |_, v| {
            other(v, ClusterRole::Remote, Seen::Present(V1_31));
        }),
        wrong("K8S-TOO-NEW", &["cluster local"], "too new", |_, v| {
            let minor = 38;
            v.kubernetes = Seen::Present(KubernetesVersion { major: 1, minor });
        }),
        wrong("K8S-UNKNOWN", &[], "does not know", |u, v| {
            u.spec.target_version = "1.32.0".into();
            planes(v)[0].version = Some(version("1.31.0"));
        }),
        unknown("CLUSTER-UNREACHABLE", |_, v| v.kubernetes = why()),
        wrong(
            "CLUSTER-UNREACHABLE",
            &["cluster east"],
            "on fire",
            |_, v| {
                other(v, ClusterRole::Remote, why());
            },
        ),
    ]
}

fn control_plane() -> Vec<Row> {
    vec![
        wrong(
            "ISTIOD-NOT-READY",
            &["Deployment istio-system/istiod"],
            "OOMKilled",
            |_, v| {
                planes(v)[0].ready = 1;
                planes(v)[0].trouble = Some("OOMKilled".into());
            },
        ),
        wrong(
            "METRICS-UNREADABLE",
            &["Deployment istio-system/istiod"],
            "port 15014",
            |_, v| planes(v)[0].live = why(),
        ),
        // One that is not ready has none.
        fine("METRICS-UNREADABLE", |_, v| {
            planes(v)[0].live = why();
            planes(v)[0].ready = 0;
        }),
        wrong(
            "INJECTOR-BROKEN",
            &[],
            "reinstall release istiod",
            |_, v| {
                planes(v)[0].injector = Seen::Absent;
            },
        ),
        wrong(
            "INJECTOR-BROKEN",
            &["MutatingWebhookConfiguration injector"],
            "no CA bundle",
            |_, v| {
                planes(v)[0].injector = Seen::Present(InjectorWebhook {
                    name: "injector".into(),
                    has_ca_bundle: false,
                });
            },
        ),
        unknown("INJECTOR-BROKEN", |_, v| planes(v)[0].injector = why()),
        wrong("VALIDATOR-NOWHERE", &[], "defaultRevision", |_, v| {
            v.validator = Seen::Present(Validator {
                namespace: "istio-system".into(),
                service: "gone".into(),
                has_ca_bundle: true,
            });
        }),
        unknown("VALIDATOR-NOWHERE", |_, v| v.validator = why()),
        wrong(
            "VALIDATOR-NO-CA",
            &["ValidatingWebhookConfiguration istiod-default-validator"],
            "restart istiod",
            |_, v| present(&mut v.validator).has_ca_bundle = false,
        ),
        fine("VALIDATOR-NO-CA", |_, v| v.validator = Seen::Absent),
        wrong(
            "UPGRADE-UNFINISHED",
            &["Deployment istio-system/istiod-1-31-0"],
            "continues it",
            |_, v| planes(v).push(istiod(TARGET, "1.31.0")),
        ),
        wrong(
            "TARGET-OF-ANOTHER-RELEASE",
            &["Deployment istio-system/istiod-1-31-0"],
            "Helm release istio-system/istio-new, where this upgrade would install release istiod-1-31-0: nothing uses it, so remove it: helm -n istio-system uninstall istio-new",
            |_, v| {
                let mut by_hand = istiod(TARGET, "1.31.0");
                by_hand.installer = Installer::Helm {
                    release: "istio-new".into(),
                };
                planes(v).push(by_hand);
            },
        ),
        wrong(
            "TARGET-OF-ANOTHER-RELEASE",
            &["Deployment istio-system/istiod-1-31-0"],
            "used by pod shop/web-1: finish that upgrade with the tool that began it, or move them back and remove it: istioctl uninstall -i istio-system --revision 1-31-0",
            |_, v| {
                let mut by_hand = istiod(TARGET, "1.31.0");
                by_hand.installer = Installer::Istioctl;
                planes(v).push(by_hand);
                let web = workload("web", TARGET);
                present(&mut v.workloads).push(web);
            },
        ),
        fine("TARGET-OF-ANOTHER-RELEASE", |_, v| {
            planes(v).push(istiod(TARGET, "1.31.0"));
        }),
        fine("UPGRADE-UNFINISHED", |_, v| {
            let mut elsewhere = istiod(TARGET, "1.31.0");
            elsewhere.namespace = "istio-b".into();
            planes(v).push(elsewhere);
        }),
        wrong(
            "ISTIOD-VERSION-UNKNOWN",
            &["Deployment istio-b/istiod"],
            "app.kubernetes.io/version",
            |_, v| {
                let mut other = istiod("default", "1.30.2");
                other.namespace = "istio-b".into();
                other.version = None;
                planes(v).push(other);
            },
        ),
        wrong("PERMISSIONS", &["patch namespaces"], "RBAC", |_, v| {
            v.missing_permissions = Seen::Present(vec!["patch namespaces".into()]);
        }),
        wrong(
            "OPERATOR-UNFENCED",
            &["ValidatingAdmissionPolicy meshlift-operator-fence-pods"],
            "is not fenced in: ValidatingAdmissionPolicy meshlift-operator-fence-pods not there or not in force: install the chart with policies.install=true",
            |_, v| {
                let gap = "ValidatingAdmissionPolicy meshlift-operator-fence-pods";
                v.environment.unfenced = Seen::Present(vec![gap.into()]);
            },
        ),
        fine("OPERATOR-UNFENCED", |_, v| {
            v.environment.unfenced = Seen::Absent;
        }),
        unknown("OPERATOR-UNFENCED", |_, v| {
            v.environment.unfenced = why();
        }),
        unknown("PERMISSIONS", |_, v| v.missing_permissions = why()),
    ]
}

fn others() -> Vec<Row> {
    vec![
        wrong(
            "OTHER-INSTALLER",
            &["Istio mesh (sailoperator.io)"],
            "accept OTHER-INSTALLER",
            |_, v| {
                let object = "Istio mesh (sailoperator.io)".to_owned();
                v.environment.other_installers = Seen::Present(vec![object]);
            },
        ),
        unknown("OTHER-INSTALLER", |_, v| {
            v.environment.other_installers = why()
        }),
        fine("OTHER-INSTALLER", |_, v| {
            v.environment.other_installers = Seen::Absent
        }),
        wrong(
            "OTHER-UPGRADE",
            &["MeshUpgrade to-1-32"],
            "one after another",
            |_, v| {
                rival(v, Phase::Pending);
            },
        ),
        fine("OTHER-UPGRADE", |_, v| rival(v, Phase::Done)),
        wrong(
            "REMOTE-CLUSTERS",
            &["cluster east"],
            "1-31-0 is ready",
            |_, v| {
                other(v, ClusterRole::Remote, v.kubernetes.clone());
            },
        ),
        fine("REMOTE-CLUSTERS", |_, v| {
            other(v, ClusterRole::Primary, v.kubernetes.clone());
        }),
        wrong(
            "PRIMARY-CLUSTERS",
            &["cluster east"],
            "within one minor",
            |_, v| {
                other(v, ClusterRole::Primary, v.kubernetes.clone());
            },
        ),
        wrong(
            "EXTERNAL-ISTIOD",
            &["Deployment istio-system/istiod"],
            "expose Service istiod-1-31-0",
            |_, v| planes(v)[0].external = true,
        ),
        fine("EXTERNAL-ISTIOD", |_, v| {
            planes(v)[0].external = true;
            mesh(v).mesh_type = MeshType::Hosted;
        }),
    ]
}
