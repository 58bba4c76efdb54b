//! Sums the totals that the clients of a load post, over their rolling restarts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Report, Totals};

type Reports = Arc<Mutex<HashMap<String, Report>>>;

/// What all clients together did so far.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// The sum over all clients, those that have ended too.
    pub totals: Totals,
    /// The same by what the requests went through.
    pub ways: BTreeMap<String, Totals>,
    /// Clients that have reported.
    pub instances: usize,
    /// Clients that have not said that they ended, in order of name.
    pub running: Vec<String>,
}

impl Collected {
    /// Whether the end of every request that was sent is known.
    pub fn is_complete(&self) -> bool {
        self.running.is_empty() && self.totals.in_flight() == 0
    }
}

/// The HTTP server that takes the reports; it ends when it is dropped.
pub struct Collector {
    reports: Reports,
    server: JoinHandle<()>,
}

impl Collector {
    /// Takes reports on a listener, at any path.
    pub fn serve(listener: std::net::TcpListener) -> Result<Self> {
        listener
            .set_nonblocking(true)
            .context("preparing the collector's listener")?;
        let listener =
            TcpListener::from_std(listener).context("preparing the collector's listener")?;
        let reports = Reports::default();
        let app = Router::new()
            .fallback(post(take))
            .with_state(reports.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!("the collector of the load stopped: {error}");
            }
        });
        Ok(Self { reports, server })
    }

    /// The sum of the last report of each client.
    pub fn collected(&self) -> Collected {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let mut collected = Collected {
            instances: reports.len(),
            ..Collected::default()
        };
        for report in reports.values() {
            collected.totals.merge(&report.totals);
            let way = collected.ways.entry(report.way.clone()).or_default();
            way.merge(&report.totals);
            if !report.ended {
                collected.running.push(report.instance.clone());
            }
        }
        collected.running.sort();
        collected
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(reports): State<Reports>, Json(report): Json<Report>) {
    let mut reports = reports.lock().unwrap_or_else(PoisonError::into_inner);
    let known = reports.get(&report.instance);
    if known.is_none_or(|known| known.sequence < report.sequence) {
        reports.insert(report.instance.clone(), report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(instance: &str, sequence: u64, ok: u64, ended: bool) -> Json<Report> {
        let totals = Totals {
            sent: ok,
            ok,
            ..Totals::default()
        };
        Json(Report {
            instance: instance.into(),
            way: instance[..1].into(),
            sequence,
            ended,
            totals,
        })
    }

    #[tokio::test]
    async fn restarted_clients_add_up_and_late_reports_change_nothing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let collector = Collector::serve(listener).expect("served");
        let reports = State(collector.reports.clone());
        for report in [
            report("a-1", 0, 5, false),
            report("a-1", 2, 20, true),
            report("a-1", 1, 10, false),
            report("a-2", 0, 7, false),
            report("b-1", 0, 3, true),
        ] {
            take(reports.clone(), report).await;
        }
        let collected = collector.collected();
        assert_eq!(collected.totals.ok, 30);
        assert_eq!((collected.ways["a"].ok, collected.ways["b"].ok), (27, 3));
        assert_eq!(collected.instances, 3);
        assert_eq!(collected.running, ["a-2"]);
    }
}
