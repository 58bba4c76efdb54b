//! Go programs, built from the go.mod files under `pins/` and cached by what they are built from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{Need, apt, cache};
use crate::versions::PinnedIstio;
use crate::{progress, versions};

/// One module under `pins/` and the programs built from it.
#[derive(Clone, Debug)]
pub struct Component {
    name: String,
    pin: &'static str,
    packages: &'static [&'static str],
    /// Set for components of which several versions are built.
    version: Option<&'static str>,
    stamp: String,
}

/// The components that `need` asks for, of Istio these versions.
pub(super) fn components(need: Need, kwok: bool, of_istio: &[PinnedIstio]) -> Vec<Component> {
    let mut wanted = vec![
        kubernetes("kube", versions::KUBERNETES, KUBE_SERVERS),
        plain("etcd", ETCD),
    ];
    if need >= Need::Node {
        wanted.push(kubernetes("node", versions::KUBERNETES, KUBE_NODE));
        wanted.push(plain("coredns", &["."]));
    }
    if need >= Need::Istio {
        wanted.extend(of_istio.iter().map(|(version, pin)| istio(version, pin)));
    }
    if kwok {
        wanted.push(plain("kwok", &["sigs.k8s.io/kwok/cmd/kwok"]));
    }
    wanted
}

/// What serves charts beside Helm, which packs and pushes them: an OCI registry.
pub(super) fn for_charts() -> Vec<Component> {
    let registry = &["github.com/distribution/distribution/v3/cmd/registry"];
    vec![plain("registry", registry)]
}

/// What runs the health checks and the actions of deploy/argocd with the code of Argo CD.
pub(super) fn argocd_lua() -> Component {
    plain(ARGOCD_LUA, &["."])
}

const ARGOCD_LUA: &str = "argocd-lua";
const KUBE_SERVERS: &[&str] = &[
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "k8s.io/kubernetes/cmd/kube-scheduler",
    "k8s.io/kubernetes/cmd/kubectl",
];
const KUBE_NODE: &[&str] = &[
    "k8s.io/kubernetes/cmd/kubelet",
    "k8s.io/kubernetes/cmd/kube-proxy",
];
const ETCD: &[&str] = &["go.etcd.io/etcd/server/v3"];

/// The API server, stamped with another version than it is of.
pub(super) fn api_server(version: &str) -> Component {
    kubernetes(
        &format!("kube-apiserver-{version}"),
        version,
        &KUBE_SERVERS[..1],
    )
}

fn kubernetes(name: &str, version: &str, packages: &'static [&'static str]) -> Component {
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or("1"), parts.next().unwrap_or("0"));
    let package = "k8s.io/component-base/version";
    Component {
        name: name.into(),
        pin: "kube",
        packages,
        version: None,
        // Without the stamp the server says v0.0.0.
        stamp: format!(
            "-X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        ),
    }
}

/// Helm, for machines that its released program is not for.
pub(super) fn helm() -> Component {
    Component {
        stamp: format!(
            "-X helm.sh/helm/v4/internal/version.version=v{}",
            versions::HELM
        ),
        ..plain("helm", &["helm.sh/helm/v4/cmd/helm"])
    }
}

fn istio(version: &'static str, pin: &'static str) -> Component {
    let package = "istio.io/istio/pkg/version";
    Component {
        name: format!("istio-{version}"),
        pin,
        packages: &[
            "istio.io/istio/pilot/cmd/pilot-discovery",
            "istio.io/istio/pilot/cmd/pilot-agent",
        ],
        version: Some(version),
        stamp: format!("-X {package}.buildVersion={version} -X {package}.buildTag={version}"),
    }
}

/// The command line of Istio, which is an installer too.
pub(super) fn istioctl(version: &'static str, pin: &'static str) -> Component {
    Component {
        name: format!("istioctl-{version}"),
        packages: &["istio.io/istio/istioctl/cmd/istioctl"],
        ..istio(version, pin)
    }
}

fn plain(name: &'static str, packages: &'static [&'static str]) -> Component {
    Component {
        name: name.into(),
        pin: name,
        packages,
        version: None,
        stamp: String::new(),
    }
}

impl Component {
    /// The names of the programs that it is built into.
    pub fn programs(&self) -> Vec<String> {
        let name = |package: &&str| match *package {
            "." | "go.etcd.io/etcd/server/v3" => self.pin.to_owned(),
            other => other.rsplit('/').next().unwrap_or(other).to_owned(),
        };
        self.packages.iter().map(name).collect()
    }

    pub(super) fn program_key(&self, program: &str) -> String {
        match self.version {
            Some(version) => format!("{version}/{program}"),
            None => program.to_owned(),
        }
    }

    /// How long its build took on two idle cores, in seconds: what a person is told who waits for it.
    pub(super) fn build_seconds(&self) -> u64 {
        match (self.pin, self.name.as_str()) {
            ("kube", "node") => 30,
            ("kube", _) => 460,
            ("helm", _) => 170,
            ("kwok", _) => 120,
            ("coredns", _) => 75,
            ("etcd", _) => 40,
            ("registry", _) => 60,
            (ARGOCD_LUA, _) => 180,
            // The same source as another version's: only linked anew.
            ("istio-1.31", name) if name.ends_with(versions::ISTIO_PATCH) => 20,
            _ => 290,
        }
    }

    /// Its name, as progress shows it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the cache holds it.
    pub fn is_built(&self) -> bool {
        self.target().is_ok_and(|target| target.exists())
    }

    fn target(&self) -> Result<PathBuf> {
        let pin = pin_directory(self.pin);
        let mut inputs = vec![
            self.stamp.clone().into_bytes(),
            self.packages.join(" ").into_bytes(),
        ];
        let mut files: Vec<PathBuf> = fs::read_dir(&pin)
            .with_context(|| format!("cannot read the pins in {}", pin.display()))?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        for file in files {
            inputs
                .push(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
        }
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        cache::path(&self.name, &inputs)
    }

    /// The directory of the built programs, built now if the cache lacks them.
    pub(super) fn build(&self, position: usize, of: usize) -> Result<PathBuf> {
        cache::cached(&self.target()?, |directory| {
            let task = progress::task(format!("build {} ({position} of {of})", self.name));
            self.go_build(directory)?;
            task.done();
            Ok(())
        })
    }

    fn go_build(&self, directory: &Path) -> Result<()> {
        let log_path = directory.join("build.log");
        // A single package is named by us: Go would call etcd's program `server`.
        let output = match self.programs().as_slice() {
            [one] => directory.join(one),
            _ => directory.join(""),
        };
        // What a killed build leaves goes with the directory, at the next attempt.
        let work = directory.join("work");
        fs::create_dir(&work)?;
        let status = go(self.pin)?
            .env("GOTMPDIR", &work)
            .args(["build", "-trimpath", "-buildvcs=false", "-ldflags"])
            .arg(format!("-s -w {}", self.stamp))
            .arg("-o")
            .arg(output)
            .args(self.packages)
            .stdin(Stdio::null())
            .stderr(File::create(&log_path)?)
            .status()
            .context(NO_GO)?;
        fs::remove_dir_all(&work)?;
        if !status.success() {
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(20)..].join("\n");
            bail!(
                "`go build` of {} failed ({status}); its last lines:\n{tail}",
                self.name
            );
        }
        Ok(())
    }
}

const NO_GO: &str =
    "there is no `go`: install Go 1.26 or newer (https://go.dev/dl) and put it on the PATH";

fn pin_directory(pin: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pins").join(pin)
}

fn go(pin: &str) -> Result<Command> {
    if apt::find("go").is_none() {
        bail!(NO_GO);
    }
    // A build ends with whoever wants its result.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "go"]);
    command
        .current_dir(pin_directory(pin))
        .env("CGO_ENABLED", "0");
    // Argo CD needs a newer Go than all the others. Its go.mod names it and `go` fetches it, unless the machine is set to
    // use nothing but the Go that is installed.
    if pin == ARGOCD_LUA {
        command.env("GOTOOLCHAIN", "auto");
    }
    Ok(command)
}

/// Where the module cache holds the module that `package` is of, in the version that `pin` asks for.
///
/// Not by `go mod download -json`: that asks for the time of a version too, and a proxy may serve the source of a
/// version and not its metadata. A build needs no more than the source either.
pub fn module_directory(pin: &str, package: &str) -> Result<PathBuf> {
    let mut list = go(pin)?;
    let output = list
        .args(["list", "-find", "-f", "{{.Module.Dir}}", package])
        .output()
        .context(NO_GO)?;
    if !output.status.success() {
        bail!(
            "`go list {package}` in {pin} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let directory = String::from_utf8(output.stdout).context("`go list` named no directory")?;
    Ok(directory.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    #[test]
    fn the_istio_of_chains_is_built_only_for_clusters_that_ask_for_it() {
        let has = |options: Options, version: &str| {
            let wanted = components(Need::Istio, false, &options.istio());
            let name = format!("istio-{version}");
            wanted.iter().any(|component| component.name() == name)
        };
        for version in [versions::ISTIO_BEFORE, versions::ISTIO_PATCH] {
            assert!(!has(Options::mesh("usual"), version), "{version}");
            assert!(has(Options::mesh("chain").chain(), version), "{version}");
        }
        assert!(has(Options::mesh("chain").chain(), versions::ISTIO_TO));
    }
}
