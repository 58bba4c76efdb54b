//! The data plane summed up: counts, what is named as not moved, and who is in which placement.

use std::collections::BTreeSet;

use meshlift_api::{BlockedWorkload, Predicate, WorkloadCounts};

use super::{DataPlaneView, Held, Placement, Question};
use crate::message;
use crate::view::{Pod, Workload};

fn blocked_workload(workload: &Workload, predicate: Predicate, target: &str) -> BlockedWorkload {
    BlockedWorkload {
        reference: workload.key.to_string(),
        predicate,
        message: message::blocked_workload(&workload.key, predicate, target),
    }
}

fn held_workload(workload: &Workload, held: &Held) -> BlockedWorkload {
    BlockedWorkload {
        reference: workload.key.to_string(),
        predicate: held.predicate,
        message: match held.predicate {
            Predicate::Refused => message::refused(&workload.key, &held.why),
            Predicate::NotOurs => message::after_put_back(&workload.key, &held.why),
            _ => message::no_eviction(&workload.key, &held.why),
        },
    }
}

pub(super) fn loose_pod(pod: &Pod) -> BlockedWorkload {
    let predicate = match pod.owner_kind.as_deref() {
        None => Predicate::BarePod,
        Some("Job") => Predicate::Job,
        Some(_) => Predicate::UnknownController,
    };
    BlockedWorkload {
        reference: format!("v1 Pod {}/{}", pod.namespace, pod.name),
        predicate,
        message: message::blocked_pod(pod, predicate),
    }
}

impl<'a> DataPlaneView<'a> {
    /// Whether sidecars of the control plane that is moved to run, or did: what has moved may sleep by now.
    pub fn shows_target(&self) -> bool {
        self.proxies.current > 0 || self.ended.is_some()
    }

    /// Workloads by state.
    pub fn counts(&self) -> WorkloadCounts {
        let mut counts = WorkloadCounts::default();
        for (_, placement) in &self.placements {
            counts.total += 1;
            *match placement {
                Placement::Moved => &mut counts.moved,
                Placement::Restarting => &mut counts.restarting,
                Placement::Later
                | Placement::Busy
                | Placement::Stale(_)
                | Placement::Held(Held { over: false, .. }) => &mut counts.pending,
                Placement::Blocked(_) | Placement::Held(_) => &mut counts.blocked,
                Placement::Failed(_) => &mut counts.failed,
            } += 1;
        }
        // Pods of no workload are named too; and some that move are.
        let named = self.blocked.iter().filter(|named| !named.predicate.moves());
        counts.blocked = u32::try_from(named.count()).unwrap_or(u32::MAX);
        counts
    }

    /// Names a workload that is not moved, or not as one may think.
    pub(super) fn name(&mut self, q: &Question<'_>, workload: &'a Workload, placement: &Placement) {
        let to = &q.heading.name();
        if let Placement::Blocked(predicate) = *placement {
            self.blocked.push(blocked_workload(workload, predicate, to));
        } else if let Placement::Held(held) = placement
            && held.over
        {
            self.blocked.push(held_workload(workload, held));
        } else if workload.own_proxy_image && !q.heading.is_back() {
            let named = blocked_workload(workload, Predicate::ProxyImage, to);
            self.blocked.push(named);
        }
    }

    /// The same with those that failed named as not moved, as long as they are no more than may fail.
    pub(super) fn naming_failed(mut self, q: &Question<'_>) -> Self {
        let failed = self.failed().count();
        if failed == 0 || failed > q.max_failures as usize {
            return self;
        }
        let predicate = Predicate::RestartFailed;
        for (workload, placement) in &mut self.placements {
            if let Placement::Failed(why) = placement {
                self.blocked.push(BlockedWorkload {
                    reference: workload.key.to_string(),
                    predicate,
                    message: message::restart_failed(&workload.key, why),
                });
                *placement = Placement::Blocked(predicate);
            }
        }
        self
    }

    /// The same with every workload named as not moved that has a rollout of its own, or whose pods may not be evicted.
    pub fn naming_busy(mut self, target: &str) -> Self {
        for (workload, placement) in &mut self.placements {
            let blocked = match placement {
                Placement::Busy => blocked_workload(workload, Predicate::RolloutIncomplete, target),
                Placement::Held(held) if !held.over => held_workload(workload, held),
                _ => continue,
            };
            *placement = Placement::Blocked(blocked.predicate);
            self.blocked.push(blocked);
        }
        self
    }

    /// Restarted workloads that did not come up, with the reason.
    pub fn failed(&self) -> impl Iterator<Item = (&'a Workload, &str)> {
        self.placements
            .iter()
            .filter_map(|(workload, placement)| match placement {
                Placement::Failed(why) => Some((*workload, why.as_str())),
                _ => None,
            })
    }

    /// Workloads in a placement that `which` accepts, in the order of their names.
    pub fn in_order(&self, which: impl Fn(&Placement) -> bool) -> Vec<(&'a Workload, &Placement)> {
        let mut found: Vec<_> = self
            .placements
            .iter()
            .filter(|(_, placement)| which(placement))
            .map(|(workload, placement)| (*workload, placement))
            .collect();
        found.sort_by(|a, b| a.0.key.cmp(&b.0.key));
        found
    }

    /// Namespaces that have stale workloads, those that are tried again among them: new pods of all have to be
    /// injected.
    pub fn stale_namespaces(&self) -> BTreeSet<&'a str> {
        self.in_order(|p| matches!(p, Placement::Stale(_)) || p.is_held() || p.is_tried_once_more())
            .into_iter()
            // Without a pod there is nothing that a new one could be compared with.
            .filter(|(workload, _)| !workload.pods.is_empty())
            .map(|(workload, _)| workload.key.namespace.as_str())
            .collect()
    }
}
