//! The namespaces a mesh cluster lives in, and the way into its network from outside.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::{mpsc, oneshot};

use super::process::Processes;

/// The node's address on the pod network, also of everything that pods call outside pods.
pub(super) const NODE_IP: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

/// Network, mount and process namespaces of one cluster, held by a process that dies with us.
pub(super) struct Network {
    holder: Child,
    init: u32,
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

enum Job {
    Forward(TcpListener, SocketAddr),
    Listen(SocketAddr, oneshot::Sender<std::io::Result<TcpListener>>),
}

impl Network {
    /// Makes the namespaces, and in them the pod network and private copies of the node's directories.
    pub(super) fn new(processes: &Processes, scratch: &Path) -> Result<Self> {
        let (holder, init) = hold(processes)?;
        let mut network = Network {
            holder,
            init,
            jobs: None,
            thread: None,
        };
        network.prepare(scratch)?;
        let file = std::fs::File::open(format!("/proc/{init}/ns/net"))
            .context("cannot open the cluster's network namespace")?;
        let (jobs, received) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("testbed-network".into());
        network.thread = Some(thread.spawn(move || {
            if let Err(error) = serve(&file, received) {
                tracing::error!("the way into the cluster's network is gone: {error:#}");
            }
        })?);
        network.jobs = Some(jobs);
        Ok(network)
    }

    /// The command that runs `command` inside.
    pub(super) fn inside(&self, command: &[String]) -> Vec<String> {
        let mut wrapped: Vec<String> = [
            "nsenter",
            "--target",
            &self.init.to_string(),
            "--net",
            "--mount",
            "--pid",
            "--",
        ]
        .map(str::to_owned)
        .to_vec();
        wrapped.extend_from_slice(command);
        wrapped
    }

    /// Listens on host loopback and forwards every connection to `target` inside.
    pub(super) fn forward(&self, target: SocketAddr) -> Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        self.send(Job::Forward(listener, target))?;
        Ok(address)
    }

    /// A listener inside, usable from any thread: a socket stays in the namespace it was made in.
    pub(super) async fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Listen(address, reply))?;
        answer
            .await
            .context("the cluster's network is gone")?
            .with_context(|| format!("cannot listen on {address} in the cluster"))
    }

    fn send(&self, job: Job) -> Result<()> {
        let jobs = self
            .jobs
            .as_ref()
            .context("the cluster's network is not up")?;
        jobs.send(job)
            .map_err(|_| anyhow!("the cluster's network is gone"))
    }

    fn prepare(&self, scratch: &Path) -> Result<()> {
        let script = include_str!("prepare.sh").to_owned();
        let command = self.inside(&[
            "sh".into(),
            "-euc".into(),
            script,
            "prepare".into(),
            scratch.display().to_string(),
            NODE_IP.to_string(),
        ]);
        let output = Command::new(&command[0]).args(&command[1..]).output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("cannot prepare the cluster's namespaces: {}", text.trim());
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It reports its own errors.
            let _ = thread.join();
        }
        // The first process of a process namespace takes all others with it, and its exit is seen only
        // after theirs; the holder waits for it.
        let init = nix::unistd::Pid::from_raw(self.init.cast_signed());
        let _ = nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGKILL);
        let _ = self.holder.wait();
    }
}

fn hold(processes: &Processes) -> Result<(Child, u32)> {
    // The shell stays, and so reaps what containers orphan.
    let script = "echo ready; sleep infinity; exit";
    let command = [
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child=SIGKILL",
        "--mount-proc",
    ]
    .into_iter()
    .chain(["sh", "-c", script])
    .map(str::to_owned)
    .collect::<Vec<_>>();
    let mut holder = processes.spawn_piped("holder", &command)?;
    let mut line = String::new();
    if let Some(output) = holder.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    if line.trim() != "ready" {
        let log = super::process::log_tail(&processes.log_path("holder"), 5);
        let _ = holder.wait();
        bail!("cannot make namespaces (root and CAP_SYS_ADMIN are needed): {log}");
    }
    let parent = holder.id();
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    let init = children
        .split_whitespace()
        .next()
        .and_then(|pid| pid.parse().ok())
        .context("the namespace holder has no child: its namespaces are gone")?;
    Ok((holder, init))
}

fn serve(namespace: &std::fs::File, mut jobs: mpsc::UnboundedReceiver<Job>) -> Result<()> {
    nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)
        .context("cannot enter the cluster's network namespace")?;
    // One thread: every socket made by this runtime is made inside.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        while let Some(job) = jobs.recv().await {
            match job {
                Job::Forward(listener, target) => {
                    tokio::spawn(forward(
                        tokio::net::TcpListener::from_std(listener)?,
                        target,
                    ));
                }
                Job::Listen(address, reply) => {
                    // If the asker is gone, the listener is not wanted either.
                    let _ = reply.send(listen(address));
                }
            }
        }
        Ok(())
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn forward(listener: tokio::net::TcpListener, target: SocketAddr) {
    while let Ok((mut outside, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Ok(mut inside) = tokio::net::TcpStream::connect(target).await else {
                return; // Closing tells the caller as much as the target told us.
            };
            let _ = outside.set_nodelay(true);
            let _ = inside.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
        });
    }
}
