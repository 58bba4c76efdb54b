//! A bounded closed-loop load: so many workers, each with one request at a time, paced together.

mod collector;
mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use futures::future::join_all;
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

pub use collector::{Collected, Collector};
pub use tally::{Histogram, Report, Totals};

use crate::shop::serve::terminated;

/// Arguments of `testbed load`.
#[derive(clap::Args, Clone, Debug)]
pub struct LoadArgs {
    /// URL that is called; of several, one after the other.
    #[arg(long = "target", value_name = "URL", required = true)]
    pub targets: Vec<String>,
    /// Requests under way at the same time, at most.
    #[arg(long, default_value_t = 8)]
    pub concurrency: usize,
    /// Requests a second, at most.
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
    /// Stop after so many requests.
    #[arg(long)]
    pub max_requests: Option<u64>,
    /// Stop after so many seconds.
    #[arg(long)]
    pub max_time: Option<u64>,
    /// Seconds a request may take.
    #[arg(long, default_value_t = 10)]
    pub timeout: u64,
    /// Count an answer without this header as lost: it did not come the way it should.
    #[arg(long, value_name = "NAME")]
    pub require_header: Option<String>,
    /// URL the totals are posted to, each second and at the end.
    #[arg(long)]
    pub report: Option<String>,
    /// What the load goes through, in the reports, which are counted by it.
    #[arg(long, default_value = "direct")]
    pub way: String,
    /// Name in the reports; default: the host name.
    #[arg(long, env = "HOSTNAME", default_value = "load")]
    pub instance: String,
}

/// Runs the load until a bound or SIGTERM, waits for the last request and prints the totals.
pub async fn run(args: LoadArgs) -> Result<()> {
    if !(args.rate > 0.0 && args.rate.is_finite()) || args.concurrency == 0 {
        bail!("--rate and --concurrency must be above 0");
    }
    let load = Arc::new(Load::new(&args)?);
    let (ended, reporting) = watch::channel(false);
    let reporter = args.report.clone().map(|url| {
        let load = load.clone();
        tokio::spawn(async move { report(&load, &url, reporting).await })
    });

    let stopper = tokio::spawn(stop_at_end(load.clone(), args.max_time));
    join_all((0..args.concurrency).map(|_| work(&load))).await;
    stopper.abort();

    let _ = ended.send(true);
    if let Some(reporter) = reporter {
        reporter.await.context("reporting the totals")??;
    }
    println!("{}", load.summary().await?);
    Ok(())
}

struct Load {
    targets: Vec<String>,
    way: String,
    turns: AtomicUsize,
    required_header: Option<String>,
    instance: String,
    client: reqwest::Client,
    totals: Mutex<Totals>,
    /// When the next request may start.
    next: Mutex<Instant>,
    pace: Duration,
    left: AtomicU64,
    stopped: AtomicBool,
    sequence: AtomicU64,
}

impl Load {
    fn new(args: &LoadArgs) -> Result<Self> {
        // A restarted container keeps the pod's name: the start time tells its totals apart.
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is before 1970")?
            .as_millis();
        Ok(Self {
            targets: args.targets.clone(),
            way: args.way.clone(),
            turns: AtomicUsize::new(0),
            required_header: args.require_header.clone(),
            instance: format!("{}-{started}", args.instance),
            client: client(args)?,
            totals: Mutex::default(),
            next: Mutex::new(Instant::now()),
            pace: Duration::from_secs_f64(1.0 / args.rate),
            left: AtomicU64::new(args.max_requests.unwrap_or(u64::MAX)),
            stopped: AtomicBool::new(false),
            sequence: AtomicU64::new(0),
        })
    }

    /// Waits for the turn of the next request; false when there is none.
    async fn turn(&self) -> bool {
        let at = {
            let mut next = self.next.lock().await;
            // What was missed while the target was slow is not made up for in a burst.
            let at = (*next).max(Instant::now());
            *next = at + self.pace;
            at
        };
        sleep_until(at).await;
        !self.stopped.load(Ordering::Relaxed)
            && self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
    }

    async fn call(&self) -> Result<(), (String, String)> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let target = &self.targets[turn % self.targets.len()];
        let response = self.client.get(target).send().await.map_err(transport)?;
        let status = response.status();
        let present = |name: &&String| response.headers().contains_key(name.as_str());
        let missing = self.required_header.as_ref().filter(|name| !present(name));
        let body = response.text().await.map_err(transport)?;
        if !status.is_success() {
            let kind = format!("status {}", status.as_u16());
            let body: String = body.trim().chars().take(300).collect();
            return Err((kind, format!("{target}: {body}")));
        }
        match missing {
            Some(name) => Err((format!("no header {name}"), body.trim().to_owned())),
            None => Ok(()),
        }
    }

    async fn report(&self, ended: bool) -> Report {
        Report {
            instance: self.instance.clone(),
            way: self.way.clone(),
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
            ended,
            totals: self.totals.lock().await.clone(),
        }
    }

    async fn summary(&self) -> Result<String> {
        let totals = self.totals.lock().await;
        let millis = |share| {
            totals
                .latency
                .quantile(share)
                .map(|l| l.as_secs_f64() * 1e3)
        };
        serde_json::to_string(&serde_json::json!({
            "sent": totals.sent,
            "ok": totals.ok,
            "lost": totals.lost(),
            "failed": totals.failed,
            "samples": totals.samples,
            "p50_ms": millis(0.5),
            "p99_ms": millis(0.99),
        }))
        .context("writing the summary")
    }
}

/// Connections are kept: a new one for every request runs out of ports. A request that was not yet
/// written when a kept connection closed is sent on another one, as every pooling client does; one
/// that was written is never repeated, and counts as lost when it fails.
fn client(args: &LoadArgs) -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .tls_built_in_root_certs(false)
        .pool_max_idle_per_host(args.concurrency)
        .timeout(Duration::from_secs(args.timeout))
        .build()
        .context("building the HTTP client of the load")
}

async fn work(load: &Load) {
    while load.turn().await {
        load.totals.lock().await.begin();
        let started = Instant::now();
        let outcome = load.call().await;
        let mut totals = load.totals.lock().await;
        match outcome {
            Ok(()) => totals.succeed(started.elapsed()),
            Err((kind, detail)) => totals.fail(Timestamp::now(), kind, &detail),
        }
    }
}

/// Names the kind of a failure that is not an answer.
fn transport(error: reqwest::Error) -> (String, String) {
    let kind = if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else if was_reset(&error) {
        "reset"
    } else {
        "other"
    };
    (kind.to_owned(), format!("{:#}", anyhow::Error::from(error)))
}

/// The connection ended before the answer was complete, by a reset or a close.
fn was_reset(error: &reqwest::Error) -> bool {
    use std::error::Error;
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    std::iter::successors(error.source(), |&cause| cause.source()).any(|cause| {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
            );
        }
        cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_incomplete_message)
    })
}

async fn stop_at_end(load: Arc<Load>, max_time: Option<u64>) {
    let over = async {
        match max_time {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        result = terminated() => {
            if let Err(error) = result {
                tracing::error!("signals cannot be awaited, stopping now: {error:#}");
            }
        }
    }
    load.stopped.store(true, Ordering::Relaxed);
}

/// Posts the totals each second; at the end tries for ten seconds until the last ones are taken.
async fn report(load: &Load, url: &str, mut ended: watch::Receiver<bool>) -> Result<()> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_built_in_root_certs(false)
        .timeout(Duration::from_secs(2))
        .build()
        .context("building the HTTP client of the reports")?;
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = ended.changed() => break,
        }
        // Totals are cumulative: the next report makes up for one that did not arrive.
        if let Err(error) = post(&client, url, &load.report(false).await).await {
            tracing::warn!("{error:#}");
        }
    }
    let last = load.report(true).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match post(&client, url, &last).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(error) => tracing::warn!("{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn post(client: &reqwest::Client, url: &str, report: &Report) -> Result<()> {
    client
        .post(url)
        .json(report)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .with_context(|| format!("posting the totals to {url}"))?;
    Ok(())
}
