//! Everything the cluster is made of: installed, built and cached by itself, once per pin.

mod apt;
mod cache;
mod envoy;
mod go;
mod helm;
mod rootfs;
mod wheel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

pub use apt::require_commands;
pub use cache::{
    cached, directory as cache_directory, path as cache_path, prune as prune_cache, sha256_hex,
};
pub use go::{Component, module_directory};

use crate::versions::PinnedIstio;
use crate::{progress, versions};

/// How much of the toolbox is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A control plane: etcd, the Kubernetes servers, kubectl, helm.
    ControlPlane,
    /// A node beside it: kubelet, kube-proxy, CoreDNS, containerd, the base root filesystem.
    Node,
    /// Istio on it: control planes and agents, Envoy.
    Istio,
}

/// Where every built program lies.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    programs: BTreeMap<String, PathBuf>,
    rootfs: Option<PathBuf>,
}

/// Reports before the first build what is built and how long that takes: nobody should wonder whether it hangs.
fn announce(missing: &[&Component]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|component| component.name()).collect();
    let seconds: u64 = missing.iter().map(|c| c.build_seconds()).sum();
    progress::line(&format!(
        "building from source, once: {} (about {} minutes on two cores); later runs find them in {}",
        names.join(", "),
        seconds.div_ceil(60),
        cache_directory()?.display()
    ));
    Ok(())
}

/// Runs a program to its end; the error holds what it said.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

impl Tools {
    /// Makes sure that everything `need` asks for (and KWOK, when `kwok`) is there, of Istio these versions; blocks
    /// while it builds.
    pub fn ensure(need: Need, kwok: bool, istio: &[PinnedIstio]) -> Result<Tools> {
        if need >= Need::Node {
            apt::install_missing(apt::NODE)?;
        }
        let mut tools = Tools::built(go::components(need, kwok, istio))?;
        if need >= Need::Node {
            tools.rootfs = Some(rootfs::ensure()?);
        }
        if need >= Need::Istio {
            tools.programs.insert("envoy".into(), envoy::ensure()?);
        }
        Ok(tools)
    }

    /// Makes sure that what serves charts is there: `helm` and `registry`; blocks while it builds.
    pub fn for_charts() -> Result<Tools> {
        Tools::built(go::for_charts())
    }

    /// Helm, which every need includes, and what else is built from Go modules.
    fn built(mut components: Vec<Component>) -> Result<Tools> {
        let mut tools = Tools::default();
        if helm::RELEASED {
            tools.programs.insert("helm".into(), helm::ensure()?);
        } else {
            components.push(go::helm());
        }
        let missing: Vec<&Component> = components.iter().filter(|c| !c.is_built()).collect();
        announce(&missing)?;
        let missing = missing.len();
        let mut position = 0;
        for component in &components {
            position += usize::from(!component.is_built());
            let directory = component.build(position, missing)?;
            for program in component.programs() {
                let key = component.program_key(&program);
                tools.programs.insert(key, directory.join(&program));
            }
        }
        Ok(tools)
    }

    /// Makes the API server one that says it is of `version`, and behaves like that as far as it can.
    pub(crate) fn stamp_api_server(&mut self, version: &str) -> Result<()> {
        let component = go::api_server(version);
        let directory = component.build(1, 1)?;
        self.programs
            .insert("kube-apiserver".into(), directory.join("kube-apiserver"));
        Ok(())
    }

    /// The path of a program, for example `kubectl` or `1.30.2/pilot-discovery`.
    pub fn program(&self, name: &str) -> Result<&Path> {
        self.programs
            .get(name)
            .map(PathBuf::as_path)
            .with_context(|| {
                format!(
                    "`{name}` is not part of this cluster's profile: start one that includes it"
                )
            })
    }

    /// The path of an Istio program (`pilot-discovery`, `pilot-agent`) of one version.
    pub fn istio_program(&self, version: &str, name: &str) -> Result<&Path> {
        self.program(&format!("{version}/{name}"))
    }

    /// The base root filesystem as a tar archive: Debian with iptables, curl and certificates.
    pub fn rootfs(&self) -> Result<&Path> {
        self.rootfs
            .as_deref()
            .context("there is no base root filesystem in the `api` profile: use `mesh`")
    }
}

/// The path of `istioctl` of one Istio version, built now if the cache lacks it; blocks while it builds.
pub fn istioctl(version: &str) -> Result<PathBuf> {
    let (version, pin) = pinned(version)?;
    let directory = go::istioctl(version, pin).build(1, 1)?;
    Ok(directory.join("istioctl"))
}

/// The path of the program that runs scripts as Argo CD does (`pins/argocd-lua`), built now if the cache lacks it; blocks
/// while it builds.
pub fn argocd_lua() -> Result<PathBuf> {
    let component = go::argocd_lua();
    if !component.is_built() {
        announce(&[&component])?;
    }
    Ok(component.build(1, 1)?.join("argocd-lua"))
}

/// The module directory of the Istio sources of `version`, which hold its charts.
pub fn istio_sources(version: &str) -> Result<PathBuf> {
    let (_, pin) = pinned(version)?;
    module_directory(pin, "istio.io/istio/manifests")
}

/// The module directory of the Gateway API that Istio `version` is built with, which holds its CRDs.
pub fn gateway_api_sources(version: &str) -> Result<PathBuf> {
    let (_, pin) = pinned(version)?;
    module_directory(pin, "sigs.k8s.io/gateway-api/apis/v1")
}

fn pinned(version: &str) -> Result<PinnedIstio> {
    let all = || versions::ISTIO.iter().chain(&versions::ISTIO_OF_CHAINS);
    let known = all().find(|(v, _)| *v == version);
    known.copied().with_context(|| {
        let versions: Vec<&str> = all().map(|(v, _)| *v).collect();
        format!(
            "Istio {version} is not pinned here: use one of {}",
            versions.join(", ")
        )
    })
}
