//! The operator as a process: what is killed must be one.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use meshlift_testbed::free_address::free_address;
use meshlift_testbed::{cargo, process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::bed::{Bed, OPERATOR_NAMESPACE};
use crate::wait::until;

/// Built once: cargo waits for whoever else builds.
static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();

async fn build() -> Result<PathBuf> {
    tokio::task::spawn_blocking(|| cargo::build("meshlift-operator", "dev")).await?
}

/// A running operator; it is killed when this is dropped.
pub struct Operator {
    child: Child,
    http: SocketAddr,
    log: PathBuf,
}

/// How an operator is started.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Its name in the leader election; only with a name it takes part.
    pub elects: Option<String>,
    /// Another kubeconfig than that of the chart's account.
    pub kubeconfig: Option<PathBuf>,
    /// Another Helm than the cluster's.
    pub helm: Option<PathBuf>,
    /// How long a stop may take (`20s`), if not as usual.
    pub stop_within: Option<&'static str>,
    /// How often chart repositories are asked for new versions (`1s`), if not as usual.
    pub versions_interval: Option<&'static str>,
}

impl Operator {
    /// Starts the operator with the account of the chart and waits until it answers on HTTP.
    pub async fn start(bed: &Bed) -> Result<Self> {
        Self::start_with(bed, Settings::default()).await
    }

    /// The same, with settings.
    pub async fn start_with(bed: &Bed, settings: Settings) -> Result<Self> {
        let program = PROGRAM.get_or_try_init(build).await?;
        let http = free_address()?;
        let name = settings.elects.as_deref().unwrap_or("operator");
        let log = bed
            .cluster
            .scratch()
            .join(format!("{name}-{}.log", http.port()));
        // It ends with the test, also with one that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
            .args(["run", "--namespace", OPERATOR_NAMESPACE])
            .arg(format!("--http-address={http}"))
            .arg(format!(
                "--default-charts-repository={}",
                bed.cluster.charts_url_host()?
            ))
            .arg("--helm")
            .arg(match &settings.helm {
                Some(helm) => helm.as_path(),
                None => bed.cluster.tools().program("helm")?,
            });
        // As in a pod that is started again: what it began before, it knows as its own.
        command.args(["--identity", name]);
        if settings.elects.is_some() {
            command.arg("--leader-election");
        }
        if let Some(limit) = settings.stop_within {
            command.arg(format!("--stop-within={limit}"));
        }
        if let Some(interval) = settings.versions_interval {
            command.arg(format!("--versions-interval={interval}"));
        }
        let kubeconfig = settings.kubeconfig.as_deref();
        let output = File::create(&log)?;
        let child = command
            .env("KUBECONFIG", kubeconfig.unwrap_or(&bed.operator_kubeconfig))
            .env("RUST_LOG", "info,meshlift=debug")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start the operator")?;
        let mut operator = Self { child, http, log };
        operator.wait_for_http().await?;
        Ok(operator)
    }

    async fn wait_for_http(&mut self) -> Result<()> {
        let limit = Duration::from_secs(20);
        let end = tokio::time::Instant::now() + limit;
        while self.get("/healthz").await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the operator ended at once: {status}\n{}", self.log_tail());
            }
            ensure!(
                tokio::time::Instant::now() < end,
                "the operator does not answer within {limit:?}\n{}",
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as a crash does.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops it as a debugger or a machine that is paused does: it lives, and does nothing.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on, without its knowing that it did not all the time.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().cast_signed()), signal)?)
    }

    /// Waits until it has ended, and returns how.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = tokio::time::Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                tokio::time::Instant::now() < end,
                "the operator does not end\n{}",
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it to stop, waits until it has, and returns how it ended.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.ended(Duration::from_secs(60)).await
    }

    /// Fails, with the end of its log, if it has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the operator ended: {status}\n{}", self.log_tail());
        }
        Ok(())
    }

    /// Asks its HTTP server: status and body.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.http).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let status = head.split(' ').nth(1).context("no status line")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// The value of a metric that has no labels, or with exactly these.
    pub async fn metric(&self, series: &str) -> Result<Option<f64>> {
        let (_, text) = self.get("/metrics").await?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.map(str::parse).transpose()?)
    }

    /// Waits until it leads.
    pub async fn wait_leads(&self, limit: Duration) -> Result<()> {
        until("the operator leads", limit, || async {
            let leads = self.metric("meshlift_leader").await? == Some(1.0);
            Ok(leads.then_some(()).ok_or("it does not".to_owned()))
        })
        .await
    }

    /// The Helm process that it runs now, if it does.
    pub fn helm_child(&self) -> Option<u32> {
        let mut children = process::children(self.pid()).into_iter();
        children.find(|pid| process::name(*pid).as_deref() == Some("helm"))
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the operator said:\n{}", self.log_tail());
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
