use std::process::{Command, Stdio};

use insta::assert_snapshot;
use meshlift_api::{MeshInstaller, MeshSpec, UpgradePath};
use meshlift_model::example::{
    before, istiod, labels, namespace, planes, releases, version, workload,
};
use meshlift_model::view::{Namespace, Pod, Seen, Tag, UpdateStrategy, WorkloadKind};
use serde_json::json;

use super::*;

fn told(way: Way, view: &MeshView, to: &str) -> String {
    let text = manual(way, "default", view, to, UpgradePath::EachMinor).expect("steps");
    takes(&text);
    text
}

/// Every command is one that a shell can read.
fn takes(text: &str) {
    let commands: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("    "))
        .collect();
    assert!(commands.len() > 5, "{text}");
    let script = commands.join("\n");
    let mut shell = Command::new("sh")
        .args(["-n"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stdin = shell.stdin.take().expect("its input");
    std::io::Write::write_all(&mut stdin, script.as_bytes()).expect("written");
    drop(stdin);
    assert!(shell.wait().expect("a shell").success(), "{script}");
}

/// A bit of everything that a person has to be told about.
fn mesh() -> MeshView {
    let mut view = before();
    releases(&mut view)[1].values = match json!({
        "global": { "tag": "1.30.2-distroless", "hub": "example.org/istio" },
        "licenseToken": "s3cret",
        "compatibilityVersion": "1.21",
    }) {
        serde_json::Value::Object(values) => values,
        _ => unreachable!("an object"),
    };
    let mut db = workload("db", "default");
    db.key.kind = WorkloadKind::StatefulSet;
    let mut pinned = workload("pinned", "default");
    pinned.strategy = UpdateStrategy::OnDelete;
    let mut gateway = workload("gateway-istio", "default");
    gateway.managed_gateway = true;
    view.workloads = Seen::Present(vec![workload("cart", "default"), db, pinned, gateway]);
    view
}

/// The same under a revision, followed by a label and by a tag that its release renders.
fn revisioned() -> MeshView {
    let mut view = mesh();
    *planes(&mut view) = vec![istiod("1-30-2", "1.30.2")];
    let release = &mut releases(&mut view)[1];
    release.name = "istiod-1-30-2".into();
    release
        .values
        .insert("revisionTags".into(), json!(["prod"]));
    namespace(&mut view).labels = labels(&[("istio.io/rev", "1-30-2")]);
    if let Seen::Present(namespaces) = &mut view.namespaces {
        namespaces.push(Namespace {
            name: "blog".into(),
            labels: labels(&[("istio.io/rev", "prod")]),
            ..Namespace::default()
        });
    }
    if let Seen::Present(workloads) = &mut view.workloads {
        let mut blog = workload("web", "1-30-2");
        blog.key.namespace = "blog".into();
        workloads.push(blog);
    }
    *view.tags_mut() = vec![Tag {
        name: "prod".into(),
        revision: "1-30-2".into(),
        ..Tag::default()
    }];
    view
}

fn installed_by(installer: Installer, revision: &str) -> MeshView {
    let mut view = mesh();
    let mut plane = istiod(revision, "1.30.2");
    plane.installer = installer;
    *planes(&mut view) = vec![plane];
    if revision != "default" {
        namespace(&mut view).labels = labels(&[("istio.io/rev", revision)]);
    }
    view.releases = Seen::Present(Vec::new());
    view
}

#[test]
fn helm_without_a_revision() {
    let text = told(Way::Helm, &mesh(), "1.31");
    assert!(!text.contains("s3cret"), "values are not printed");
    assert_snapshot!("helm_unrevisioned", text);
}

#[test]
fn helm_with_a_revision_and_tags() {
    assert_snapshot!(
        "helm_revisioned_tags",
        told(Way::Helm, &revisioned(), "1.31.0")
    );
    assert_snapshot!(
        "canary_revisioned_tags",
        told(Way::Canary, &revisioned(), "1.31.0")
    );
}

#[test]
fn helm_in_place() {
    let mut view = mesh();
    planes(&mut view)[0].desired = 1;
    assert_snapshot!("in_place_helm", told(Way::InPlace, &view, "1.31.0"));
}

#[test]
fn by_istioctl() {
    let view = installed_by(Installer::Istioctl, "default");
    assert_snapshot!("istioctl_canary", told(Way::Canary, &view, "1.31.0"));
    assert_snapshot!("istioctl_in_place", told(Way::InPlace, &view, "1.31.0"));
    let by_helm = told(Way::Helm, &view, "1.31.0");
    assert!(by_helm.contains("Helm did not install it"), "{by_helm}");
    let revisioned = installed_by(Installer::Istioctl, "1-30-2");
    let refused = manual(
        Way::InPlace,
        "default",
        &revisioned,
        "1.31.0",
        UpgradePath::EachMinor,
    );
    assert!(refused.is_err_and(|why| why.contains("--way canary")));
}

#[test]
fn rendered_by_others() {
    let mut view = installed_by(Installer::Unknown, "default");
    let spec = MeshSpec {
        installer: MeshInstaller::None,
        ..MeshSpec::default()
    };
    view.mesh = Seen::Present(spec);
    assert_snapshot!("rendered_canary", told(Way::Canary, &view, "1.31.0"));
    let path = UpgradePath::EachMinor;
    let refused = manual(Way::InPlace, "default", &view, "1.31.0", path);
    assert!(refused.is_err_and(|why| why.contains("--way canary")));
}

#[test]
fn by_sail() {
    let view = installed_by(Installer::Sail, "default-v1-30-2");
    assert_snapshot!("sail_canary", told(Way::Canary, &view, "1.31.0"));
    let refused = manual(
        Way::InPlace,
        "default",
        &view,
        "1.31.0",
        UpgradePath::EachMinor,
    );
    assert!(refused.is_err_and(|why| why.contains("RevisionBased")));
    let in_place = installed_by(Installer::Sail, "default");
    assert_snapshot!("sail_in_place", told(Way::InPlace, &in_place, "1.31.0"));
}

#[test]
fn a_far_target_is_two_hops() {
    let mut view = mesh();
    view.catalog = Seen::Present(["1.30.2", "1.31.0", "1.32.0"].map(version).into());
    assert_snapshot!("in_place_two_hops", told(Way::InPlace, &view, "1.32.0"));
    let fewest = manual(
        Way::Helm,
        "default",
        &view,
        "1.32.0",
        UpgradePath::FewestRestarts,
    );
    assert!(
        !fewest.expect("steps").contains("1.31.0"),
        "a canary may pass one minor over where that was chosen"
    );
    assert_snapshot!("canary_two_hops", told(Way::Helm, &view, "1.32.0"));
}

#[test]
fn an_image_by_its_full_name_is_to_be_replaced() {
    let mut view = mesh();
    let pilot = json!({ "image": "reg.corp/istio/pilot:1.30.2" });
    releases(&mut view)[1].values.insert("pilot".into(), pilot);
    for way in [Way::Helm, Way::InPlace] {
        let text = told(way, &view, "1.31.0");
        assert!(
            text.contains("--set-string pilot.image=YOUR-IMAGE-FOR-1.31.0"),
            "{text}"
        );
        assert!(
            text.contains("pilot.image is reg.corp/istio/pilot:1.30.2"),
            "{text}"
        );
    }
}

#[test]
fn tags_go_on_with_every_hop() {
    let mut view = revisioned();
    view.catalog = Seen::Present(["1.30.2", "1.31.0", "1.32.0", "1.33.0"].map(version).into());
    let text = told(Way::Helm, &view, "1.33.0");
    let second = text.split("== From 1.32.0").nth(1).expect("a second hop");
    assert!(second.contains("upgrade istiod-1-32-0 istiod"), "{second}");
    // Without it the new CRDs would take the validating webhook back to a control plane that is gone.
    let crds = "--version 1.33.0 --reset-values -f base-values.yaml --set defaultRevision=1-32-0";
    assert!(second.contains(crds), "{second}");
    assert!(
        second.contains("Release istiod-1-32-0 renders prod"),
        "{second}"
    );
}

#[test]
fn a_control_plane_that_is_elsewhere() {
    let mut view = mesh();
    view.control_planes = Seen::Present(Vec::new());
    view.releases = Seen::Present(Vec::new());
    if let Seen::Present(workloads) = &mut view.workloads {
        let pod = Pod {
            proxy_image: Some("example.org/proxyv2:1.30.2".into()),
            ..(*workloads[0].pods[0]).clone()
        };
        workloads[0].pods = vec![std::sync::Arc::new(pod)];
    }
    assert_snapshot!("hosted_elsewhere", told(Way::Canary, &view, "1.31.0"));
    view.releases = mesh().releases;
    let with_release = told(Way::Helm, &view, "1.31.0");
    assert!(with_release.contains("When istiod 1.31.0 runs in its cluster"));
    assert!(!with_release.contains("rollout status deployment/istiod-1-31-0"));
}

#[test]
fn crds_are_adopted_where_the_charts_begin_to_own_them() {
    let mut view = mesh();
    *planes(&mut view) = vec![istiod("default", "1.23.6")];
    releases(&mut view)[1].values.clear();
    view.catalog = Seen::Present(["1.23.6", "1.24.6", "1.22.8"].map(version).into());
    let text = told(Way::Helm, &view, "1.24.6");
    assert!(text.contains("kubectl annotate customresourcedefinitions -l chart=istio meta.helm.sh/release-name=istio-base"), "{text}");
    let older = {
        *planes(&mut view) = vec![istiod("default", "1.22.8")];
        told(Way::Helm, &view, "1.23.6")
    };
    assert!(
        older.contains("kubectl apply --server-side --force-conflicts -f base-1.23.6/base/crds"),
        "{older}"
    );
    assert!(!older.contains("annotate customresourcedefinitions"));
}

#[test]
fn a_tag_of_ones_own_is_asked_for() {
    let mut view = mesh();
    releases(&mut view)[1].values = match json!({ "tag": "our-build-7" }) {
        serde_json::Value::Object(values) => values,
        _ => unreachable!("an object"),
    };
    let text = told(Way::Canary, &view, "1.31.0");
    assert!(
        text.contains("--set-string tag=YOUR-TAG-FOR-1.31.0"),
        "{text}"
    );
    assert!(text.contains("tag is our-build-7, which is not a tag of Istio 1.30.2"));
}

#[test]
fn what_cannot_be_told_is_refused_with_a_reason() {
    let refused = |view: &MeshView, to: &str| {
        manual(Way::Canary, "default", view, to, UpgradePath::EachMinor).expect_err("refused")
    };
    assert!(refused(&mesh(), "1.30.2").contains("runs 1.30.2 already"));
    assert!(refused(&mesh(), "1.29.8").contains("downgrade"));
    assert!(refused(&mesh(), "new").contains("no Istio version"));
    let mut blind = mesh();
    blind.workloads = Seen::Unreadable("no answer".into());
    assert!(refused(&blind, "1.31.0").contains("no answer"));
    let mut two = mesh();
    planes(&mut two).push(istiod("1-29-8", "1.29.8"));
    assert!(refused(&two, "1.31.0").contains("several control planes"));
    let unknown = installed_by(Installer::Unknown, "default");
    assert!(refused(&unknown, "1.31.0").contains("would be guesses"));
    let mut no_catalog = mesh();
    no_catalog.catalog = Seen::Absent;
    assert!(refused(&no_catalog, "1.31").contains("ask for an exact version"));
}
