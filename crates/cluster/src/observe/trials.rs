//! The writes of an upgrade, tried as dry runs while a detection looks around.

use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use kube::Client;
use meshlift_model::Effect;
use meshlift_model::view::{RefusedTrial, Seen, Trial};

use super::cached::Cached;
use super::seen;
use crate::Error;
use crate::execute::dry_run;
use crate::words::answer;

/// A blocked detection looks again as soon as anything watched changes; these are not tried more often.
const AGE: Duration = Duration::from_secs(120);
/// Requests under way at once: a webhook that is slow is slow for each of them.
const AT_ONCE: usize = 8;

/// Tries writes.
pub(super) struct Trials {
    client: Client,
    known: Cached<String, Trial>,
}

/// What became of one.
enum Tried {
    Taken,
    Refused(RefusedTrial),
    Unknown(String),
    /// The object is another one by now.
    Changed,
}

impl Trials {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            known: Cached::new(AGE),
        }
    }

    /// The next look tries everything again.
    pub(super) fn forget(&self) {
        self.known.forget_all();
    }

    /// Tries the writes of an upgrade.
    pub(super) async fn look(&self, upgrade: &str, writes: &[Effect]) -> Seen<Trial> {
        let trial = async { Ok::<_, Error>(self.all(writes).await) };
        seen(self.known.get(&key(upgrade, writes), trial).await)
    }

    async fn all(&self, writes: &[Effect]) -> Trial {
        let requests: Vec<_> = writes
            .iter()
            .map(|effect| self.one(effect).boxed())
            .collect();
        let tried: Vec<Tried> = stream::iter(requests).buffered(AT_ONCE).collect().await;
        let mut trial = Trial::default();
        for one in tried {
            match one {
                Tried::Taken => trial.tried += 1,
                Tried::Refused(refused) => {
                    trial.tried += 1;
                    trial.refused.push(refused);
                }
                Tried::Unknown(why) => trial.unknown = Some(why),
                Tried::Changed => {}
            }
        }
        trial
    }

    async fn one(&self, effect: &Effect) -> Tried {
        let Err(error) = dry_run(&self.client, effect).await else {
            return Tried::Taken;
        };
        let kube::Error::Api(status) = &error else {
            return Tried::Unknown(crate::words::describe(&error));
        };
        let said = answer(status);
        match status.code {
            // A webhook with side effects is not asked, so nobody knows its answer.
            _ if status.message.contains("does not support dry run") => {
                Tried::Unknown(status.message.clone())
            }
            404 | 409 => Tried::Changed,
            401 | 429 | 503 | 504 => Tried::Unknown(said.sentence()),
            // A right that is missing is another matter, and of whoever looks: the operator's may be there.
            403 if said.by == "RBAC" => Tried::Unknown(said.sentence()),
            _ => Tried::Refused(RefusedTrial {
                object: object(effect),
                why: said.sentence(),
            }),
        }
    }
}

/// What is tried: other objects, or another version to go to, are tried at once.
fn key(upgrade: &str, writes: &[Effect]) -> String {
    let objects: Vec<&str> = writes.iter().filter_map(Effect::object).collect();
    let first = writes.first().map(Effect::describe).unwrap_or_default();
    format!("{upgrade} {first} {}", objects.join(" "))
}

fn object(effect: &Effect) -> String {
    match effect {
        Effect::MoveNamespace { name, .. } => format!("Namespace {name}"),
        Effect::PointTag { tag, .. } => format!("revision tag {tag}"),
        Effect::LabelGateway {
            namespace, name, ..
        } => format!("Gateway {namespace}/{name}"),
        Effect::RestartWorkload { key, .. } => {
            format!("{} {}/{}", key.kind, key.namespace, key.name)
        }
        other => other.describe(),
    }
}
