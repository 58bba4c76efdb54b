//! Workloads for which the API server refused what would move them on: their restart, an eviction, or the label, tag or
//! Gateway that comes before.

use meshlift_api::Predicate;

use super::{Held, Placement, Question, Turn};
use crate::injection::{Injector, injector_of};
use crate::refusals::Refusal;
use crate::view::{Namespace, Workload};
use crate::{message, reference};

impl Question<'_> {
    /// The same placement, unless what it would do was refused. A refused restart waits aside by its own clock, takes
    /// no slot, and is named once its time is over; it is no failure of the new control plane, so nothing goes back.
    pub(super) fn unless_refused(
        &self,
        workload: &Workload,
        namespace: &Namespace,
        placement: Placement,
    ) -> Placement {
        match placement {
            Placement::Stale(turn) => {
                let uid = match &turn {
                    Turn::Restart { .. } => &workload.uid,
                    Turn::Evict(pod) => &pod.uid,
                };
                match self.refused.get(uid) {
                    Some(refusal) => self.held(refusal, turn),
                    None => Placement::Stale(turn),
                }
            }
            Placement::Later if self.is_open(workload) => {
                match self.given_up_before(workload, namespace) {
                    Some((predicate, why)) => Placement::Held(Held {
                        why,
                        predicate,
                        again: None,
                        over: true,
                    }),
                    None => Placement::Later,
                }
            }
            other => other,
        }
    }

    /// A workload whose next step was refused.
    pub(super) fn held(&self, refusal: &Refusal, turn: Turn) -> Placement {
        let budget = refusal.budget;
        let why = match &turn {
            _ if budget => refusal.why.clone(),
            Turn::Restart { .. } => message::restart_refused(&refusal.why),
            Turn::Evict(pod) => message::eviction_refused(&pod.name, &refusal.why),
        };
        let over = refusal.is_over(self.timeout);
        let again = if over {
            self.others_move && refusal.is_worth_a_try(self.now)
        } else {
            refusal.is_due(self.now, self.timeout)
        };
        Placement::Held(Held {
            why,
            predicate: if budget {
                Predicate::DisruptionBudget
            } else {
                Predicate::Refused
            },
            again: again.then_some(turn),
            over,
        })
    }

    fn is_open(&self, workload: &Workload) -> bool {
        let stages = self.stages.as_ref();
        stages.is_none_or(|stages| stages.is_open(stages.of_workload(workload)))
    }

    /// What its restart waits for and was given up, because it was refused or put back: the label of its namespace, its
    /// tag, or a Gateway that such a move would roll.
    fn given_up_before(
        &self,
        workload: &Workload,
        namespace: &Namespace,
    ) -> Option<(Predicate, String)> {
        let reference = reference::namespace(&namespace.name);
        let object = format!("namespace {}", namespace.name);
        if let Some(why) = self.given_up(&namespace.uid, &reference, &object) {
            return Some(why);
        }
        let template = &workload.template_labels;
        let injector = injector_of(&namespace.labels, template, self.control_planes, self.tags);
        let tag = match &injector {
            Injector::Tag(name) => self.tags.iter().find(|tag| tag.name == *name),
            _ => None,
        };
        if let Some(tag) = tag {
            let reference = reference::tag(&tag.configuration);
            let object = format!("revision tag {}", tag.name);
            if let Some(why) = self.given_up(&tag.uid, &reference, &object) {
                return Some(why);
            }
        }
        self.gateways.iter().find_map(|gateway| {
            let related = if workload.managed_gateway {
                workload.is_of(gateway)
            } else {
                tag.is_some() || gateway.namespace == namespace.name
            };
            let object = format!("Gateway {}/{}", gateway.namespace, gateway.name);
            let reference = reference::gateway(&gateway.namespace, &gateway.name);
            related.then(|| self.given_up(&gateway.uid, &reference, &object))?
        })
    }

    /// Whether an object stays as it is for good, and why.
    fn given_up(&self, uid: &str, reference: &str, object: &str) -> Option<(Predicate, String)> {
        let refusal = self.refused.get(uid);
        if let Some(refusal) = refusal.filter(|refusal| refusal.is_over(self.timeout)) {
            let why = message::comes_after(object, &refusal.why);
            return Some((Predicate::Refused, why));
        }
        let put_back = reference::is_put_back(self.named, reference);
        put_back.then(|| (Predicate::NotOurs, message::comes_after_put_back(object)))
    }
}
