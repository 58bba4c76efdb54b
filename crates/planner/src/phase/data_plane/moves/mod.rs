//! What decides which control plane injects and renders: labels of namespaces, tags, labels of Gateways.

mod namespaces;

use meshlift_api::Step;

use super::Drive;
use crate::decision::{Batch, Decision, Effect, Next, Report};
use crate::message;

pub(crate) use self::namespaces::to_move;

impl Drive<'_> {
    /// Moves what may move now; `None` when nothing is left to move in the stages that are open.
    pub(in crate::phase) fn moves(&self, report: &Report) -> Option<Decision> {
        if self.destination_ill().is_some() {
            return None;
        }
        let batch = self.namespaces();
        (!batch.is_empty()).then(|| self.act("namespaces", batch, report))
    }

    fn act(&self, what: &str, batch: Batch, report: &Report) -> Decision {
        let names: Vec<&str> = batch
            .iter()
            .filter_map(|effect| match effect {
                Effect::MoveNamespace { name, .. } => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let message = format!(
            "{}moves {what} {}to {}: {}",
            self.wave(),
            if self.heading.is_back() { "back " } else { "" },
            self.heading.to,
            message::first_few(&names)
        );
        let report = Report {
            step: Some(self.moving_step()),
            message,
            ..self.moving(report.clone())
        };
        Decision::new(Next::Act(batch), report)
    }

    fn moving_step(&self) -> Step {
        match self.heading.is_back() {
            true => Step::MovingBack,
            false => Step::MovingNamespaces,
        }
    }
}
