//! What is measured, and how large it is.

use std::path::PathBuf;
use std::time::Duration;

use super::mesh::Size;
use super::schedule::Limits;

/// Arguments of `testbed bench`.
#[derive(clap::Args, Clone, Debug)]
pub struct BenchArgs {
    /// A tenth of the workloads and few standing pods, to try it.
    #[arg(long)]
    quick: bool,
    /// As many workloads as two cores restart three times in a quarter of an hour; no kubectl and
    /// no detection.
    #[arg(long, conflicts_with = "quick")]
    large: bool,
    /// Of the large mesh: how many workloads, rounded up to whole namespaces of 50.
    #[arg(long, value_name = "NUMBER", requires = "large")]
    workloads: Option<usize>,
    /// Of the large mesh: pods of each workload.
    #[arg(long, value_name = "NUMBER", requires = "large")]
    replicas: Option<usize>,
    /// Of the large mesh: how many workloads restart at the same time, a tenth of them in one namespace.
    #[arg(long, value_name = "NUMBER", requires = "large")]
    concurrent: Option<usize>,
    /// Leave out kubectl, whose processes take most of the time.
    #[arg(long)]
    no_kubectl: bool,
    /// Measure this program and not the one of the workspace, which is built first.
    #[arg(long, value_name = "FILE")]
    pub(super) operator: Option<PathBuf>,
    /// Measure memory with so many standing pods, in rising order; 0 leaves it out.
    #[arg(long, value_delimiter = ',', value_name = "PODS")]
    standing: Option<Vec<usize>>,
    /// Measure only the detection, on a cluster of its own.
    #[arg(long, conflicts_with = "large")]
    pub(super) only_detection: bool,
}

/// What fits into the time: see docs/benchmarks.md.
const LARGE: Size = Size {
    namespaces: 40,
    per_namespace: 50,
    replicas: 2,
};

impl BenchArgs {
    pub(super) fn quick(&self) -> bool {
        self.quick
    }

    pub(super) fn kubectl(&self) -> bool {
        !self.no_kubectl && !self.large
    }

    pub(super) fn detection(&self) -> bool {
        !self.large
    }

    /// Whether pods name their node: of thousands the scheduler would be a good part of the work.
    pub(super) fn placed(&self) -> bool {
        self.large
    }

    pub(super) fn size(&self) -> Size {
        if self.large {
            let workloads = self.workloads.unwrap_or(LARGE.workloads()).max(1);
            return Size {
                namespaces: workloads.div_ceil(LARGE.per_namespace),
                per_namespace: workloads.min(LARGE.per_namespace),
                replicas: self.replicas.unwrap_or(LARGE.replicas).max(1),
            };
        }
        Size {
            namespaces: if self.quick { 5 } else { 20 },
            per_namespace: if self.quick { 4 } else { 10 },
            replicas: 4,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        if self.large {
            let total = self.concurrent.unwrap_or(20).max(1);
            return Limits {
                total,
                per_namespace: total.div_ceil(10),
            };
        }
        Limits {
            total: if self.quick { 5 } else { 20 },
            per_namespace: 2,
        }
    }

    pub(super) fn soak(&self) -> Duration {
        Duration::from_secs(match (self.quick, self.large) {
            (true, _) => 10,
            (_, true) => 30,
            _ => 60,
        })
    }

    /// How long an operator with nothing to do is watched.
    pub(super) fn idle(&self) -> Duration {
        Duration::from_secs(if self.quick { 10 } else { 60 })
    }

    /// With how many pods memory is measured.
    pub(super) fn standing(&self) -> Vec<usize> {
        let usual: &[usize] = match (self.quick, self.large) {
            (true, _) => &[200],
            (_, true) => &[10_000],
            _ => &[2_000, 10_000],
        };
        let mut all = self.standing.clone().unwrap_or_else(|| usual.to_vec());
        all.retain(|pods| *pods > 0);
        all
    }

    /// How many of the standing pods one workload has: in a large mesh as many as all others.
    pub(super) fn per_standing(&self) -> usize {
        if self.large {
            self.size().replicas
        } else {
            100
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parsed(line: &str) -> BenchArgs {
        let words = ["bench"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words)
            .expect("a line that can be read")
            .args
    }

    #[test]
    fn a_large_mesh_is_as_large_as_it_is_asked_to_be() {
        let usual = parsed("--large");
        assert_eq!(
            (usual.size().workloads(), usual.size().pods()),
            (2_000, 4_000)
        );
        let all = parsed("--large --workloads 5000 --replicas 3 --concurrent 100");
        assert_eq!((all.size().workloads(), all.size().pods()), (5_000, 15_000));
        assert_eq!((all.limits().total, all.limits().per_namespace), (100, 10));
        let few = parsed("--large --workloads 3 --standing 0");
        assert_eq!((few.size().workloads(), few.standing()), (3, vec![]));
    }
}
