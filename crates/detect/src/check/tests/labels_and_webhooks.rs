//! Who injects: labels of namespaces and pods, webhooks, tags.

use std::sync::Arc;

use meshlift_model::example::{cart, injector, labels, namespace, planes, pod, selector};
use meshlift_model::view::{MeshView, Tag};
use serde_json::json;

use super::table::{Row, fine, unknown, wrong};
use super::{present, why};

const SHOP: &[&str] = &["Namespace shop"];

fn tag(view: &mut MeshView, name: &str, revision: &str) {
    view.tags_mut().push(Tag {
        name: name.into(),
        revision: revision.into(),
        ..Tag::default()
    });
    let rules = injector(&format!("istio-revision-tag-{name}"), revision, Some(name));
    present(&mut view.environment.injectors).extend(rules);
}

/// A revision that an istiod of another cluster serves: there is a webhook and no Deployment.
fn served_elsewhere(view: &mut MeshView, revision: &str) {
    let mut rules = injector("elsewhere", revision, None);
    for rule in &mut rules {
        rule.service = None;
        rule.service_exists = false;
    }
    present(&mut view.environment.injectors).extend(rules);
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = namespaces();
    rows.extend(sidecars());
    rows.extend(webhooks());
    rows
}

fn namespaces() -> Vec<Row> {
    vec![
        wrong("BOTH-LABELS", SHOP, "the first one decides", |_, v| {
            let both = [("istio-injection", "enabled"), ("istio.io/rev", "default")];
            namespace(v).labels = labels(&both);
        }),
        fine("BOTH-LABELS", |_, v| {
            let both = [("istio-injection", "enabled"), ("istio.io/rev", "default")];
            namespace(v).labels = labels(&both);
            namespace(v).terminating = true;
        }),
        wrong(
            "REVISION-UNKNOWN",
            SHOP,
            "(gone): new pods get no sidecar",
            |_, v| {
                namespace(v).labels = labels(&[("istio.io/rev", "gone")]);
            },
        ),
        wrong(
            "REVISION-UNKNOWN",
            &["Deployment shop/cart"],
            "name one that is there (default)",
            |_, v| {
                namespace(v).labels.clear();
                cart(v).template_labels = labels(&[("istio.io/rev", "gone")]);
            },
        ),
        // The label of the namespace decides, not that of the pod.
        fine("REVISION-UNKNOWN", |_, v| {
            cart(v).template_labels = labels(&[("istio.io/rev", "gone")]);
        }),
        fine("REVISION-UNKNOWN", |_, v| {
            namespace(v).labels = labels(&[("istio.io/rev", "prod")]);
            tag(v, "prod", "default");
        }),
        fine("REVISION-UNKNOWN", |_, v| {
            namespace(v).labels = labels(&[("istio.io/rev", "east")]);
            served_elsewhere(v, "east");
        }),
        wrong(
            "NO-DEFAULT-REVISION",
            SHOP,
            "tag set default --revision 1-30-2",
            |_, v| {
                planes(v)[0].revision = "1-30-2".into();
                v.environment.injectors =
                    meshlift_model::view::Seen::Present(injector("i", "1-30-2", None));
            },
        ),
        fine("NO-DEFAULT-REVISION", |_, v| {
            planes(v)[0].revision = "1-30-2".into();
            v.environment.injectors =
                meshlift_model::view::Seen::Present(injector("i", "1-30-2", None));
            tag(v, "default", "1-30-2");
        }),
        wrong("GITOPS-LABEL", SHOP, "Argo CD", |_, v| {
            namespace(v).label_owner = Some("argocd-controller".into());
        }),
        fine("GITOPS-LABEL", |_, v| {
            namespace(v).label_owner = Some("kubectl-label".into());
        }),
        wrong("GITOPS-LABEL", &["tag prod"], "Flux", |_, v| {
            tag(v, "prod", "default");
            v.tags_mut()[0].owner = Some("kustomize-controller".into());
        }),
        // It is not moved, so nothing is put back.
        fine("GITOPS-LABEL", |_, v| {
            namespace(v).label_owner = Some("argocd-controller".into());
            namespace(v).labels = labels(&[("istio.io/rev", "prod")]);
            tag(v, "prod", "default");
        }),
    ]
}

fn sidecars() -> Vec<Row> {
    vec![
        wrong(
            "PROXY-ORPHANED",
            &["Deployment shop/cart"],
            "revision 1-29-8",
            |_, v| {
                cart(v).pods = vec![Arc::new(pod("cart-1", "1-29-8"))];
            },
        ),
        wrong(
            "PROXY-ORPHANED",
            &["Pod shop/lonely"],
            "1 pod with a sidecar",
            |_, v| {
                v.loose_pods = vec![Arc::new(pod("lonely", "1-29-8"))];
            },
        ),
        fine("PROXY-ORPHANED", |_, v| {
            cart(v).pods = vec![Arc::new(pod("cart-1", "east"))];
            served_elsewhere(v, "east");
        }),
    ]
}

fn webhooks() -> Vec<Row> {
    vec![
        wrong(
            "DOUBLE-INJECTION",
            SHOP,
            "istio-revision-tag-default and istio-sidecar-injector both",
            |_, v| tag(v, "default", "default"),
        ),
        // A tag that was set by istioctl makes the other one inert.
        fine("DOUBLE-INJECTION", |_, v| {
            for rule in present(&mut v.environment.injectors) {
                rule.namespaces =
                    selector(json!({ "matchLabels": { "istio.io/deactivated": "never-match" } }));
            }
            tag(v, "default", "default");
        }),
        // Only pods that ask for it are injected twice, and there is none.
        fine("DOUBLE-INJECTION", |_, v| {
            namespace(v).labels.clear();
            tag(v, "default", "default");
        }),
        wrong("DOUBLE-INJECTION", SHOP, "both inject", |_, v| {
            namespace(v).labels.clear();
            cart(v).template_labels = labels(&[("sidecar.istio.io/inject", "true")]);
            tag(v, "default", "default");
        }),
        fine("DOUBLE-INJECTION", |_, v| tag(v, "prod", "default")),
        unknown("DOUBLE-INJECTION", |_, v| v.environment.injectors = why()),
        wrong(
            "INJECTOR-NO-SERVICE",
            &["MutatingWebhookConfiguration left-behind"],
            "calls Service istio-system/istiod-1-29-8, which is not there",
            |_, v| {
                let mut rules = injector("left-behind", "1-29-8", None);
                for rule in &mut rules {
                    rule.service_exists = false;
                }
                present(&mut v.environment.injectors).extend(rules);
            },
        ),
        fine("INJECTOR-NO-SERVICE", |_, v| served_elsewhere(v, "east")),
        unknown("INJECTOR-NO-SERVICE", |_, v| {
            v.environment.injectors = why()
        }),
        wrong("TAG-BROKEN", &["tag prod"], "which does not run", |_, v| {
            tag(v, "prod", "1-29-8");
        }),
        wrong(
            "TAG-BROKEN",
            &["tag prod"],
            "calls Service istio-system/istiod-1-29-8 instead of istio-system/istiod",
            |_, v| {
                tag(v, "prod", "default");
                for rule in present(&mut v.environment.injectors) {
                    if rule.tag.is_some() {
                        rule.service = Some("istio-system/istiod-1-29-8".into());
                    }
                }
            },
        ),
        fine("TAG-BROKEN", |_, v| tag(v, "prod", "default")),
        unknown("TAG-BROKEN", |_, v| v.environment.injectors = why()),
    ]
}
