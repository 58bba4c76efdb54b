//! What is said in the status of an object of ours that cannot be read.
//!
//! Nothing is done for such an object, and the others go on. It is either wrong, or a newer version wrote it before a
//! downgrade: then its phase may mean anything, and to wait is the one thing that is safe.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use meshlift_api::conditions as c;
use meshlift_model::decision::Verdict;
use meshlift_model::message;

use crate::status::set_condition;

/// The reason in its conditions.
const REASON: &str = "Unreadable";

/// What is said of a MeshUpgrade.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Its message.
    pub message: String,
    /// All its conditions.
    pub conditions: Vec<Condition>,
}

/// The sentence; `kind` as kubectl has it.
fn sentence(kind: &str, name: &str, why: &str) -> String {
    let why = message::capped(why);
    format!(
        "doing nothing, because this object cannot be read: {why}. Correct the field with kubectl edit {kind} {name}, or run the version of Meshlift that wrote it"
    )
}

/// What a MeshUpgrade says that cannot be read, and why.
pub fn upgrade(
    now: Timestamp,
    generation: i64,
    name: &str,
    why: &str,
    before: &[Condition],
) -> Said {
    let message = sentence("meshupgrade", name, why);
    let mut conditions = before.to_vec();
    for (kind, holds, message) in [
        (c::READY, false, message.clone()),
        (c::RECONCILING, false, String::new()),
        (c::STALLED, true, message.clone()),
    ] {
        let verdict = Verdict {
            holds,
            reason: REASON,
            message,
        };
        set_condition(now, generation, &mut conditions, kind, &verdict);
    }
    Said {
        message,
        conditions,
    }
}

/// The conditions of a Mesh that cannot be read, and why.
pub fn mesh(
    now: Timestamp,
    generation: i64,
    name: &str,
    why: &str,
    before: &[Condition],
) -> Vec<Condition> {
    let mut conditions = before.to_vec();
    let verdict = Verdict {
        holds: false,
        reason: REASON,
        message: sentence("mesh", name, why),
    };
    set_condition(now, generation, &mut conditions, c::READY, &verdict);
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshlift_model::example::{ago, now};

    #[test]
    fn it_names_the_field_and_stays_the_same_until_something_changes() {
        let why = "status.phase: unknown variant `Levitating`";
        let said = upgrade(ago(60), 3, "to-1-31", why, &[]);
        assert_eq!(
            said.message,
            "doing nothing, because this object cannot be read: status.phase: unknown variant `Levitating`. Correct the field with kubectl edit meshupgrade to-1-31, or run the version of Meshlift that wrote it"
        );
        let shown = |said: &Said| -> Vec<String> {
            let all = said.conditions.iter();
            all.map(|c| format!("{}={}/{}", c.type_, c.status, c.reason))
                .collect()
        };
        assert_eq!(
            shown(&said),
            [
                "Ready=False/Unreadable",
                "Reconciling=False/Unreadable",
                "Stalled=True/Unreadable"
            ]
        );
        assert_eq!(upgrade(now(), 3, "to-1-31", why, &said.conditions), said);
        let other = mesh(now(), 3, "prod", why, &said.conditions);
        assert_eq!(other.len(), 3);
        assert!(other[0].message.contains("kubectl edit mesh prod"));
    }
}
