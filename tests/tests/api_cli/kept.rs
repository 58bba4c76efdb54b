//! `backup` and `log`: what the operator kept of an upgrade.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use meshlift_api::Phase;
use meshlift_cluster::backup::{FORMAT, Header, SecretSink, take};
use meshlift_cluster::journal::{self, Line, Log};
use meshlift_tests::bed::{Bed, OPERATOR_NAMESPACE};
use meshlift_tests::wait::SOON;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::fixture::{command, meshlift, with_bed};

/// A backup as the operator writes them.
async fn keep(bed: &Bed, backup: &str) -> Result<()> {
    let header = Header {
        format: FORMAT,
        name: backup.into(),
        mesh: "default".into(),
        upgrade: Some("kept".into()),
        from: None,
        to: None,
        taken_at: Timestamp::UNIX_EPOCH,
        meshlift: "0.1.0".into(),
    };
    let mut sink = SecretSink::new(bed.client.clone(), OPERATOR_NAMESPACE, backup, "kept");
    take(&bed.client, header, &[], &mut sink).await?;
    bed.create_upgrade("kept", json!({ "targetVersion": "1.31" }))
        .await?;
    let status = json!({ "status": { "phase": "Done", "backup": backup } });
    let params = PatchParams::default();
    bed.upgrades()
        .patch_status("kept", &params, &Patch::Merge(status))
        .await?;
    Ok(())
}

fn line(phase: Phase, what: &str) -> Line {
    Line {
        n: 0,
        time: Timestamp::UNIX_EPOCH,
        phase,
        step: None,
        what: what.into(),
        did: vec!["something".into()],
        waits: None,
        error: None,
        dropped: 0,
    }
}

#[test]
fn what_an_upgrade_kept_is_found_by_its_name() -> Result<()> {
    with_bed(|bed| async move {
        let backup = "meshlift-backup-kept-0b5e-1";
        keep(bed, backup).await?;
        let words = ["NAME", backup, "kept", "1970-01-01"];
        meshlift(bed, &["backup", "list"])
            .await?
            .expect(0, &words)?;
        for source in [backup, "kept"] {
            let shown = meshlift(bed, &["backup", "show", source]).await?;
            shown.expect(0, &["by MeshUpgrade kept", "CustomResourceDefinition"])?;
            let same = meshlift(bed, &["restore", source, "--dry-run"]).await?;
            same.expect(0, &["0 to bring back"])?;
        }
        let file = bed.cluster.scratch().join("kept.backup");
        let file = file.to_str().context("a path")?;
        let export = ["backup", "export", "kept", "-o", file];
        meshlift(bed, &export).await?.expect(0, &[file])?;
        meshlift(bed, &["backup", "show", file])
            .await?
            .expect(0, &["by MeshUpgrade kept"])?;
        let status = meshlift(bed, &["status", "kept"]).await?;
        status.expect(0, &[backup])?;
        let secret = format!("secret/{backup}-0");
        let delete = ["-n", OPERATOR_NAMESPACE, "delete", &secret];
        bed.cluster.kubectl(&delete).await?;
        let gone = meshlift(bed, &["backup", "show", "kept"]).await?;
        let why = format!("the backup {backup} that MeshUpgrade kept took is not in namespace");
        gone.expect(1, &[&why, "backup list"])?;
        bed.delete_upgrade("kept").await
    })
}

#[test]
fn a_log_is_read_and_followed_to_its_end() -> Result<()> {
    with_bed(|bed| async move {
        let name = "meshlift-log-told-0b5e";
        let client = &bed.client;
        let mut log = Log::default();
        log.push(line(Phase::Upgrading, "first"));
        let over = journal::write(client, OPERATOR_NAMESPACE, name, "told", (&log, None)).await?;
        let words = ["1970-01-01T00:00:00Z Upgrading: first", "    + something"];
        meshlift(bed, &["log", "told"]).await?.expect(0, &words)?;
        let json = meshlift(bed, &["log", "told", "-o", "json"])
            .await?
            .json()?;
        ensure!(json["n"] == 1 && json["phase"] == "Upgrading", "{json:#}");

        let mut following = command(bed, &["log", "told", "-f"]).await?;
        let kubeconfig = bed.cluster.kubeconfig();
        let mut child = following.env("KUBECONFIG", kubeconfig).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let first = timeout(SOON, lines.next_line()).await??;
        ensure!(
            first.as_deref() == Some("1970-01-01T00:00:00Z Upgrading: first"),
            "{first:?}"
        );
        log.push(line(Phase::Done, "last"));
        journal::write(
            client,
            OPERATOR_NAMESPACE,
            name,
            "told",
            (&log, Some(&over)),
        )
        .await?;
        let ended = timeout(SOON, child.wait()).await??;
        ensure!(ended.code() == Some(0), "{ended:?}");
        let mut rest = Vec::new();
        while let Some(line) = lines.next_line().await? {
            rest.push(line);
        }
        let wanted = [
            "    + something",
            "1970-01-01T00:00:00Z Done: last",
            "    + something",
        ];
        ensure!(rest == wanted, "{rest:?}");
        Ok(())
    })
}
