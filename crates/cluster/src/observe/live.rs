//! Counters from the metrics of istiod, read through the API server from every pod of a control
//! plane: each pod knows only its own connections.

mod metrics;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use meshlift_model::view::{ControlPlane, LiveCounters, Seen};

use self::metrics::Counters;
use super::cached::Cached;
use crate::Error;
use crate::watch::Watches;

/// Port of istiod's metrics. Source: istio `pilot/cmd/pilot-discovery` (`--monitoringAddr`).
const PORT: u16 = 15014;
/// A look for the health of the mesh is good for this long.
const FRESH: Duration = Duration::from_secs(4);
/// A look for the pace of restarts, an error among them, is good for this long: a little less than until the next one
/// is asked for.
const PACE: Duration = Duration::from_secs(9);
/// No restart waits longer than this for a look at the pace.
const PATIENCE: Duration = Duration::from_secs(3);
/// Two looks further apart than this do not tell of the present.
const LATELY: SignedDuration = SignedDuration::from_secs(90);

/// Namespace and name of a pod.
type Key = (String, String);

pub(super) struct LiveClient {
    client: Client,
    known: Cached<Key, Counters>,
    paced: Cached<Key, Result<LiveCounters, String>>,
    /// The last look at the pace, and when it was taken.
    before: Mutex<HashMap<Key, (Timestamp, Counters)>>,
}

impl LiveClient {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            known: Cached::new(FRESH),
            paced: Cached::new(PACE),
            before: Mutex::default(),
        }
    }

    pub(super) fn forget(&self) {
        self.known.forget_all();
    }

    /// Fills in the counters of every control plane.
    pub(super) async fn fill(&self, watches: &Watches, planes: &mut [ControlPlane]) {
        for plane in planes {
            let looks = pods(watches, plane).into_iter().map(|key| async move {
                let read = self.known.get(&key, self.read(&key)).await;
                read.map(|counters| counters.live())
            });
            plane.live = summed(join_all(looks).await);
        }
    }

    /// Fills in how the control planes of these revisions coped lately.
    pub(super) async fn fill_pace(
        &self,
        watches: &Watches,
        planes: &mut [ControlPlane],
        revisions: &BTreeSet<String>,
    ) {
        let paced = planes.iter_mut();
        let looks = paced
            .filter(|plane| revisions.contains(&plane.revision))
            .map(|plane| async move {
                let looks = pods(watches, plane).into_iter().map(|key| async move {
                    let look = async { Ok(self.pace(&key).await) };
                    self.paced.get(&key, look).await.flatten()
                });
                plane.live = summed(join_all(looks).await);
            });
        join_all(looks).await;
    }

    async fn pace(&self, key: &Key) -> Result<LiveCounters, String> {
        let read = tokio::time::timeout(PATIENCE, self.read(key)).await;
        let counters = match read {
            Ok(read) => read.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("no answer within {PATIENCE:?}")),
        };
        let now = Timestamp::now();
        let before = self.replace(key, now, counters);
        let recent = before.and_then(|before| counters.since(&before, now));
        Ok(LiveCounters {
            recent,
            ..counters.live()
        })
    }

    /// Remembers a look; what was seen at the one before, if that was not long ago.
    fn replace(&self, key: &Key, now: Timestamp, counters: Counters) -> Option<Counters> {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        before.retain(|_, (at, _)| now.duration_since(*at) <= LATELY);
        let last = before.insert(key.clone(), (now, counters));
        last.map(|(_, counters)| counters)
    }

    async fn read(&self, (namespace, pod): &Key) -> Result<Counters, Error> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{PORT}/proxy/metrics");
        let what = format!("metrics of pod {namespace}/{pod}");
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| Error::Unreadable(format!("{what}: {error}")))?;
        let text = self
            .client
            .request_text(request)
            .await
            .map_err(Error::kube(what.clone()))?;
        // Without build information it is not istiod that answered.
        if text.contains("istio_build") || text.contains("pilot_info") {
            Ok(Counters::read(&text))
        } else {
            Err(Error::Unreadable(format!("{what}: they are not istiod's")))
        }
    }
}

/// The pods of a control plane.
fn pods(watches: &Watches, plane: &ControlPlane) -> Vec<Key> {
    let pods = watches.pods.all();
    let own = pods.present().into_iter().flatten().filter(|fact| {
        fact.istiod.as_deref() == Some(&plane.revision) && fact.pod.namespace == plane.namespace
    });
    own.map(|fact| (fact.pod.namespace.clone(), fact.pod.name.clone()))
        .collect()
}

/// Of all pods; one that cannot be read hides the others, because nobody knows what it would add.
fn summed(pods: Vec<Result<LiveCounters, String>>) -> Seen<LiveCounters> {
    let all: Result<Vec<LiveCounters>, String> = pods.into_iter().collect();
    match all {
        Ok(all) => all
            .into_iter()
            .reduce(metrics::sum)
            .map_or(Seen::Absent, Seen::Present),
        Err(why) => Seen::Unreadable(why),
    }
}
