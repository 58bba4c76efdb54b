//! `upgrade` and `status`: the object, as it is asked for.

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use meshlift_api::Mode;

use crate::fixture::{meshlift, with_bed};

#[test]
fn an_upgrade_is_applied_with_what_was_asked_for() -> Result<()> {
    with_bed(|bed| async move {
        let upgrade = [
            "upgrade", "--to", "1.31", "--name", "asked", "--soak", "90s",
        ];
        let rest = ["--yes", "--no-wait", "--accept", "NO-ROOM"];
        let ran = meshlift(bed, &[&upgrade[..], &rest].concat()).await?;
        ran.expect(
            0,
            &["meshupgrade.meshlift.io/asked applied", "Ready to upgrade"],
        )?;
        let made = bed.upgrades().get("asked").await?;
        ensure!(made.spec.target_version == "1.31", "{made:?}");
        let accepted = &made.spec.accept_risks;
        ensure!(accepted.iter().any(|code| code == "NO-ROOM"), "{made:?}");
        let managers = made.managed_fields();
        let manager = managers.first().and_then(|entry| entry.manager.as_deref());
        ensure!(manager == Some("meshlift-cli"), "{managers:?}");
        let listed = meshlift(bed, &["status"]).await?;
        listed.expect(0, &["NAME", "asked", "1.31"])?;
        let one = meshlift(bed, &["status", "asked"]).await?;
        one.expect(0, &["MeshUpgrade asked", "not seen by the operator yet"])?;
        let one = meshlift(bed, &["status", "asked", "-o", "json"])
            .await?
            .json()?;
        ensure!(one["metadata"]["name"] == "asked", "{one:#}");
        let none = meshlift(bed, &["status", "nothing"]).await?;
        none.expect(1, &["there is no MeshUpgrade nothing"])?;
        bed.delete_upgrade("asked").await
    })
}

#[test]
fn what_stands_in_the_way_keeps_a_script_from_applying() -> Result<()> {
    with_bed(|bed| async move {
        let upgrade = ["upgrade", "--to", "1.31.0", "--no-wait"];
        let yes = [&upgrade[..], &["--yes"]].concat();
        let words = ["NO-ROOM", "Nothing was applied", "--skip-check"];
        meshlift(bed, &yes).await?.expect(3, &words)?;
        let asks = meshlift(bed, &upgrade).await?;
        asks.expect(1, &["no terminal to ask on: add --yes"])?;
        let made = bed.upgrades().get_opt("to-1-31-0").await?;
        ensure!(made.is_none(), "{made:?}");
        let skip = [&yes[..], &["--skip-check"]].concat();
        meshlift(bed, &skip)
            .await?
            .expect(0, &["to-1-31-0 applied"])?;
        bed.delete_upgrade("to-1-31-0").await
    })
}

#[test]
fn a_dry_run_and_a_preflight_start_nothing() -> Result<()> {
    with_bed(|bed| async move {
        let dry = ["upgrade", "--to", "1.31", "--dry-run", "-o", "json"];
        let tried = meshlift(bed, &dry).await?.expect(0, &[])?.json()?;
        ensure!(tried["spec"]["targetVersion"] == "1.31", "{tried:#}");
        let soak = &tried["spec"]["healthCheck"]["soak"];
        ensure!(!soak.is_null(), "no default of the API server: {tried:#}");
        ensure!(bed.upgrades().get_opt("to-1-31").await?.is_none());
        let look = ["upgrade", "--to", "1.31", "--preflight", "--no-wait"];
        meshlift(bed, &look)
            .await?
            .expect(0, &["to-1-31 applied"])?;
        let made = bed.upgrades().get("to-1-31").await?;
        ensure!(made.spec.mode == Mode::Preflight, "{made:?}");
        bed.delete_upgrade("to-1-31").await
    })
}

#[test]
fn who_manages_the_object_is_named_when_it_is_someone_else() -> Result<()> {
    with_bed(|bed| async move {
        let object = "
apiVersion: meshlift.io/v1alpha1
kind: MeshUpgrade
metadata: { name: managed }
spec: { targetVersion: 1.31.0 }
";
        let path = bed.cluster.scratch().join("managed.yaml");
        std::fs::write(&path, object)?;
        let path = path.to_str().context("a path in UTF-8")?;
        let apply = [
            "apply",
            "--server-side",
            "--field-manager=argocd",
            "-f",
            path,
        ];
        bed.cluster.kubectl(&apply).await?;
        let upgrade = ["upgrade", "--to", "1.31.1", "--name", "managed"];
        let rest = ["--yes", "--no-wait", "--skip-check"];
        let ran = meshlift(bed, &[&upgrade[..], &rest].concat()).await?;
        ran.expect(1, &["argocd", "change it where it is managed"])?;
        bed.delete_upgrade("managed").await
    })
}
