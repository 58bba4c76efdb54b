//! Clusters in the background: each is owned by a process of its own, found again by its name.

use std::fs::{self, File};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{Cluster, Options, Profile, scratch};
use crate::istio::{self, IstioOptions};
use crate::progress;
use crate::versions::{ISTIO_OF_CHAINS, PinnedIstio};

/// Which cluster to start.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct UpArgs {
    /// How much of a cluster.
    #[arg(long, value_enum, default_value = "mesh")]
    profile: Profile,
    /// Its name, to stop it by.
    #[arg(long, default_value = "testbed")]
    name: String,
    /// Simulated nodes beside the real one.
    #[arg(long, default_value_t = 0)]
    kwok: u32,
    /// Record every request to the API server.
    #[arg(long)]
    audit: bool,
    /// The version the API server says it is of, if not its own.
    #[arg(long, value_name = "VERSION")]
    kubernetes: Option<String>,
    /// Install this Istio version too.
    #[arg(long, value_name = "VERSION")]
    istio: Option<String>,
}

impl UpArgs {
    /// What must be at hand for the Istio that is asked for, and is not anyway.
    fn more_istio(&self) -> &'static [PinnedIstio] {
        let wanted = self.istio.as_deref();
        let mut of_chains = ISTIO_OF_CHAINS.iter();
        if of_chains.any(|(version, _)| Some(*version) == wanted) {
            &ISTIO_OF_CHAINS
        } else {
            &[]
        }
    }
}

/// Which cluster to stop.
#[derive(Clone, Debug, clap::Args)]
pub struct DownArgs {
    /// Its name.
    #[arg(long, default_value = "testbed")]
    name: String,
}

/// Where the state of the cluster `name` lies.
struct State(PathBuf);

impl State {
    fn root() -> PathBuf {
        let base =
            std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        base.join(format!("meshlift-testbed-{}", nix::unistd::getuid()))
    }

    fn of(name: &str) -> Result<State> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            bail!("`{name}` is no name for a cluster: use letters, digits and dashes");
        }
        Ok(State(State::root().join(name)))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The owner, if it lives: it holds the lock as long as it does, so a reused pid is not mistaken for it.
    fn owner(&self) -> Option<Pid> {
        let lock = File::open(self.file("lock")).ok()?;
        if lock.try_lock().is_ok() {
            return None;
        }
        let pid = fs::read_to_string(self.file("pid")).ok()?;
        pid.trim().parse().ok().map(Pid::from_raw)
    }
}

/// Starts a cluster in the background and prints its KUBECONFIG.
pub async fn up(args: UpArgs) -> Result<()> {
    let state = State::of(&args.name)?;
    if let Some(pid) = state.owner() {
        bail!(
            "`{0}` is up (process {pid}): stop it with `testbed down --name {0}`",
            args.name
        );
    }
    fs::create_dir_all(&state.0).with_context(|| format!("cannot create {}", state.0.display()))?;
    let log = File::create(state.file("log"))?;
    // A session of its own: what happens to this terminal does not happen to the cluster.
    let mut owner = Command::new("setsid");
    owner
        .arg(std::env::current_exe()?)
        .arg("run")
        .args(args.arguments());
    owner
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut owner = owner
        .spawn()
        .context("cannot run setsid (package util-linux)")?;
    let interrupted = tokio::select! {
        followed = follow(&state, &mut owner) => return followed.and_then(|()| announce(&state, &args.name)),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    };
    interrupted?;
    kill(Pid::from_raw(owner.id().cast_signed()), Signal::SIGTERM)?;
    owner.wait()?;
    bail!("interrupted: the cluster is stopped")
}

fn announce(state: &State, name: &str) -> Result<()> {
    let kubeconfig = fs::read_to_string(state.file("ready"))?;
    println!("export KUBECONFIG={}", kubeconfig.trim());
    eprintln!("`testbed down --name {name}` stops it");
    Ok(())
}

impl UpArgs {
    fn arguments(&self) -> Vec<String> {
        let profile = match self.profile {
            Profile::Api => "api",
            Profile::Mesh => "mesh",
        };
        let mut arguments = vec![
            format!("--profile={profile}"),
            format!("--name={}", self.name),
        ];
        arguments.extend(
            self.kubernetes
                .iter()
                .map(|version| format!("--kubernetes={version}")),
        );
        arguments.push(format!("--kwok={}", self.kwok));
        arguments.extend(self.audit.then(|| "--audit".to_owned()));
        arguments.extend(
            self.istio
                .iter()
                .map(|version| format!("--istio={version}")),
        );
        arguments
    }
}

async fn follow(state: &State, owner: &mut Child) -> Result<()> {
    let mut log = File::open(state.file("log"))?;
    loop {
        let ended = owner.try_wait()?;
        let mut text = Vec::new();
        log.read_to_end(&mut text)?;
        std::io::stderr().write_all(&text)?;
        if let Some(status) = ended {
            bail!(
                "the cluster did not start ({status}); its log is {}",
                state.file("log").display()
            );
        }
        if state.file("ready").exists() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Owns a cluster until a signal comes or one of its processes ends.
pub async fn run(args: UpArgs) -> Result<()> {
    let state = State::of(&args.name)?;
    fs::create_dir_all(&state.0).with_context(|| format!("cannot create {}", state.0.display()))?;
    let lock = File::create(state.file("lock"))?;
    lock.try_lock()
        .with_context(|| format!("another process owns the cluster `{}`", args.name))?;
    fs::write(state.file("pid"), std::process::id().to_string())?;
    remove_if_there(&state.file("ready"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let outcome = tokio::select! {
        outcome = serve(&args, &state) => outcome,
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into),
    };
    // A cluster that failed leaves its log for whoever looks for the reason.
    if outcome.is_ok() {
        fs::remove_dir_all(&state.0)?;
    } else {
        remove_if_there(&state.file("ready"))?;
    }
    if let Err(error) = &outcome {
        eprintln!("Error: {error:#}");
    }
    // Not by returning: a build that goes on in a thread would be waited for.
    std::process::exit(i32::from(outcome.is_err()))
}

async fn serve(args: &UpArgs, state: &State) -> Result<()> {
    let options = Options {
        name: args.name.clone(),
        profile: args.profile,
        kwok_nodes: args.kwok,
        audit: args.audit,
        more_istio: args.more_istio(),
        kubernetes: args.kubernetes.clone(),
    };
    let cluster = Cluster::up(options).await?;
    if let Some(version) = &args.istio {
        let task = progress::task(format!("install Istio {version}"));
        istio::install(&cluster, version, IstioOptions::default()).await?;
        task.done();
    }
    let partial = state.file("ready.partial");
    fs::write(&partial, cluster.kubeconfig().display().to_string())?;
    fs::rename(&partial, state.file("ready"))?;
    if std::io::stdout().is_terminal() {
        println!("export KUBECONFIG={}", cluster.kubeconfig().display());
    }
    loop {
        cluster.check()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Stops a cluster.
pub async fn down(args: DownArgs) -> Result<()> {
    let state = State::of(&args.name)?;
    let Some(pid) = state.owner() else {
        scratch::sweep();
        if !state.0.exists() {
            bail!(
                "there is no cluster `{}`: `testbed status` lists them",
                args.name
            );
        }
        fs::remove_dir_all(&state.0)?;
        eprintln!("`{}` was dead already; removed what it left", args.name);
        return Ok(());
    };
    kill(pid, Signal::SIGTERM).context("cannot stop the owner of the cluster")?;
    let end = Instant::now() + Duration::from_secs(30);
    while state.owner().is_some() {
        if Instant::now() > end {
            // Everything dies with it; what is left on disk is swept below.
            kill(pid, Signal::SIGKILL)?;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scratch::sweep();
    if state.0.exists() {
        fs::remove_dir_all(&state.0)?;
    }
    eprintln!("`{}` is down", args.name);
    Ok(())
}

/// Lists the clusters of this user.
pub fn status() -> Result<()> {
    let Ok(entries) = fs::read_dir(State::root()) else {
        println!("no cluster");
        return Ok(());
    };
    let mut lines = Vec::new();
    for entry in entries.flatten() {
        let state = State(entry.path());
        let name = entry.file_name().to_string_lossy().into_owned();
        let ready = fs::read_to_string(state.file("ready")).ok();
        lines.push(match (state.owner(), ready) {
            (Some(pid), Some(config)) => format!("{name}\tup\tprocess {pid}\tKUBECONFIG={config}"),
            (Some(pid), None) => format!(
                "{name}\tstarting\tprocess {pid}\t{}",
                state.file("log").display()
            ),
            (None, _) => format!("{name}\tdead\t`testbed down --name {name}` removes what it left"),
        });
    }
    lines.sort();
    println!(
        "{}",
        if lines.is_empty() {
            "no cluster".into()
        } else {
            lines.join("\n")
        }
    );
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: UpArgs,
    }

    #[test]
    fn the_owner_is_started_with_what_up_was_told() {
        let told = UpArgs {
            profile: Profile::Api,
            name: "one".into(),
            kwok: 3,
            audit: true,
            kubernetes: Some("1.31.4".into()),
            istio: Some("1.30.2".into()),
        };
        let passed = std::iter::once("run".to_owned()).chain(told.arguments());
        assert_eq!(<Cli as clap::Parser>::parse_from(passed).args, told);
    }
}
