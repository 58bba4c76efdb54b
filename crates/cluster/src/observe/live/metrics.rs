//! What is wanted of the text of istiod's metrics.
//!
//! Source of the names and of the bounds of the histograms: istio `pilot/pkg/xds/monitoring.go`; of the processors:
//! the Go collector of the Prometheus client.

use meshlift_istio::version::Version;
use meshlift_model::admitted_by;
use meshlift_model::view::{LiveCounters, Recent};

/// From here on a proxy waited too long: a bound of istiod's own histograms, in seconds.
const SLOW: &str = "10";

/// Counters of one pod since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counters {
    connected: u64,
    newest: Option<(u32, u32, u32)>,
    injection_failures: u64,
    build: Option<(u32, u32, u32)>,
    processors: u32,
    convergence: Histogram,
    queue: Histogram,
    push_errors: u64,
    rejects: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Histogram {
    count: u64,
    /// Those that took no longer than [`SLOW`].
    fast: u64,
    /// Milliseconds.
    took: u64,
}

impl Counters {
    /// Out of the Prometheus text format; all series of a name are added up.
    pub(super) fn read(text: &str) -> Self {
        let mut read = Self::default();
        for (name, labels, value) in text.lines().filter_map(sample) {
            let count = value as u64;
            match name {
                "pilot_xds" => {
                    read.connected += count;
                    let version = label(labels, "version").filter(|_| count > 0);
                    read.newest = read.newest.max(version.and_then(numbers));
                }
                "sidecar_injection_failure_total" => read.injection_failures += count,
                "go_sched_gomaxprocs_threads" => read.processors = value as u32,
                "istio_build" if label(labels, "component") == Some("pilot") => {
                    read.build = label(labels, "tag").and_then(numbers);
                }
                "pilot_total_xds_rejects" => read.rejects += count,
                "pilot_xds_pushes" if failed(labels) => read.push_errors += count,
                _ => {
                    read.convergence.add(
                        name.strip_prefix("pilot_proxy_convergence_time"),
                        labels,
                        value,
                    );
                    read.queue
                        .add(name.strip_prefix("pilot_proxy_queue_time"), labels, value);
                }
            }
        }
        read
    }

    /// As the planner sees it, without what it did lately.
    pub(super) fn live(&self) -> LiveCounters {
        LiveCounters {
            connected: self.connected,
            newest: self.newest,
            injection_failures: self.injection_failures,
            build: self.build,
            admits: match self.processors {
                0 => 0,
                processors => admitted_by(processors),
            },
            recent: None,
        }
    }

    /// What was done since an earlier look; `None` if it was started anew meanwhile.
    pub(super) fn since(&self, before: &Self, at: jiff::Timestamp) -> Option<Recent> {
        let convergence = self.convergence.since(&before.convergence)?;
        let queue = self.queue.since(&before.queue)?;
        // Who waited in the queue is counted there first.
        Some(Recent {
            at,
            converged: convergence.count.max(queue.count),
            slow: convergence.slow().max(queue.slow()),
            took: convergence.took,
            push_errors: self.push_errors.checked_sub(before.push_errors)?,
            rejects: self.rejects.checked_sub(before.rejects)?,
        })
    }
}

/// Major, minor and patch of what a label says.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    Some(Version::from_image_tag(version)?.numbers())
}

impl Histogram {
    fn add(&mut self, part: Option<&str>, labels: &str, value: f64) {
        match part {
            Some("_count") => self.count += value as u64,
            Some("_sum") => self.took += (value * 1000.0) as u64,
            Some("_bucket") if label(labels, "le") == Some(SLOW) => self.fast += value as u64,
            _ => {}
        }
    }

    fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            count: self.count.checked_sub(before.count)?,
            fast: self.fast.checked_sub(before.fast)?,
            took: self.took.checked_sub(before.took)?,
        })
    }

    fn slow(&self) -> u64 {
        self.count.saturating_sub(self.fast)
    }
}

/// Both together.
pub(super) fn sum(one: LiveCounters, other: LiveCounters) -> LiveCounters {
    LiveCounters {
        connected: one.connected + other.connected,
        newest: one.newest.max(other.newest),
        injection_failures: one.injection_failures + other.injection_failures,
        build: match (one.build, other.build) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        },
        admits: one.admits + other.admits,
        recent: match (one.recent, other.recent) {
            (Some(one), Some(other)) => Some(Recent {
                at: one.at.max(other.at),
                converged: one.converged + other.converged,
                slow: one.slow + other.slow,
                took: one.took + other.took,
                push_errors: one.push_errors + other.push_errors,
                rejects: one.rejects + other.rejects,
            }),
            // A new pod has no look before.
            (one, other) => one.or(other),
        },
    }
}

/// `name{labels} value`, without comments.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (name, labels, value) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, value) = rest.rsplit_once('}')?;
            (name, labels, value)
        }
        None => {
            let (name, value) = line.split_once(' ')?;
            (name, "", value)
        }
    };
    let value = value.split_whitespace().next()?.parse::<f64>().ok()?;
    Some((name, labels, value))
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim_matches('"'))
}

/// Whether a push could not be made or sent.
fn failed(labels: &str) -> bool {
    let kind = label(labels, "type").unwrap_or_default();
    kind.ends_with("_senderr") || kind.ends_with("_builderr")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an istiod 1.30.2 said with nineteen proxies: what matters, and its neighbours.
    const REAL: &str = include_str!("istiod_metrics.txt");

    fn at() -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }

    #[test]
    fn series_of_one_name_are_added_and_longer_names_are_not() {
        let text = "# TYPE pilot_xds gauge\npilot_xds{version=\"1.30.2\"} 3\npilot_xds{version=\"1.31.0\"} 4\npilot_xds_pushes{type=\"cds\"} 99\nsidecar_injection_failure_total 2\n";
        let read = Counters::read(text);
        assert_eq!((read.connected, read.injection_failures), (7, 2));
        assert_eq!(read.newest, Some((1, 31, 0)));
        assert_eq!((read.push_errors, read.live().admits), (0, 0));
    }

    #[test]
    fn the_metrics_of_a_real_istiod_are_understood() {
        let read = Counters::read(REAL);
        let expected = Counters {
            connected: 19,
            newest: Some((1, 30, 2)),
            injection_failures: 0,
            build: Some((1, 30, 2)),
            processors: 2,
            convergence: Histogram {
                count: 219,
                fast: 219,
                took: 1265,
            },
            queue: Histogram {
                count: 219,
                fast: 219,
                took: 37,
            },
            push_errors: 0,
            rejects: 0,
        };
        assert_eq!(read, expected);
        assert_eq!(read.live().admits, 25);
    }

    #[test]
    fn the_version_is_what_istiod_reports_of_itself() {
        let of = |component: &str, tag: &str| {
            let text = format!("istio_build{{component=\"{component}\",tag=\"{tag}\"}} 1\n");
            Counters::read(&text).live()
        };
        let old = of("pilot", "1.30.2");
        assert_eq!(old.build, Some((1, 30, 2)));
        assert_eq!(of("pilot", "1.20.8-asm.5").build, Some((1, 20, 8)));
        assert_eq!(of("pilot", "unknown").build, None);
        assert_eq!(of("proxy", "1.30.2").build, None);
        let new = of("pilot", "1.31.0");
        assert_eq!(sum(new, old).build, old.build, "the lowest of all pods");
        assert_eq!(sum(of("pilot", "unknown"), new).build, new.build);
    }

    #[test]
    fn what_was_done_between_two_looks() {
        let text = |fast: u32, all: u32, took: f64, queued: u32, errors: u32| {
            format!(
                "pilot_proxy_convergence_time_bucket{{le=\"5\"}} 1\n\
                 pilot_proxy_convergence_time_bucket{{le=\"10\"}} {fast}\n\
                 pilot_proxy_convergence_time_bucket{{le=\"+Inf\"}} {all}\n\
                 pilot_proxy_convergence_time_sum {took}\n\
                 pilot_proxy_convergence_time_count {all}\n\
                 pilot_proxy_queue_time_bucket{{le=\"10\"}} 1\n\
                 pilot_proxy_queue_time_count {queued}\n\
                 pilot_xds_pushes{{type=\"cds\"}} 1000\n\
                 pilot_xds_pushes{{type=\"cds_senderr\"}} {errors}\n\
                 pilot_xds_pushes{{type=\"eds_builderr\"}} 1\n\
                 pilot_total_xds_rejects{{type=\"type.googleapis.com/envoy.config.cluster.v3.Cluster\"}} {errors}\n"
            )
        };
        let before = Counters::read(&text(10, 10, 5.0, 1, 0));
        let after = Counters::read(&text(12, 20, 105.5, 4, 2));
        let expected = Recent {
            at: at(),
            converged: 10,
            slow: 8,
            took: 100_500,
            push_errors: 2,
            rejects: 2,
        };
        assert_eq!(after.since(&before, at()), Some(expected));
        assert_eq!(before.since(&after, at()), None, "it was started anew");
        let pod = LiveCounters {
            recent: Some(expected),
            ..after.live()
        };
        let both = sum(pod, pod).recent.expect("both");
        assert_eq!((both.converged, both.slow, both.took), (20, 16, 201_000));
        assert_eq!(sum(pod, after.live()).recent, Some(expected), "one is new");
    }
}
