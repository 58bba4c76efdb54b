//! What is refused before anything is touched.

use anyhow::{Result, ensure};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::Patch;
use meshlift_testbed::versions::ISTIO_FROM;
use meshlift_tests::bed::Bed;
use meshlift_tests::istio;
use meshlift_tests::operator::Operator;
use meshlift_tests::repository::Index;
use meshlift_tests::upgrades::wait_status;
use serde_json::{Value, json};

use crate::fixture::{SOON, ends_blocked, install_istio, make_ready, with_bed, with_own_bed};

fn to(version: &str) -> Value {
    json!({ "targetVersion": version })
}

#[test]
fn api_a_target_that_is_unknown_lower_or_too_far_is_refused() -> Result<()> {
    with_bed(async |bed| {
        let index = Index::serve(&["1.29.5", "1.30.1", "1.30.2", "1.31.0", "1.34.0"]).await?;
        let charts = json!({ "repository": index.url() });
        bed.create_mesh("offered", json!({ "charts": charts }))
            .await?;
        let _operator = Operator::start(bed).await?;
        let target = |version: &str| json!({ "mesh": "offered", "targetVersion": version });
        for (version, words) in [
            ("1.99.0", ["1.99.0", "1.34.0"]),
            ("1.33", ["1.33", "1.34.0"]),
            ("1.30.1", ["1.30.2", "downgrade"]),
            ("1.29", ["1.29.5", "downgrade"]),
            (
                "1.34.0",
                ["no way from 1.30.2 to 1.34.0", "a version of 1.32"],
            ),
        ] {
            ends_blocked(bed, target(version), "TargetRefused", &words).await?;
        }
        bed.meshes().delete("offered", &Default::default()).await?;
        Ok(())
    })
}

#[test]
fn api_a_malformed_target_is_no_object() -> Result<()> {
    with_bed(async |bed| {
        for version in ["", "latest", "1", "1.31.x", "v1.31.0", "1.31.0 "] {
            let created = bed.create_upgrade("malformed", to(version)).await;
            let error = format!(
                "{:#}",
                created.err().unwrap_or_else(|| anyhow::anyhow!("taken"))
            );
            ensure!(error.contains("spec.targetVersion"), "{version:?}: {error}");
        }
        Ok(())
    })
}

#[test]
fn api_a_mesh_that_is_not_ours_is_left_alone() -> Result<()> {
    with_bed(async |bed| {
        let _operator = Operator::start(bed).await?;
        let missing = json!({ "mesh": "nowhere", "targetVersion": "1.31" });
        ends_blocked(
            bed,
            missing,
            "MeshNotFound",
            &["nowhere", "kubectl get meshes"],
        )
        .await?;

        let charts = json!({ "repository": bed.cluster.charts_url_host()? });
        let theirs = json!({ "type": "External", "charts": charts });
        bed.create_mesh("theirs", theirs).await?;
        let external = json!({ "mesh": "theirs", "targetVersion": "1.31" });
        ends_blocked(
            bed,
            external,
            "MeshExternal",
            &["External", "never touched"],
        )
        .await?;
        bed.meshes().delete("theirs", &Default::default()).await?;

        for (name, label, words) in [
            (
                "by-istioctl",
                "operator.istio.io/managed: Reconcile",
                "istioctl",
            ),
            (
                "by-sail",
                "app.kubernetes.io/managed-by: sail-operator",
                "Sail",
            ),
            ("by-hand", "hands: two", "other than Helm"),
        ] {
            // Before its istiod: of a mesh that has no object the operator would make one, External.
            let charts = json!({ "repository": bed.cluster.charts_url_host()? });
            let spec = json!({ "controlPlaneNamespace": name, "charts": charts });
            bed.create_mesh(name, spec).await?;
            foreign_istiod(bed, name, label).await?;
            let upgrade = json!({ "mesh": name, "targetVersion": "1.31" });
            ends_blocked(bed, upgrade, "NotInstalledByHelm", &[name, words]).await?;
            let istiod = ["delete", "deployment", "istiod", "-n", name];
            bed.cluster.kubectl(&istiod).await?;
            bed.meshes().delete(name, &Default::default()).await?;
        }
        Ok(())
    })
}

/// An istiod as other installers leave it.
async fn foreign_istiod(bed: &Bed, namespace: &str, label: &str) -> Result<()> {
    let manifests = format!(
        r#"
apiVersion: v1
kind: Namespace
metadata: {{ name: {namespace} }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: istiod, namespace: {namespace}, labels: {{ app: istiod, istio.io/rev: default, {label} }} }}
spec:
  selector: {{ matchLabels: {{ app: istiod }} }}
  template:
    metadata: {{ labels: {{ app: istiod, istio.io/rev: default }} }}
    spec: {{ containers: [{{ name: discovery, image: "docker.io/istio/pilot:1.30.2" }}] }}
"#
    );
    bed.cluster.apply_yaml(&manifests).await
}

#[test]
fn api_rights_that_are_missing_are_named_before_anything_moves() -> Result<()> {
    with_bed(async |bed| {
        make_ready(bed, "default").await?;
        let roles = Api::<ClusterRole>::all(bed.client.clone());
        let kept = roles.get("meshlift").await?;
        let mut less = kept.clone();
        let mut taken = 0;
        for rule in less.rules.iter_mut().flatten() {
            let resources = rule.resources.iter().flatten();
            if resources
                .into_iter()
                .any(|resource| resource == "namespaces")
            {
                let before = rule.verbs.len();
                rule.verbs.retain(|verb| verb != "patch");
                taken += before - rule.verbs.len();
            }
        }
        ensure!(taken > 0, "no right to patch namespaces: {kept:?}");
        roles
            .replace("meshlift", &Default::default(), &less)
            .await?;
        let _operator = Operator::start(bed).await?;
        let blocked =
            ends_blocked(bed, to("1.31"), "PermissionsMissing", &["patch namespaces"]).await;
        let rules = json!({ "rules": kept.rules });
        roles
            .patch("meshlift", &Default::default(), &Patch::Merge(rules))
            .await?;
        blocked
    })
}

#[test]
fn api_a_wait_for_a_person_ends_by_itself_when_the_cause_is_gone() -> Result<()> {
    with_bed(async |bed| {
        let mut operator = Operator::start(bed).await?;
        // Nobody listens on port 1.
        let charts = json!({ "repository": "http://127.0.0.1:1/charts" });
        bed.create_mesh("soon", json!({ "charts": charts })).await?;
        bed.create_upgrade(
            "waits",
            json!({ "mesh": "soon", "targetVersion": "1.99.0" }),
        )
        .await?;
        let says = |words: &'static str| {
            wait_status(bed, "waits", words, SOON, move |status| {
                status.message.contains(words)
            })
        };
        says("refused").await?;
        let charts = json!({ "repository": bed.cluster.charts_url_host()? });
        let spec = json!({ "spec": { "charts": charts } });
        let patch = Patch::Merge(spec);
        bed.meshes()
            .patch("soon", &Default::default(), &patch)
            .await?;
        says("1.99.0 is not in the chart repository").await?;
        operator.check()?;
        bed.delete_upgrade("waits").await?;
        bed.meshes().delete("soon", &Default::default()).await?;
        Ok(())
    })
}

/// As in clusters that admit images by digest only: the chart of the target would run the old ones.
#[test]
fn api_images_by_digest_are_named_with_their_values() -> Result<()> {
    with_own_bed(async |bed| {
        install_istio(&bed, ISTIO_FROM).await?;
        let by = |path: &str, name: &str, digit: &str| {
            let digest = digit.repeat(64);
            format!("--set={path}=testbed.local/istio/{name}@sha256:{digest}")
        };
        let images = [
            by("image", "pilot", "1"),
            by("global.proxy.image", "proxyv2", "2"),
            by("global.proxy_init.image", "proxyv2", "2"),
        ];
        let images = images.each_ref().map(String::as_str);
        istio::upgrade(&bed, "istiod", ISTIO_FROM, &images).await?;
        make_ready(&bed, "default").await?;
        let _operator = Operator::start(&bed).await?;
        let words = [
            "value image is testbed.local/istio/pilot@sha256:1111",
            "set spec.values.istiod.image of Mesh default to the image of Istio 1.31.0",
            "spec.values.istiod.global.proxy.image",
            "spec.values.istiod.global.proxy_init.image",
        ];
        ends_blocked(&bed, to("1.31"), "ImageUnknown", &words).await
    })
}
