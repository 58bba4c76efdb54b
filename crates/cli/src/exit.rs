//! Exit codes: what a script can tell from a run.

use std::process::ExitCode;

use meshlift_api::{MeshUpgradeStatus, Outcome, Phase};

/// The codes, as `--help` tells them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    all is well
  1    it could not be done: no connection, no rights, no such object, or something that decides could not be read
  2    the command line is wrong
  3    a check stands in the way of the upgrade
  4    the upgrade failed
  5    the upgrade had not ended by --timeout
  6    nothing to do: the mesh is at that version already (check, plan, manual)
  130  interrupted; an upgrade that was being followed goes on";

/// How a command ended that did what it was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Fine,
    /// Something that decides whether an upgrade may start could not be read; nothing is known to be wrong.
    Unread,
    /// A check stands in the way.
    Blocked,
    /// The mesh is at the version that was asked for.
    NothingToDo,
    /// The upgrade failed.
    Failed,
    /// The upgrade had not ended in time.
    TimedOut,
    /// A person stopped following.
    Interrupted,
}

impl Exit {
    /// The code of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Unread => 1,
            Self::Blocked => 3,
            Self::Failed => 4,
            Self::TimedOut => 5,
            Self::NothingToDo => 6,
            Self::Interrupted => 130,
        }
    }

    /// How an upgrade ended, or nothing while it runs.
    pub fn of_ended(status: &MeshUpgradeStatus) -> Option<Self> {
        match (status.phase?, status.outcome) {
            (Phase::Failed, _) => Some(Self::Failed),
            (Phase::Done, Some(Outcome::PlanBlocked)) => Some(Self::Blocked),
            (Phase::Done, _) => Some(Self::Fine),
            (Phase::Pending | Phase::Detecting | Phase::Upgrading | Phase::HealthChecking, _) => {
                None
            }
        }
    }

    /// What it means that an upgrade is where it is when the time to wait for it is over.
    pub fn of_unended(status: &MeshUpgradeStatus) -> Self {
        use meshlift_api::conditions::DETECTED;
        let blocked = status
            .conditions
            .iter()
            .any(|condition| condition.type_ == DETECTED && condition.status == "False");
        match status.phase {
            Some(Phase::Detecting) if blocked => Self::Blocked,
            _ => Self::TimedOut,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(phase: Phase, outcome: Option<Outcome>) -> MeshUpgradeStatus {
        MeshUpgradeStatus {
            phase: Some(phase),
            outcome,
            ..Default::default()
        }
    }

    #[test]
    fn the_code_tells_how_the_upgrade_ended() {
        let code = |phase, outcome| Exit::of_ended(&status(phase, outcome)).map(Exit::code);
        assert_eq!(code(Phase::Done, Some(Outcome::Upgraded)), Some(0));
        assert_eq!(code(Phase::Done, Some(Outcome::PlanReady)), Some(0));
        assert_eq!(code(Phase::Done, Some(Outcome::PlanBlocked)), Some(3));
        assert_eq!(code(Phase::Failed, Some(Outcome::Stopped)), Some(4));
        assert_eq!(code(Phase::Upgrading, None), None);
        assert_eq!(Exit::of_ended(&MeshUpgradeStatus::default()), None);
    }

    #[test]
    fn an_upgrade_that_is_blocked_when_time_is_over_is_told_as_blocked() {
        let mut detecting = status(Phase::Detecting, None);
        assert_eq!(Exit::of_unended(&detecting), Exit::TimedOut);
        let blocked = serde_json::json!({
            "type": "Detected", "status": "False", "reason": "K8S-TOO-OLD", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        detecting.conditions = vec![serde_json::from_value(blocked).expect("a condition")];
        assert_eq!(Exit::of_unended(&detecting), Exit::Blocked);
        detecting.phase = Some(Phase::Upgrading);
        assert_eq!(Exit::of_unended(&detecting), Exit::TimedOut);
    }

    #[test]
    fn every_code_is_in_the_help() {
        for exit in [
            Exit::Fine,
            Exit::Unread,
            Exit::Blocked,
            Exit::Failed,
            Exit::TimedOut,
            Exit::NothingToDo,
            Exit::Interrupted,
        ] {
            let code = format!("\n  {:<4} ", exit.code());
            assert!(EXIT_CODES.contains(&code), "{code:?}");
        }
    }
}
