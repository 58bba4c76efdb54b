//! Whether the restart of a workload has ended. From then on its rollouts, scalings and lost pods are its owner's, and
//! no reason to restart a mesh; only the health check judges them.
//!
//! This has to survive a crash, at the price of no write per workload. Every restart carries its time on the workload,
//! and restarts that are decided later get a later time ([`after`]), whatever the clock of the next leader shows. So
//! "all up to this time, but these" describes any number of them in the status, which is written anyway when a
//! workload has moved. What was not written before a crash is found again by looking.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meshlift_api::EndedRestarts;

use super::Question;
use crate::view::Workload;

/// How many restarts that have not ended the status names. With more of them the time stands still, and workloads
/// that were restarted later are judged by what is seen of them now.
const EXCEPT: usize = 200;

/// A restart may be missing from what is seen for a while, since each watch has a delay of its own. A time is only
/// remembered when every restart of that time is seen: one that is missing would be taken for one that has ended.
const SHOWN_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// How old what a table shows may be (`SILENT` in the cluster crate).
const STALE: SignedDuration = SignedDuration::from_secs(90);

impl Question<'_> {
    /// When a workload was last restarted, or lost a pod, on this way.
    fn acted_at(&self, workload: &Workload) -> Option<Timestamp> {
        let marked = self.attempt(&workload.mark).is_some();
        let restarted = workload.restarted_at.filter(|_| marked);
        restarted.max(self.evicted_at(workload))
    }

    /// Whether the status remembers that its last restart has ended.
    pub(super) fn is_remembered(&self, workload: &Workload) -> bool {
        let (Some(known), Some(acted)) = (self.known(), self.acted_at(workload)) else {
            return false;
        };
        acted <= known.until.0 && !known.except.contains(&workload.uid)
    }

    /// What the status remembers of restarts for the revision that is moved to.
    fn known(&self) -> Option<&EndedRestarts> {
        self.ended
            .filter(|known| known.revision == self.heading.mark())
    }

    /// Whether no restart of ours is under way in it. Also a mark without its time is none of ours: someone wrote
    /// that into the pod template.
    pub(super) fn has_ended(&self, workload: &Workload) -> bool {
        let never = self.acted_at(workload).is_none();
        never || self.is_remembered(workload) || self.ends_now(workload)
    }

    /// Whether it is seen to have ended: every pod that the workload wants is ready on the control plane that is moved
    /// to. Where pods are evicted one by one, each eviction has an end of its own.
    fn ends_now(&self, workload: &Workload) -> bool {
        let evicted = self.evicted_at(workload);
        let one_by_one = evicted.is_some() && evicted >= workload.restarted_at;
        let left = workload
            .pods
            .iter()
            .any(|pod| self.leaves(workload, pod) && (!one_by_one || pod.created_at > evicted));
        // An eviction changes no template, so the controller may not have noticed it yet.
        let settled = workload.settled && !one_by_one;
        !left && !self.lost_sidecars(workload) && (settled || workload.whole)
    }

    /// Whether its pods run, and none of them has a sidecar although it was restarted to get another one.
    pub(super) fn lost_sidecars(&self, workload: &Workload) -> bool {
        let ours = self
            .acted_at(workload)
            .is_some_and(|at| Some(at) >= self.began);
        ours && runs_without_sidecar(workload)
    }

    /// Whether the way forward took it out of the mesh: no pod of it is left behind, and it does not run as before.
    pub(super) fn lost_sidecars_before(&self, workload: &Workload) -> bool {
        self.was_moved_forward(workload) && runs_without_sidecar(workload)
    }

    /// Whether a restart is seen in the pods of a workload and not in itself: then workloads are shown as they were, and
    /// nobody knows which restarts are missing. Where somebody took the mark away, it is so only until the pods are older.
    fn is_behind_its_pods(&self, workload: &Workload) -> bool {
        let is_new = |created: Timestamp| self.now.duration_since(created) < STALE;
        let mut pods = workload.pods.iter();
        self.attempt(&workload.mark).is_none()
            && pods
                .any(|pod| self.attempt(&pod.mark).is_some() && pod.created_at.is_some_and(is_new))
    }

    /// What is to be remembered from now on.
    pub(super) fn ended(&self) -> Option<EndedRestarts> {
        let known = self.known();
        if self.workloads.iter().any(|w| self.is_behind_its_pods(w)) {
            return known.cloned();
        }
        let all = self
            .workloads
            .iter()
            .filter_map(|w| Some((w, self.acted_at(w)?)));
        let (ended, open): (Vec<_>, Vec<_>) = all.partition(|(w, _)| self.has_ended(w));
        // Not later than the restart could be taken for one that has failed.
        let delay = SHOWN_AFTER.min(self.timeout / 2);
        let shown = |at: &Timestamp| self.now.duration_since(*at) >= delay;
        let newest = ended.iter().map(|(_, at)| *at).filter(shown).max();
        let until = newest.max(known.map(|known| known.until.0))?;
        let open = open.into_iter().filter(|(_, at)| *at <= until);
        let mut except: Vec<String> = open.map(|(workload, _)| workload.uid.clone()).collect();
        if except.len() > EXCEPT {
            return known.cloned();
        }
        except.sort_unstable();
        Some(EndedRestarts {
            revision: self.heading.mark(),
            until: Time(until),
            except,
        })
    }
}

fn runs_without_sidecar(workload: &Workload) -> bool {
    workload.pods.is_empty() && workload.replicas.ready > 0
}

/// The time that a restart gets: later than every restart that has ended, also where the clock of the leader before
/// was ahead. With an earlier time it would be taken for one of those.
pub fn after(now: Timestamp, ended: Option<&EndedRestarts>) -> Timestamp {
    let after = |ended: &EndedRestarts| ended.until.0.checked_add(SignedDuration::from_secs(1));
    let earliest = ended.and_then(|ended| after(ended).ok());
    earliest.map_or(now, |earliest| earliest.max(now))
}
