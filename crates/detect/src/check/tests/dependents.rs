//! What depends on the running control plane without running.

use meshlift_model::example::{cart, istiod, labels, namespace, planes, releases};
use meshlift_model::view::{Drift, HelmRelease, Labelled, MeshView, PodTemplate, Seen, Selection};

use super::table::{Row, fine, unknown, wrong};
use super::{present, why};

fn sweep(view: &mut MeshView, pod: &[(&str, &str)]) {
    namespace(view).labels.clear();
    view.dependents.templates = Seen::Present(vec![PodTemplate {
        kind: "CronJob".into(),
        namespace: "shop".into(),
        name: "sweep".into(),
        labels: labels(pod),
    }]);
}

fn policy(view: &mut MeshView, revision: &str) {
    let object = Labelled {
        kind: "AuthorizationPolicy".into(),
        resource: "authorizationpolicies.security.istio.io".into(),
        namespace: "vault".into(),
        name: "door".into(),
        revision: revision.into(),
        helm_release: None,
    };
    view.dependents.configuration = Seen::Present(vec![object]);
}

fn asleep(view: &mut MeshView, pod: &[(&str, &str)]) {
    namespace(view).labels.clear();
    let cart = cart(view);
    cart.pods.clear();
    cart.asleep = true;
    cart.template_labels = labels(pod);
}

fn flux(view: &mut MeshView, suspended: bool) {
    view.environment.helm_releases = Seen::Present(vec![HelmRelease {
        namespace: "flux-system".into(),
        name: "istiod".into(),
        release: "istio-system/istiod".into(),
        suspended,
    }]);
}

/// The label that Flux writes on all objects of a release.
fn flux_marks(view: &mut MeshView) {
    planes(view)[0].marks = labels(&[
        ("helm.toolkit.fluxcd.io/name", "istiod"),
        ("helm.toolkit.fluxcd.io/namespace", "flux-system"),
    ]);
}

fn drifted(view: &mut MeshView, release: &str) {
    view.environment.drift = Seen::Present(vec![Drift {
        release: release.into(),
        object: "ConfigMap istio-system/istio".into(),
        what: "mesh.accessLogFile".into(),
    }]);
}

fn selects(view: &mut MeshView, key: &str, value: &str) {
    view.environment.selections = Seen::Present(vec![Selection {
        kind: "NetworkPolicy".into(),
        namespace: Some("vault".into()),
        name: "door".into(),
        labels: vec![(key.into(), value.into())],
    }]);
}

fn written_by(view: &mut MeshView, manager: &str) {
    releases(view)[1].manager = Some(manager.into());
}

pub(super) fn owners() -> Vec<Row> {
    const ISTIOD: &[&str] = &["release istio-system/istiod"];
    vec![
        wrong(
            "RELEASE-OWNED",
            ISTIOD,
            "flux suspend helmrelease istiod --namespace flux-system",
            |_, v| flux(v, false),
        ),
        // It is suspended; the marks of the time before are still there.
        fine("RELEASE-OWNED", |_, v| {
            flux(v, true);
            flux_marks(v);
            written_by(v, "helm-controller");
        }),
        wrong("RELEASE-OWNED", ISTIOD, "of another cluster", |_, v| {
            flux_marks(v);
        }),
        // What the marks name is gone.
        fine("RELEASE-OWNED", |_, v| {
            v.environment.helm_releases = Seen::Present(Vec::new());
            flux_marks(v);
        }),
        wrong(
            "RELEASE-OWNED",
            &["release istio-system/istio-base"],
            "flux suspend helmrelease istio-base",
            |_, v| {
                for crd in present(&mut v.environment.crds) {
                    crd.labels = labels(&[
                        ("helm.toolkit.fluxcd.io/name", "istio-base"),
                        ("helm.toolkit.fluxcd.io/namespace", "flux-system"),
                    ]);
                }
            },
        ),
        wrong("RELEASE-OWNED", ISTIOD, "belongs to Terraform", |_, v| {
            written_by(v, "terraform-provider-helm_v2.17.0_x5")
        }),
        wrong("RELEASE-OWNED", ISTIOD, "belongs to Flux", |_, v| {
            written_by(v, "helm-controller");
        }),
        wrong(
            "RELEASE-OWNED",
            ISTIOD,
            "argocd app set mesh --sync-policy none",
            |_, v| {
                let id = "mesh:apps/Deployment:istio-system/istiod";
                planes(v)[0].marks = labels(&[("argocd.argoproj.io/tracking-id", id)]);
            },
        ),
        wrong(
            "LIVE-DRIFT",
            &["ConfigMap istio-system/istio mesh.accessLogFile"],
            "set them in the Mesh",
            |_, v| drifted(v, "istio-system/istiod"),
        ),
        fine("LIVE-DRIFT", |_, v| drifted(v, "istio-b/istiod")),
        unknown("LIVE-DRIFT", |_, v| v.environment.drift = why()),
        wrong(
            "SELECTS-INJECTION-LABEL",
            &["NetworkPolicy vault/door"],
            "kubectl -n vault edit networkpolicy door",
            |_, v| selects(v, "istio-injection", "enabled"),
        ),
        wrong(
            "SELECTS-INJECTION-LABEL",
            &["NetworkPolicy vault/door"],
            "a label that the upgrade changes",
            |_, v| selects(v, "istio.io/rev", "default"),
        ),
        fine("SELECTS-INJECTION-LABEL", |_, v| {
            selects(v, "istio.io/rev", "prod");
        }),
        fine("SELECTS-INJECTION-LABEL", |_, v| {
            selects(v, "istio-injection", "enabled");
            namespace(v).labels = labels(&[("istio.io/rev", "default")]);
        }),
        unknown("SELECTS-INJECTION-LABEL", |_, v| {
            v.environment.selections = why();
        }),
        unknown("RELEASE-OWNED", |_, v| {
            v.environment.helm_releases = why();
        }),
        fine("RELEASE-OWNED", |_, v| written_by(v, "meshlift")),
    ]
}

/// Base without defaultRevision, and a default validator that somebody pointed at the running revision.
fn tagged_by_hand(view: &mut MeshView) {
    planes(view)[0] = istiod("1-30-2", "1.30.2");
    releases(view)[1].name = "istiod-1-30-2".into();
    present(&mut view.validator).service = "istiod-1-30-2".into();
    present(&mut view.environment.injectors).clear();
}

fn base_says(view: &mut MeshView, revision: &str) {
    let revision = revision.into();
    let values = &mut releases(view)[0].values;
    values.insert("defaultRevision".into(), revision);
}

fn istiod_says(view: &mut MeshView, values: serde_json::Value) {
    releases(view)[1].values = values.as_object().expect("values").clone();
}

pub(super) fn values() -> Vec<Row> {
    vec![
        wrong(
            "DEFAULT-REVISION-DIFFERS",
            &["ValidatingWebhookConfiguration istiod-default-validator"],
            "the upgrade keeps istiod-1-30-2",
            |_, v| tagged_by_hand(v),
        ),
        fine("VALIDATOR-NOWHERE", |_, v| tagged_by_hand(v)),
        fine("DEFAULT-REVISION-DIFFERS", |_, v| {
            tagged_by_hand(v);
            base_says(v, "1-30-2");
        }),
        wrong(
            "VALIDATOR-NOWHERE",
            &[],
            "set defaultRevision under spec.values.base",
            |_, v| {
                let base = serde_json::json!({ "defaultRevision": "gone" });
                let base = base.as_object().expect("values").clone();
                present(&mut v.mesh).values.base = base;
            },
        ),
        wrong("VALIDATOR-NOWHERE", &[], "let Helm adopt it", |_, v| {
            base_says(v, "");
        }),
        wrong(
            "SERVICE-NAMED",
            &["value global.caAddress"],
            "kubectl patch mesh default --type merge -p '{\"spec\":{\"values\":{\"istiod\":{\"global\":{\"caAddress\":\"istiod-1-31-0.istio-system.svc:15012\"}}}}}'",
            |u, v| {
                u.spec.mesh = "default".into();
                let of = serde_json::json!({ "global": { "caAddress": "istiod.istio-system.svc:15012" } });
                istiod_says(v, of);
            },
        ),
        fine("SERVICE-NAMED", |_, v| {
            let of = serde_json::json!({ "global": { "caAddress": "my-istiod.istio-system.svc", "hub": "a.istiod.istio-system.b",
                "meshID": "istiod.istio-system-2" } });
            istiod_says(v, of);
        }),
        wrong(
            "INJECTED-BY-DEFAULT",
            &["Namespace shop"],
            "kubectl label namespace shop istio-injection=enabled",
            |_, v| {
                namespace(v).labels.clear();
                let of = serde_json::json!({ "sidecarInjectorWebhook": { "enableNamespacesByDefault": true } });
                istiod_says(v, of);
            },
        ),
        wrong("INJECTED-BY-DEFAULT", &[], "every namespace", |_, v| {
            let rules = present(&mut v.environment.injectors);
            rules[0].webhook = "auto.sidecar-injector.istio.io".into();
        }),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    const ASKS: &[(&str, &str)] = &[("sidecar.istio.io/inject", "true")];
    const NAMES: &[(&str, &str)] = &[("istio.io/rev", "default")];
    vec![
        wrong(
            "TEMPLATE-ASLEEP",
            &["CronJob shop/sweep"],
            "kubectl -n shop patch cronjob sweep --type merge -p '{\"spec\":{\"jobTemplate\":{\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"istio.io/rev\":\"1-31-0\"}}}}}}}'",
            |_, v| sweep(v, NAMES),
        ),
        wrong(
            "TEMPLATE-ASLEEP",
            &["CronJob shop/sweep"],
            "the old control plane stays for it",
            |_, v| sweep(v, ASKS),
        ),
        wrong(
            "TEMPLATE-ASLEEP",
            &["Job shop/sweep"],
            "kubectl -n shop wait --for=condition=Complete job/sweep",
            |_, v| {
                sweep(v, NAMES);
                present(&mut v.dependents.templates)[0].kind = "Job".into();
            },
        ),
        wrong(
            "TEMPLATE-ASLEEP",
            &["Deployment shop/cart"],
            "the upgrade labels their templates",
            |_, v| asleep(v, ASKS),
        ),
        unknown("TEMPLATE-ASLEEP", |_, v| v.dependents.templates = why()),
        // Its namespace decides, and moves.
        fine("TEMPLATE-ASLEEP", |_, v| {
            sweep(v, NAMES);
            namespace(v).labels = labels(&[("istio-injection", "enabled")]);
        }),
        fine("TEMPLATE-ASLEEP", |_, v| {
            sweep(v, &[("istio.io/rev", "canary")]);
        }),
        fine("TEMPLATE-ASLEEP", |_, v| {
            let never = [
                ("sidecar.istio.io/inject", "false"),
                ("istio.io/rev", "default"),
            ];
            sweep(v, &never);
        }),
        fine("TEMPLATE-ASLEEP", |_, v| {
            sweep(v, NAMES);
            namespace(v).terminating = true;
        }),
        fine("TEMPLATE-ASLEEP", |_, v| {
            asleep(v, NAMES);
            cart(v).host_network = true;
        }),
        wrong(
            "CONFIG-REVISION",
            &["AuthorizationPolicy vault/door"],
            "kubectl -n vault label authorizationpolicies.security.istio.io/door istio.io/rev-",
            |_, v| policy(v, "default"),
        ),
        unknown("CONFIG-REVISION", |_, v| {
            v.dependents.configuration = why();
        }),
        // The new release brings its own.
        fine("CONFIG-REVISION", |_, v| {
            policy(v, "default");
            let of = Some("istio-system/istiod".into());
            present(&mut v.dependents.configuration)[0].helm_release = of;
        }),
        // Another mesh's, or nobody's.
        fine("CONFIG-REVISION", |_, v| policy(v, "prod")),
    ]
}
