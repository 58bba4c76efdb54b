//! The operator's image, as the demo builds it; root only.

use std::path::Path;

use anyhow::{Context, Result};
use meshlift_testbed::demo;
use meshlift_testbed::skip::is_root_or_skips;
use meshlift_testbed::tools::{Need, Tools};
use meshlift_testbed::versions;
use serde_json::Value;

#[test]
fn mesh_operator_image_is_not_root_and_has_helm_beside_the_operator() -> Result<()> {
    if !is_root_or_skips("mesh_operator_image_is_not_root_and_has_helm_beside_the_operator") {
        return Ok(());
    }
    let tools = Tools::ensure(Need::Istio, false, &versions::ISTIO)?;
    let image = demo::build_operator_image(tools.rootfs()?, tools.program("helm")?, "dev")?;
    let index = blob(&image.archive, "index.json")?;
    let name = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
    assert_eq!(*name, format!("{}:{}", demo::REPOSITORY, image.tag));
    let manifest = referenced(&image.archive, &index["manifests"][0]["digest"])?;
    let config = referenced(&image.archive, &manifest["config"]["digest"])?;
    assert_eq!(config["config"]["User"], "65532:65532");
    let entrypoint = serde_json::json!(["/usr/local/bin/meshlift-operator"]);
    assert_eq!(config["config"]["Entrypoint"], entrypoint);
    let environment = config["config"]["Env"].to_string();
    for variable in [
        "HELM_CACHE_HOME=/tmp/",
        "HELM_CONFIG_HOME=/tmp/",
        "HELM_DATA_HOME=/tmp/",
    ] {
        assert!(environment.contains(variable), "{variable}: {environment}");
    }
    let layer = manifest["layers"]
        .as_array()
        .and_then(|layers| layers.last());
    let layer = layer.context("the image has no layers")?;
    let files = executables(&image.archive, &layer["digest"])?;
    assert_eq!(
        files,
        ["usr/local/bin/helm", "usr/local/bin/meshlift-operator"]
    );
    Ok(())
}

fn referenced(archive: &Path, digest: &Value) -> Result<Value> {
    blob(archive, &path_of(digest)?)
}

fn path_of(digest: &Value) -> Result<String> {
    let digest = digest.as_str().context("no digest")?;
    Ok(format!("blobs/{}", digest.replace(':', "/")))
}

fn blob(archive: &Path, path: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&read(archive, path)?)?)
}

fn read(archive: &Path, path: &str) -> Result<Vec<u8>> {
    let mut archive = tar::Archive::new(std::fs::File::open(archive)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.as_ref() == Path::new(path) {
            let mut bytes = Vec::new();
            std::io::copy(&mut entry, &mut bytes)?;
            return Ok(bytes);
        }
    }
    anyhow::bail!("no {path} in the image")
}

/// Files that anyone may run, in a layer of the image.
fn executables(archive: &Path, digest: &Value) -> Result<Vec<String>> {
    let layer = read(archive, &path_of(digest)?)?;
    let mut layer = tar::Archive::new(flate2::read::GzDecoder::new(layer.as_slice()));
    let mut names = Vec::new();
    for entry in layer.entries()? {
        let entry = entry?;
        if entry.header().entry_type().is_file() && entry.header().mode()? & 0o005 == 0o005 {
            names.push(entry.path()?.display().to_string());
        }
    }
    names.sort();
    Ok(names)
}
