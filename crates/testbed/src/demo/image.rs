//! The operator's image, built from the project's Dockerfile by buildah: no registry is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tools::{cache_directory, cached, sha256_hex};
use crate::{cargo, progress};

/// Repository of the operator's image in the test cluster.
pub const REPOSITORY: &str = "testbed.local/meshlift/operator";

/// An image as an archive that containerd imports.
#[derive(Clone, Debug)]
pub struct OperatorImage {
    /// The tag: a digest of what the image is made of, so that a cluster never runs an older build.
    pub tag: String,
    /// The archive.
    pub archive: PathBuf,
}

/// Builds the operator with cargo, in a profile of it, and, if it or its surroundings changed, its image.
/// `rootfs` is a root file system to stand on, as a tar; `helm` the program to put beside the operator.
pub fn build(rootfs: &Path, helm: &Path, profile: &str) -> Result<OperatorImage> {
    let operator = build_operator(profile)?;
    let dockerfile = cargo::workspace().join("Dockerfile");
    let tag = tag(&[&operator, helm, &dockerfile], rootfs)?;
    let target = cache_directory()?.join(format!("operator-image-{tag}"));
    let directory = cached(&target, |directory| {
        let task = progress::task("build the operator's image from the Dockerfile");
        let inputs = Inputs {
            operator: &operator,
            helm,
            rootfs,
            dockerfile: &dockerfile,
        };
        inputs.build(directory, &format!("{REPOSITORY}:{tag}"))?;
        task.done();
        Ok(())
    })?;
    Ok(OperatorImage {
        tag,
        archive: directory.join("image.tar"),
    })
}

fn build_operator(profile: &str) -> Result<PathBuf> {
    let task = progress::task("build the operator with cargo");
    let operator = cargo::build("meshlift-operator", profile)?;
    task.done();
    Ok(operator)
}

/// Digest of the files, and of the path of the root file system, which is in the cache by content.
fn tag(files: &[&Path], rootfs: &Path) -> Result<String> {
    let mut digests = rootfs.display().to_string();
    for file in files {
        let content = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        digests.push_str(&sha256_hex(&content));
    }
    Ok(sha256_hex(digests.as_bytes())[..12].to_owned())
}

struct Inputs<'a> {
    operator: &'a Path,
    helm: &'a Path,
    rootfs: &'a Path,
    dockerfile: &'a Path,
}

impl Inputs<'_> {
    fn build(&self, directory: &Path, name: &str) -> Result<()> {
        let work = tempfile::tempdir_in(directory)?;
        let base = work.path().join("base");
        fs::create_dir(&base)?;
        link(self.rootfs, &base.join("rootfs.tar"))?;
        fs::write(base.join("Dockerfile"), "FROM scratch\nADD rootfs.tar /\n")?;
        let binaries = work.path().join("binaries");
        fs::create_dir(&binaries)?;
        link(self.operator, &binaries.join("meshlift-operator"))?;
        link(self.helm, &binaries.join("helm"))?;

        let base_image = "localhost/meshlift-base:1";
        let bud = ["bud", "--isolation", "chroot", "--tag"];
        let buildah = |arguments: &[&str]| buildah(work.path(), arguments);
        let mut make_base = bud.to_vec();
        let base = base.display().to_string();
        make_base.extend([base_image, &base]);
        buildah(&make_base)?;

        let mut make = bud.to_vec();
        let runtime = format!("RUNTIME_BASE={base_image}");
        let dockerfile = self.dockerfile.display().to_string();
        let binaries = binaries.display().to_string();
        make.extend([name, "--target", "prebuilt", "--build-arg", &runtime]);
        make.extend(["--file", &dockerfile, &binaries]);
        buildah(&make)?;
        let archive = format!(
            "oci-archive:{}:{name}",
            directory.join("image.tar").display()
        );
        buildah(&["push", name, &archive])
    }
}

/// A hard link where the file systems allow it, else a copy: buildah follows no symbolic links out of its context.
fn link(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to)
            .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Buildah with a storage of its own, so that nothing stays behind and nothing of the machine's is used.
fn buildah(work: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("buildah")
        .args(["--storage-driver", "vfs", "--root"])
        .arg(work.join("storage"))
        .arg("--runroot")
        .arg(work.join("run"))
        .args(arguments)
        .output()
        .context("running buildah: run `apt-get install buildah`")?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        bail!("`buildah {}` failed: {}", arguments.join(" "), log.trim());
    }
    Ok(())
}
