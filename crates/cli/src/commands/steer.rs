//! `approve`, `pause`, `resume` and `rollback`: what may be changed of an upgrade that runs.

use anyhow::{Result, anyhow, bail};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt};
use meshlift_api::{Approval, MeshUpgrade, Outcome, Phase, labels};
use meshlift_model::view::gitops_tool;
use meshlift_model::{GATEWAYS, REST};
use serde_json::{Value, json};

use super::{Context, print};
use crate::args::{ApproveArgs, How, Output, PauseArgs, RollbackArgs};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::failure;
use crate::output::encode;
use crate::render::progress::has_ended;
use crate::terminal::asked;

/// Somebody else may write in between; more often than this it is a fight.
const TRIES: usize = 5;

/// A change of the spec, or that it is there already.
enum Change {
    Spec(Value),
    None,
}

/// Lets waves begin.
pub(super) async fn approve(context: &Context<'_>, args: &ApproveArgs) -> Result<Exit> {
    let what = format!("approved: {}", args.waves.join(", "));
    let steering = Steering {
        what: &what,
        already: &format!("has {what} already"),
        question: None,
    };
    let change = |upgrade: &MeshUpgrade| approvals(upgrade, &args.waves);
    steer(context, &args.name, &args.how, steering, change).await?;
    Ok(Exit::Fine)
}

fn approvals(upgrade: &MeshUpgrade, wanted: &[String]) -> Result<Change> {
    if has_ended(upgrade) {
        bail!("{}", ended(upgrade, "no wave to approve"));
    }
    let waves = &upgrade.spec.data_plane.waves;
    let asks: Vec<&str> = waves
        .iter()
        .filter(|wave| wave.approval == Approval::Required)
        .map(|wave| wave.name.as_str())
        .collect();
    let unknown = |name: &&String| !asks.contains(&name.as_str());
    let exists =
        |name: &str| [REST, GATEWAYS].contains(&name) || waves.iter().any(|w| w.name == name);
    if let Some(name) = wanted.iter().find(unknown) {
        let name_of = upgrade.name_any();
        match (exists(name), &asks[..]) {
            (true, _) => bail!("wave {name} of {name_of} needs no approval: it begins by itself"),
            (false, []) => bail!(
                "no wave of {name_of} needs an approval (spec.dataPlane.waves[].approval: Required): they begin by themselves; `pause` holds it"
            ),
            (false, asks) => bail!(
                "{name_of} has no wave {name}; those that need an approval are {}",
                asks.join(", ")
            ),
        }
    }
    let mut approvals = upgrade.spec.approvals.clone();
    approvals.extend(wanted.iter().cloned());
    approvals.sort();
    approvals.dedup();
    Ok(if approvals.len() == upgrade.spec.approvals.len() {
        Change::None
    } else {
        Change::Spec(json!({ "approvals": approvals }))
    })
}

/// Holds an upgrade before its next change, or lets it go on.
pub(super) async fn pause(context: &Context<'_>, args: &PauseArgs, paused: bool) -> Result<Exit> {
    let (what, already) = if paused {
        ("paused", "is paused already")
    } else {
        ("resumed", "is not paused")
    };
    let steering = Steering {
        what,
        already,
        question: None,
    };
    let change = |upgrade: &MeshUpgrade| held(upgrade, paused);
    steer(context, &args.name, &args.how, steering, change).await?;
    Ok(Exit::Fine)
}

fn held(upgrade: &MeshUpgrade, paused: bool) -> Result<Change> {
    if paused && has_ended(upgrade) {
        bail!("{}", ended(upgrade, "nothing to hold"));
    }
    Ok(if upgrade.spec.paused == paused {
        Change::None
    } else {
        Change::Spec(json!({ "paused": paused }))
    })
}

/// Moves everything back.
pub(super) async fn rollback(context: &Context<'_>, args: &RollbackArgs) -> Result<Exit> {
    let question = format!(
        "Move everything that {} has moved back to the old control plane? [y/N] ",
        args.name
    );
    let steering = Steering {
        what: "asked to move back",
        already: "is asked to move back already",
        question: (!args.yes && !args.how.dry_run).then_some(&question),
    };
    if steer(context, &args.name, &args.how, steering, back).await? && !args.how.dry_run {
        eprintln!("Follow it: {} watch {}", context.program(), args.name);
    }
    Ok(Exit::Fine)
}

fn back(upgrade: &MeshUpgrade) -> Result<Change> {
    let phase = upgrade.status.as_ref().and_then(|status| status.phase);
    match phase {
        Some(phase) if phase.is_locked() => {}
        // If the old control plane is still there; otherwise status says that nothing can be moved back.
        Some(Phase::Done | Phase::Failed) if has_moved(upgrade) => {}
        Some(Phase::Done | Phase::Failed) => {
            bail!("{}", ended(upgrade, "nothing to move back"))
        }
        _ => bail!(
            "{} has changed nothing yet ({}), so there is nothing to move back: hold it with `pause`, or delete it",
            upgrade.name_any(),
            phase.map_or_else(|| "not begun".to_owned(), |phase| phase.to_string())
        ),
    }
    Ok(if upgrade.spec.request_rollback {
        Change::None
    } else {
        Change::Spec(json!({ "requestRollback": true }))
    })
}

/// Whether an upgrade that has ended left something on the new control plane.
fn has_moved(upgrade: &MeshUpgrade) -> bool {
    let status = upgrade.status.as_ref();
    status.is_some_and(|s| s.record.is_some() && s.outcome != Some(Outcome::RolledBack))
}

/// That it is over, and what can be done then.
fn ended(upgrade: &MeshUpgrade, left: &str) -> String {
    let name = upgrade.name_any();
    let phase = upgrade.status.as_ref().and_then(|status| status.phase);
    match phase {
        Some(Phase::Failed) => format!(
            "{name} has ended (Failed), so there is {left}; to go on with it: kubectl annotate mup {name} {}=$(date +%s) --overwrite",
            labels::RETRY
        ),
        _ => format!(
            "{name} has ended (Done), so there is {left}; for another version change spec.targetVersion"
        ),
    }
}

/// How a change is told.
struct Steering<'a> {
    what: &'a str,
    /// Where it is so already.
    already: &'a str,
    /// What a person has to agree to.
    question: Option<&'a String>,
}

/// Whether it was written.
async fn steer(
    context: &Context<'_>,
    name: &str,
    how: &How,
    steering: Steering<'_>,
    change: impl Fn(&MeshUpgrade) -> Result<Change>,
) -> Result<bool> {
    let mut question = steering.question;
    let connection = context.connect().await?;
    for _ in 0..TRIES {
        let found = super::status::found(context, &connection, name).await?;
        let spec = match change(&found)? {
            Change::Spec(spec) => spec,
            Change::None => {
                eprintln!("{name} {}", steering.already);
                return Ok(false);
            }
        };
        // Nobody is asked about what cannot be, nor twice.
        if let Some(question) = question.take()
            && !agreed(context, question)?
        {
            eprintln!("Nothing was changed.");
            return Ok(false);
        }
        let Some(written) = write(&connection, &found, &spec, how.dry_run).await? else {
            continue;
        };
        warn_of_git(&found);
        let form = how.output.or(how.dry_run.then_some(Output::Yaml));
        print(&match form {
            Some(form) => encode(form, &written)?,
            None => format!("meshupgrade.meshlift.io/{name} {}\n", steering.what),
        })?;
        return Ok(true);
    }
    bail!("changing MeshUpgrade {name}: somebody else changes it all the time; try again")
}

fn agreed(context: &Context<'_>, question: &str) -> Result<bool> {
    if !context.terminal.can_ask {
        bail!("there is no terminal to ask on: add --yes to do it without being asked");
    }
    asked(question)
}

/// Nothing if somebody else changed it since it was read.
async fn write(
    connection: &Connection,
    found: &MeshUpgrade,
    spec: &Value,
    dry_run: bool,
) -> Result<Option<DynamicObject>> {
    // As it is: the types write durations in their own way.
    let kind = ApiResource::erase::<MeshUpgrade>(&());
    let api = Api::<DynamicObject>::all_with(connection.requests.clone(), &kind);
    let name = found.name_any();
    let version = found.resource_version();
    let patch = json!({ "metadata": { "resourceVersion": version }, "spec": spec });
    let params = PatchParams {
        dry_run,
        field_manager: Some(super::upgrade::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(&name, &params, &Patch::Merge(&patch)).await {
        Ok(mut written) => {
            written.metadata.managed_fields = None;
            Ok(Some(written))
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 422 => {
            Err(anyhow!("changing MeshUpgrade {name}: {}", status.message))
        }
        Err(error) => {
            let doing = format!("changing MeshUpgrade {name}");
            Err(failure::request(&doing, &connection.server, error))
        }
    }
}

/// What a GitOps tool applies it may put back.
fn warn_of_git(upgrade: &MeshUpgrade) {
    let managers = upgrade.managed_fields().iter();
    let mut managers = managers.filter_map(|entry| entry.manager.as_deref());
    if let Some(tool) = managers.find_map(gitops_tool) {
        eprintln!(
            "warning: {tool} applies this object: commit the same change, or it may be put back"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade(spec: Value) -> MeshUpgrade {
        let object = json!({
            "apiVersion": "meshlift.io/v1alpha1", "kind": "MeshUpgrade",
            "metadata": { "name": "to-1-31" }, "spec": spec,
        });
        serde_json::from_value(object).expect("an upgrade")
    }

    fn with_waves() -> MeshUpgrade {
        upgrade(json!({
            "targetVersion": "1.31", "approvals": ["eu"],
            "dataPlane": { "waves": [
                { "name": "canary" },
                { "name": "eu", "approval": "Required" },
                { "name": "us", "approval": "Required" },
            ] },
        }))
    }

    fn approving(waves: &[&str]) -> Result<Option<Value>> {
        let waves: Vec<String> = waves.iter().map(|name| (*name).to_owned()).collect();
        Ok(match approvals(&with_waves(), &waves)? {
            Change::Spec(spec) => Some(spec),
            Change::None => None,
        })
    }

    #[test]
    fn an_approval_joins_those_there_are() {
        let both = json!({ "approvals": ["eu", "us"] });
        assert_eq!(approving(&["us"]).expect("it waits"), Some(both.clone()));
        assert_eq!(approving(&["us", "eu"]).expect("they wait"), Some(both));
        assert_eq!(approving(&["eu"]).expect("it waited"), None);
    }

    #[test]
    fn what_needs_no_approval_is_refused_with_what_does() {
        let said = |waves: &[&str]| approving(waves).expect_err("refused").to_string();
        assert!(said(&["canary"]).contains("begins by itself"));
        assert!(said(&["eu", "uk"]).contains("no wave uk; those that need an approval are eu, us"));
        assert!(said(&["rest"]).contains("begins by itself"));
        let none = upgrade(json!({ "targetVersion": "1.31" }));
        let refused = approvals(&none, &["prod".to_owned()])
            .err()
            .expect("refused");
        assert!(
            refused.to_string().contains("needs an approval"),
            "{refused}"
        );
    }

    #[test]
    fn what_has_ended_says_how_to_go_on() {
        let mut over = with_waves();
        let mut refused = |phase| {
            over.status = Some(meshlift_api::MeshUpgradeStatus {
                phase: Some(phase),
                ..Default::default()
            });
            let said = |change: Result<Change>| change.err().expect("refused").to_string();
            let approved = said(approvals(&over, &["us".to_owned()]));
            assert!(matches!(held(&over, false), Ok(Change::None)));
            [approved, said(held(&over, true)), said(back(&over))]
        };
        for said in refused(Phase::Failed) {
            assert!(
                said.contains("kubectl annotate mup to-1-31 meshlift.io/retry="),
                "{said}"
            );
        }
        for said in refused(Phase::Done) {
            assert!(said.contains("change spec.targetVersion"), "{said}");
        }
    }

    #[test]
    fn only_an_upgrade_that_runs_can_move_back() {
        let mut running = upgrade(json!({ "targetVersion": "1.31" }));
        assert!(back(&running).is_err());
        running.status = Some(meshlift_api::MeshUpgradeStatus {
            phase: Some(Phase::HealthChecking),
            ..Default::default()
        });
        assert!(matches!(back(&running), Ok(Change::Spec(_))));
        running.spec.request_rollback = true;
        assert!(matches!(back(&running), Ok(Change::None)));
    }

    #[test]
    fn what_has_ended_can_move_back_unless_it_has() {
        let mut over = upgrade(json!({ "targetVersion": "1.31" }));
        for (outcome, moves) in [
            (Outcome::Upgraded, true),
            (Outcome::Stopped, true),
            (Outcome::RolledBack, false),
        ] {
            over.status = Some(meshlift_api::MeshUpgradeStatus {
                phase: Some(Phase::Failed),
                record: Some("upgrade-to-1-31-0b5e".into()),
                outcome: Some(outcome),
                ..Default::default()
            });
            assert_eq!(
                matches!(back(&over), Ok(Change::Spec(_))),
                moves,
                "{outcome:?}"
            );
        }
    }
}
