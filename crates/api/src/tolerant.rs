//! Fields of a status that only describe: an entry that a newer version wrote, with a word that this one does not
//! know, is passed over. After a downgrade the operator goes on with the rest, instead of losing the whole object.
//!
//! What decides what is done next (phase, step, the state of a wave) is not read so: an upgrade in a phase that is not
//! known is left alone, and says so.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The entries that can be read.
pub(crate) fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    let all = Option::<Vec<Value>>::deserialize(from)?;
    let all = all.into_iter().flatten();
    Ok(all
        .filter_map(|entry| serde_json::from_value(entry).ok())
        .collect())
}

/// The value, if it can be read.
pub(crate) fn option<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let value = Option::<Value>::deserialize(from)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{MeshStatus, MeshUpgradeStatus, Phase, Predicate};

    #[test]
    fn words_of_a_newer_version_cost_their_entry_only() {
        let blocked =
            |predicate: &str| json!({ "ref": "x", "predicate": predicate, "message": "m" });
        let check = |severity: &str| json!({ "code": "C", "severity": severity, "result": "Failed", "message": "m" });
        let status = json!({
            "phase": "Upgrading",
            "blocked": [blocked("Paused"), blocked("OnTheMoon")],
            "checks": [check("Warning"), check("Cosmic"), 7, null],
            "clusters": [{ "name": "local", "verdict": "Doubtful" }],
            "history": [{ "message": "m", "outcome": "Levitated" }],
            "outcome": "Levitated",
            "plan": { "releases": [{ "release": "a/b", "chart": "c", "action": "Repaint" }] },
            "aFieldOfTheFuture": {},
        });
        let read: MeshUpgradeStatus = serde_json::from_value(status).expect("a status");
        assert_eq!(read.phase, Some(Phase::Upgrading));
        let predicates: Vec<Predicate> = read.blocked.iter().map(|b| b.predicate).collect();
        assert_eq!(predicates, [Predicate::Paused]);
        assert_eq!(
            (read.checks.len(), read.clusters.len(), read.history.len()),
            (1, 0, 1)
        );
        assert_eq!((read.outcome, read.plan), (None, None));
    }

    #[test]
    fn what_decides_is_not_guessed() {
        for unknown in [
            json!({ "phase": "Levitating" }),
            json!({ "phase": "Upgrading", "step": "Levitating" }),
            json!({ "waves": [{ "name": "rest", "state": "Levitating" }] }),
        ] {
            let read = serde_json::from_value::<MeshUpgradeStatus>(unknown.clone());
            let error = read.expect_err("not known").to_string();
            assert!(error.contains("unknown variant `Levitating`"), "{error}");
        }
    }

    #[test]
    fn a_mesh_keeps_what_can_be_read_of_its_status() {
        let status = json!({
            "version": "1.31.0",
            "clusters": [
                { "name": "local", "role": "Primary", "reachable": true },
                { "name": "far", "role": "Orbital", "reachable": true },
            ],
            "available": [
                { "version": "1.32.0", "fits": false, "clusters": [{ "name": "local", "verdict": "Doubtful" }] },
            ],
        });
        let read: MeshStatus = serde_json::from_value(status).expect("a status");
        assert_eq!((read.clusters.len(), read.available.len()), (1, 1));
        assert!(read.available[0].clusters.is_empty());
    }
}
