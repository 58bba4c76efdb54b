//! What deploy/examples shows is what an API server takes.

use anyhow::{Context, Result, ensure};

use crate::environment::with_cluster;

#[test]
fn api_every_example_is_accepted() -> Result<()> {
    with_cluster(async |env| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples");
        let mut count = 0;
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let file = path.to_str().context("a path that is text")?;
            let apply = ["apply", "--dry-run=server", "--validate=strict", "-f", file];
            let said = env.cluster.kubectl(&apply).await;
            let said = said.with_context(|| format!("{file} was refused"))?;
            ensure!(said.contains("server dry run"), "{file}: {said}");
            count += 1;
        }
        ensure!(count >= 8, "{count} examples in {folder}");
        Ok(())
    })
}
