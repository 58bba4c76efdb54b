//! Workloads for which the API server refused what would move them on: their restart, an eviction, or the label, tag or
//! Gateway that comes before.

use meshlift_api::Predicate;

use super::{Held, Placement, Question, Turn};
use crate::injection::{Injector, injector_of};
use crate::message;
use crate::refusals::Refusal;
use crate::view::{Namespace, Workload};

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
                match self.refused_before(workload, namespace) {
                    Some(why) => Placement::Held(Held {
                        why,
                        predicate: Predicate::Refused,
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
        let again = match over {
            true => self.others_move && refusal.is_worth_a_try(self.now),
            false => refusal.is_due(self.now, self.timeout),
        };
        Placement::Held(Held {
            why,
            predicate: match budget {
                true => Predicate::DisruptionBudget,
                false => Predicate::Refused,
            },
            again: again.then_some(turn),
            over,
        })
    }

    fn is_open(&self, workload: &Workload) -> bool {
        let stages = self.stages.as_ref();
        stages.is_none_or(|stages| stages.is_open(stages.of_workload(workload)))
    }

    /// What its restart waits for and was given up: the label of its namespace, its tag, or a Gateway that such a move
    /// would roll.
    fn refused_before(&self, workload: &Workload, namespace: &Namespace) -> Option<String> {
        let over = |uid: &str| {
            let refusal = self.refused.get(uid);
            refusal.filter(|refusal| refusal.is_over(self.timeout))
        };
        if let Some(refusal) = over(&namespace.uid) {
            let object = format!("namespace {}", namespace.name);
            return Some(message::comes_after(&object, &refusal.why));
        }
        let template = &workload.template_labels;
        let injector = injector_of(&namespace.labels, template, self.control_planes, self.tags);
        let tag = match &injector {
            Injector::Tag(name) => self.tags.iter().find(|tag| tag.name == *name),
            _ => None,
        };
        if let Some(tag) = tag
            && let Some(refusal) = over(&tag.uid)
        {
            let object = format!("revision tag {}", tag.name);
            return Some(message::comes_after(&object, &refusal.why));
        }
        let mut gateways = self.gateways.iter();
        let gateway = gateways.find_map(|gateway| {
            let related = match workload.managed_gateway {
                true => workload.is_of(gateway),
                false => tag.is_some() || gateway.namespace == namespace.name,
            };
            let refusal = over(&gateway.uid).filter(|_| related)?;
            Some((gateway, refusal))
        });
        gateway.map(|(gateway, refusal)| {
            let object = format!("Gateway {}/{}", gateway.namespace, gateway.name);
            message::comes_after(&object, &refusal.why)
        })
    }
}
