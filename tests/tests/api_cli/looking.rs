//! What looks and changes nothing: list, check, plan, manual.

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};
use meshlift_tests::bed::Bed;
use serde_json::{Value, json};

use crate::fixture::{meshlift, with_bed};

const WAVES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/waves.yaml");

/// The check with this code, of a report.
pub(crate) fn check<'a>(report: &'a Value, code: &str) -> Result<&'a Value> {
    let checks = report["checks"].as_array().context("no checks")?;
    let found = checks.iter().find(|check| check["code"] == code);
    found.with_context(|| format!("no check {code} in {report:#}"))
}

/// The only node takes no pods: that stands in the way until it is accepted.
const NO_ROOM: &str = "NO-ROOM";

async fn sees_the_mesh(bed: &Bed) -> Result<()> {
    let words = [
        "NAME",
        "UPGRADABLE",
        "default",
        "Dedicated",
        ISTIO_FROM,
        ISTIO_TO,
    ];
    meshlift(bed, &["list"]).await?.expect(0, &words)?;
    let wide = meshlift(bed, &["list", "-o", "wide"]).await?;
    wide.expect(0, &["NAMESPACE", "istio-system", "Helm"])?;
    let nowhere = ["list", "--charts-repository", "http://127.0.0.1:1/charts"];
    let words = [
        ISTIO_FROM,
        "warning: not seen: newer versions for mesh default",
        "127.0.0.1:1",
    ];
    meshlift(bed, &nowhere).await?.expect(0, &words)?;
    let names = meshlift(bed, &["list", "-o", "name"])
        .await?
        .expect(0, &[])?;
    ensure!(names.out == "mesh.meshlift.io/default\n", "{names:#?}");
    let list = meshlift(bed, &["list", "-o", "json"]).await?.json()?;
    let mesh = &list["items"][0];
    ensure!(mesh["kind"] == "Mesh", "{list:#}");
    ensure!(mesh["status"]["version"] == ISTIO_FROM, "{list:#}");
    ensure!(mesh["status"]["upgradable"] == ISTIO_TO, "{list:#}");
    Ok(())
}

#[test]
fn the_mesh_is_listed_before_anyone_made_an_object_for_it() -> Result<()> {
    with_bed(|bed| async move {
        sees_the_mesh(bed).await?;
        let made = bed.meshes().list(&Default::default()).await?.items;
        ensure!(made.is_empty(), "looking made objects: {made:?}");
        Ok(())
    })
}

#[test]
fn what_the_operator_says_of_its_meshes_is_what_is_listed() -> Result<()> {
    with_bed(|bed| async move {
        bed.create_mesh("default", json!({ "type": "Dedicated" }))
            .await?;
        let told =
            json!({ "status": { "version": "1.30.2", "latest": "1.30.9", "upgradable": "no" } });
        let params = PatchParams::default();
        bed.meshes()
            .patch_status("default", &params, &Patch::Merge(told))
            .await?;
        let listed = meshlift(bed, &["list"])
            .await?
            .expect(0, &["1.30.9", "no"])?;
        ensure!(
            !listed.out.contains(ISTIO_TO),
            "it looked itself: {listed:#?}"
        );
        bed.meshes().delete("default", &Default::default()).await?;
        Ok(())
    })
}

#[test]
fn what_stands_in_the_way_ends_with_code_3() -> Result<()> {
    with_bed(|bed| async move {
        let table = meshlift(bed, &["check"]).await?;
        let words = ["CODE", "Blocking", NO_ROOM, "Blocked: ", "explain NO-ROOM"];
        table.expect(3, &words)?;
        let ran = meshlift(bed, &["check", "-o", "json"])
            .await?
            .expect(3, &[])?;
        let report = ran.json()?;
        ensure!(report["blocked"] == true, "{report:#}");
        ensure!(report["from"]["version"] == ISTIO_FROM, "{report:#}");
        ensure!(report["target"]["version"] == ISTIO_TO, "{report:#}");
        ensure!(check(&report, NO_ROOM)?["result"] == "Failed", "{report:#}");
        ensure!(
            check(&report, "HELM-PENDING")?["result"] == "Passed",
            "{report:#}"
        );
        Ok(())
    })
}

#[test]
fn what_is_accepted_stands_no_longer_in_the_way() -> Result<()> {
    with_bed(|bed| async move {
        let accept = ["check", "--to", "1.31", "--accept", NO_ROOM, "-o", "json"];
        let report = meshlift(bed, &accept).await?.expect(0, &[])?.json()?;
        ensure!(report["blocked"] == false, "{report:#}");
        ensure!(
            check(&report, NO_ROOM)?["result"] == "Accepted",
            "{report:#}"
        );
        let unknown = ["check", "--accept", "NO-ROMO"];
        meshlift(bed, &unknown)
            .await?
            .expect(2, &["did you mean NO-ROOM"])?;
        Ok(())
    })
}

#[test]
fn a_way_that_there_is_not_is_refused_with_the_reason() -> Result<()> {
    with_bed(|bed| async move {
        let down = meshlift(bed, &["check", "--to", "1.29.0"]).await?;
        down.expect(3, &["TARGET-REFUSED"])?;
        let there = meshlift(bed, &["check", "--to", ISTIO_FROM]).await?;
        there.expect(6, &["at 1.30.2 already"])?;
        let other = meshlift(bed, &["check", "--mesh", "east"]).await?;
        other.expect(1, &["there is no mesh east", "there is default"])?;
        Ok(())
    })
}

#[test]
fn a_plan_says_what_helm_would_change() -> Result<()> {
    with_bed(|bed| async move {
        let plan = meshlift(bed, &["plan", "--to", "1.31"]).await?;
        let words = [
            "Plan for mesh default",
            "istiod-1-31-0",
            "Helm releases",
            "+",
        ];
        plan.expect(3, &words)?;
        let plan = ["plan", "--to", "1.31", "--accept", NO_ROOM, "-o", "json"];
        let plan = meshlift(bed, &plan).await?.expect(0, &[])?.json()?;
        ensure!(plan["detection"]["blocked"] == false, "{plan:#}");
        let releases = plan["plan"]["releases"].as_array().context("no releases")?;
        ensure!(releases.len() >= 3, "{plan:#}");
        let first = &releases[0]["diff"];
        ensure!(!first.is_null(), "not compared: {plan:#}");
        let brief = ["plan", "--to", "1.31", "--diff", "none"];
        let brief = meshlift(bed, &brief).await?.expect(3, &["Helm releases"])?;
        ensure!(!brief.out.contains("\n+"), "{brief:#?}");
        Ok(())
    })
}

#[test]
fn the_steps_by_hand_are_those_of_this_mesh() -> Result<()> {
    with_bed(|bed| async move {
        for (way, words) in [
            ("canary", ["helm", "1-31-0"]),
            ("in-place", ["upgrade istiod istiod", "in place"]),
            ("helm", ["helm", "istio-base"]),
        ] {
            let steps = meshlift(bed, &["manual", "--to", "1.31", "--way", way]).await?;
            steps.expect(0, &words)?;
        }
        Ok(())
    })
}

#[test]
fn what_a_file_asks_for_is_planned_with_its_waves() -> Result<()> {
    with_bed(|bed| async move {
        let shop = "
apiVersion: v1
kind: Namespace
metadata: { name: staging-shop, labels: { istio-injection: enabled, tier: staging } }
";
        bed.cluster.apply_yaml(shop).await?;
        let plan = ["plan", "-f", WAVES, "--diff", "none", "--accept", "NO-ROOM"];
        let words = [
            "1. staging: namespaces: 1 (staging-shop)",
            "then healthy for 10m",
            "3. everything:",
            "waits until a person approves it",
        ];
        meshlift(bed, &plan).await?.expect(0, &words)?;
        bed.cluster
            .kubectl(&["delete", "namespace", "staging-shop", "--wait=false"])
            .await?;
        meshlift(bed, &["check", "-f", WAVES, "--to", "1.31"])
            .await?
            .expect(2, &["--filename", "--to"])?;
        let mesh = WAVES.replace("waves.yaml", "mesh.yaml");
        meshlift(bed, &["check", "-f", &mesh])
            .await?
            .expect(2, &["holds no MeshUpgrade", "its kind is not MeshUpgrade"])?;
        meshlift(bed, &["check", "-f", "no-such-file"])
            .await?
            .expect(1, &["no-such-file cannot be read"])?;
        Ok(())
    })
}
