//! Charts that were seen by a detection, and are installed later.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use meshlift_cluster::charts::ChartsClient;
use meshlift_model::{Chart, ChartTarget};
use meshlift_testbed::charts::{ChartServer, ServerOptions};
use serde_json::{Map, json};

use crate::fixture::{client, packed, says, source};

/// An index without digests, as a plain file server has it: nothing but the detection knows which archive is meant.
fn write_index(directory: &Path) -> Result<()> {
    let entry =
        |chart: &str| json!([{ "version": "1.31.0", "urls": [format!("{chart}-1.31.0.tgz")] }]);
    let index = json!({ "entries": { "base": entry("base"), "istiod": entry("istiod") } });
    Ok(fs::write(directory.join("index.yaml"), index.to_string())?)
}

#[tokio::test]
async fn another_archive_of_the_same_version_is_not_installed() -> Result<()> {
    let (_, packed) = packed().await?;
    let directory = tempfile::tempdir()?;
    for chart in ["base-1.31.0.tgz", "istiod-1.31.0.tgz"] {
        fs::copy(packed.join(chart), directory.path().join(chart))?;
    }
    write_index(directory.path())?;
    let server = ChartServer::serve(directory.path(), ServerOptions::default())?;
    let charts = source(server.url());
    let version = "1.31.0".parse()?;
    let detected = client(None).digests(&charts, &version).await?;
    let target = ChartTarget {
        release: "istiod-1-31-0".to_owned(),
        namespace: "istio-system".to_owned(),
        chart: Chart::Istiod,
        repository: charts.repository.clone(),
        version,
        digest: Some(detected.istiod.clone()),
        values: Map::new(),
    };
    // Each is the operator after a restart, which knows no archive.
    let restarted = || -> ChartsClient { client(None) };
    assert_eq!(
        restarted().archive(&target, None).await?.digest,
        detected.istiod
    );

    // Still a chart of that name and version.
    let archive = directory.path().join("istiod-1.31.0.tgz");
    let original = fs::read(&archive)?;
    fs::write(&archive, [original.as_slice(), b"more"].concat())?;
    let operator = restarted();
    let refused = operator.archive(&target, None).await;
    says(
        &refused.err().context("another archive")?.to_string(),
        &[
            "chart istiod 1.31.0 in http://127.0.0.1",
            "is another archive now than when it was detected",
            &detected.istiod,
            "put the first one back",
            "create a new MeshUpgrade",
        ],
    )?;
    // What is put right is seen at the next try.
    fs::write(&archive, original)?;
    operator.archive(&target, None).await?;
    Ok(())
}
