//! For how long this process may still change the cluster: what the election of a leader grants, and what every write
//! asks before it begins.
//!
//! That a lease was lost may be noticed late: a process that was stopped for a minute and goes on believes what it last
//! knew. So nobody is told that it is over; whoever is about to act reads the clock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, Request};
use kube::client::Body;
use tower::BoxError;
use tower::filter::FilterLayer;

use crate::{Error, Result};

/// What an effect on the API server must have left to begin.
const REQUEST: Duration = Duration::from_secs(1);
/// What Helm must have left to begin: it is ended when the time is over, but should not begin in vain.
const HELM: Duration = Duration::from_secs(5);
/// How often the clock is read by those that wait: a timer stands still while the machine is suspended, the clock here
/// does not.
const READ: Duration = Duration::from_millis(200);

/// A clock that only goes forward.
type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The time in which this process may act.
#[derive(Clone)]
pub struct Tenure(Arc<Inner>);

struct Inner {
    clock: Clock,
    /// Until when the lease holds, in milliseconds of the clock.
    granted: AtomicU64,
    /// Until when this process acts in any case: it has been asked to stop.
    capped: AtomicU64,
}

/// What is about to be done, by how long it may take.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// A few requests to the API server.
    Request,
    /// A run of Helm.
    Helm,
}

impl Tenure {
    /// One without an end, for a process that takes no part in an election.
    pub fn unlimited() -> Self {
        let tenure = Self::none();
        tenure.0.granted.store(u64::MAX, Ordering::SeqCst);
        tenure
    }

    /// One that has not begun.
    pub fn none() -> Self {
        Self::by(Arc::new(since_boot))
    }

    /// One that has not begun, by this clock.
    pub fn by(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            granted: AtomicU64::new(0),
            capped: AtomicU64::new(u64::MAX),
        }))
    }

    /// The present time of its clock.
    pub fn now(&self) -> Duration {
        (self.0.clock)()
    }

    /// Lets it last until this time of its clock.
    pub fn grant(&self, until: Duration) {
        self.0.granted.store(millis(until), Ordering::SeqCst);
    }

    /// Ends it at once: another leads.
    pub fn end(&self) {
        self.0.granted.store(0, Ordering::SeqCst);
    }

    /// Ends it so long from now at the latest, whatever is granted.
    pub fn cap(&self, left: Duration) {
        let until = millis(self.now().saturating_add(left));
        self.0.capped.fetch_min(until, Ordering::SeqCst);
    }

    /// How much is left of it now.
    pub fn left(&self) -> Duration {
        let granted = self.0.granted.load(Ordering::SeqCst);
        let until = granted.min(self.0.capped.load(Ordering::SeqCst));
        Duration::from_millis(until.saturating_sub(millis(self.now())))
    }

    /// For how long it has been over; `None` while it lasts.
    pub fn over_for(&self) -> Option<Duration> {
        let granted = self.0.granted.load(Ordering::SeqCst);
        let until = granted.min(self.0.capped.load(Ordering::SeqCst));
        millis(self.now())
            .checked_sub(until)
            .map(Duration::from_millis)
    }

    /// Whether so much is left that this may begin.
    ///
    /// # Errors
    /// If not: then nothing was done.
    pub fn allow(&self, act: Act) -> Result<()> {
        let needed = match act {
            Act::Request => REQUEST,
            Act::Helm => HELM,
        };
        if self.left() >= needed {
            Ok(())
        } else {
            Err(Error::Deposed)
        }
    }

    /// Waits until it has begun.
    pub async fn begun(&self) {
        while self.left().is_zero() {
            tokio::time::sleep(READ).await;
        }
    }

    /// Waits until it is over.
    pub async fn over(&self) {
        loop {
            let left = self.left();
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(READ)).await;
        }
    }

    /// A layer for a client that refuses every request that could change something once this is over. It catches what no
    /// effect is: a status, a log, an event.
    pub fn fence(
        &self,
    ) -> FilterLayer<impl FnMut(Request<Body>) -> Result<Request<Body>, BoxError> + Clone + use<>>
    {
        let tenure = self.clone();
        FilterLayer::new(move |request: Request<Body>| {
            if request.method() != Method::GET {
                tenure.allow(Act::Request)?;
            }
            Ok(request)
        })
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tenure").field(&self.left()).finish()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Time since this machine started, with the time in which it was suspended: a virtual machine that is paused and goes on
/// must find its lease expired.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    // Linux has had this clock for longer than any kernel that runs Kubernetes is old.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}

/// Where the operator is only tried out, time since it started.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

#[cfg(test)]
mod tests {
    use meshlift_model::ErrorClass;

    use super::*;

    fn at(clock: &Arc<AtomicU64>) -> Tenure {
        let clock = Arc::clone(clock);
        Tenure::by(Arc::new(move || {
            Duration::from_secs(clock.load(Ordering::SeqCst))
        }))
    }

    #[test]
    fn nothing_begins_before_it_is_granted_or_with_less_left_than_it_takes() {
        let clock = Arc::new(AtomicU64::new(100));
        let tenure = at(&clock);
        assert!(tenure.allow(Act::Request).is_err(), "not elected yet");
        tenure.grant(Duration::from_secs(110));
        assert!(tenure.allow(Act::Helm).is_ok());
        clock.store(106, Ordering::SeqCst);
        assert!(tenure.allow(Act::Helm).is_err(), "4 s are too few for Helm");
        assert!(tenure.allow(Act::Request).is_ok());
        // Stopped for a while: nobody has noticed anything, and the clock has gone on.
        clock.store(500, Ordering::SeqCst);
        let refused = tenure.allow(Act::Request).expect_err("it is over");
        assert_eq!(refused.class(), ErrorClass::Conflict);
        tenure.grant(Duration::from_secs(510));
        assert!(tenure.allow(Act::Request).is_ok(), "renewed");
        tenure.end();
        assert!(tenure.allow(Act::Request).is_err(), "another leads");
    }

    #[test]
    fn a_stop_ends_it_whatever_is_granted_later() {
        let clock = Arc::new(AtomicU64::new(100));
        let tenure = at(&clock);
        tenure.grant(Duration::from_secs(110));
        tenure.cap(Duration::from_secs(20));
        clock.store(115, Ordering::SeqCst);
        tenure.grant(Duration::from_secs(125));
        assert_eq!(tenure.left(), Duration::from_secs(5));
        clock.store(120, Ordering::SeqCst);
        tenure.grant(Duration::from_secs(130));
        assert!(tenure.left().is_zero());
    }

    #[tokio::test]
    async fn a_client_that_is_fenced_reads_and_does_not_write() {
        use kube::api::{DeleteParams, ListParams};
        use kube::client::ClientBuilder;

        let clock = Arc::new(AtomicU64::new(0));
        let tenure = at(&clock);
        let service = tower::service_fn(|_: Request<Body>| async {
            let list = r#"{"apiVersion":"v1","kind":"ConfigMapList","metadata":{},"items":[]}"#;
            Ok::<_, BoxError>(http::Response::new(Body::from(list.as_bytes().to_vec())))
        });
        let client = ClientBuilder::new(service, "default").with_layer(&tenure.fence());
        let api =
            kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::default_namespaced(client.build());
        assert!(api.list(&ListParams::default()).await.is_ok());
        let (delete, all) = (DeleteParams::default(), ListParams::default());
        let refused = api.delete_collection(&delete, &all).await;
        let refused = Error::kube("deleting")(refused.expect_err("it does not lead"));
        assert_eq!(refused.class(), ErrorClass::Conflict, "{refused}");
    }
}
