//! Images as OCI archives: a tar of an index and blobs, which containerd imports. No registry is asked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::tools::{self, Tools};
use crate::versions::PinnedIstio;
use crate::{progress, versions};

/// The image of the sandbox of every pod.
pub const PAUSE: &str = "testbed.local/pause:1";
/// The base of other images; every cluster has it loaded.
pub const BASE: &str = "testbed.local/base:1";
/// The hub under which Istio's images lie.
pub const ISTIO_HUB: &str = "testbed.local/istio";

/// A file on this machine and its place in an image.
pub type Placed<'a> = (&'a Path, &'a str);

/// What an image is made of.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Its name and tag.
    pub name: &'a str,
    /// A root filesystem to stand on, as a tar.
    pub base: Option<&'a Path>,
    /// Files on this machine and the places they have in the image; all are executable and owned by root.
    pub files: &'a [Placed<'a>],
    /// What it runs.
    pub entrypoint: &'a [&'a str],
    /// Whom it runs as, `uid:gid`.
    pub user: &'a str,
}

/// Writes an image to the cache, once for the same content, and returns the archive. Its base is not in
/// the archive: it is an image of its own ([`BASE`]) that every cluster has.
pub fn write(image: &Image<'_>) -> Result<PathBuf> {
    // An image with a program of ours changes with every build.
    tools::prune_cache("image", Duration::from_secs(2 * 24 * 3600))?;
    archive("image", &[*image], false)
}

/// Writes what every cluster has: pause, the base, and Istio's images in the versions that every mesh has.
pub(crate) fn system(tools: &Tools) -> Result<PathBuf> {
    let base = Some(tools.rootfs()?);
    let pause: [Placed<'_>; 1] = [(Path::new("/bin/busybox"), "/bin/busybox")];
    let images = [
        Image {
            name: PAUSE,
            base: None,
            files: &pause,
            entrypoint: &["/bin/busybox", "tail", "-f", "/dev/null"],
            user: "65535:65535",
        },
        Image {
            name: BASE,
            base,
            files: &[],
            entrypoint: &["/bin/bash"],
            user: "0:0",
        },
    ];
    istio_archive("system-images", tools, &versions::ISTIO, &images, true)
}

/// Writes Istio's images in other versions; what [`system`] holds is not in the archive again.
pub(crate) fn more_istio(tools: &Tools, versions: &[PinnedIstio]) -> Result<PathBuf> {
    istio_archive("istio-images", tools, versions, &[], false)
}

fn istio_archive(
    name: &str,
    tools: &Tools,
    versions: &[PinnedIstio],
    others: &[Image<'_>],
    with_base: bool,
) -> Result<PathBuf> {
    let base = Some(tools.rootfs()?);
    let mut istio = Vec::new();
    for (version, _) in versions {
        istio.push(Istio::new(tools, version)?);
    }
    let files: Vec<_> = istio.iter().map(Istio::files).collect();
    let mut images = others.to_vec();
    for (istio, (pilot, proxy)) in istio.iter().zip(&files) {
        let entrypoint = &["/usr/local/bin/pilot-discovery"];
        images.push(Image {
            name: &istio.pilot,
            base,
            files: pilot,
            entrypoint,
            user: "1337:1337",
        });
        let entrypoint = &["/usr/local/bin/pilot-agent"];
        images.push(Image {
            name: &istio.proxy,
            base,
            files: proxy,
            entrypoint,
            user: "0:0",
        });
    }
    archive(name, &images, with_base)
}

/// The images of one Istio version and what goes into them.
struct Istio {
    pilot: String,
    proxy: String,
    discovery: PathBuf,
    agent: PathBuf,
    envoy: PathBuf,
    bootstrap: PathBuf,
}

impl Istio {
    fn new(tools: &Tools, version: &str) -> Result<Self> {
        let sources = tools::istio_sources(version)?;
        Ok(Istio {
            pilot: format!("{ISTIO_HUB}/pilot:{version}"),
            proxy: format!("{ISTIO_HUB}/proxyv2:{version}"),
            discovery: tools.istio_program(version, "pilot-discovery")?.to_owned(),
            agent: tools.istio_program(version, "pilot-agent")?.to_owned(),
            envoy: tools.program("envoy")?.to_owned(),
            bootstrap: sources.join("tools/packaging/common/envoy_bootstrap.json"),
        })
    }

    fn files(&self) -> (Vec<Placed<'_>>, Vec<Placed<'_>>) {
        (
            vec![(&self.discovery, "/usr/local/bin/pilot-discovery")],
            vec![
                (&self.envoy, "/usr/local/bin/envoy"),
                (
                    &self.bootstrap,
                    "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json",
                ),
                (&self.agent, "/usr/local/bin/pilot-agent"),
            ],
        )
    }
}

fn archive(name: &str, images: &[Image<'_>], with_base: bool) -> Result<PathBuf> {
    let key = images.iter().map(key).collect::<Result<String>>()?;
    let target = tools::cache_path(name, &[key.as_bytes()])?;
    let directory = tools::cached(&target, |directory| {
        let task = progress::task(format!("write {} image(s) into {name}.tar", images.len()));
        write_archive(&directory.join("image.tar"), images, with_base)?;
        task.done();
        Ok(())
    })?;
    Ok(directory.join("image.tar"))
}

// Size and time of change stand for the content: reading hundreds of megabytes at every start would cost seconds.
fn key(image: &Image<'_>) -> Result<String> {
    let mut key = format!("{} {:?} {}\n", image.name, image.entrypoint, image.user);
    for (path, place) in image
        .base
        .iter()
        .map(|base| (*base, "/"))
        .chain(image.files.iter().copied())
    {
        let metadata =
            fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        let changed = metadata
            .modified()?
            .duration_since(std::time::UNIX_EPOCH)?
            .as_nanos();
        key.push_str(&format!(
            "{} {place} {} {changed}\n",
            path.display(),
            metadata.len()
        ));
    }
    Ok(key)
}

/// One content-addressed part of an archive.
struct Blob {
    digest: String,
    size: u64,
    source: Source,
}

enum Source {
    Bytes(Vec<u8>),
    /// A file as it is.
    File(PathBuf),
    /// A file as the only entry of a tar, whose header this is.
    Layer(Box<tar::Header>, PathBuf),
}

impl Source {
    fn open(&self) -> Result<Box<dyn Read + '_>> {
        let open = |path: &Path| {
            File::open(path).with_context(|| format!("cannot open {}", path.display()))
        };
        Ok(match self {
            Source::Bytes(bytes) => Box::new(bytes.as_slice()),
            Source::File(path) => Box::new(BufReader::with_capacity(1 << 20, open(path)?)),
            Source::Layer(header, path) => {
                let padding = header.size()?.next_multiple_of(512) - header.size()? + 1024;
                let content = header
                    .as_bytes()
                    .chain(open(path)?)
                    .chain(io::repeat(0).take(padding));
                Box::new(BufReader::with_capacity(1 << 20, content))
            }
        })
    }

    fn blob(self) -> Result<Blob> {
        let mut hash = Sha256::new();
        let size = io::copy(&mut self.open()?, &mut hash)?;
        let digest = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(Blob {
            digest,
            size,
            source: self,
        })
    }
}

impl Blob {
    fn json(value: &Value) -> Result<Blob> {
        Source::Bytes(serde_json::to_vec(value)?).blob()
    }

    fn layer(path: &Path, place: &str) -> Result<Blob> {
        let mut header = tar::Header::new_ustar();
        header.set_path(place.trim_start_matches('/'))?;
        header.set_size(
            fs::metadata(path)
                .with_context(|| format!("cannot read {}", path.display()))?
                .len(),
        );
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        Source::Layer(Box::new(header), path.to_owned()).blob()
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({
            "mediaType": format!("application/vnd.oci.image.{media_type}"),
            "digest": format!("sha256:{}", self.digest),
            "size": self.size,
        })
    }
}

fn write_archive(path: &Path, images: &[Image<'_>], with_base: bool) -> Result<()> {
    let mut blobs: BTreeMap<String, Blob> = BTreeMap::new();
    let mut layers: BTreeMap<(PathBuf, String), (String, Value)> = BTreeMap::new();
    let mut manifests = Vec::new();
    for image in images {
        let mut described = Vec::new();
        let mut digests = Vec::new();
        let base = image.base.iter().map(|base| (*base, "/"));
        for (file, place) in base.chain(image.files.iter().copied()) {
            let known = (file.to_owned(), place.to_owned());
            if !layers.contains_key(&known) {
                let is_base = place == "/";
                let blob = if is_base {
                    Source::File(file.to_owned()).blob()?
                } else {
                    Blob::layer(file, place)?
                };
                let digest = format!("sha256:{}", blob.digest);
                layers.insert(known.clone(), (digest, blob.descriptor("layer.v1.tar")));
                if with_base || !is_base {
                    blobs.insert(blob.digest.clone(), blob);
                }
            }
            let (digest, descriptor) = &layers[&known];
            digests.push(digest.clone());
            described.push(descriptor.clone());
        }
        let config = Blob::json(&config(image, &digests))?;
        let manifest = Blob::json(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("config.v1+json"),
            "layers": described,
        }))?;
        let mut descriptor = manifest.descriptor("manifest.v1+json");
        descriptor["annotations"] = json!({"io.containerd.image.name": image.name});
        manifests.push(descriptor);
        for blob in [config, manifest] {
            blobs.insert(blob.digest.clone(), blob);
        }
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    let mut archive = tar::Builder::new(BufWriter::with_capacity(1 << 20, File::create(path)?));
    append(
        &mut archive,
        "oci-layout",
        &Source::Bytes(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()).blob()?,
    )?;
    append(&mut archive, "index.json", &Blob::json(&index)?)?;
    for blob in blobs.values() {
        append(&mut archive, &format!("blobs/sha256/{}", blob.digest), blob)?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

fn config(image: &Image<'_>, digests: &[String]) -> Value {
    json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "User": image.user,
            "Entrypoint": image.entrypoint,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
    })
}

fn append(archive: &mut tar::Builder<impl Write>, name: &str, blob: &Blob) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(blob.size);
    header.set_mode(0o644);
    header.set_mtime(0);
    Ok(archive.append_data(&mut header, name, blob.source.open()?)?)
}
