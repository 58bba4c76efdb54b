//! Istio's charts, packed from its sources, and the repository that serves them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use tokio::sync::oneshot;

use crate::{progress, tools, versions};

/// Charts and their places below `manifests/charts` in Istio's sources.
const CHARTS: [(&str, &str); 5] = [
    ("base", "base"),
    ("istiod", "istio-control/istio-discovery"),
    ("cni", "istio-cni"),
    ("ztunnel", "ztunnel"),
    ("gateway", "gateway"),
];

/// The directory of a chart repository with every Istio version, made now if the cache lacks it.
pub(crate) fn repository(helm: &Path) -> Result<PathBuf> {
    let key = format!("{:?} {:?} {}", versions::ISTIO, CHARTS, helm.display());
    tools::cached(
        &tools::cache_path("charts", &[key.as_bytes()])?,
        |directory| {
            let task = progress::task("pack Istio's charts");
            for (version, _) in versions::ISTIO {
                let sources = tools::istio_sources(version)?.join("manifests/charts");
                for (name, place) in CHARTS {
                    pack(helm, &sources.join(place), version, directory)
                        .with_context(|| format!("cannot pack chart {name} {version}"))?;
                }
            }
            tools::run(Command::new(helm).args(["repo", "index"]).arg(directory))?;
            task.done();
            Ok(())
        },
    )
}

fn pack(helm: &Path, chart: &Path, version: &str, into: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    copy(chart, work.path())?;
    // A release names its own images; the sources name those of the day.
    let values = work.path().join("values.yaml");
    let text = fs::read_to_string(&values)?
        .replace("registry.istio.io/testing", "registry.istio.io/release")
        .replace("tag: latest", &format!("tag: {version}"));
    fs::write(&values, text)?;
    let mut package = Command::new(helm);
    package.args([
        "package",
        "--version",
        version,
        "--app-version",
        version,
        "--destination",
    ]);
    tools::run(package.arg(into).arg(work.path()))
}

// The module cache is read-only, also its directories: copying modes would make what nobody can change.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// How the repository answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As it should.
    Ok,
    /// Every request fails with this HTTP status.
    Down(u16),
    /// Every answer comes this late.
    Slow(Duration),
    /// Every answer is something else.
    Rubbish,
}

/// A chart repository over HTTP; it ends when this is dropped.
pub struct ChartServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    directory: PathBuf,
    mode: Mutex<Mode>,
}

impl ChartServer {
    /// Serves `directory` on `listener`, from a thread of its own.
    pub(crate) fn start(directory: PathBuf, listener: TcpListener) -> Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            directory,
            mode: Mutex::new(Mode::Ok),
        });
        let (stop, stopped) = oneshot::channel();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("testbed-charts".into())
            .spawn(move || {
                if let Err(error) = runtime.block_on(serve(listener, router, stopped)) {
                    tracing::error!("the chart repository ended: {error:#}");
                }
            })?;
        Ok(ChartServer {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells it how to answer from now on.
    pub fn set_mode(&self, mode: Mode) {
        *self
            .shared
            .mode
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = mode;
    }
}

impl Drop for ChartServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It reports its own errors.
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: TcpListener,
    router: Router,
    stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        // Dropped or sent: both mean stop.
        _ = stopped => {}
    }
    Ok(())
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri) -> (StatusCode, Vec<u8>) {
    let mode = *shared.mode.lock().unwrap_or_else(PoisonError::into_inner);
    match mode {
        Mode::Ok => {}
        Mode::Down(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            return (status, b"down on purpose\n".to_vec());
        }
        Mode::Slow(delay) => tokio::time::sleep(delay).await,
        Mode::Rubbish => return (StatusCode::OK, b"<html>{{{ not: [an index\n".to_vec()),
    }
    let name = uri.path().trim_start_matches('/');
    // One flat directory: a name with a slash is none of ours.
    let file = if name.contains('/') {
        None
    } else {
        fs::read(shared.directory.join(name)).ok()
    };
    match file {
        Some(content) => (StatusCode::OK, content),
        None => (StatusCode::NOT_FOUND, b"no such chart\n".to_vec()),
    }
}
