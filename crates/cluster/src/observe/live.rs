//! Counters from the metrics of istiod, read through the API server from every pod of a control
//! plane: each pod knows only its own connections.

use std::time::Duration;

use kube::Client;
use meshlift_planner::view::{ControlPlane, LiveCounters, Seen};

use super::cached::Cached;
use crate::Error;
use crate::watch::Watches;

/// Port of istiod's metrics. Source: istio `pilot/cmd/pilot-discovery` (`--monitoringAddr`).
const PORT: u16 = 15014;

pub(super) struct LiveClient {
    client: Client,
    known: Cached<(String, String), LiveCounters>,
}

impl LiveClient {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            known: Cached::new(Duration::from_secs(4)),
        }
    }

    pub(super) fn forget(&self) {
        self.known.forget_all();
    }

    /// Fills in the counters of every control plane.
    pub(super) async fn fill(&self, watches: &Watches, planes: &mut [ControlPlane]) {
        let pods = watches.pods.all();
        for plane in planes {
            let names = pods.present().into_iter().flatten().filter(|fact| {
                fact.istiod.as_deref() == Some(&plane.revision)
                    && fact.pod.namespace == plane.namespace
            });
            let names: Vec<String> = names.map(|fact| fact.pod.name.clone()).collect();
            plane.live = self.sum(&plane.namespace, &names).await;
        }
    }

    async fn sum(&self, namespace: &str, pods: &[String]) -> Seen<LiveCounters> {
        if pods.is_empty() {
            return Seen::Absent;
        }
        let mut sum = LiveCounters::default();
        for pod in pods {
            let key = (namespace.to_owned(), pod.clone());
            match self.known.get(&key, self.read(namespace, pod)).await {
                Ok(counters) => {
                    sum.connected += counters.connected;
                    sum.injection_failures += counters.injection_failures;
                }
                Err(why) => return Seen::Unreadable(why),
            }
        }
        Seen::Present(sum)
    }

    async fn read(&self, namespace: &str, pod: &str) -> Result<LiveCounters, Error> {
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
        match text.contains("istio_build") || text.contains("pilot_info") {
            true => Ok(counters(&text)),
            false => Err(Error::Unreadable(format!("{what}: they are not istiod's"))),
        }
    }
}

/// The two gauges out of the Prometheus text format; all series of a name are added up.
fn counters(text: &str) -> LiveCounters {
    let sum = |name: &str| -> u64 {
        text.lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let value = match rest.strip_prefix('{') {
                    Some(labelled) => labelled.rsplit_once('}')?.1,
                    None => rest.strip_prefix(' ')?,
                };
                value.split_whitespace().next()?.parse::<f64>().ok()
            })
            .map(|value| value as u64)
            .sum()
    };
    LiveCounters {
        connected: sum("pilot_xds"),
        injection_failures: sum("sidecar_injection_failure_total"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_name_are_added_and_longer_names_are_not() {
        let text = "# TYPE pilot_xds gauge\npilot_xds{version=\"1.30.2\"} 3\npilot_xds{version=\"1.31.0\"} 4\npilot_xds_pushes{type=\"cds\"} 99\nsidecar_injection_failure_total 2\n";
        assert_eq!(
            counters(text),
            LiveCounters {
                connected: 7,
                injection_failures: 2
            }
        );
    }
}
