//! A chart repository over HTTP that can be told to misbehave, and remembers who asked for what.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::header::{
    AUTHORIZATION, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
    WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::sync::oneshot;

use crate::tls::{Identity, TlsListener};
use crate::tools;

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
    /// Every request is sent on to the same place on this address, over plain HTTP.
    Moved(SocketAddr),
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// User.
    pub username: String,
    /// Password.
    pub password: String,
}

impl Login {
    /// The header that a client sends with every request.
    pub fn basic(&self) -> String {
        let pair = BASE64.encode(format!("{}:{}", self.username, self.password));
        format!("Basic {pair}")
    }
}

/// What a client can ask for a change by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validator {
    /// A hash of the content.
    #[default]
    ETag,
    /// The time of the file.
    LastModified,
}

/// How a repository is served.
#[derive(Clone, Default)]
pub struct ServerOptions {
    /// Over TLS, with this certificate.
    pub tls: Option<Identity>,
    /// Only for who knows this.
    pub login: Option<Login>,
    /// What it sends to make the next request conditional.
    pub validator: Validator,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path, with its leading slash.
    pub path: String,
    /// Status of the answer.
    pub status: u16,
    /// Whether it brought credentials.
    pub with_credentials: bool,
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
    options: ServerOptions,
    mode: Mutex<Mode>,
    requests: Mutex<Vec<Request>>,
}

impl ChartServer {
    /// Serves the files in `directory` on a free port of loopback.
    pub fn serve(directory: impl Into<PathBuf>, options: ServerOptions) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        Self::start(directory.into(), listener, options)
    }

    /// Serves `directory` on `listener`, from a thread of its own.
    pub(crate) fn start(
        directory: PathBuf,
        listener: TcpListener,
        options: ServerOptions,
    ) -> Result<Self> {
        let address = listener.local_addr()?;
        let identity = options.tls.clone();
        let shared = Arc::new(Shared {
            directory,
            options,
            mode: Mutex::new(Mode::Ok),
            requests: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("testbed-charts".into())
            .spawn(move || {
                let served = serve(listener, identity.as_ref(), router, stopped);
                if let Err(error) = runtime.block_on(served) {
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

    /// Its URL on this machine.
    pub fn url(&self) -> String {
        let tls = self.shared.options.tls.is_some();
        format!("{}://{}", if tls { "https" } else { "http" }, self.address)
    }

    /// Tells it how to answer from now on.
    pub fn set_mode(&self, mode: Mode) {
        *lock(&self.shared.mode) = mode;
    }

    /// What was asked since this was last called.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *lock(&self.shared.requests))
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
    identity: Option<&Identity>,
    router: Router,
    stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let served = async {
        match identity {
            Some(identity) => axum::serve(TlsListener::new(listener, identity)?, router).await?,
            None => axum::serve(listener, router).await?,
        }
        anyhow::Ok(())
    };
    tokio::select! {
        served = served => served,
        // Dropped or sent: both mean stop.
        _ = stopped => Ok(()),
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    let mode = *lock(&shared.mode);
    if let Mode::Slow(delay) = mode {
        tokio::time::sleep(delay).await;
    }
    let response = shared.answer(mode, &uri, &headers);
    lock(&shared.requests).push(Request {
        path: uri.path().to_owned(),
        status: response.status().as_u16(),
        with_credentials: headers.contains_key(AUTHORIZATION),
    });
    response
}

impl Shared {
    fn answer(&self, mode: Mode, uri: &Uri, headers: &HeaderMap) -> Response {
        match mode {
            Mode::Ok | Mode::Slow(_) => {}
            Mode::Down(status) => {
                let status =
                    StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                return (status, "down on purpose\n").into_response();
            }
            Mode::Rubbish => return "<html>{{{ not: [an index\n".into_response(),
            Mode::Moved(to) => {
                let location = format!("http://{to}{}", uri.path());
                return (StatusCode::FOUND, [(LOCATION, location)]).into_response();
            }
        }
        let brought = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(login) = &self.options.login
            && brought(AUTHORIZATION) != Some(&login.basic())
        {
            let way = [(WWW_AUTHENTICATE, "Basic realm=\"charts\"")];
            return (StatusCode::UNAUTHORIZED, way).into_response();
        }
        let name = uri.path().trim_start_matches('/');
        // One flat directory: a name with a slash is none of ours.
        let path = self.directory.join(name);
        let Some(content) = (!name.contains('/'))
            .then(|| fs::read(&path).ok())
            .flatten()
        else {
            return (StatusCode::NOT_FOUND, "no such chart\n").into_response();
        };
        let (name, asked, value) = match self.options.validator {
            Validator::ETag => (
                ETAG,
                IF_NONE_MATCH,
                format!("\"{}\"", tools::sha256_hex(&content)),
            ),
            Validator::LastModified => (LAST_MODIFIED, IF_MODIFIED_SINCE, modified(&path)),
        };
        if brought(asked) == Some(&value) {
            return (StatusCode::NOT_MODIFIED, [(name, value)]).into_response();
        }
        ([(name, value)], content).into_response()
    }
}

fn modified(path: &Path) -> String {
    let time = fs::metadata(path).and_then(|metadata| metadata.modified());
    let time = time
        .ok()
        .and_then(|time| jiff::Timestamp::try_from(time).ok());
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer
        .timestamp_to_rfc9110_string(&time.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
        .unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
