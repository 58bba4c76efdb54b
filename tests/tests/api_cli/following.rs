//! `watch`: until the upgrade ends, and how it then ends itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use meshlift_tests::bed::Bed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout};

use crate::fixture::{command, meshlift, with_bed};

const SOON: Duration = Duration::from_secs(20);

/// A run that is under way.
struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    async fn start(bed: &Bed, arguments: &[&str]) -> Result<Self> {
        let mut command = command(bed, arguments).await?;
        let mut child = command
            .env("KUBECONFIG", bed.cluster.kubeconfig())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { child, lines })
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line);
        tokio::time::timeout(SOON, read)
            .await
            .context("no line")??;
        Ok(line)
    }

    /// The code, and what it said of errors.
    async fn ended(mut self) -> Result<(Option<i32>, String)> {
        let status = tokio::time::timeout(SOON, self.child.wait()).await;
        let status = status.context("it does not end")??;
        let mut said = String::new();
        let mut errors = self.child.stderr.take().context("no standard error")?;
        errors.read_to_string(&mut said).await?;
        Ok((status.code(), said))
    }
}

async fn says(bed: &Bed, name: &str, status: Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": status }));
    let params = PatchParams::default();
    bed.upgrades().patch_status(name, &params, &patch).await?;
    Ok(())
}

async fn upgrade(bed: &Bed, name: &str) -> Result<()> {
    bed.create_upgrade(name, json!({ "targetVersion": "1.31" }))
        .await?;
    Ok(())
}

#[test]
fn it_ends_when_the_upgrade_ends_and_with_its_outcome() -> Result<()> {
    with_bed(|bed| async move {
        for (phase, outcome, code) in [
            ("Done", "Upgraded", 0),
            ("Done", "PlanBlocked", 3),
            ("Failed", "Stopped", 4),
        ] {
            upgrade(bed, "followed").await?;
            let mut watching = Watching::start(bed, &["watch", "followed"]).await?;
            let line = watching.line().await?;
            ensure!(line.contains("not seen by the operator yet"), "{line}");
            let moving = json!({ "phase": "Upgrading", "step": "RestartingWorkloads", "message": "1/2 workloads" });
            says(bed, "followed", moving).await?;
            let line = watching.line().await?;
            ensure!(
                line.contains("Upgrading, RestartingWorkloads | 1/2 workloads"),
                "{line}"
            );
            // Of an earlier spec: no end.
            says(
                bed,
                "followed",
                json!({ "phase": phase, "message": "stale" }),
            )
            .await?;
            let line = watching.line().await?;
            ensure!(line.contains("stale"), "{line}");
            let end = json!({ "phase": phase, "outcome": outcome, "observedGeneration": 1, "message": "so it ended" });
            says(bed, "followed", end).await?;
            let line = watching.line().await?;
            ensure!(line.contains("so it ended"), "{line}");
            let last = watching.line().await?;
            ensure!(last.contains(&format!("followed: {outcome}")), "{last}");
            let (ended, said) = watching.ended().await?;
            ensure!(ended == Some(code), "{phase} {outcome}: {ended:?}: {said}");
            bed.delete_upgrade("followed").await?;
        }
        Ok(())
    })
}

#[test]
fn when_time_is_over_the_code_says_whether_it_is_blocked() -> Result<()> {
    with_bed(|bed| async move {
        upgrade(bed, "slow").await?;
        let watch = ["watch", "slow", "--timeout", "1s"];
        let words = [
            "slow has not ended within",
            "It goes on",
            "meshlift watch slow",
        ];
        meshlift(bed, &watch).await?.expect(5, &words)?;
        let detected = json!({
            "type": "Detected", "status": "False", "reason": "KubernetesTooOld", "message": "no",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let blocked =
            json!({ "phase": "Detecting", "conditions": [detected], "message": "too old" });
        says(bed, "slow", blocked).await?;
        meshlift(bed, &watch).await?.expect(3, &["too old"])?;
        bed.delete_upgrade("slow").await
    })
}

#[test]
fn an_interrupt_ends_the_following_and_not_the_upgrade() -> Result<()> {
    with_bed(|bed| async move {
        upgrade(bed, "goes-on").await?;
        let mut watching = Watching::start(bed, &["watch", "goes-on"]).await?;
        watching.line().await?;
        let pid = watching.child.id().context("it has ended")?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT)?;
        let (code, said) = watching.ended().await?;
        ensure!(code == Some(130), "{code:?}: {said}");
        ensure!(said.contains("the upgrade goes on"), "{said}");
        ensure!(bed.upgrades().get_opt("goes-on").await?.is_some());
        bed.delete_upgrade("goes-on").await
    })
}

#[test]
fn a_program_gets_a_line_of_json_for_each_change() -> Result<()> {
    with_bed(|bed| async move {
        upgrade(bed, "read").await?;
        let mut watching = Watching::start(bed, &["watch", "read", "-o", "json"]).await?;
        let first: Value = serde_json::from_str(&watching.line().await?)?;
        ensure!(first["metadata"]["name"] == "read", "{first}");
        says(
            bed,
            "read",
            json!({ "phase": "Done", "observedGeneration": 1 }),
        )
        .await?;
        let last: Value = serde_json::from_str(&watching.line().await?)?;
        ensure!(last["status"]["phase"] == "Done", "{last}");
        let (code, said) = watching.ended().await?;
        ensure!(code == Some(0) && said.is_empty(), "{code:?}: {said}");
        bed.delete_upgrade("read").await
    })
}

#[test]
fn what_is_not_there_cannot_be_followed() -> Result<()> {
    with_bed(|bed| async move {
        let none = meshlift(bed, &["watch", "nothing"]).await?;
        none.expect(1, &["there is no MeshUpgrade nothing"])?;
        upgrade(bed, "short").await?;
        let mut watching = Watching::start(bed, &["watch", "short"]).await?;
        watching.line().await?;
        bed.delete_upgrade("short").await?;
        let (code, said) = watching.ended().await?;
        ensure!(
            code == Some(1) && said.contains("someone deleted it"),
            "{code:?}: {said}"
        );
        Ok(())
    })
}
