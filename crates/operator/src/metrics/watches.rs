//! Whether what is watched can be trusted.

use meshlift_cluster::watch::Health;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Metrics of every table of what is watched.
pub(super) struct WatchMetrics {
    staleness: GaugeVec,
    blind: IntGaugeVec,
    errors: IntCounterVec,
    undecoded: IntGaugeVec,
}

impl WatchMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let kind = &["kind"][..];
        let staleness = GaugeVec::new(
            Opts::new(
                "meshlift_watch_staleness_seconds",
                "Time since the watch of a kind gave a sign of life. A living one gives it once a minute.",
            ),
            kind,
        )?;
        let blind = IntGaugeVec::new(
            Opts::new(
                "meshlift_watch_blind",
                "1 if what is known of a kind is too old to conclude anything from it, else 0.",
            ),
            kind,
        )?;
        let errors = IntCounterVec::new(
            Opts::new(
                "meshlift_watch_errors_total",
                "Lists and watches of a kind that failed.",
            ),
            kind,
        )?;
        let undecoded = IntGaugeVec::new(
            Opts::new(
                "meshlift_undecodable_objects",
                "Objects of a kind that cannot be read. The log names them.",
            ),
            kind,
        )?;
        registry.register(Box::new(staleness.clone()))?;
        registry.register(Box::new(blind.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        registry.register(Box::new(undecoded.clone()))?;
        Ok(Self {
            staleness,
            blind,
            errors,
            undecoded,
        })
    }

    /// Set at each scrape: a kind that is no longer served has no staleness.
    pub(super) fn set(&self, tables: &[(&'static str, Health)]) {
        self.staleness.reset();
        for (what, health) in tables {
            let kind = &[*what][..];
            if let Some(silence) = health.silence {
                self.staleness
                    .with_label_values(kind)
                    .set(silence.as_secs_f64());
            }
            self.blind
                .with_label_values(kind)
                .set(health.blind.is_some().into());
            let errors = self.errors.with_label_values(kind);
            errors.inc_by(health.errors.saturating_sub(errors.get()));
            self.undecoded
                .with_label_values(kind)
                .set(i64::try_from(health.undecoded).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_scrape_shows_what_is_so_now() {
        let registry = Registry::new();
        let metrics = WatchMetrics::new(&registry).expect("metrics");
        let table = |silence: Option<u64>, errors| Health {
            blind: silence.filter(|s| *s > 90).map(|_| "silent".to_owned()),
            silence: silence.map(Duration::from_secs),
            errors,
            undecoded: 2,
        };
        metrics.set(&[("pods", table(Some(100), 3))]);
        metrics.set(&[("pods", table(Some(100), 5))]);
        let kind = &["pods"][..];
        assert_eq!(metrics.errors.with_label_values(kind).get(), 5);
        assert_eq!(metrics.blind.with_label_values(kind).get(), 1);
        assert_eq!(metrics.undecoded.with_label_values(kind).get(), 2);
        metrics.set(&[("pods", table(None, 5))]);
        assert_eq!(metrics.blind.with_label_values(kind).get(), 0);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
        let text = text.expect("metrics as text");
        assert!(
            !text.contains("meshlift_watch_staleness_seconds{"),
            "{text}"
        );
    }
}
