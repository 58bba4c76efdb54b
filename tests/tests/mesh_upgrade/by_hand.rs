//! The steps by hand, taken exactly as they are printed, on a real mesh under load; and before them
//! the plan, with what Helm would change.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use meshlift_api::{MeshUpgrade, MeshUpgradeSpec, MeshUpgradeStatus, Phase, UpgradePath};
use meshlift_cluster::helm::Helm;
use meshlift_cluster::{Observer, Settings, Watches};
use meshlift_guide::plan::{DiffStyle, planned};
use meshlift_guide::{Way, manual};
use meshlift_model::Upgrade;
use meshlift_model::view::MeshView;
use meshlift_testbed::progress;
use meshlift_tests::bed::{Bed, OPERATOR_NAMESPACE};
use meshlift_tests::wait::{SOON, until};
use serde_json::json;
use tokio::process::Command;

use crate::fixture::{ensure_nothing_lost, ensure_upgraded, open_shop, with_mesh};

#[test]
fn mesh_is_planned_and_then_upgraded_by_the_printed_steps() -> Result<()> {
    with_mesh("mesh_by_hand", async |bed| {
        let charts = bed.cluster.charts_url_host()?;
        bed.create_mesh("default", json!({ "charts": { "repository": charts } }))
            .await?;
        let load = open_shop(&bed).await?;
        let (upgrade, view) = look(&bed).await?;
        ensure_planned(&upgrade, &view)?;
        let steps = manual(Way::Helm, "default", &view, "1.31", UpgradePath::EachMinor)
            .map_err(anyhow::Error::msg)?;
        progress::line(&steps);
        take(&bed, &steps).await?;
        ensure_upgraded(&bed).await?;
        ensure_nothing_lost(load).await
    })
}

/// The mesh as a preflight sees it.
async fn look(bed: &Bed) -> Result<(Upgrade, MeshView)> {
    let spec: MeshUpgradeSpec =
        serde_json::from_value(json!({ "targetVersion": "1.31", "mode": "Preflight" }))?;
    let mut object = MeshUpgrade::new("look", spec);
    object.status = Some(MeshUpgradeStatus {
        phase: Some(Phase::Detecting),
        ..MeshUpgradeStatus::default()
    });
    let (watches, follow) = Watches::start(&bed.client);
    let follow = tokio::spawn(follow);
    let settings = Settings {
        namespace: OPERATOR_NAMESPACE.to_owned(),
        default_charts_repository: bed.cluster.charts_url_host()?,
        keep_backups: 0,
        helm: Helm::new(
            bed.cluster.tools().program("helm")?,
            Some(bed.cluster.kubeconfig().to_owned()),
        ),
    };
    let observer = Observer::new(bed.client.clone(), settings, watches.clone())?;
    let upgrade = observer.upgrade(&object);
    let view = until("everything is seen", Duration::from_secs(60), || async {
        let view = observer.look(Timestamp::now(), &upgrade).await;
        let seen = planned(Timestamp::now(), &upgrade, &view).is_some_and(|plan| plan.is_ok());
        let why = format!(
            "{:?} {:?}",
            view.diffs.unreadable(),
            view.catalog.unreadable()
        );
        Ok((seen && view.diffs.present().is_some())
            .then_some(view)
            .ok_or(why))
    })
    .await?;
    follow.abort();
    Ok((upgrade, view))
}

/// The plan speaks of the charts as Helm really renders them.
fn ensure_planned(upgrade: &Upgrade, view: &MeshView) -> Result<()> {
    let plan = planned(Timestamp::now(), upgrade, view)
        .context("no way to plan")?
        .map_err(anyhow::Error::msg)?;
    progress::line(&plan.render(DiffStyle::Summary));
    let summary = plan.summary();
    ensure!(
        (summary.namespaces, summary.restarts, summary.blocked) == (3, 6, 0),
        "{summary:?}"
    );
    let changes: Vec<String> = summary.releases.into_iter().map(|r| r.changes).collect();
    // Of the new control plane nothing but what changes is left, once revisions are taken out.
    ensure!(
        changes
            == [
                "0 added, 17 changed (10 only in version labels), 0 removed",
                "compared with revision default: 0 added, 17 changed (12 only in version labels), 0 removed",
                "0 added, 1 changed, 0 removed",
                "0 added, 0 changed, 17 removed",
            ],
        "{changes:?}"
    );
    let full = plan.render(DiffStyle::Full);
    for values in ["accessLogFile", "140Mi"] {
        let changed = |line: &&str| line.starts_with(['+', '-']) && line.contains(values);
        let lost: Vec<&str> = full.lines().filter(changed).collect();
        ensure!(lost.is_empty(), "{values} is carried over: {lost:?}");
    }
    let stored = plan.stored();
    progress::line(&format!(
        "plan of {} bytes, as stored {}",
        full.len(),
        stored.len()
    ));
    ensure!(stored.len() < 1_000_000, "fits a Secret: {}", stored.len());
    Ok(())
}

/// Takes every step as it stands there, but those that go back.
async fn take(bed: &Bed, steps: &str) -> Result<()> {
    let work = tempfile::tempdir()?;
    let mut folder = work.path().to_owned();
    let mut back = false;
    for line in steps.lines() {
        let Some(command) = line.strip_prefix("    ") else {
            back = line.starts_with("Back:");
            continue;
        };
        if back {
            continue;
        }
        run(bed, &folder, command).await?;
        if command.starts_with("umask") {
            folder = folder.join("istio-default-upgrade");
        }
    }
    let values = std::fs::read_to_string(folder.join("istiod-values.yaml"))?;
    ensure!(values.contains("accessLogFile"), "saved values: {values}");
    Ok(())
}

/// Runs a command; the probe again for a while, as it says there, because kube-proxy may not know the new Service yet.
async fn run(bed: &Bed, folder: &Path, command: &str) -> Result<()> {
    if !command.contains("istio-probe") {
        return run_once(bed, folder, command).await;
    }
    until("the probe is answered", SOON, || async {
        let answered = run_once(bed, folder, command).await;
        Ok(answered.map_err(|why| why.to_string()))
    })
    .await
}

async fn run_once(bed: &Bed, folder: &Path, command: &str) -> Result<()> {
    let mut path = Vec::new();
    for tool in ["helm", "kubectl"] {
        let program = bed.cluster.tools().program(tool)?;
        path.extend(program.parent().map(Path::to_owned));
    }
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", std::env::join_paths(path)?)
        .env("KUBECONFIG", bed.cluster.kubeconfig())
        .env("HOME", folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    progress::line(&format!("{command}\n{}{}", first(&said), first(&error)));
    // To find nothing is what is to be seen there.
    let nothing = command.contains("| grep '\"revision\"");
    if output.status.success() || (nothing && said.is_empty() && error.is_empty()) {
        Ok(())
    } else {
        bail!("`{command}` failed ({}): {error}", output.status)
    }
}

fn first(text: &str) -> String {
    text.lines()
        .take(12)
        .map(|line| format!("  | {line}\n"))
        .collect()
}
