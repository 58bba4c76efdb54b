//! `backup` and `restore`: what is taken away or changed comes back, and nothing else is touched.

use anyhow::{Context, Result, ensure};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use meshlift_tests::bed::{Bed, ISTIO};
use serde_json::{Value, json};

use crate::fixture::{meshlift, with_bed, with_own_bed};

const CONFIGURATION: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio-injection: enabled, team: a } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: cart, namespace: shop, labels: { app: cart } }
spec: { hosts: [cart], http: [{ route: [{ destination: { host: cart, subset: v1 } }] }] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: shop }
spec: { hosts: [web], http: [{ route: [{ destination: { host: web } }] }] }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: cart, namespace: shop }
spec: { host: cart, subsets: [{ name: v1, labels: { version: v1 } }] }
";

const TAG: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: { name: istio-revision-tag-prod, labels: { istio.io/tag: prod, istio.io/rev: default } }
webhooks:
- name: rev.namespace.sidecar-injector.istio.io
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: { service: { name: istiod, namespace: istio-system, path: /inject } }
  namespaceSelector: { matchLabels: { istio.io/rev: prod } }
  failurePolicy: Ignore
";

fn kind(bed: &Bed, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", kind);
    let kind = ApiResource::from_gvk(&kind);
    Api::namespaced_with(bed.client.clone(), "shop", &kind)
}

async fn spec(bed: &Bed, of: &str, name: &str) -> Result<Value> {
    let found = kind(bed, of).get(name).await?;
    Ok(found.data["spec"].clone())
}

async fn merge(bed: &Bed, of: &str, name: &str, patch: Value) -> Result<()> {
    let patch = Patch::Merge(patch);
    let params = PatchParams::default();
    kind(bed, of).patch(name, &params, &patch).await?;
    Ok(())
}

/// What is done to the mesh after its backup: something deleted, changed, added, relabelled, pointed elsewhere.
async fn spoil(bed: &Bed) -> Result<()> {
    kind(bed, "VirtualService")
        .delete("cart", &Default::default())
        .await?;
    let other = json!({ "spec": { "host": "elsewhere", "trafficPolicy": { "connectionPool": { "tcp": { "maxConnections": 1 } } } } });
    merge(bed, "DestinationRule", "cart", other).await?;
    let newer = CONFIGURATION.replace("name: web, namespace", "name: newer, namespace");
    let newer = newer
        .split("---")
        .nth(2)
        .context("a second VirtualService")?;
    bed.cluster.apply_yaml(newer).await?;
    let label = [
        "label",
        "namespace",
        "shop",
        "istio-injection-",
        "istio.io/rev=prod",
        "team=b",
        "--overwrite",
    ];
    bed.cluster.kubectl(&label).await?;
    bed.cluster
        .kubectl(&[
            "delete",
            "mutatingwebhookconfiguration",
            "istio-revision-tag-prod",
        ])
        .await?;
    Ok(())
}

async fn is_as_it_was(bed: &Bed, before: &[Value; 2]) -> Result<()> {
    let after = [
        spec(bed, "VirtualService", "cart").await?,
        spec(bed, "DestinationRule", "cart").await?,
    ];
    ensure!(after == *before, "{after:#?}");
    let cart = kind(bed, "VirtualService").get("cart").await?;
    ensure!(
        cart.labels().get("app").is_some_and(|app| app == "cart"),
        "{cart:?}"
    );
    let shop = bed
        .cluster
        .kubectl(&["get", "namespace", "shop", "-o", "json"])
        .await?;
    let labels = serde_json::from_str::<Value>(&shop)?["metadata"]["labels"].clone();
    ensure!(
        labels["istio-injection"] == "enabled" && labels["istio.io/rev"].is_null(),
        "{labels:#}"
    );
    ensure!(
        labels["team"] == "b",
        "a label that Istio does not read was touched: {labels:#}"
    );
    // Was not in the backup: nobody asked to remove it.
    kind(bed, "VirtualService").get("newer").await?;
    Ok(())
}

#[test]
fn what_a_backup_has_comes_back_and_nothing_else_is_touched() -> Result<()> {
    with_own_bed(|bed| async move {
        bed.cluster.apply_yaml(CONFIGURATION).await?;
        bed.cluster.apply_yaml(TAG).await?;
        let before = [
            spec(&bed, "VirtualService", "cart").await?,
            spec(&bed, "DestinationRule", "cart").await?,
        ];
        let file = bed.cluster.scratch().join("mesh.backup");
        let file = file.to_str().context("a path")?;
        meshlift(&bed, &["backup", "create", "-o", file])
            .await?
            .expect(0, &[file, "entries"])?;
        let again = meshlift(&bed, &["backup", "create", "-o", file]).await?;
        again.expect(1, &["is there already"])?;
        let words = [
            "networking.istio.io/v1 VirtualService",
            "istio-system/istio-base",
            "1.30.2",
            "SERVED",
        ];
        meshlift(&bed, &["backup", "show", file])
            .await?
            .expect(0, &words)?;
        let shown = meshlift(&bed, &["backup", "show", file, "-o", "json"])
            .await?
            .json()?;
        ensure!(
            shown["counts"]["networking.istio.io/v1 VirtualService"] == 2,
            "{shown:#}"
        );
        ensure!(shown["counts"]["v1 Namespace"] == 1, "{shown:#}");
        let same = meshlift(&bed, &["restore", file]).await?;
        same.expect(0, &["0 to bring back"])?;

        spoil(&bed).await?;
        let audit = bed.audit()?;
        let words = [
            "+ VirtualService shop/cart",
            "~ DestinationRule shop/cart",
            "    - ",
            "host: elsewhere",
            "~ Namespace shop",
            "+ MutatingWebhookConfiguration istio-revision-tag-prod",
            "left alone: VirtualService shop/newer",
            "4 to bring back",
        ];
        meshlift(&bed, &["restore", file, "--dry-run"])
            .await?
            .expect(0, &words)?;
        let asked = meshlift(&bed, &["restore", file]).await?;
        asked.expect(1, &["no terminal to ask on: add --yes"])?;
        let only = [
            "restore",
            file,
            "--dry-run",
            "-o",
            "json",
            "--only",
            "VirtualService/shop/cart",
        ];
        let only = meshlift(&bed, &only).await?.expect(0, &[])?.json()?;
        let changes = only["changes"].as_array().context("no changes")?;
        ensure!(
            changes.len() == 1 && changes[0]["id"]["name"] == "cart",
            "{only:#}"
        );
        let writes = audit.writes("testbed:admin")?;
        ensure!(writes.is_empty(), "looking wrote: {writes:?}");

        let words = [
            "VirtualService shop/cart brought back",
            "Namespace shop brought back",
        ];
        meshlift(&bed, &["restore", file, "--yes"])
            .await?
            .expect(0, &words)?;
        is_as_it_was(&bed, &before).await?;
        meshlift(&bed, &["restore", file, "--yes"])
            .await?
            .expect(0, &["0 to bring back"])?;
        what_helm_owns_is_left_to_helm(&bed, file).await
    })
}

async fn what_helm_owns_is_left_to_helm(bed: &Bed, file: &str) -> Result<()> {
    bed.cluster
        .helm(&["uninstall", "istiod", "-n", ISTIO])
        .await?;
    let words = [
        "Helm release istio-system/istiod: it is not there, and was at 1.30.2",
        "helm upgrade --install istiod istiod --repo",
        "MutatingWebhookConfiguration istio-sidecar-injector: it belongs to Helm release istio-system/istiod",
        "0 to bring back",
    ];
    meshlift(bed, &["restore", file, "--yes"])
        .await?
        .expect(0, &words)?;
    let values = meshlift(bed, &["backup", "values", file, "istiod"]).await?;
    values.expect(0, &["{}"])?;
    let none = meshlift(bed, &["backup", "values", file, "nothing"]).await?;
    none.expect(1, &["there is istio-base, istiod"])?;
    // A tag of which nobody answers would keep pods from starting.
    let tag = [
        "delete",
        "mutatingwebhookconfiguration",
        "istio-revision-tag-prod",
    ];
    bed.cluster.kubectl(&tag).await?;
    let label = ["label", "namespace", "shop", "istio-injection-"];
    bed.cluster.kubectl(&label).await?;
    let words = [
        "istio-revision-tag-prod: it calls Service istio-system/istiod, which is not there",
        "Namespace shop: no injection webhook answers for its label istio-injection=enabled",
        "0 to bring back",
    ];
    meshlift(bed, &["restore", file, "--yes"])
        .await?
        .expect(0, &words)?;
    Ok(())
}

#[test]
fn while_an_upgrade_runs_nothing_is_brought_back_unless_forced() -> Result<()> {
    with_bed(|bed| async move {
        let file = bed.cluster.scratch().join("running.backup");
        let file = file.to_str().context("a path")?;
        meshlift(bed, &["backup", "create", "-o", file])
            .await?
            .expect(0, &[])?;
        bed.create_upgrade("running", json!({ "targetVersion": "1.31" }))
            .await?;
        bed.set_phase("running", "Upgrading").await?;
        let refused = meshlift(bed, &["restore", file, "--yes"]).await?;
        refused.expect(
            1,
            &["MeshUpgrade running is upgrading mesh default", "--force"],
        )?;
        meshlift(bed, &["restore", file, "--dry-run"])
            .await?
            .expect(0, &[])?;
        meshlift(bed, &["restore", file, "--yes", "--force"])
            .await?
            .expect(0, &[])?;
        bed.set_phase("running", "Failed").await?;
        bed.delete_upgrade("running").await
    })
}

#[test]
fn what_is_no_backup_is_told_as_such() -> Result<()> {
    with_bed(|bed| async move {
        let none = meshlift(bed, &["restore", "nothing"]).await?;
        none.expect(1, &["there is no backup nothing", "backup list"])?;
        let elsewhere = ["backup", "list", "--operator-namespace", "default"];
        meshlift(bed, &elsewhere)
            .await?
            .expect(0, &["there is no backup in namespace default"])?;
        meshlift(bed, &["log", "nothing"])
            .await?
            .expect(1, &["there is no log of a MeshUpgrade nothing"])?;
        let file = bed.cluster.scratch().join("rubbish");
        std::fs::write(&file, "rubbish")?;
        let rubbish = meshlift(bed, &["restore", file.to_str().context("a path")?]).await?;
        rubbish.expect(
            1,
            &["this is no whole backup", "that `meshlift backup` wrote"],
        )?;
        let filter = meshlift(bed, &["restore", "x", "--only", "a/b/c/d"]).await?;
        filter.expect(2, &["KIND/NAMESPACE/NAME"])?;
        Ok(())
    })
}
