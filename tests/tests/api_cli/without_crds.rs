//! A cluster in which Meshlift is not installed.

use anyhow::{Result, ensure};
use meshlift_testbed::versions::{ISTIO_FROM, ISTIO_TO};

use crate::fixture::{meshlift, with_own_bed};

#[test]
fn what_only_looks_works_where_meshlift_is_not_installed() -> Result<()> {
    with_own_bed(|bed| async move {
        let installed = bed.cluster.kubectl(&["get", "crds", "-o", "name"]).await?;
        for crd in installed
            .lines()
            .filter(|name| name.ends_with(".meshlift.io"))
        {
            bed.cluster.kubectl(&["delete", crd]).await?;
        }
        let listed = meshlift(&bed, &["list"]).await?;
        listed.expect(0, &["default", "Dedicated", ISTIO_FROM, ISTIO_TO])?;
        let ran = meshlift(&bed, &["check", "--accept", "NO-ROOM", "-o", "json"]).await?;
        let report = ran.expect(0, &[])?.json()?;
        ensure!(report["target"]["version"] == ISTIO_TO, "{report:#}");
        let plan = meshlift(&bed, &["plan", "--diff", "summary"]).await?;
        plan.expect(3, &["Plan for mesh default", "istiod-1-31-0"])?;
        meshlift(&bed, &["manual"]).await?.expect(0, &["helm"])?;
        meshlift(&bed, &["catalog"]).await?.expect(0, &["1.31"])?;
        let words = ["Meshlift is not installed in this cluster; install it: helm"];
        let upgrade = ["upgrade", "--to", "1.31", "--yes"];
        meshlift(&bed, &upgrade).await?.expect(1, &words)?;
        meshlift(&bed, &["status"]).await?.expect(1, &words)?;
        meshlift(&bed, &["status", "x"]).await?.expect(1, &words)?;
        meshlift(&bed, &["watch", "x"]).await?.expect(1, &words)?;
        for release in ["istiod", "istio-base"] {
            bed.cluster
                .helm(&["uninstall", release, "-n", "istio-system"])
                .await?;
        }
        let none = meshlift(&bed, &["list"])
            .await?
            .expect(0, &["no Istio was found"])?;
        ensure!(none.out.is_empty(), "{none:#?}");
        meshlift(&bed, &["check"])
            .await?
            .expect(1, &["no Istio was found"])?;
        Ok(())
    })
}
