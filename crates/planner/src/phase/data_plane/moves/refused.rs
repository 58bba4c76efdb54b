//! Moves that the API server refuses: each is tried again by its own clock while the others go on, is waited for until
//! its time is over, and is named then.

use jiff::Timestamp;
use meshlift_api::labels::ISTIO_REV;
use meshlift_api::{BlockedWorkload, Predicate};
use meshlift_model::data_plane::others_move;
use meshlift_model::decision::{Decision, Effect, Next, Report, Waiting, WaitingOn};
use meshlift_model::refusals::Refusal;
use meshlift_model::time::later;
use meshlift_model::{message, reference};

use super::Moves;
use crate::phase::BACKSTOP;
use crate::phase::data_plane::Drive;
use crate::phase::upgrading::timeout;

/// An object whose change was refused.
struct Object<'a> {
    /// As status has it: `v1 Namespace shop`.
    reference: String,
    /// As a sentence has it: `namespace shop`.
    name: String,
    /// The command that changes it.
    by_hand: String,
    refusal: &'a Refusal,
}

impl Drive<'_> {
    /// Whether what is to be written to an object was refused, and is not to be tried now.
    pub(super) fn steps_aside(&self, uid: &str) -> bool {
        let timeout = timeout(self.upgrade);
        self.view.refusals.get(uid).is_some_and(|refusal| {
            let again = if refusal.is_over(timeout) {
                others_move(self.upgrade) && refusal.is_worth_a_try(self.now)
            } else {
                refusal.is_due(self.now, timeout)
            };
            !again
        })
    }

    pub(super) fn without_refused(&self, moves: Moves) -> Moves {
        let aside = |effect: &Effect| effect.object().is_some_and(|uid| self.steps_aside(uid));
        let (refused, act) = moves.act.into_iter().partition(aside);
        Moves {
            act,
            refused,
            ..moves
        }
    }

    /// Waits for the next try of what was refused, until its time is over.
    pub(in crate::phase) fn refused_moves(&self, report: &Report) -> Option<Decision> {
        let timeout = timeout(self.upgrade);
        let objects = self.refused_objects();
        let open: Vec<&Object<'_>> = objects
            .iter()
            .filter(|object| !object.refusal.is_over(timeout))
            .collect();
        let next = open
            .iter()
            .map(|object| object.refusal.next_at(timeout))
            .min()?;
        let names: Vec<String> = open
            .iter()
            .map(|object| format!("{} ({})", object.name, object.refusal.why))
            .collect();
        let message = format!(
            "{}trying again what was refused: {}",
            self.wave(),
            message::first_few(&names)
        );
        let waiting = Waiting {
            on: WaitingOn::Backoff,
            until: soon(self.now, next),
        };
        let report = Report {
            step: self.upgrade.status.step.or(report.step),
            message,
            ..report.clone()
        };
        Some(Decision::new(Next::Wait(waiting), report))
    }

    /// What is given up of it, named as not moved.
    pub(in crate::phase) fn named_as_refused(&self) -> Vec<BlockedWorkload> {
        let timeout = timeout(self.upgrade);
        let objects = self.refused_objects().into_iter();
        objects
            .filter(|object| object.refusal.is_over(timeout))
            .map(|object| BlockedWorkload {
                reference: object.reference,
                predicate: Predicate::Refused,
                message: message::object_refused(&object.refusal.why, &object.by_hand),
            })
            .collect()
    }

    fn refused_objects(&self) -> Vec<Object<'_>> {
        if self.view.refusals.is_empty() {
            return Vec::new();
        }
        let moves = [self.tags().refused, self.namespaces().refused];
        let moves = moves
            .iter()
            .flatten()
            .filter_map(|effect| self.object(effect));
        let gateways = self.refused_gateways().into_iter().filter_map(|gateway| {
            let (namespace, name) = (&gateway.namespace, &gateway.name);
            Some(Object {
                reference: reference::gateway(namespace, name),
                name: format!("Gateway {namespace}/{name}"),
                by_hand: format!(
                    "kubectl -n {namespace} label gateway {name} {ISTIO_REV}={} --overwrite",
                    self.heading.to
                ),
                refusal: self.view.refusals.get(&gateway.uid)?,
            })
        });
        moves.chain(gateways).collect()
    }

    fn object(&self, effect: &Effect) -> Option<Object<'_>> {
        let refusal = self.view.refusals.get(effect.object()?)?;
        match effect {
            Effect::MoveNamespace { name, labels, .. } => Some(Object {
                reference: reference::namespace(name),
                name: format!("namespace {name}"),
                by_hand: message::relabel(name, labels),
                refusal,
            }),
            Effect::PointTag {
                tag,
                configuration,
                revision,
                ..
            } => Some(Object {
                reference: reference::tag(configuration),
                name: format!("revision tag {tag}"),
                by_hand: format!("istioctl tag set {tag} --revision {revision} --overwrite"),
                refusal,
            }),
            _ => None,
        }
    }
}

/// A time to look again: at the next try, and never at once.
fn soon(now: Timestamp, next: Timestamp) -> Timestamp {
    let second = later(now, jiff::SignedDuration::from_secs(1));
    next.min(later(now, BACKSTOP)).max(second)
}
