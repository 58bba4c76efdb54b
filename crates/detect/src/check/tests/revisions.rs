//! The name of the new revision: valid, free, and for one control plane.

use meshlift_model::example::{TARGET, cart, istiod, namespace, planes, version, workload};
use meshlift_model::view::{Seen, Tag};

use super::present;
use super::table::{Row, fine, wrong};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = taken();
    rows.extend(marked());
    rows.extend(names());
    rows
}

fn taken() -> Vec<Row> {
    vec![
        wrong(
            "REVISION-TAKEN",
            &[],
            "nothing in this cluster uses it",
            |_, v| {
                planes(v).push(istiod(TARGET, "1.31.1"));
            },
        ),
        wrong("REVISION-TAKEN", &[], "of another mesh", |_, v| {
            for revision in [TARGET, "default-1-31-0"] {
                let mut other = istiod(revision, "1.31.0");
                other.namespace = "istio-b".into();
                planes(v).push(other);
            }
        }),
        wrong(
            "REVISION-TAKEN",
            &[],
            "used by pod shop/web-1: set another name in spec.revision",
            |_, v| {
                planes(v).push(istiod(TARGET, "1.31.1"));
                let web = workload("web", TARGET);
                present(&mut v.workloads).push(web);
            },
        ),
        // Its image lies: told to remove it, people would remove their only control plane.
        wrong(
            "REVISION-TAKEN",
            &[],
            "runs this mesh: bring it to 1.31.0 in place (meshlift manual --mesh default --way in-place --to 1.31.0)",
            |_, v| {
                *planes(v) = vec![istiod(TARGET, "1.30.2")];
            },
        ),
    ]
}

fn marked() -> Vec<Row> {
    vec![
        wrong(
            "REVISION-TAKEN",
            &["MutatingWebhookConfiguration tag-canary"],
            "name of a revision tag, which points at default",
            |u, v| {
                u.spec.revision = Some("canary".into());
                v.tags_mut().push(Tag {
                    name: "canary".into(),
                    revision: "default".into(),
                    namespace: "istio-system".into(),
                    configuration: "tag-canary".into(),
                    ..Tag::default()
                });
            },
        ),
        wrong(
            "REVISION-TAKEN",
            &[],
            "set another name in spec.revision",
            |u, v| {
                u.spec.revision = Some("prod".into());
                planes(v)[0].revision = "prod".into();
            },
        ),
        wrong(
            "REVISION-TAKEN",
            &["Deployment shop/cart"],
            "1 object is still marked with it",
            |u, v| {
                u.spec.revision = Some("canary".into());
                cart(v).mark = Some("canary.2".into());
            },
        ),
        wrong(
            "REVISION-TAKEN",
            &["Namespace shop"],
            "used before",
            |u, v| {
                u.spec.revision = Some("canary".into());
                namespace(v).moved_to = Some("canary".into());
            },
        ),
        // The same upgrade goes on.
        fine("REVISION-TAKEN", |u, v| {
            u.spec.revision = Some("canary".into());
            cart(v).mark = Some("canary".into());
            planes(v).push(istiod("canary", "1.31.0"));
        }),
    ]
}

fn names() -> Vec<Row> {
    vec![
        wrong("REVISION-NAME", &[], "not a valid revision", |u, _| {
            u.spec.revision = Some("Prod_1".into());
        }),
        wrong("REVISION-NAME", &[], "without one", |u, _| {
            u.spec.revision = Some("default".into());
        }),
        wrong(
            "REVISION-NAME",
            &[],
            "set spec.targetVersion to 1.30.5 and upgrade to the others afterwards",
            |u, v| {
                u.spec.revision = Some("canary".into());
                planes(v)[0].version = Some(version("1.29.8"));
                v.catalog = Seen::Present(["1.30.5", "1.31.0"].map(version).into());
            },
        ),
        fine("REVISION-NAME", |u, _| {
            u.spec.revision = Some("canary".into())
        }),
        wrong("REVISION-TOO-LONG", &[], "46 characters", |u, _| {
            u.spec.revision = Some("x".repeat(47));
        }),
        wrong("REVISION-TOO-LONG", &[], "46 characters", |u, v| {
            let suffix = "x".repeat(60);
            u.spec.target_version = format!("1.31.0-{suffix}");
            v.catalog = Seen::Present(vec![version(&format!("1.31.0-{suffix}"))]);
            planes(v)[0].version = Some(version(&format!("1.30.2-{suffix}")));
        }),
    ]
}
