//! A proxy between the operator and the API server that disturbs the operator's calls, each call site by a fixed rotation.
//!
//! It speaks plain HTTP on loopback and asks the real API server with the operator's own account. Only what the operator
//! sends itself is disturbed: the Helm processes that it runs use the same kubeconfig, and pass through.

mod rotation;
mod site;

use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use futures::{StreamExt, stream};
use http::header::{AUTHORIZATION, CONNECTION, HOST, RETRY_AFTER, USER_AGENT};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use meshlift_testbed::progress;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use self::rotation::Rotation;
pub use self::rotation::{Disturbed, Fault, INJECTED};
pub use self::site::Site;
use crate::bed::Bed;

/// The environment variable that chooses another rotation.
pub const SEED: &str = "MESHLIFT_FAULT_SEED";
/// What the operator's own requests begin their user agent with.
const OPERATOR: &str = "meshlift-operator/";
/// How long a call without an answer stays open. Real ones stay open for longer, until the operator's own limit.
const UNANSWERED: Duration = Duration::from_secs(5);
/// How late a slow answer comes.
const SLOW: Duration = Duration::from_millis(1500);
/// How long a watch that is reset in the middle lasts.
const CUT_AFTER: Duration = Duration::from_secs(2);

type Answer = Response<UnsyncBoxBody<Bytes, Error>>;

/// A running proxy; it ends when this is dropped.
pub struct Faulty {
    kubeconfig: PathBuf,
    upstream: Arc<Upstream>,
    serving: JoinHandle<()>,
}

struct Upstream {
    client: Client,
    rotation: Mutex<Rotation>,
    spares: Spares,
}

/// Which call sites are not disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spares {
    /// None.
    Nothing,
    /// Those that only read.
    Reads,
}

impl Spares {
    fn spares(self, site: &Site) -> bool {
        self == Spares::Reads && !site.is_write()
    }
}

impl Faulty {
    /// Starts a proxy before the API server of this cluster, with the rotation of `MESHLIFT_FAULT_SEED`, or the first one.
    pub async fn start(bed: &Bed, spares: Spares) -> Result<Self> {
        let seed = match std::env::var(SEED) {
            Ok(text) => text.parse().with_context(|| format!("{SEED}={text}"))?,
            Err(_) => 0,
        };
        progress::line(&format!("faults by {SEED}={seed}"));
        let upstream = Arc::new(Upstream {
            client: client_of(&bed.operator_kubeconfig).await?,
            rotation: Mutex::new(Rotation::new(seed)),
            spares,
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let kubeconfig = bed.cluster.scratch().join("faulty.kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_to(&url)?)?;
        let serving = tokio::spawn(serve(listener, Arc::clone(&upstream)));
        Ok(Self {
            kubeconfig,
            upstream,
            serving,
        })
    }

    /// The kubeconfig that leads through this proxy.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The faults that each call site met so far.
    pub fn disturbed(&self) -> Disturbed {
        self.upstream.rotation().disturbed()
    }

    /// Fails if there is a fault that some call site could have met, and none did.
    pub fn ensure_all_used(&self) -> Result<()> {
        let disturbed = self.disturbed();
        let unused: Vec<Fault> = disturbed.unused().collect();
        ensure!(unused.is_empty(), "never used: {unused:?}");
        Ok(())
    }

    /// Prints what was disturbed; fails if that is fewer than so many call sites.
    pub fn ensure_disturbed(&self, sites: usize) -> Result<()> {
        let disturbed = self.disturbed();
        progress::line(&disturbed.to_string());
        let reached = disturbed.sites();
        ensure!(
            reached >= sites,
            "only {reached} call sites were disturbed, not {sites}"
        );
        Ok(())
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.disturbed());
        }
        self.serving.abort();
    }
}

/// Asks as the operator does, and never again by itself: the operator has to see every answer.
async fn client_of(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    config.read_timeout = None;
    config.write_timeout = None;
    Ok(Client::try_from(config)?)
}

fn kubeconfig_to(url: &str) -> Result<String> {
    Ok(serde_yaml_ng::to_string(&json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "faulty",
        "clusters": [{ "name": "faulty", "cluster": { "server": url } }],
        "users": [{ "name": "faulty", "user": {} }],
        "contexts": [{ "name": "faulty", "context": { "cluster": "faulty", "user": "faulty" } }],
    }))?)
}

async fn serve(listener: TcpListener, upstream: Arc<Upstream>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&upstream)));
                }
                Err(error) => tracing::warn!(%error, "accepting"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection. One on which a call fails is reset, as by a machine that is gone, and not closed in good order.
async fn connection(stream: TcpStream, upstream: Arc<Upstream>) {
    let answer = service_fn(move |request| {
        let upstream = Arc::clone(&upstream);
        Box::pin(async move { upstream.answer(request).await })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let stream = connection.into_parts().io.into_inner();
    if ended.is_err() {
        // A client that has gone itself does not mind.
        let _ = stream.set_zero_linger();
    }
}

impl Upstream {
    fn rotation(&self) -> MutexGuard<'_, Rotation> {
        self.rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error resets the connection.
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Error> {
        let agent = request.headers().get(USER_AGENT);
        let is_operator =
            agent.is_some_and(|agent| agent.as_bytes().starts_with(OPERATOR.as_bytes()));
        let site = Site::of(request.method(), request.uri());
        let fault = if is_operator && !self.spares.spares(&site) {
            self.rotation().next(&site)
        } else {
            None
        };
        match fault {
            None => self.forward(request).await,
            Some(fault) => {
                tracing::debug!(%site, ?fault, uri = %request.uri(), "disturbed");
                self.disturb(&site, fault, request).await
            }
        }
    }

    async fn disturb(
        &self,
        site: &Site,
        fault: Fault,
        request: Request<Incoming>,
    ) -> Result<Answer, Error> {
        match fault {
            Fault::ErrorApplied | Fault::TimeoutApplied if !site.is_watch() => {
                let answer = self.forward(request).await?;
                answer.into_body().collect().await?;
            }
            Fault::Slow => {
                tokio::time::sleep(SLOW).await;
                return self.forward(request).await;
            }
            Fault::NoAnswer => tokio::time::sleep(UNANSWERED).await,
            Fault::Reset if site.is_watch() => return Ok(cut(self.forward(request).await?)),
            _ => {}
        }
        match fault.status() {
            // The API server opens the watch, and then says by an event that it cannot go on from there.
            Some(status) if fault == Fault::Expired && site.is_watch() => {
                let event = json!({ "type": "ERROR", "object": status });
                Ok(Response::builder().body(whole(format!("{event}\n")))?)
            }
            Some(status) => {
                let mut answer = Response::builder().status(status.code);
                if fault == Fault::TooManyRequests {
                    answer = answer.header(RETRY_AFTER, 1);
                }
                Ok(answer.body(whole(serde_json::to_string(&status)?))?)
            }
            None => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
        }
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Answer, Error> {
        let (mut head, body) = request.into_parts();
        // What is about the connection to us, and who we are.
        for name in [HOST, CONNECTION, AUTHORIZATION] {
            head.headers.remove(name);
        }
        let body = Body::from(body.collect().await?.to_bytes());
        let answer = self.client.send(Request::from_parts(head, body)).await?;
        Ok(answer.map(|body| body.map_err(Error::from).boxed_unsync()))
    }
}

fn whole(text: String) -> UnsyncBoxBody<Bytes, Error> {
    Full::from(text).map_err(Error::from).boxed_unsync()
}

/// The beginning of a watch, which then breaks off.
fn cut(answer: Answer) -> Answer {
    answer.map(|body| {
        let broken = io::Error::from(io::ErrorKind::ConnectionReset);
        let frames = BodyStream::new(body)
            .take_until(tokio::time::sleep(CUT_AFTER))
            .chain(stream::iter([Err::<Frame<Bytes>, Error>(broken.into())]));
        StreamBody::new(frames).boxed_unsync()
    })
}
