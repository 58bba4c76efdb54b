//! Leader election by a Lease: only who holds it acts.
//!
//! Two rules keep two from acting at once, whatever their clocks show and however long either was stopped:
//! - The lease is written only as it was last read (by resource version). So who renews it knows that nobody had it in
//!   between.
//! - The leader acts until [`MARGIN`] before its lease can run out for anyone, counted from before its last renewal was
//!   sent; the others wait for the whole of it from when they saw that renewal. Nobody tells the leader: whatever is about
//!   to write reads the clock of its [`Tenure`].

mod lease;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use meshlift_api::labels::FIELD_MANAGER;
use meshlift_cluster::Tenure;
use meshlift_cluster::helm::{ASKED, unique};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::lease::{DURATION, Sight, Standing};

/// Name of the Lease.
const LEASE: &str = "meshlift-operator";
/// How often it is renewed: so that one renewal may fail, and with as few requests as that takes.
const RENEW: Duration = Duration::from_secs(4);
/// How often the others look: a takeover is late by this at most.
const LOOK: Duration = Duration::from_secs(2);
/// How soon to try again what failed.
const AGAIN: Duration = Duration::from_millis(500);
/// How long one request for it may take: several fit in the time that a leader has left.
const REQUEST: Duration = Duration::from_secs(3);
/// What a leader does not use of its lease: a request that is under way ends in it, and so does a Helm process that is
/// asked to end.
const MARGIN: Duration = Duration::from_secs(5);
/// How long giving it back may take at the end.
const RELEASE: Duration = Duration::from_secs(5);

const _: () = assert!(ASKED.as_secs() < MARGIN.as_secs() && REQUEST.as_secs() < MARGIN.as_secs());

/// A place in the election.
pub(crate) struct Candidate {
    tenure: Tenure,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Candidate {
    /// Stands for election, and leads while `tenure` lasts. The client must not be fenced by it.
    pub(crate) fn stand(
        client: Client,
        namespace: &str,
        identity: Option<&str>,
        tenure: Tenure,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        let election = Election {
            api: Api::namespaced(client, namespace),
            // Two processes of one name are two candidates.
            me: format!("{}_{}", identity.unwrap_or("meshlift"), unique()),
            tenure: tenure.clone(),
            sight: Sight::default(),
            held: None,
            acts_from: Duration::ZERO,
        };
        Self {
            tenure,
            stop,
            task: tokio::spawn(election.run(stopping)),
        }
    }

    /// Waits until elected.
    pub(crate) async fn elected(&self) {
        self.tenure.begun().await;
    }

    /// Gives the lease back, so that the next leader need not wait for it to run out. Nothing may act any more.
    pub(crate) async fn step_down(self) {
        self.tenure.cap(Duration::ZERO);
        let _ = self.stop.send(true);
        let stop = self.task.abort_handle();
        if tokio::time::timeout(RELEASE, self.task).await.is_err() {
            stop.abort();
            tracing::warn!("the lease was not given back and runs out by itself");
        }
    }
}

struct Election {
    api: Api<Lease>,
    me: String,
    tenure: Tenure,
    sight: Sight,
    /// The lease as it was written last, while we hold it.
    held: Option<Lease>,
    /// By the clock of the tenure: before this, a leader that does not know of us may still act.
    acts_from: Duration,
}

impl Election {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        loop {
            let rest = tokio::select! {
                rest = self.round() => rest,
                _ = stopping.wait_for(|stop| *stop) => break,
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        self.give_back().await;
    }

    /// One round: renews the lease, or looks whether it can be had. How long to rest after it.
    async fn round(&mut self) -> Duration {
        let round = match self.held.clone() {
            Some(held) => self.renew(&held).await,
            None => self.look().await,
        };
        round.unwrap_or_else(|error| {
            tracing::warn!(%error, left = ?self.tenure.left(), "the lease");
            AGAIN
        })
    }

    async fn look(&mut self) -> Result<Duration, Failure> {
        let Some(lease) = request(self.api.get_opt(LEASE)).await? else {
            return self.make().await;
        };
        match self.sight.see(self.tenure.now(), &lease, &self.me) {
            Standing::Held(left) => Ok(left.min(LOOK)),
            // Ours without being held: a renewal whose answer was lost.
            Standing::Free | Standing::Ours => self.renew(&lease).await,
        }
    }

    /// Takes the lease, or renews it, if it still is as it was read.
    async fn renew(&mut self, lease: &Lease) -> Result<Duration, Failure> {
        // From before it is sent: the others count from when they see it.
        let began = self.tenure.now();
        let spec = lease::taken(Some(lease), &self.me, &moment());
        match self.write(lease, &spec).await {
            Ok(written) => {
                self.hold(began, written);
                Ok(RENEW)
            }
            Err(Failure::Api(error)) if [404, 409].contains(&code(&error)) => {
                self.held = None;
                self.reread().await
            }
            Err(error) => Err(error),
        }
    }

    /// It is not as we wrote it: gone, another's, or still ours and touched by a person.
    async fn reread(&mut self) -> Result<Duration, Failure> {
        let lease = request(self.api.get_opt(LEASE)).await?;
        match lease {
            Some(lease) if lease::holder(&lease) == Some(&self.me) => {
                self.sight.see(self.tenure.now(), &lease, &self.me);
                self.held = Some(lease);
                Ok(Duration::ZERO)
            }
            Some(lease) => {
                self.tenure.end();
                let holder = lease::holder(&lease).unwrap_or("nobody");
                tracing::info!(holder, "the lease is not ours");
                self.sight.see(self.tenure.now(), &lease, &self.me);
                Ok(LOOK)
            }
            None => self.make().await,
        }
    }

    /// Makes the Lease where there is none. A leader whose Lease was deleted goes on with the new one; anyone else must
    /// take it that there is such a leader, and that it does not know yet.
    async fn make(&mut self) -> Result<Duration, Failure> {
        let began = self.tenure.now();
        // Before it is sent: its answer may be lost.
        if self.tenure.left().is_zero() {
            self.acts_from = began.saturating_add(DURATION);
            tracing::info!(wait = ?DURATION, "there is no lease: waits as if another led");
        }
        let lease = serde_json::from_value::<Lease>(json!({
            "metadata": { "name": LEASE },
            "spec": lease::taken(None, &self.me, &moment()),
        }));
        let lease = lease.map_err(|error| Failure::Odd(error.to_string()))?;
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        match request(self.api.create(&parameters, &lease)).await {
            Ok(made) => {
                self.hold(began, made);
                Ok(RENEW)
            }
            // Someone was faster.
            Err(Failure::Api(error)) if code(&error) == 409 => Ok(AGAIN),
            Err(error) => Err(error),
        }
    }

    fn hold(&mut self, began: Duration, lease: Lease) {
        self.sight.see(began, &lease, &self.me);
        self.held = Some(lease);
        if began >= self.acts_from {
            self.tenure.grant(began.saturating_add(DURATION - MARGIN));
        }
    }

    /// Once, and only what is still ours.
    async fn give_back(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        let spec = lease::given_back(&moment());
        if let Err(error) = self.write(&held, &spec).await {
            tracing::warn!(%error, "the lease was not given back and runs out by itself");
        }
    }

    async fn write(&self, lease: &Lease, spec: &Value) -> Result<Lease, Failure> {
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(lease::patch(lease, spec));
        request(self.api.patch(LEASE, &parameters, &patch)).await
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Api(Box<kube::Error>),
    #[error("no answer within {REQUEST:?}")]
    Timeout,
    #[error("{0}")]
    Odd(String),
}

async fn request<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(REQUEST, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure::Api(Box::new(error))),
        Err(_) => Err(Failure::Timeout),
    }
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// Now, as a `MicroTime`.
fn moment() -> String {
    format!("{:.6}", Timestamp::now())
}
