//! The MeshUpgrade as the planner sees it.

use jiff::Timestamp;
use meshlift_api::{MeshUpgradeSpec, MeshUpgradeStatus, Phase};

/// The object being reconciled.
#[derive(Clone, Debug, PartialEq)]
pub struct Upgrade {
    /// Name.
    pub name: String,
    /// UID; names the record, so a re-created object starts with a record of its own.
    pub uid: String,
    /// Generation of the spec.
    pub generation: i64,
    /// Creation time; the older of two upgrades of one mesh goes first.
    pub created_at: Timestamp,
    /// Whether deletion was asked for.
    pub deleting: bool,
    /// Whether our finalizer is on it.
    pub held: bool,
    /// Value of the retry annotation.
    pub retry: Option<String>,
    /// Value of the redetect annotation.
    pub redetect: Option<String>,
    /// Value of the annotation with which a person accepts checks while the spec is locked.
    pub accepts: Option<String>,
    /// Spec.
    pub spec: MeshUpgradeSpec,
    /// Status as last written.
    pub status: MeshUpgradeStatus,
}

impl Upgrade {
    /// How many replicas istiod is brought to before it is upgraded in place, if that is asked for.
    pub fn ensured_replicas(&self) -> Option<u32> {
        self.spec.in_place.as_ref()?.ensure_replicas
    }

    /// The phase; an object without status is Pending.
    pub fn phase(&self) -> Phase {
        self.status.phase.unwrap_or(Phase::Pending)
    }

    /// Whether the spec or the retry annotation changed since the status was written. What only steers an upgrade
    /// that runs asks for no other one: a target `1.31` would be resolved again because somebody set `paused`. A new
    /// request to move back is one all the same: after the end, both control planes may still be there.
    pub fn asked_again(&self) -> bool {
        let edited = self.status.observed_generation != Some(self.generation);
        let spec_changed = self.status.observed_spec.as_ref() != Some(&self.spec_digest());
        let asked_back = self.spec.request_rollback && !self.status.observed_request_rollback;
        let retried = self.retry.is_some() && self.retry != self.status.observed_retry;
        (edited && (spec_changed || asked_back)) || retried
    }

    /// Whether what a decision on this object was made from still stands in its newest state: its spec, whether it is to
    /// go, and what is recorded. Otherwise what follows from the decision must not be recorded: it would pass a spec
    /// that nobody acted on for one that was, lose a deletion, or take back what another process recorded.
    ///
    /// Finalizers and annotations do not count: effects write the first, and what the second ask for is asked until a
    /// status says that it was seen.
    pub fn stands_in(&self, newest: &Self) -> bool {
        (&self.uid, self.generation, self.deleting, &self.status)
            == (
                &newest.uid,
                newest.generation,
                newest.deleting,
                &newest.status,
            )
    }

    /// A digest of what an upgrade is made from: the spec without the fields that may change while it runs.
    pub fn spec_digest(&self) -> String {
        let spec = MeshUpgradeSpec {
            paused: false,
            approvals: Vec::new(),
            request_rollback: false,
            ..self.spec.clone()
        };
        // A spec is data with text for keys, which always is JSON.
        let text = serde_json::to_vec(&spec).unwrap_or_default();
        format!("{:016x}", fnv1a(&text))
    }

    /// Whether someone asks for a fresh look that no status has told of yet.
    pub fn redetection_asked(&self) -> bool {
        self.redetect.is_some() && self.redetect != self.status.observed_redetect
    }

    /// Whether a person accepts what this check found: before the upgrade began, or while it runs.
    pub fn accepts(&self, code: &str) -> bool {
        let meanwhile = self.accepts.iter().flat_map(|codes| codes.split(','));
        let before = self.spec.accept_risks.iter().map(String::as_str);
        before
            .chain(meanwhile)
            .any(|accepted| accepted.trim() == code)
    }

    /// Name of the Secret that keeps this upgrade's plan.
    pub fn plan_name(&self) -> String {
        let room = 253_usize.saturating_sub("meshlift-plan-".len());
        let name: String = self.name.chars().take(room).collect();
        format!("meshlift-plan-{}", name.trim_end_matches(['.', '-']))
    }

    /// Name of the Secret that keeps this upgrade's record.
    pub fn record_name(&self) -> String {
        let room = 253_usize.saturating_sub("upgrade--".len() + self.uid.len());
        let name: String = self.name.chars().take(room).collect();
        format!("upgrade-{}-{}", name.trim_end_matches(['.', '-']), self.uid)
    }
}

impl Upgrade {
    /// Name of the backup of the present run, which the names of its Secrets begin with: another run of the
    /// same object finds another mesh, and takes a backup of its own.
    pub fn backup_name(&self) -> String {
        let began = self.status.started_at.as_ref();
        let run = began.map_or(0, |at| at.0.as_second());
        let end = format!("-{}-{run}", self.uid);
        // Room for the number of a chunk.
        let room = 240_usize.saturating_sub("meshlift-backup-".len() + end.len());
        let name: String = self.name.chars().take(room).collect();
        format!("meshlift-backup-{}{end}", name.trim_end_matches(['.', '-']))
    }

    /// Name of the ConfigMap that keeps the log of this object's runs.
    pub fn log_name(&self) -> String {
        let room = 253_usize.saturating_sub("meshlift-log--".len() + self.uid.len());
        let name: String = self.name.chars().take(room).collect();
        format!(
            "meshlift-log-{}-{}",
            name.trim_end_matches(['.', '-']),
            self.uid
        )
    }
}

/// FNV-1a in 64 bits: the same in every build, which the hashes of the standard library do not promise.
fn fnv1a(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use meshlift_api::Phase;

    use super::Upgrade;
    use crate::example::{now, upgrade};

    #[test]
    fn a_changed_spec_and_a_new_retry_ask_again_and_nothing_else_does() {
        let mut ended = upgrade(Phase::Done);
        assert!(!ended.asked_again());
        ended.retry = Some("1".into());
        assert!(ended.asked_again());
        ended.status.observed_retry = Some("1".into());
        assert!(!ended.asked_again());
        ended.retry = None;
        assert!(
            !ended.asked_again(),
            "an annotation taken away asks for nothing"
        );
        ended.generation = 2;
        assert!(ended.asked_again());
    }

    #[test]
    fn a_decision_stands_until_spec_deletion_or_status_change() {
        let decided = upgrade(Phase::Detecting);
        let with = |change: fn(&mut Upgrade)| {
            let mut newest = decided.clone();
            change(&mut newest);
            decided.stands_in(&newest)
        };
        assert!(with(|_| ()));
        assert!(with(|newest| newest.held = true), "our own finalizer");
        assert!(with(|newest| newest.retry = Some("1".into())));
        assert!(!with(|newest| newest.generation += 1), "another spec");
        assert!(!with(|newest| newest.deleting = true));
        assert!(!with(|newest| newest.uid = "another".into()));
        assert!(!with(|newest| newest.status.record = Some("r".into())));
    }

    #[test]
    fn what_steers_a_running_upgrade_asks_for_no_other_one() {
        let mut ended = upgrade(Phase::Done);
        ended.status.observed_spec = Some(ended.spec_digest());
        ended.generation = 2;
        ended.spec.paused = true;
        ended.spec.approvals = vec!["canary".into()];
        assert!(!ended.asked_again());
        ended.spec.accept_risks = vec!["NO-ROOM".into()];
        assert!(ended.asked_again());
        assert_eq!(super::fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn a_request_to_move_back_is_seen_after_the_end_and_its_withdrawal_asks_for_nothing() {
        let mut ended = upgrade(Phase::Done);
        ended.status.observed_spec = Some(ended.spec_digest());
        ended.generation = 2;
        ended.spec.request_rollback = true;
        assert!(ended.asked_again());
        ended.status.observed_request_rollback = true;
        assert!(!ended.asked_again());
        ended.spec.request_rollback = false;
        assert!(!ended.asked_again());
    }

    #[test]
    fn a_record_has_a_name_that_kubernetes_takes() {
        let mut upgrade = upgrade(Phase::Detecting);
        assert_eq!(upgrade.record_name(), "upgrade-to-1-31-0b5e");
        upgrade.name = "n".repeat(253);
        assert_eq!(upgrade.record_name().len(), 253);
        assert!(upgrade.record_name().ends_with("-0b5e"));
        upgrade.uid = "u".repeat(300);
        assert!(upgrade.record_name().starts_with("upgrade-"));
    }

    #[test]
    fn each_run_has_a_backup_of_its_own() {
        let mut upgrade = upgrade(Phase::Detecting);
        assert_eq!(
            upgrade.backup_name(),
            "meshlift-backup-to-1-31-0b5e-1793583000"
        );
        let first = upgrade.backup_name();
        upgrade.status.started_at = Some(Time(now()));
        assert_ne!(upgrade.backup_name(), first);
        upgrade.name = "n".repeat(253);
        assert_eq!(upgrade.backup_name().len(), 240);
        assert!(upgrade.backup_name().ends_with("-0b5e-1793584800"));
        assert_eq!(upgrade.log_name().len(), 253);
        upgrade.name = "to-1-31".into();
        assert_eq!(upgrade.log_name(), "meshlift-log-to-1-31-0b5e");
    }
}
